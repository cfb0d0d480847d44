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
	recent  []*image      // guarded by mu; the newest last, perhaps with some that were never committed
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
	err := d.store.View(ctx, func(r store.Reader) (err error) {
		img, err = d.read(r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load the directory: %w", err)
	}
	return img, nil
}

// maxRecent is how many images are kept: while one is written, those who began
// to read earlier still see the one before.
const maxRecent = 8

// keep remembers an image. It does so before that is committed, since whoever
// comes next looks for it at once; an image is found by what only its own commit
// wrote, so one that came to nothing is never found.
func (d *Directory) keep(img *image) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent = append(d.recent, img); len(d.recent) > maxRecent {
		d.recent = slices.Clone(d.recent[1:])
	}
}

// known returns the image whose generation has a value in the store.
func (d *Directory) known(value []byte) (*image, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, img := range slices.Backward(d.recent) {
		if img.raw == string(value) {
			return img, true
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
	var img *image
	committed := false
	err := d.store.Update(ctx, func(tx store.Tx) error {
		prev, err := d.read(tx)
		if err != nil {
			return fmt.Errorf("load the directory: %w", err)
		}
		c, err := plan(tx, prev)
		if err != nil {
			return err
		}
		if img, committed = prev, c != nil; c == nil {
			return errUnchanged // which a store need not write
		}
		img, err = d.commit(tx, prev, c, actorOf(ctx, c.part))
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, err
	}
	if committed {
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
	w.state(prev.state, c.state, diffs)
	w.revoked(prev.state, c.state)
	if cred, ok := prev.credentials.get(c.withdrawn); ok {
		w.delete(credentialsKey(cred.owner, c.withdrawn))
	}
	for _, key := range slices.Sorted(maps.Keys(c.extra)) {
		w.put(key, c.extra[key])
	}
	w.proxyTokens(c)
	state := *c.state
	state.Keys = w.issuerKeys(prev.state, c)
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
	bound, err := d.bound(prev, c, &state, diffs)
	if err != nil {
		return nil, err
	}
	next.bound = bound
	w.audit(prev, next, c, diffs, actor)
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
// them.
func (w *writer) state(prev, next *model.State, diffs []difference) {
	slices.SortStableFunc(diffs, func(a, b difference) int { return cmp.Compare(a.rank(), b.rank()) })
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
