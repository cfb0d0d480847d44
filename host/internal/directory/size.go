package directory

import (
	"fmt"

	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// Sizes says how large the snapshot of a state is, so that no state is committed
// of which none can be made.
type Sizes struct {
	Limit int // in bytes
	// Exact returns the size of a state's snapshot, and by how much its tables grow
	// at most with whatever comes next; or why there can't be one.
	Exact func(*model.State) (size, growth int, err error)
	// Bound returns what an entity adds to a snapshot at most, if no table of
	// the snapshot grows.
	Bound func(model.Entity) int
}

const (
	// maxBounded is how many differences are bounded one by one: measuring all at
	// once costs less than more.
	maxBounded = 100
	// revokedBytes and keyBytes are what a revoked token and a public key add at
	// most, beside the text that they have.
	revokedBytes = 128
	keyBytes     = 256
)

// LimitSize makes d refuse writes of states whose snapshots would be too large.
// It must be called before d is used.
func (d *Directory) LimitSize(s Sizes) { d.sizes = s }

// bound returns what the snapshot of next has at most. It goes up with each
// write by what that can add, and is measured only where it comes to the limit,
// or is not known since the state was just loaded.
func (d *Directory) bound(prev *image, c *change, next *model.State, diffs []difference) (int, error) {
	if d.sizes.Exact == nil {
		return 0, nil
	}
	if prev.bound > 0 && len(diffs) <= maxBounded {
		if bound := prev.bound + d.added(prev, c, diffs); bound <= d.sizes.Limit {
			return bound, nil
		}
	}
	size, growth, err := d.sizes.Exact(next)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	if size > d.sizes.Limit {
		return 0, fmt.Errorf("%w: it would have %d bytes, and the limit is %d", ErrTooLarge, size, d.sizes.Limit)
	}
	return size + growth, nil
}

// added is what a change adds to the snapshot at most.
func (d *Directory) added(prev *image, c *change, diffs []difference) (n int) {
	for _, diff := range diffs {
		if diff.new != nil {
			n += d.sizes.Bound(diff.new)
		}
	}
	eachRevoked(prev.state, c.state, func(_, new *policydata.RevokedToken) {
		if new != nil {
			n += len(new.ID) + revokedBytes
		}
	})
	for _, set := range c.keys {
		for _, k := range set.Keys {
			n += len(k.ID) + len(k.Algorithm) + len(k.SPKI) + keyBytes
		}
	}
	return n
}
