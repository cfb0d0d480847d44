package directory_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/host/internal/store/mem"
	"sallyport/host/internal/store/storetest"
	"sallyport/policydata"
)

// chronicle is what a rollback is held against: the states that there were, how
// each entity was last, and what was ever revoked.
type chronicle struct {
	states  map[uint64]*model.State
	last    map[model.Key]model.Entity
	revoked map[[2]string]policydata.RevokedToken
}

func newChronicle() *chronicle {
	return &chronicle{map[uint64]*model.State{0: {}}, map[model.Key]model.Entity{}, map[[2]string]policydata.RevokedToken{}}
}

// follow notes what a write made of a state.
func (c *chronicle) follow(generation uint64, before, after *model.State) {
	c.states[generation] = after
	for _, e := range after.Entities() {
		c.last[model.KeyOf(e)] = e
	}
	for r := range revokedSet(after) {
		c.revoked[[2]string{r.Issuer, r.ID}] = r
	}
	for r := range revokedSet(before) {
		_, stays := after.Get(model.Key{Kind: model.KindIssuer, Name: r.Issuer})
		if stays && !slices.ContainsFunc(after.Revoked, func(x policydata.RevokedToken) bool { return x.Issuer == r.Issuer && x.ID == r.ID }) {
			delete(c.revoked, [2]string{r.Issuer, r.ID})
		}
	}
}

// back returns the state that a rollback from now makes.
func (c *chronicle) back(now *model.State, r directory.Rollback) *model.State {
	var list []model.Entity
	for _, e := range c.states[r.To].Entities() {
		last := c.last[model.KeyOf(e)]
		switch then := e.(type) {
		case *model.User:
			u, was := *then, last.(*model.User)
			u.Disabled = u.Disabled || was.Disabled && !r.Enable
			if was.TokensNotBefore.After(u.TokensNotBefore) {
				u.TokensNotBefore = was.TokensNotBefore
			}
			e = &u
		case *model.ServiceAccount:
			s := *then
			s.Disabled = s.Disabled || last.(*model.ServiceAccount).Disabled && !r.Enable
			e = &s
		case *model.Issuer: // its inline keys are always none here
			if now := last.(*model.Issuer).JWKS; now.Inline == nil && then.JWKS.Inline != nil {
				i := *then
				i.JWKS = now
				e = &i
			}
		}
		list = append(list, e)
	}
	next := (&model.State{}).With(list)
	for _, i := range next.Issuers {
		_, stayed := now.Get(model.KeyOf(i))
		for r := range maps.Values(c.revoked) {
			if r.Issuer == i.Name && (!stayed || revokedSet(now)[r]) {
				next.Revoked = append(next.Revoked, r)
			}
		}
	}
	return next
}

// TestRandomRollbacks runs random writes and rollbacks to random generations,
// rollbacks of rollbacks among them, and compares with what there was.
func TestRandomRollbacks(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			var s store.Store = mem.New()
			if seed%2 == 1 {
				s = storetest.NewOptimistic()
			}
			d, want := reopen(s), &model.State{}
			extras, past := newExtras(), newChronicle()
			rollbacks := 0
			for range 120 {
				var next *model.State
				var err error
				switch generation := load(t, d).Generation; {
				case rng.IntN(6) == 0 && generation > 0:
					r := directory.Rollback{To: 1 + rng.Uint64N(generation), Enable: rng.IntN(2) == 0}
					if rng.IntN(3) == 0 {
						d = reopen(s) // on what the store has, and not on what is in memory
					}
					next = past.back(want, r)
					_, err = d.Rollback(t.Context(), r, directory.Options{Force: true})
					if err != nil {
						t.Fatal(err)
					}
					rollbacks++
				case rng.IntN(3) == 0:
					next, err = extras.operation(t, rng, d, want)
				default:
					next, err = randomOperation(t, rng, d, want)
				}
				if err == nil {
					extras.follow(want, next)
					past.follow(load(t, d).Generation, want, next)
					want = next
				}
				extras.check(t, d)
				checkStore(t, s)
				got := load(t, d)
				past.states[got.Generation] = want
				if diff := cmp.Diff(withoutIDs(want), withoutIDs(got.State)); diff != "" {
					t.Fatalf("state (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(revokedSet(want), revokedSet(got.State)); diff != "" {
					t.Fatalf("revoked (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(got.State, load(t, reopen(s)).State); diff != "" {
					t.Fatalf("in memory and in the store (-memory +store):\n%s", diff)
				}
			}
			if rollbacks < 5 {
				t.Errorf("only %d rollbacks", rollbacks)
			}
		})
	}
}
