package directory

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/policydata"
)

// storedIssuerKeys is the value of an issuer's keys.
type storedIssuerKeys struct {
	IssuerID string            `json:"issuerId"`
	Source   string            `json:"source"`
	Keys     []model.IssuerKey `json:"keys"`
}

// IssuerRef names an Issuer as it was seen: another one of the same name, or the
// same one with its keys somewhere else, is another issuer.
type IssuerRef struct {
	Name   string
	ID     string
	Source string // its KeySource
}

// RefOf returns what names i.
func RefOf(i *model.Issuer) IssuerRef { return IssuerRef{i.Name, i.ID, i.KeySource()} }

// maxIssuerKeys bounds the keys of an issuer with those that it no longer lists,
// of which the newest stay.
const maxIssuerKeys = 128

// SetIssuerKeys makes listed the keys that an issuer lists. Keys that it listed
// before stay for its keepRemoved. Nothing is committed where nothing changes.
// It returns what was committed last, and whether that is new. The error is
// ErrNotFound if there is no such issuer any more.
func (d *Directory) SetIssuerKeys(ctx context.Context, ref IssuerRef, listed []policydata.Key) (Revision, bool, error) {
	return d.updateKeys(ctx, ref, func(i *model.Issuer, before []model.IssuerKey) []model.IssuerKey {
		return rotate(before, listed, d.now().UTC().Truncate(time.Second), i.KeepRemoved())
	})
}

// ExpireIssuerKeys removes the keys that an issuer stopped to list longer ago
// than its keepRemoved. Otherwise it is as SetIssuerKeys.
func (d *Directory) ExpireIssuerKeys(ctx context.Context, ref IssuerRef) (Revision, bool, error) {
	return d.updateKeys(ctx, ref, func(i *model.Issuer, before []model.IssuerKey) []model.IssuerKey {
		return unexpired(before, d.now(), i.KeepRemoved())
	})
}

func (d *Directory) updateKeys(ctx context.Context, ref IssuerRef, next func(*model.Issuer, []model.IssuerKey) []model.IssuerKey) (Revision, bool, error) {
	committed := false
	img, err := d.update(ctx, func(prev *image) (*change, error) {
		committed = false
		e, ok := prev.state.Get(model.Key{Kind: model.KindIssuer, Name: ref.Name})
		if !ok || RefOf(e.(*model.Issuer)) != ref {
			return nil, fmt.Errorf("%s %q: %w", model.KindIssuer, ref.Name, ErrNotFound)
		}
		var before []model.IssuerKey
		if keys := prev.state.Keys[ref.Name]; keys != nil {
			before = keys.Keys
		}
		after := next(e.(*model.Issuer), before)
		if reflect.DeepEqual(before, after) {
			return nil, nil
		}
		committed = true
		return &change{state: prev.state, part: "key keeper", keys: map[string]*model.IssuerKeys{ref.Name: {Source: ref.Source, Keys: after}}}, nil
	})
	if err != nil {
		return Revision{}, false, err
	}
	return img.revision(), committed, nil
}

// rotate returns the keys of an issuer that now lists some keys and listed
// others before. The order in which they are listed means nothing.
//
// A removed key goes at once where a listed one has its "kid", since one of them
// would shadow the other, and where it has none: tokens without "kid" are good
// only while exactly one key fits.
func rotate(before []model.IssuerKey, listed []policydata.Key, now time.Time, keep time.Duration) []model.IssuerKey {
	var after []model.IssuerKey
	ids := map[string]bool{"": true}
	for _, k := range listed {
		key := model.IssuerKey{ID: k.ID, Algorithm: k.Algorithm, SPKI: k.SPKI, Since: now}
		if i := slices.IndexFunc(before, func(b model.IssuerKey) bool { return sameKey(b, key) }); i >= 0 {
			key.Since = before[i].Since
		}
		ids[k.ID] = true
		after = append(after, key)
	}
	var removed []model.IssuerKey
	for _, k := range before {
		if ids[k.ID] {
			continue
		}
		if k.Removed.IsZero() {
			k.Removed = now
		}
		removed = append(removed, k)
	}
	removed = unexpired(removed, now, keep)
	slices.SortStableFunc(removed, func(a, b model.IssuerKey) int { return b.Removed.Compare(a.Removed) })
	removed = removed[:min(len(removed), max(0, maxIssuerKeys-len(after)))]
	after = append(after, removed...)
	slices.SortFunc(after, func(a, b model.IssuerKey) int {
		return cmp.Or(strings.Compare(a.ID, b.ID), strings.Compare(a.Algorithm, b.Algorithm), bytes.Compare(a.SPKI, b.SPKI))
	})
	return after
}

func sameKey(a, b model.IssuerKey) bool {
	return a.ID == b.ID && a.Algorithm == b.Algorithm && bytes.Equal(a.SPKI, b.SPKI)
}

// unexpired returns keys without those that were removed longer ago than keep.
func unexpired(keys []model.IssuerKey, now time.Time, keep time.Duration) []model.IssuerKey {
	var kept []model.IssuerKey
	for _, k := range keys {
		if k.Removed.IsZero() || now.Before(k.Removed.Add(keep)) {
			kept = append(kept, k)
		}
	}
	return kept
}

// issuerKeys writes what c makes of the fetched keys of prev, and returns it.
// Those of an issuer that is gone, or has its keys elsewhere now, go.
func (w *writer) issuerKeys(prev *model.State, c *change) map[string]*model.IssuerKeys {
	if len(prev.Keys)+len(c.keys) == 0 {
		return nil
	}
	next := map[string]*model.IssuerKeys{}
	for _, name := range slices.Sorted(maps.Keys(prev.Keys)) {
		if keys := prev.Keys[name]; sameIssuer(prev, c.state, name) {
			next[name] = keys
		} else {
			w.delete(issuerKeysKey(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.keys)) {
		keys := c.keys[name]
		e, _ := c.state.Get(model.Key{Kind: model.KindIssuer, Name: name})
		value, err := json.Marshal(storedIssuerKeys{e.Meta().ID, keys.Source, keys.Keys})
		if err != nil && w.err == nil {
			w.err = err
		}
		w.put(issuerKeysKey(name), value)
		next[name] = keys
	}
	if len(next) == 0 {
		return nil
	}
	return next
}

// sameIssuer reports whether two states have the same issuer of a name, with its
// keys in the same place.
func sameIssuer(prev, next *model.State, name string) bool {
	k := model.Key{Kind: model.KindIssuer, Name: name}
	old, existed := prev.Get(k)
	now, exists := next.Get(k)
	return existed && exists && RefOf(old.(*model.Issuer)) == RefOf(now.(*model.Issuer))
}

// issuerKeys reads the fetched keys of an issuer.
func (l *loader) issuerKeys(key parsedKey, p store.Pair) error {
	var stored storedIssuerKeys
	if err := decodeStrict(p.Value, &stored); err != nil {
		return err
	}
	if !l.counts(key.owner, stored.IssuerID) || l.entities[key.owner].(*model.Issuer).KeySource() != stored.Source {
		l.dangling = append(l.dangling, p.Key)
		return nil
	}
	l.keys[key.owner.Name] = &model.IssuerKeys{Source: stored.Source, Keys: stored.Keys}
	return nil
}
