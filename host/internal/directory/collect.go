package directory

import (
	"context"
	"fmt"

	"sallyport/host/internal/store"
)

// Collect removes what counts for nothing: what refers to entities that are
// gone, which a crash or a restored file left behind. It reads the whole store
// for that, and reports how many keys it removed; without any there is no
// commit.
func (d *Directory) Collect(ctx context.Context) (removed int, err error) {
	err = d.store.View(ctx, func(r store.Reader) error {
		fresh, err := load(r)
		if err == nil {
			removed = len(fresh.dangling)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("load the directory: %w", err)
	}
	if removed == 0 {
		return 0, nil
	}
	_, err = d.update(ctx, func(prev *image) (*change, error) {
		return &change{state: prev.state, collect: true, part: "collector"}, nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// BeginEpoch begins an epoch for what was restored, one that is not below least
// and that no store of this directory's past was in: since nobody knows how
// often a backup was restored, it is the time, in seconds since the Unix epoch,
// unless that is behind. The error is ErrNotFound if nothing was ever committed.
func (d *Directory) BeginEpoch(ctx context.Context, least uint64) (Revision, error) {
	img, err := d.update(ctx, func(prev *image) (*change, error) {
		if prev.Generation == 0 {
			return nil, fmt.Errorf("a commit: %w", ErrNotFound)
		}
		return &change{state: prev.state, part: "restore", epoch: max(prev.Epoch+1, least, uint64(max(0, d.now().Unix())))}, nil
	})
	if err != nil {
		return Revision{}, err
	}
	return img.revision(), nil
}
