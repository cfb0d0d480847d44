package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/policydata"
)

// Rollback says where to go back to, and what may be opened by that which was
// closed since.
type Rollback struct {
	To     uint64 // the generation
	Enable bool   // enable users and services that were disabled since
	Keys   bool   // trust inline keys of issuers that were withdrawn since
}

// Kept is something that a rollback left as it is now.
type Kept struct {
	Kind   model.Kind `json:"kind"`
	Name   string     `json:"name"`
	Field  string     `json:"field"`
	Detail string     `json:"detail"`
}

// RollbackResult is the outcome of a rollback.
type RollbackResult struct {
	Result
	Kept []Kept `json:"kept"` // sorted like the changes

	// Written are the documents of what was created and updated.
	Written []model.Entity `json:"-"`
}

// Rollback makes the documents what they were at a generation, as one new
// generation, so that nothing is lower than it was and nothing that was signed
// before counts again. It is a write like Apply, and what passes that must pass
// here.
//
// What was closed since does not open again. Access keys are no documents, and
// stay as they are, like revoked tokens and fetched keys. Of the documents,
// tokensNotBefore is the later one; who was disabled since stays so, and so does
// an issuer's inline key that is not among its keys now, unless r says otherwise.
// Of what was deleted since, what it was last counts as now; it comes back as
// something new, with the tokens of an issuer still revoked.
//
// The error is or wraps model.Problems, and ErrUnreachable if it is not known
// what the documents were.
func (d *Directory) Rollback(ctx context.Context, r Rollback, o Options) (RollbackResult, error) {
	var out RollbackResult
	img, err := d.run(ctx, func(reader store.Reader, prev *image) (c *change, err error) {
		out, c, err = d.rollback(reader, prev, r, o)
		return c, err
	}, o.DryRun)
	if err != nil {
		return RollbackResult{}, err
	}
	out.Epoch, out.Generation = img.Epoch, img.Generation
	return out, nil
}

func (d *Directory) rollback(reader store.Reader, prev *image, r Rollback, o Options) (out RollbackResult, _ *change, _ error) {
	if err := o.before(prev.state); err != nil {
		return out, nil, err
	}
	p, err := pastOf(reader, prev, r.To)
	if err != nil {
		return out, nil, err
	}
	b := &back{Rollback: r, past: p, now: prev.state, kept: []Kept{}}
	docs, gone := b.documents()
	next, err := d.applied(prev, docs, gone, o)
	if err != nil {
		return out, nil, err
	}
	out.Changes, out.Kept = changesOf(prev.state, next, nil), b.kept
	if !changed(out.Changes) {
		return out, nil, o.judge(next)
	}
	if next.Revoked, err = d.stillRevoked(reader, prev, next); err != nil {
		return out, nil, err
	}
	giveIDs(prev.state, next)
	for _, diff := range differences(prev.state, next) {
		if diff.new != nil {
			out.Written = append(out.Written, diff.new)
		}
	}
	if err := o.permit(prev.state, next); err != nil {
		return out, nil, err
	}
	return out, &change{state: next, back: r.To}, o.judge(next)
}

// back makes the documents of a rollback.
type back struct {
	Rollback
	past *past
	now  *model.State
	kept []Kept
}

// documents returns those that may have to be written, and the keys of those that
// go.
func (b *back) documents() (docs []model.Entity, gone []model.Key) {
	for _, e := range b.now.Entities() {
		if k := model.KeyOf(e); b.past.entities[k] == nil {
			gone = append(gone, k)
		}
	}
	for k, e := range b.past.entities {
		if now, _ := b.now.Get(k); now != e {
			docs = append(docs, e)
		}
	}
	docs = (&model.State{}).With(docs).Entities() // in their order
	for i, e := range docs {
		k := model.KeyOf(e)
		last, there := b.now.Get(k)
		if !there {
			last = b.past.gone[k]
		}
		docs[i] = b.closed(e, last)
	}
	return docs, gone
}

func (b *back) keep(e model.Entity, field, detail string) {
	b.kept = append(b.kept, Kept{e.Kind(), e.Meta().Name, field, detail})
}

// closed returns e without what was closed since, which last has closed: what
// there is now, or was last. It does not change e.
func (b *back) closed(e, last model.Entity) model.Entity {
	switch e := e.(type) {
	case *model.User:
		c, last := *e, last.(*model.User)
		c.Disabled = b.disabled(e, e.Disabled, last.Disabled)
		if last.TokensNotBefore.After(e.TokensNotBefore) {
			c.TokensNotBefore = last.TokensNotBefore
			b.keep(e, "spec.tokensNotBefore", "stays "+last.TokensNotBefore.Format(time.RFC3339))
		}
		return &c
	case *model.ServiceAccount:
		c := *e
		c.Disabled = b.disabled(e, e.Disabled, last.(*model.ServiceAccount).Disabled)
		return &c
	case *model.Issuer:
		c := *e
		c.JWKS = b.jwks(e, last.(*model.Issuer))
		return &c
	}
	return e
}

func (b *back) disabled(e model.Entity, then, now bool) bool {
	if then || !now || b.Enable {
		return then
	}
	b.keep(e, "spec.disabled", "was disabled since, and stays so")
	return true
}

// jwks returns where the keys of an issuer come from: of inline ones, those that
// it has now, too. What was withdrawn may be in somebody's hands, and what was
// added since is what is gone back from. An issuer whose keys are fetched now has
// withdrawn all that were inline; they stay fetched, or it would have none.
func (b *back) jwks(then, now *model.Issuer) model.JWKS {
	switch {
	case b.Keys || then.JWKS.Inline == nil || bytes.Equal(then.JWKS.Inline, now.JWKS.Inline):
		return then.JWKS
	case now.JWKS.Inline == nil:
		b.keep(then, "spec.jwks.inline", "was taken out since, and stays out: keys are fetched")
		return now.JWKS
	}
	jwks := then.JWKS
	jwks.Inline = b.inline(then, now)
	return jwks
}

// inline returns the keys that an issuer had inline then and has so now.
func (b *back) inline(then, now *model.Issuer) json.RawMessage {
	old, new := inlineKeys(then), inlineKeys(now)
	both := slices.DeleteFunc(slices.Clone(old), func(key string) bool { return !slices.Contains(new, key) })
	if len(both) == len(old) {
		return then.JWKS.Inline
	}
	b.keep(then, "spec.jwks.inline", fmt.Sprintf("%d of %d keys were taken out since, and stay out", len(old)-len(both), len(old)))
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{[]json.RawMessage{}}
	for _, key := range both {
		set.Keys = append(set.Keys, json.RawMessage(key))
	}
	text, err := json.Marshal(set)
	if err != nil {
		return json.RawMessage(`{"keys":[]}`) // none, rather than one too many
	}
	return text
}

// inlineKeys returns the keys of an issuer, each in the one form that JSON of its
// members has here. What can't be read has none: nothing of it comes back.
func inlineKeys(i *model.Issuer) (keys []string) {
	var set struct{ Keys []map[string]any }
	if json.Unmarshal(i.JWKS.Inline, &set) != nil {
		return nil
	}
	for _, members := range set.Keys {
		if text, err := json.Marshal(members); err == nil {
			keys = append(keys, string(text))
		}
	}
	return keys
}

// stillRevoked returns the revoked tokens of next with those of issuers that come
// back: they went with the issuer, and have not expired.
func (d *Directory) stillRevoked(reader store.Reader, prev *image, next *model.State) ([]policydata.RevokedToken, error) {
	returning := map[string]bool{}
	for _, i := range next.Issuers {
		if !has(prev.state, model.KeyOf(i)) {
			returning[i.Name] = true
		}
	}
	if len(returning) == 0 {
		return next.Revoked, nil
	}
	list, seen := slices.Clone(next.Revoked), map[policydata.RevokedToken]bool{}
	end := d.now().Unix() - policydata.MaxClockSkew
	err := eachBackward(reader, prev.Audit, func(r *Record) (bool, error) {
		if r.Kind != model.KindIssuer || !returning[r.Name] || r.Operation != Revoked && r.Operation != Unrevoked {
			return true, nil
		}
		token, err := r.revoked()
		if err != nil {
			return false, r.misfit(err)
		}
		id := policydata.RevokedToken{Issuer: token.Issuer, ID: token.ID}
		if !seen[id] && r.Operation == Revoked && token.Expires > end {
			list = append(list, token)
		}
		seen[id] = true // what is older does not count any more
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, compareRevoked)
	if len(list) > policydata.MaxRevokedTokens || revokedIDBytes(list) > maxRevokedBytes {
		return nil, model.Problems{{Kind: model.KindIssuer, Name: list[0].Issuer, Field: "revocations", Text: "there is no room for all revoked tokens"}}
	}
	if len(list) == 0 {
		return nil, nil // as it is read from the store
	}
	return list, nil
}

// revoked returns the token that a record of Revoked or Unrevoked is about.
func (r *Record) revoked() (policydata.RevokedToken, error) {
	text := r.After
	if r.Operation == Unrevoked {
		text = r.Before
	}
	var shown struct {
		ID      string    `json:"jti"`
		Expires time.Time `json:"expires"`
	}
	err := json.Unmarshal(text, &shown)
	return policydata.RevokedToken{Issuer: r.Name, ID: shown.ID, Expires: shown.Expires.Unix()}, err
}
