package directory

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/policydata"
)

const (
	// maxCollected bounds how many revocations one commit removes.
	maxCollected = 10_000

	// maxRevokedBytes bounds the ids of all revoked tokens: a quarter of what a
	// snapshot can hold, beyond which nothing could be published any more. It is
	// room for MaxRevokedTokens ids of 167 bytes, and they have 20 to 60.
	maxRevokedBytes = policydata.MaxSnapshotBytes / 4
)

// storedRevocation is the value of the key of a revoked token. The key has the
// digest of the token's id, which may hold any character and be long.
type storedRevocation struct {
	IssuerID string `json:"issuerId"`
	ID       string `json:"jti"`
	Expires  int64  `json:"expires"` // seconds since the Unix epoch
}

func revokedKey(r policydata.RevokedToken) string {
	digest := sha256.Sum256([]byte(r.ID))
	return belowKey(model.Key{Kind: model.KindIssuer, Name: r.Issuer}) + revokedSegment + "/" + hex.EncodeToString(digest[:])
}

func compareRevoked(a, b policydata.RevokedToken) int {
	return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.ID, b.ID))
}

// Revoke refuses a token until it expires. Revoking it again changes its expiry
// only to a later one. The error is ErrNotFound if there is no such issuer, and
// model.Problems, wrapped, if the token can't be revoked.
func (d *Directory) Revoke(ctx context.Context, r policydata.RevokedToken) (Result, error) {
	return d.changeRevoked(ctx, func(s *model.State) ([]policydata.RevokedToken, error) {
		e, ok := s.Get(model.Key{Kind: model.KindIssuer, Name: r.Issuer})
		if !ok {
			return nil, fmt.Errorf("%s %q: %w", model.KindIssuer, r.Issuer, ErrNotFound)
		}
		if problems := d.checkRevoked(e.(*model.Issuer), r); len(problems) > 0 {
			return nil, problems
		}
		i, found := slices.BinarySearchFunc(s.Revoked, r, compareRevoked)
		switch {
		case found && s.Revoked[i].Expires >= r.Expires:
			return s.Revoked, nil
		case found:
			list := slices.Clone(s.Revoked)
			list[i] = r
			return list, nil
		case len(s.Revoked) >= policydata.MaxRevokedTokens || revokedIDBytes(s.Revoked)+len(r.ID) > maxRevokedBytes:
			return nil, revokedProblem(r, "jti", fmt.Sprintf("%d tokens are revoked, and there is no room for more: "+
				"set spec.tokensNotBefore of the user, which ends all of the user's tokens", len(s.Revoked)))
		}
		return slices.Insert(slices.Clone(s.Revoked), i, r), nil
	})
}

func revokedIDBytes(list []policydata.RevokedToken) (n int) {
	for i := range list {
		n += len(list[i].ID)
	}
	return n
}

// checkRevoked says why a token of the issuer can't be revoked. One that expires
// later than any good token does is refused rather than noted for less long: a
// token that does not say when it was issued becomes good once it is near
// enough to its end.
func (d *Directory) checkRevoked(i *model.Issuer, r policydata.RevokedToken) model.Problems {
	now := d.now().Unix()
	latest := now + i.MaxTokenLifetime.Seconds() + i.ClockSkew.Seconds()
	switch {
	case r.ID == "":
		return revokedProblem(r, "jti", "must not be empty: a token without jti can't be revoked alone; "+
			"spec.tokensNotBefore of the user ends all of the user's tokens")
	case len(r.ID) > policydata.MaxTokenIDBytes:
		return revokedProblem(r, "jti", fmt.Sprintf("expected at most %d bytes, got %d", policydata.MaxTokenIDBytes, len(r.ID)))
	case r.Expires > latest:
		return revokedProblem(r, "expires", fmt.Sprintf("a token that expires at %s outlives maxTokenLifetime (%s) and is refused anyway; "+
			"revoke it when it has less left, or set spec.tokensNotBefore of the user", rfc3339(r.Expires), i.MaxTokenLifetime))
	case r.Expires+i.ClockSkew.Seconds() <= now:
		return revokedProblem(r, "expires", fmt.Sprintf("the token has expired at %s, so it is refused without being revoked", rfc3339(r.Expires)))
	}
	return nil
}

func rfc3339(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

func revokedProblem(r policydata.RevokedToken, field, text string) model.Problems {
	return model.Problems{{Kind: model.KindIssuer, Name: r.Issuer, Field: field, Text: text}}
}

// Unrevoke lets a token count again that was revoked by its issuer's name and
// its id. Of the options, Before counts. The error is ErrNotFound if it is not
// revoked.
func (d *Directory) Unrevoke(ctx context.Context, issuer, id string, o Options) (Result, error) {
	return d.changeRevoked(ctx, func(s *model.State) ([]policydata.RevokedToken, error) {
		if err := o.before(s); err != nil {
			return nil, err
		}
		i, found := slices.BinarySearchFunc(s.Revoked, policydata.RevokedToken{Issuer: issuer, ID: id}, compareRevoked)
		if !found {
			return nil, fmt.Errorf("revoked token %q of Issuer %q: %w", id, issuer, ErrNotFound)
		}
		return slices.Delete(slices.Clone(s.Revoked), i, i+1), nil
	})
}

// CollectRevoked removes revoked tokens that no issuer's clock skew can keep
// good any more, and reports how many. Without any there is no commit; of very
// many, it leaves some for the next time.
func (d *Directory) CollectRevoked(ctx context.Context) (removed int, err error) {
	end := d.now().Unix() - policydata.MaxClockSkew
	expired := func(r policydata.RevokedToken) bool { return r.Expires <= end }
	img, err := d.view(ctx) // most of the time there is nothing to write
	if err != nil || !slices.ContainsFunc(img.state.Revoked, expired) {
		return 0, err
	}
	_, err = d.changeRevoked(As(ctx, Actor{Host: "collector"}), func(s *model.State) ([]policydata.RevokedToken, error) {
		removed = 0
		return slices.DeleteFunc(slices.Clone(s.Revoked), func(r policydata.RevokedToken) bool {
			if removed == maxCollected || !expired(r) {
				return false
			}
			removed++
			return true
		}), nil
	})
	return removed, err
}

// changeRevoked commits the list that plan makes of a state's, if it is another.
func (d *Directory) changeRevoked(ctx context.Context, plan func(*model.State) ([]policydata.RevokedToken, error)) (Result, error) {
	img, err := d.update(ctx, func(prev *image) (*change, error) {
		list, err := plan(prev.state)
		if err != nil || slices.Equal(list, prev.state.Revoked) {
			return nil, err
		}
		next := *prev.state
		if next.Revoked = list; len(list) == 0 {
			next.Revoked = nil // as it is read from the store
		}
		return &change{state: &next}, nil
	})
	if err != nil {
		return Result{}, err
	}
	return Result{img.Epoch, img.Generation, []Change{}}, nil
}

// revoked writes what differs between the revoked tokens of prev and next.
func (w *writer) revoked(prev, next *model.State) {
	eachRevoked(prev, next, func(old, new *policydata.RevokedToken) {
		if new == nil {
			w.delete(revokedKey(*old))
			return
		}
		w.putRevoked(next, *new)
	})
}

// eachRevoked calls fn with each revoked token in which two states differ; old or
// new is nil where there is none.
func eachRevoked(prev, next *model.State, fn func(old, new *policydata.RevokedToken)) {
	old, new := prev.Revoked, next.Revoked
	if len(old) == len(new) && (len(old) == 0 || &old[0] == &new[0]) {
		return
	}
	for len(old)+len(new) > 0 {
		switch order := compareHeads(old, new); {
		case order < 0:
			fn(&old[0], nil)
			old = old[1:]
		case order > 0:
			fn(nil, &new[0])
			new = new[1:]
		default:
			if old[0] != new[0] {
				fn(&old[0], &new[0])
			}
			old, new = old[1:], new[1:]
		}
	}
}

// compareHeads compares what two lists begin with; an empty list comes last.
func compareHeads(a, b []policydata.RevokedToken) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return compareRevoked(a[0], b[0])
}

func (w *writer) putRevoked(s *model.State, r policydata.RevokedToken) {
	e, ok := s.Get(model.Key{Kind: model.KindIssuer, Name: r.Issuer})
	if !ok || w.err != nil {
		return // State.Without leaves none of an issuer that is gone
	}
	value, err := json.Marshal(storedRevocation{e.Meta().ID, r.ID, r.Expires})
	if err != nil {
		w.err = err
		return
	}
	w.put(revokedKey(r), value)
}

func (l *loader) revocation(key parsedKey, p store.Pair) error {
	var stored storedRevocation
	if err := decodeStrict(p.Value, &stored); err != nil {
		return err
	}
	r := policydata.RevokedToken{Issuer: key.owner.Name, ID: stored.ID, Expires: stored.Expires}
	if key.owner.Kind != model.KindIssuer || revokedKey(r) != p.Key {
		return fmt.Errorf("is not the key of the revoked token %q", stored.ID)
	}
	if !l.counts(key.owner, stored.IssuerID) {
		l.dangling = append(l.dangling, p.Key)
		return nil
	}
	l.revoked = append(l.revoked, r)
	return nil
}
