package directory

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// Actor is who made a write. The zero Actor is the host itself.
type Actor struct {
	User        string `json:"user,omitempty"`
	Service     string `json:"service,omitempty"`     // itself, or in the user's name
	AccessKeyID string `json:"accessKeyId,omitempty"` // by which the actor proved who that is
	Issuer      string `json:"issuer,omitempty"`      // or the "iss" of the token
	Host        string `json:"host,omitempty"`        // which part of the host it was
}

type actorKey struct{}

// As returns a context whose writes are an actor's in their audit records.
func As(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// actorOf returns whose writes those of a context are: without an actor, a part
// of the host's.
func actorOf(ctx context.Context, part string) Actor {
	if a, ok := ctx.Value(actorKey{}).(Actor); ok {
		return a
	}
	if part == "" {
		part = "host"
	}
	return Actor{Host: part}
}

// Record says what one commit did to one thing.
type Record struct {
	Sequence   uint64     `json:"sequence,string"` // of all records of a store, without gaps
	Epoch      uint64     `json:"epoch,string"`
	Generation uint64     `json:"generation,string"`
	Time       time.Time  `json:"time"`
	Actor      Actor      `json:"actor"`
	Operation  string     `json:"operation"`
	Kind       model.Kind `json:"kind,omitempty"`
	Name       string     `json:"name,omitempty"`
	// Before is what is no longer so, and After what is so now: of an update the
	// members of the document that differ, and of a list of names those of its
	// names. No secret is in them, since none is in the store.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// The operations beside those of Action.
const (
	AccessKeyCreated     = "accessKeyCreated"
	AccessKeyDeleted     = "accessKeyDeleted"
	Revoked              = "revoked"
	Unrevoked            = "unrevoked"
	RevocationsCollected = "revocationsCollected"
	KeysFetched          = "keysFetched"
	Collected            = "collected"
	EpochBegun           = "epochBegun"
	ProxyTokenCreated    = "proxyTokenCreated"
	ProxyTokenRevoked    = "proxyTokenRevoked"
	ProxyTokensCollected = "proxyTokensCollected"
	MaxAgeSet            = "maxAgeSet"
	RolledBack           = "rolledBack" // the records that follow, of its generation, say what that changed
)

// maxAuditBytes bounds each of Before and After. What is larger is left out,
// which the record says, and kept beside it for who goes back to before it.
const maxAuditBytes = 256 << 10

func auditKey(sequence uint64) string { return fmt.Sprintf("%s%020d", auditPrefix, sequence) }

// auditor makes the records of a commit.
type auditor struct {
	from     Record // what they have in common
	records  []Record
	contents map[string][]byte // by key: what was too large for a record
	err      error
}

func (a *auditor) add(operation string, k model.Key, before, after any) {
	r := a.from
	r.Sequence += uint64(len(a.records)) + 1
	r.Operation, r.Kind, r.Name = operation, k.Kind, k.Name
	r.Before = a.encoded(before, contentKey(r.Sequence, beforeContent))
	r.After = a.encoded(after, contentKey(r.Sequence, afterContent))
	a.records = append(a.records, r)
}

func (a *auditor) encoded(v any, key string) json.RawMessage {
	if v == nil || a.err != nil {
		return nil
	}
	out, err := json.Marshal(v)
	if err != nil {
		a.err = err
	}
	if len(out) <= maxAuditBytes {
		return out
	}
	if a.contents == nil {
		a.contents = map[string][]byte{}
	}
	if a.contents[key], err = packed(out); err != nil {
		a.err = err
	}
	return fmt.Appendf(nil, `{"omittedBytes":%d}`, len(out))
}

// audit writes the records of a commit, which makes next of prev.
func (w *writer) audit(prev, next *image, c *change, diffs []difference, actor Actor) {
	a := &auditor{from: Record{
		Sequence: prev.Audit, Epoch: next.Epoch, Generation: next.Generation,
		Time: time.Unix(next.Created, 0).UTC(), Actor: actor,
	}}
	if c.back != 0 {
		a.add(RolledBack, model.Key{}, nil, map[string]string{"to": fmt.Sprint(c.back)})
	}
	for _, diff := range diffs {
		a.entity(diff)
	}
	a.accessKeys(prev, c)
	a.proxyTokens(prev, c)
	a.revocations(prev.state, c.state)
	for _, issuer := range slices.Sorted(maps.Keys(c.keys)) {
		k := model.Key{Kind: model.KindIssuer, Name: issuer}
		a.add(KeysFetched, k, shownKeys(prev.state.Keys[issuer]), shownKeys(c.keys[issuer]))
	}
	if c.collect {
		a.add(Collected, model.Key{}, nil, nil)
	}
	if next.Epoch != prev.Epoch {
		a.add(EpochBegun, model.Key{}, map[string]string{"epoch": fmt.Sprint(prev.Epoch)}, map[string]string{"epoch": fmt.Sprint(next.Epoch)})
	}
	if next.MaxAge != prev.MaxAge {
		a.add(MaxAgeSet, model.Key{}, shownAge(prev), shownAge(next))
	}
	for _, r := range a.records {
		w.put(auditKey(r.Sequence), a.encodedRecord(r))
	}
	for _, key := range slices.Sorted(maps.Keys(a.contents)) {
		w.put(key, a.contents[key])
	}
	next.Audit = prev.Audit + uint64(len(a.records))
	if w.err == nil {
		w.err = a.err
	}
}

func shownAge(img *image) any {
	if img.MaxAge == 0 {
		return nil
	}
	return map[string]string{"maxAge": img.revision().MaxAge.String()}
}

func (a *auditor) encodedRecord(r Record) []byte {
	out, err := json.Marshal(r)
	if err != nil && a.err == nil {
		a.err = err
	}
	return out
}

// entity notes what became of an entity. The access keys of who is gone go with
// it, and have no record of their own.
func (a *auditor) entity(diff difference) {
	switch {
	case diff.old == nil:
		a.add(string(Created), model.KeyOf(diff.new), nil, describe(diff.new))
	case diff.new == nil:
		a.add(string(Deleted), model.KeyOf(diff.old), describe(diff.old), nil)
	default:
		before, after := describeDifference(diff.old, diff.new)
		a.add(string(diff.action()), model.KeyOf(diff.new), before, after)
	}
}

func (a *auditor) accessKeys(prev *image, c *change) {
	shown := func(id string) map[string]string { return map[string]string{"accessKeyId": id} }
	for id, cred := range c.added {
		a.add(AccessKeyCreated, cred.owner, nil, shown(id))
	}
	if cred, ok := prev.credentials.get(c.withdrawn); ok {
		a.add(AccessKeyDeleted, cred.owner, shown(c.withdrawn), nil)
	}
}

// revocations notes revoked tokens. Those that are gone because they have
// expired are many and of no interest: only their number is noted.
func (a *auditor) revocations(prev, next *model.State) {
	now, collected := a.from.Time.Unix(), 0
	eachRevoked(prev, next, func(old, new *policydata.RevokedToken) {
		switch {
		case new != nil:
			a.add(Revoked, issuerNamed(new.Issuer), shownRevoked(old), shownRevoked(new))
		case old.Expires <= now:
			collected++
		default:
			if _, there := next.Get(issuerNamed(old.Issuer)); there { // or they go with their issuer
				a.add(Unrevoked, issuerNamed(old.Issuer), shownRevoked(old), nil)
			}
		}
	})
	if collected > 0 {
		a.add(RevocationsCollected, model.Key{}, map[string]int{"count": collected}, nil)
	}
}

func issuerNamed(name string) model.Key { return model.Key{Kind: model.KindIssuer, Name: name} }

func shownRevoked(r *policydata.RevokedToken) any {
	if r == nil {
		return nil
	}
	return map[string]string{"jti": r.ID, "expires": rfc3339(r.Expires)}
}

// shownKey is a public key in a record: which it is, and not all of it.
type shownKey struct {
	ID      string    `json:"kid,omitempty"`
	Removed time.Time `json:"removed,omitzero"`
}

func shownKeys(set *model.IssuerKeys) any {
	if set == nil {
		return nil
	}
	keys := []shownKey{}
	for _, k := range set.Keys {
		keys = append(keys, shownKey{k.ID, k.Removed})
	}
	return map[string]any{"source": set.Source, "keys": keys}
}

// described is an entity in a record.
type described struct {
	Description *string        `json:"description,omitempty"`
	Reserved    *bool          `json:"reserved,omitempty"`
	Set         *string        `json:"set,omitempty"`
	Spec        map[string]any `json:"spec,omitempty"`
}

func describe(e model.Entity) any {
	d := struct {
		Description string       `json:"description,omitempty"`
		Reserved    bool         `json:"reserved,omitempty"`
		Set         string       `json:"set,omitempty"`
		Spec        model.Entity `json:"spec"`
	}{e.Meta().Description, e.Meta().Reserved, e.Meta().Set, e}
	return d
}

// describeDifference returns what of old is not so in new, and what of new is
// not so in old.
func describeDifference(old, new model.Entity) (before, after described) {
	before.Spec, after.Spec = map[string]any{}, map[string]any{}
	if a, b := old.Meta(), new.Meta(); a.Description != b.Description {
		before.Description, after.Description = &a.Description, &b.Description
	}
	if a, b := old.Meta(), new.Meta(); a.Reserved != b.Reserved {
		before.Reserved, after.Reserved = &a.Reserved, &b.Reserved
	}
	if a, b := old.Meta(), new.Meta(); a.Set != b.Set {
		before.Set, after.Set = &a.Set, &b.Set
	}
	oldBare, newBare := shallowCopy(old), shallowCopy(new)
	oldRelations, newRelations := relations(oldBare), relations(newBare)
	for i := range oldRelations {
		gone, come := namesBeside(*oldRelations[i].names, *newRelations[i].names)
		field := relationField(old.Kind(), oldRelations[i].kind)
		if len(gone) > 0 {
			before.Spec[field] = gone
		}
		if len(come) > 0 {
			after.Spec[field] = come
		}
		*oldRelations[i].names, *newRelations[i].names = nil, nil
	}
	was, is := members(oldBare), members(newBare)
	for name, value := range was {
		if !reflect.DeepEqual(value, is[name]) {
			before.Spec[name] = value
		}
	}
	for name, value := range is {
		if !reflect.DeepEqual(value, was[name]) {
			after.Spec[name] = value
		}
	}
	return before, after
}

// relationField is the name that a relation has in documents.
func relationField(owner, target model.Kind) string {
	if owner == model.KindGroup && target == model.KindUser {
		return "members"
	}
	return target.Collection()
}

// members returns the members of an entity as JSON; what can't be encoded has
// none, and was not written either.
func members(e model.Entity) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if text, err := json.Marshal(e); err == nil {
		_ = json.Unmarshal(text, &m)
	}
	return m
}

// namesBeside returns what only one of two sorted lists has.
func namesBeside(old, new []string) (gone, come []string) {
	for len(old) > 0 && len(new) > 0 {
		switch order := strings.Compare(old[0], new[0]); {
		case order < 0:
			gone, old = append(gone, old[0]), old[1:]
		case order > 0:
			come, new = append(come, new[0]), new[1:]
		default:
			old, new = old[1:], new[1:]
		}
	}
	return append(gone, old...), append(come, new...)
}
