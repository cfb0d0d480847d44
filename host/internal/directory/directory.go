package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

// Directory is the entities in a store. It is safe for concurrent use.
type Directory struct {
	store  store.Store
	checks model.Checks
	now    func() time.Time
	sizes  Sizes

	mu      sync.Mutex
	recent  []*image      // guarded by mu; the newest last, with those that may yet be committed
	changed chan struct{} // guarded by mu; closed and replaced by each commit
}

// New returns the directory in s. What is written must pass the checks; now is
// the clock that commits are dated by, such as time.Now.
func New(s store.Store, checks model.Checks, now func() time.Time) *Directory {
	return &Directory{store: s, checks: checks, now: now, changed: make(chan struct{})}
}

// Load returns what was committed last.
func (d *Directory) Load(ctx context.Context) (Revision, error) {
	img, err := d.view(ctx)
	if err != nil {
		return Revision{}, err
	}
	return img.revision(), nil
}

func (img *image) revision() Revision {
	return Revision{
		Epoch: img.Epoch, Generation: img.Generation,
		Created: time.Unix(img.Created, 0).UTC(), MaxAge: time.Duration(img.MaxAge) * time.Second, State: img.state,
	}
}

// Changed returns a channel that is closed by the next commit of this
// Directory. Who takes it before Load misses nothing: it tells that there is
// something new, not what.
func (d *Directory) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

func (d *Directory) view(ctx context.Context) (*image, error) {
	var img *image
	// One commit can bring more images than are kept. What this reads is the last
	// one now, or of a commit that comes before it begins.
	before := d.images()
	err := d.store.View(ctx, func(r store.Reader) (err error) {
		img, err = d.read(r, before)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the directory: %w", err)
	}
	return img, nil
}

// maxRecent is how many images are kept beside those that may yet be committed:
// while one is written, those who began to read earlier still see the one before.
const maxRecent = 8

// keep remembers an image. It does so before that is committed, since whoever
// comes next looks for it at once; an image is found by what only its own commit
// wrote, so one that came to nothing is never found.
func (d *Directory) keep(img *image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent = append(d.recent, img)
}

// forget is what becomes of an image that was not committed; nil is none.
func (d *Directory) forget(img *image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.recent, img); i >= 0 {
		d.recent = slices.Delete(slices.Clone(d.recent), i, i+1)
	}
}

// settle lets go of what nobody reads any more, now that an image is known to be
// committed. Those behind it may be waiting for the same commit.
func (d *Directory) settle(img *image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := slices.Index(d.recent, img) + 1 - maxRecent; old > 0 {
		d.recent = slices.Clone(d.recent[old:])
	}
}

// images returns the images that are kept.
func (d *Directory) images() []*image {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clip(d.recent)
}

// known returns the image whose generation has a value in the store, if it is
// kept or was before.
func (d *Directory) known(value []byte, before []*image) (*image, bool) {
	for _, images := range [][]*image{d.images(), before} {
		for _, img := range slices.Backward(images) {
			if img.raw == string(value) {
				return img, true
			}
		}
	}
	return nil, false
}

// change is what a write makes of an image.
type change struct {
	state     *model.State
	extra     map[string][]byte            // further pairs to put
	added     map[string]credential        // by access key id
	withdrawn string                       // an access key id; "": none
	keys      map[string]*model.IssuerKeys // by issuer; they replace what it had
	bootstrap bool                         // the first user was made
	// apiPolicies is an apiPoliciesVersion, whose policies were made.
	apiPolicies int

	proxyTokens map[string]*storedProxyToken // by id; nil: withdrawn
	collect     bool                         // look for what counts for nothing once more
	epoch       uint64                       // that begins; 0: none does
	part        string                       // of the host, if it is no actor's write
	back        uint64                       // the generation that is gone back to; 0: none is
	maxAge      *int64                       // in seconds; nil: as it was
}

// update runs plan on the last image and commits what it returns; nil is
// nothing to commit. It returns the image that is now the last. Like the closure
// of a store's Update, plan may be run more than once.
func (d *Directory) update(ctx context.Context, plan func(*image) (*change, error)) (*image, error) {
	return d.updateReading(ctx, func(_ store.Reader, prev *image) (*change, error) { return plan(prev) })
}

// updateReading is update for a plan that reads more of the store than an image
// has.
func (d *Directory) updateReading(ctx context.Context, plan func(store.Reader, *image) (*change, error)) (*image, error) {
	var img, made *image
	err := d.store.Update(ctx, func(tx store.Tx) error {
		d.forget(made) // by a run that came to nothing
		made = nil
		prev, err := d.read(tx, nil)
		if err != nil {
			return fmt.Errorf("load the directory: %w", err)
		}
		c, err := plan(tx, prev)
		if err != nil {
			return err
		}
		if img = prev; c == nil {
			return errUnchanged // which a store need not write
		}
		made, err = d.commit(tx, prev, c, actorOf(ctx, c.part))
		img = made
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		d.forget(made)
		return nil, err
	}
	if made != nil {
		d.settle(made)
		d.notify()
	}
	return img, nil
}

// errUnchanged ends an Update that has nothing to commit.
var errUnchanged = errors.New("nothing to commit")

func (d *Directory) notify() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
}

// commit writes the difference between prev and c, and the next generation.
func (d *Directory) commit(tx store.Tx, prev *image, c *change, actor Actor) (*image, error) {
	w := &writer{tx: tx}
	dangling := prev.dangling
	if c.collect {
		fresh, err := load(tx)
		if err != nil {
			return nil, err
		}
		dangling = fresh.dangling
	}
	for _, key := range dangling {
		w.delete(key)
	}
	diffs := differences(prev.state, c.state)
	slices.SortStableFunc(diffs, func(a, b difference) int { return cmp.Compare(a.rank(), b.rank()) })
	next := d.successor(prev, c, diffs)
	// First, since these keys come before the others: a store may insert what it
	// was given whenever something is looked for, and inserting thousands before
	// thousands takes it seconds.
	w.audit(prev, next, c, diffs, actor)
	w.state(prev.state, c.state, diffs)
	w.revoked(prev.state, c.state)
	if cred, ok := prev.credentials.get(c.withdrawn); ok {
		w.delete(credentialsKey(cred.owner, c.withdrawn))
	}
	for _, key := range slices.Sorted(maps.Keys(c.extra)) {
		w.put(key, c.extra[key])
	}
	w.proxyTokens(c)
	next.state.Keys = w.issuerKeys(prev.state, c)
	bound, err := d.bound(prev, c, next.state, diffs)
	if err != nil {
		return nil, err
	}
	next.bound = bound
	value, err := json.Marshal(next.storedGeneration)
	if err != nil {
		return nil, err
	}
	next.raw = string(value)
	if prev.Generation == 0 {
		w.put(formatKey, []byte(format))
	}
	w.put(generationKey, value)
	d.keep(next)
	return next, w.err
}

// successor returns the image that c makes of prev, without what is known only
// once it is written.
func (d *Directory) successor(prev *image, c *change, diffs []difference) *image {
	state := *c.state
	next := &image{
		storedGeneration: storedGeneration{
			Epoch: max(prev.Epoch, c.epoch), Generation: prev.Generation + 1, Created: d.now().Unix(),
			Bootstrapped: prev.Bootstrapped || c.bootstrap, Commit: newID(), MaxAge: prev.MaxAge,
			APIPolicies: max(prev.APIPolicies, c.apiPolicies),
		},
		state: &state,
		index: c.index(prev, diffs),
	}
	if c.maxAge != nil {
		next.MaxAge = *c.maxAge
	}
	return next
}

// index returns what becomes of the index of prev.
func (c *change) index(prev *image, diffs []difference) index {
	e := prev.index.edit()
	for _, diff := range diffs {
		e.entity(diff)
	}
	if c.withdrawn != "" {
		e.removeCredential(c.withdrawn)
	}
	for id, cred := range c.added {
		e.addCredential(id, cred)
	}
	for id, t := range c.proxyTokens {
		if t == nil {
			e.proxyTokens.delete(id)
		} else {
			e.proxyTokens.put(id, *t)
		}
	}
	return e.done()
}

// writer writes to a transaction until an error.
type writer struct {
	tx  store.Tx
	err error
}

func (w *writer) put(key string, value []byte) {
	if w.err == nil {
		w.err = w.tx.Put(key, value)
	}
}

func (w *writer) delete(key string) {
	if w.err == nil {
		w.err = w.tx.Delete(key)
	}
}

// state writes what differs between prev and next, in an order in which a store
// that broke off would still have nothing that names what it has not: what is
// new is put after what it refers to, and what is gone goes before that, the
// indexes of all first, then the entities, and then whatever is found below
// them. The differences are in the order of their ranks.
func (w *writer) state(prev, next *model.State, diffs []difference) {
	gone := make([][]string, len(diffs)) // what each difference deletes, the entity's own key last
	for i, diff := range diffs {
		old, new := w.rows(prev, diff.old), w.rows(next, diff.new)
		for _, key := range slices.Sorted(maps.Keys(new)) {
			if string(old[key]) != string(new[key]) {
				w.put(key, new[key])
			}
		}
		for _, key := range slices.Backward(slices.Sorted(maps.Keys(old))) {
			if _, stays := new[key]; !stays {
				gone[i] = append(gone[i], key)
			}
		}
	}
	for i, diff := range slices.Backward(diffs) {
		for _, key := range gone[i] {
			if diff.new != nil || key != entityKey(model.KeyOf(diff.old)) {
				w.delete(key)
			}
		}
	}
	for _, diff := range slices.Backward(diffs) {
		if diff.new == nil {
			w.delete(entityKey(model.KeyOf(diff.old)))
		}
	}
	for _, diff := range diffs {
		if diff.new == nil {
			w.clear(belowKey(model.KeyOf(diff.old)))
		}
	}
}

func (w *writer) rows(s *model.State, e model.Entity) map[string][]byte {
	if e == nil || w.err != nil {
		return nil
	}
	var out map[string][]byte
	out, w.err = rows(s, e)
	return out
}

// clear deletes all keys that begin with prefix.
func (w *writer) clear(prefix string) {
	if w.err != nil {
		return
	}
	var pairs []store.Pair
	pairs, w.err = w.tx.Scan(prefix, "", 0)
	for _, p := range pairs {
		w.delete(p.Key)
	}
}

// newID returns a random id of 128 bits.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, says its documentation
	return hex.EncodeToString(b[:])
}
