package directory

import (
	"context"
	"time"
)

// SetMaxAge makes proxies go by what is committed for an age, in whole seconds,
// from its commit on; 0 is for ever. All commits keep to it, whoever makes them.
// Nothing is committed where it is so already.
func (d *Directory) SetMaxAge(ctx context.Context, age time.Duration) error {
	seconds := int64(age / time.Second)
	_, err := d.update(ctx, func(prev *image) (*change, error) {
		if prev.MaxAge == seconds {
			return nil, nil
		}
		return &change{state: prev.state, part: "serve", maxAge: &seconds}, nil
	})
	return err
}

// Renew commits what there is once more, as a generation without an audit
// record, if proxies go by it for a limited time and the last commit was made
// longer ago than after says for that age. A commit from the future is as bad as
// an old one: the clock was wrong then, or is now, and what expires far too late
// would not expire. It reports whether there was a commit.
func (d *Directory) Renew(ctx context.Context, after func(maxAge time.Duration) time.Duration) (bool, error) {
	due := func(img *image) bool {
		r := img.revision()
		return r.MaxAge > 0 && d.now().Sub(r.Created).Abs() >= after(r.MaxAge)
	}
	img, err := d.view(ctx) // most of the time there is nothing to write
	if err != nil || !due(img) {
		return false, err
	}
	renewed := false
	_, err = d.update(ctx, func(prev *image) (*change, error) {
		if renewed = due(prev); !renewed { // somebody else was faster
			return nil, nil
		}
		return &change{state: prev.state}, nil
	})
	return renewed && err == nil, err
}
