package directory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

// keyStore is a directory whose clock stands still until it is moved.
type keyStore struct {
	*directory.Directory
	store store.Store
	now   time.Time
}

func newKeyStore(t *testing.T) *keyStore {
	t.Helper()
	k := &keyStore{store: mem.New(), now: testTime}
	t.Cleanup(func() { checkStore(t, k.store) })
	k.reopen()
	return k
}

func (k *keyStore) reopen() {
	k.Directory = directory.New(k.store, testChecks, func() time.Time { return k.now })
}

func issuerDoc(name, jwks string) string {
	return fmt.Sprintf("kind: Issuer\nmetadata: {name: %s}\nspec: {issuer: \"https://%s\", audiences: [a], algorithms: [RS256], shareNames: true, jwks: %s}", name, name, jwks)
}

func (k *keyStore) ref(t *testing.T, name string) directory.IssuerRef {
	t.Helper()
	e, ok := load(t, k.Directory).State.Get(model.Key{Kind: model.KindIssuer, Name: name})
	if !ok {
		t.Fatalf("no issuer %q", name)
	}
	return directory.RefOf(e.(*model.Issuer))
}

// set commits keys, each "kid" or "kid=material", and wants to know whether that
// changes something.
func (k *keyStore) set(t *testing.T, ref directory.IssuerRef, wantCommit bool, keys ...string) {
	t.Helper()
	before := load(t, k.Directory).Generation
	var listed []policydata.Key
	for _, text := range keys {
		id, material, _ := strings.Cut(text, "=")
		listed = append(listed, policydata.Key{ID: id, Algorithm: "RS256", SPKI: []byte(material)})
	}
	r, committed, err := k.SetIssuerKeys(t.Context(), ref, listed)
	if err != nil {
		t.Fatal(err)
	}
	if committed != wantCommit || (r.Generation == before+1) != wantCommit || load(t, k.Directory).Generation != r.Generation {
		t.Errorf("set %v: committed %v, generation %d after %d", keys, committed, r.Generation, before)
	}
}

// want wants the keys of an issuer: "kid" or "-kid" for one that is no longer
// listed. What was loaded anew must say the same as what is in memory.
func (k *keyStore) want(t *testing.T, name, want string) {
	t.Helper()
	for range 2 {
		s := load(t, k.Directory).State
		e, _ := s.Get(model.Key{Kind: model.KindIssuer, Name: name})
		var got []string
		if set := s.ValidKeys(e.(*model.Issuer)); set != nil {
			for _, key := range set.Keys {
				id := key.ID + string(key.SPKI)
				if !key.Removed.IsZero() {
					id = "-" + id
				}
				got = append(got, id)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("keys of %s: got %v, want %s", name, got, want)
		}
		k.reopen()
	}
}

func TestIssuerKeysRotate(t *testing.T) {
	k := newKeyStore(t)
	apply(t, k.Directory, issuerDoc("idp", "{discovery: true}"))
	ref := k.ref(t, "idp")
	k.want(t, "idp", "")
	k.set(t, ref, true, "b", "a")
	k.want(t, "idp", "a b")
	k.set(t, ref, false, "a", "b") // the order means nothing
	k.set(t, ref, false, "b", "a")

	k.now = k.now.Add(time.Hour)
	k.set(t, ref, true, "b", "c")
	k.want(t, "idp", "-a b c")
	k.set(t, ref, false, "b", "c")
	k.now = k.now.Add(10*time.Minute - time.Second)
	if _, committed, err := k.ExpireIssuerKeys(t.Context(), ref); err != nil || committed {
		t.Errorf("a second too early: committed %v, %v", committed, err)
	}
	k.now = k.now.Add(time.Second)
	if _, committed, err := k.ExpireIssuerKeys(t.Context(), ref); err != nil || !committed {
		t.Errorf("when it is time: committed %v, %v", committed, err)
	}
	k.want(t, "idp", "b c")

	k.set(t, ref, true, "c")
	k.set(t, ref, true, "b", "c") // listed again
	k.want(t, "idp", "b c")
	since := load(t, k.Directory).State.Keys["idp"].Keys[0].Since
	if !since.Equal(testTime) {
		t.Errorf("b is there since %v, want %v", since, testTime)
	}
	k.now = k.now.Add(time.Hour)
	k.set(t, ref, false, "b", "c")

	k.set(t, ref, true, "b=new", "c") // a kid that names another key now
	k.want(t, "idp", "bnew c")
	k.set(t, ref, true, "=x")
	k.want(t, "idp", "x -bnew -c")
	k.set(t, ref, true, "=y") // of two keys without kid neither could be used
	k.want(t, "idp", "y -bnew -c")
}

func TestKeepRemovedNothing(t *testing.T) {
	k := newKeyStore(t)
	apply(t, k.Directory, issuerDoc("idp", "{discovery: true, keepRemoved: 0s}"))
	k.set(t, k.ref(t, "idp"), true, "a")
	k.set(t, k.ref(t, "idp"), true, "b")
	k.want(t, "idp", "b")
}

func TestRemovedKeysAreBounded(t *testing.T) {
	k := newKeyStore(t)
	apply(t, k.Directory, issuerDoc("idp", "{discovery: true, keepRemoved: 24h}"))
	for i := range 200 {
		k.now = k.now.Add(time.Second)
		k.set(t, k.ref(t, "idp"), true, fmt.Sprint("k", i))
	}
	keys := load(t, k.Directory).State.Keys["idp"].Keys
	if len(keys) != 128 {
		t.Errorf("%d keys, want 128", len(keys))
	}
	for _, key := range keys {
		if key.ID == "k0" || key.ID == "k71" {
			t.Errorf("%s is one of the oldest, and there", key.ID)
		}
	}
}

// TestKeysBelongToOneIssuer has every way in which keys must not come into, or
// stay in, force.
func TestKeysBelongToOneIssuer(t *testing.T) {
	idp := model.Key{Kind: model.KindIssuer, Name: "idp"}
	tests := map[string]func(t *testing.T, k *keyStore){
		"deleted and created again": func(t *testing.T, k *keyStore) {
			if _, err := k.Delete(t.Context(), idp, directory.Options{}); err != nil {
				t.Fatal(err)
			}
			apply(t, k.Directory, issuerDoc("idp", `{uri: "https://idp/keys"}`))
		},
		"fetched from elsewhere": func(t *testing.T, k *keyStore) {
			apply(t, k.Directory, issuerDoc("idp", `{uri: "https://idp/other"}`))
		},
		"found by discovery": func(t *testing.T, k *keyStore) {
			apply(t, k.Directory, issuerDoc("idp", `{discovery: true}`))
		},
		"written inline": func(t *testing.T, k *keyStore) {
			apply(t, k.Directory, issuerDoc("idp", `{inline: {keys: []}}`))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKeyStore(t)
			apply(t, k.Directory, issuerDoc("idp", `{uri: "https://idp/keys"}`)+"\n---\n"+issuerDoc("other", "{discovery: true}"))
			old := k.ref(t, "idp")
			k.set(t, k.ref(t, "other"), true, "o")
			k.set(t, old, true, "a")
			record := dump(t, k.store)["auth/issuers/idp/keys"]
			change(t, k)
			k.want(t, "idp", "")
			k.want(t, "other", "o")
			if got := keysBelow(t, k.store, "auth/issuers/idp/"); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}
			if _, _, err := k.SetIssuerKeys(t.Context(), old, nil); !errors.Is(err, directory.ErrNotFound) {
				t.Errorf("a late answer of the old issuer: %v", err)
			}

			// A lost race, or a restored file: the record is there again.
			err := k.store.Update(t.Context(), func(tx store.Tx) error { return tx.Put("auth/issuers/idp/keys", []byte(record)) })
			if err != nil {
				t.Fatal(err)
			}
			k.reopen()
			k.want(t, "idp", "")
			apply(t, k.Directory, "kind: Group\nmetadata: {name: g}") // the next write collects it
			if got := keysBelow(t, k.store, "auth/issuers/idp/"); len(got) != 0 {
				t.Errorf("not collected: %v", got)
			}
		})
	}
}

func TestOtherWritesKeepKeys(t *testing.T) {
	k := newKeyStore(t)
	apply(t, k.Directory, issuerDoc("idp", "{discovery: true}"))
	k.set(t, k.ref(t, "idp"), true, "a")
	apply(t, k.Directory, "kind: User\nmetadata: {name: eric}")
	k.want(t, "idp", "a")
	if _, err := k.CreateCredentials(t.Context(), model.Key{Kind: model.KindUser, Name: "eric"}, directory.Options{}); err != nil {
		t.Fatal(err)
	}
	k.want(t, "idp", "a")
	changed := strings.Replace(issuerDoc("idp", "{discovery: true, keepRemoved: 1h}"), "audiences: [a]", "audiences: [b]", 1)
	apply(t, k.Directory, changed)
	k.want(t, "idp", "a")
	if r := apply(t, k.Directory, changed); r.Changes[0].Action != directory.Unchanged {
		t.Errorf("the same issuer: %v", r.Changes)
	}
	apply(t, k.Directory, issuerDoc("idp", "{discovery: true}"))
	if r := apply(t, k.Directory, issuerDoc("idp", "{discovery: true, keepRemoved: 10m}")); r.Changes[0].Action != directory.Unchanged {
		t.Errorf("the default, said: %v", r.Changes)
	}
}
