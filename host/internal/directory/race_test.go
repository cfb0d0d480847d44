package directory_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/bolt"
	"sallyport/host/internal/store/mem"
	"sallyport/host/internal/store/storetest"
)

var raceRounds = flag.Int("race.rounds", 0, "rounds of each test of races; 0: what a normal run has time for")

func rounds(normal int) int {
	if *raceRounds > 0 {
		return *raceRounds
	}
	return normal
}

// naive is a directory as one writes it first: it checks that both ends exist,
// writes an index that names them, and deletes the indexes before the entity and
// once more after it. Each step is a transaction.
type naive struct{ s store.Store }

func (n naive) exists(key string) bool {
	return n.s.View(context.Background(), func(r store.Reader) error {
		_, err := r.Get(key)
		return err
	}) == nil
}

func (n naive) put(key string) error {
	return n.s.Update(context.Background(), func(tx store.Tx) error { return tx.Put(key, []byte("{}")) })
}

func (n naive) addMember(group, user string) error {
	if !n.exists("auth/groups/"+group) || !n.exists("auth/users/"+user) {
		return directory.ErrNotFound
	}
	runtime.Gosched()
	return n.put("auth/groups/" + group + "/users/" + user)
}

func (n naive) deleteUser(user string) error {
	for _, what := range []string{"indexes", "entity", "indexes"} {
		err := n.s.Update(context.Background(), func(tx store.Tx) error {
			if what == "entity" {
				return tx.Delete("auth/users/" + user)
			}
			pairs, err := tx.Scan("auth/groups/", "", 0)
			for _, p := range pairs {
				if strings.HasSuffix(p.Key, "/users/"+user) {
					err = errors.Join(err, tx.Delete(p.Key))
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		runtime.Gosched()
	}
	return nil
}

// isMember reads an index as a fragile one: it counts if both ends exist.
func (n naive) isMember(group, user string) bool {
	return n.exists("auth/groups/"+group) && n.exists("auth/users/"+user) && n.exists("auth/groups/"+group+"/users/"+user)
}

// TestANaiveDirectoryGivesARecreatedUserItsGroupsBack shows that the race of the
// test below is one: without ids in the indexes it is lost soon.
func TestANaiveDirectoryGivesARecreatedUserItsGroupsBack(t *testing.T) {
	const enough = 200_000
	n := naive{mem.New()}
	if err := n.put("auth/groups/g"); err != nil {
		t.Fatal(err)
	}
	for round := range enough {
		if err := n.put("auth/users/u"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := n.addMember("g", "u"); err != nil && !errors.Is(err, directory.ErrNotFound) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := n.deleteUser("u"); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if err := n.put("auth/users/u"); err != nil {
			t.Fatal(err)
		}
		if n.isMember("g", "u") {
			t.Logf("round %d: the new user is a member", round)
			return
		}
		if err := n.deleteUser("u"); err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("the naive directory won %d races: this test proves nothing about ours", enough)
}

func TestARecreatedEntityGetsNothingBackInRaces(t *testing.T) {
	for name, tt := range map[string]struct {
		open   func(*testing.T) store.Store
		normal int
	}{
		"mem":        {func(*testing.T) store.Store { return mem.New() }, 100},
		"optimistic": {func(*testing.T) store.Store { return storetest.NewOptimistic() }, 40},
		"bolt":       {openBolt, 8},
	} {
		t.Run(name, func(t *testing.T) {
			s := tt.open(t)
			rng := rand.New(rand.NewPCG(1, 2))
			victims := racers()
			deleted := 0
			for round := range rounds(tt.normal) {
				if race(t, s, rng, victims[round%len(victims)]) {
					deleted++
				}
				if t.Failed() {
					t.Fatalf("in round %d", round)
				}
			}
			if deleted == 0 {
				t.Error("nothing was ever deleted")
			}
			checkStore(t, s)
		})
	}
}

func openBolt(t *testing.T) store.Store {
	t.Helper()
	s, err := bolt.Open(t.TempDir(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func racers() []model.Key {
	return []model.Key{
		{Kind: model.KindUser, Name: "u"},
		{Kind: model.KindGroup, Name: "g"},
		{Kind: model.KindPolicy, Name: "p"},
		{Kind: model.KindRole, Name: "r"},
	}
}

const raceDocs = `
kind: Policy
metadata: {name: p}
spec: {rules: [{effect: allow, methods: ["*"], paths: ["/**"]}]}
---
kind: User
metadata: {name: u}
---
kind: Group
metadata: {name: g}
---
kind: Role
metadata: {name: r}
---
kind: Role
metadata: {name: act}
spec: {governing: true}
---
kind: ServiceAccount
metadata: {name: s}
spec: {role: own}
---
kind: Role
metadata: {name: own}
`

// race deletes an entity while others give it all that it can have, in two
// directories on one store, as two hosts have them; creates it again under its
// name, and looks whether it has anything.
func race(t *testing.T, s store.Store, rng *rand.Rand, victim model.Key) (deleted bool) {
	t.Helper()
	one, two := reopen(s), reopen(s)
	apply(t, one, raceDocs)
	var creds directory.Credentials
	ctx := t.Context()
	user, group, policy, role := racers()[0], racers()[1], racers()[2], racers()[3]
	relate := func(d *directory.Directory, owner, target model.Key) func() error {
		return func() error {
			_, err := d.Relate(ctx, owner, target, true, directory.Options{})
			return err
		}
	}
	delegation := docs(t, "kind: ServiceAccount\nmetadata: {name: s}\nspec: {role: own, delegation: [{role: act, users: [u]}, {role: act, groups: [g]}]}")
	writers := []func() error{
		relate(one, group, user), relate(two, user, policy), relate(one, group, policy),
		relate(two, role, user), relate(one, role, group), relate(two, role, policy),
		func() (err error) {
			creds, err = one.CreateCredentials(ctx, user, directory.Options{})
			return err
		},
		func() error {
			_, err := two.Apply(ctx, delegation, directory.Options{})
			return err
		},
		func() error {
			_, err := one.Delete(ctx, victim, directory.Options{})
			deleted = err == nil
			return err
		},
	}
	rng.Shuffle(len(writers), func(i, k int) { writers[i], writers[k] = writers[k], writers[i] })
	var wg sync.WaitGroup
	for _, write := range writers {
		wg.Go(func() {
			// Who comes too late finds nothing, or names what is gone.
			if err := write(); err != nil && !errors.Is(err, directory.ErrNotFound) && !errors.As(err, new(model.Problems)) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	apply(t, two, documentOf(victim))
	nothingBack(t, reopen(s), victim, creds)
	for _, d := range []*directory.Directory{one, two} {
		nothingBack(t, d, victim, creds)
	}
	for _, k := range racers() {
		deleteIfThere(t, one, k)
	}
	if _, err := one.TrimAudit(ctx, directory.AuditLimits{Records: 50}); err != nil {
		t.Error(err)
	}
	return deleted
}

// documentOf returns the document of raceDocs that describes k.
func documentOf(k model.Key) string {
	for doc := range strings.SplitSeq(strings.TrimSpace(raceDocs), "\n---\n") {
		if strings.HasPrefix(doc, "kind: "+string(k.Kind)+"\nmetadata: {name: "+k.Name+"}") {
			return doc
		}
	}
	return ""
}

func nothingBack(t *testing.T, d *directory.Directory, victim model.Key, creds directory.Credentials) {
	t.Helper()
	for _, r := range relationsOf(load(t, d).State) {
		if r[0] == victim.Name || r[1] == victim.Name {
			t.Errorf("the new %s %s has the relation %s", victim.Kind, victim.Name, r)
		}
	}
	if victim.Kind != model.KindUser {
		return
	}
	if keys, err := d.AccessKeys(t.Context(), victim); len(keys) > 0 || err != nil {
		t.Errorf("the new user has the access keys %v (%v)", keys, err)
	}
	if _, err := d.Authenticate(t.Context(), creds.AccessKeyID, creds.Secret.Reveal()); !errors.Is(err, directory.ErrBadCredentials) {
		t.Errorf("the old access key: got %v, want ErrBadCredentials", err)
	}
}
