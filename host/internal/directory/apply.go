package directory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

// Options are the options of Apply.
type Options struct {
	DryRun bool // say what would change, and change nothing
	Force  bool // change what is reserved, and take what belongs to another set

	// Set is the set that the documents of an Apply are, and Implied says that its
	// name is a default. Prune deletes what belongs to it and no document
	// describes; see claims.
	Set     string
	Implied bool
	Prune   bool

	// Before is asked with the state that a write starts from, and Permit with
	// that and the one that it would make; an error ends the write and is
	// returned. Both run in the write's transaction, perhaps more than once; nil
	// asks nothing.
	Before func(*model.State) error
	Permit func(before, after *model.State) error

	// Judge is asked by Apply about the state as it would be, after Permit and
	// also where nothing changes; an error ends the write and is returned. It runs
	// in the write's transaction, too, so that what it judged is what is committed.
	Judge func(*model.State) error
}

func (o *Options) before(s *model.State) error {
	if o.Before == nil {
		return nil
	}
	return o.Before(s)
}

func (o *Options) permit(before, after *model.State) error {
	if o.Permit == nil {
		return nil
	}
	return o.Permit(before, after)
}

func (o *Options) judge(next *model.State) error {
	if o.Judge == nil {
		return nil
	}
	return o.Judge(next)
}

// Action is what became of an entity.
type Action string

// The actions.
const (
	Created   Action = "created"
	Updated   Action = "updated"
	Claimed   Action = "claimed" // only its set changed
	Unchanged Action = "unchanged"
	Deleted   Action = "deleted"
)

// Change says what became of one entity.
type Change struct {
	Kind   model.Kind `json:"kind"`
	Name   string     `json:"name"`
	Action Action     `json:"action"`
	Set    string     `json:"set,omitempty"` // that it belongs to, or did
}

// Result is the outcome of a write.
type Result struct {
	Epoch      uint64   `json:"epoch,string"`
	Generation uint64   `json:"generation,string"` // the last one; raised if something changed
	Changes    []Change `json:"changes"`           // sorted by kind, as model.Kinds has them, and name
}

// Apply makes the store say what docs say, all or nothing: each document states
// the whole of its entity. References may be to entities of docs or of the
// store. They take into their set, if they are one, what they create and what no
// set has. Documents that change nothing do not raise the generation. The error is
// or wraps model.Problems if docs break a rule.
func (d *Directory) Apply(ctx context.Context, docs []model.Entity, o Options) (Result, error) {
	return d.write(ctx, o, func(*model.State) ([]model.Entity, error) { return docs, nil })
}

// write applies the documents that docsOf makes of the state.
func (d *Directory) write(ctx context.Context, o Options, docsOf func(*model.State) ([]model.Entity, error)) (Result, error) {
	var changes []Change
	plan := func(prev *image) (*change, error) {
		if err := o.before(prev.state); err != nil {
			return nil, err
		}
		docs, err := docsOf(prev.state)
		if err != nil {
			return nil, err
		}
		var gone []model.Key
		if o.Prune {
			gone = Undescribed(prev.state, docs, o.Set, o.Force)
		}
		next, err := d.applied(prev, docs, gone, o)
		if err != nil {
			return nil, err
		}
		changes = changesOf(prev.state, next, docs)
		if !changed(changes) {
			return nil, o.judge(next)
		}
		giveIDs(prev.state, next)
		if err := o.permit(prev.state, next); err != nil {
			return nil, err
		}
		return &change{state: next}, o.judge(next)
	}
	img, err := d.run(ctx, func(_ store.Reader, prev *image) (*change, error) { return plan(prev) }, o.DryRun)
	if err != nil {
		return Result{}, err
	}
	return Result{img.Epoch, img.Generation, changes}, nil
}

// run runs plan, and commits unless it is for show.
func (d *Directory) run(ctx context.Context, plan func(store.Reader, *image) (*change, error), dryRun bool) (img *image, err error) {
	if !dryRun {
		return d.updateReading(ctx, plan)
	}
	before := d.images()
	err = d.store.View(ctx, func(r store.Reader) error {
		if img, err = d.read(r, before); err != nil {
			return fmt.Errorf("load the directory: %w", err)
		}
		_, err := plan(r, img)
		return err
	})
	return img, err
}

// applied returns the state that docs make of an image's, without what is gone.
func (d *Directory) applied(img *image, docs []model.Entity, gone []model.Key, o Options) (*model.State, error) {
	prev := img.state
	claimed, problems := o.claims(prev, docs)
	next := prev.With(docs).InSet(o.Set, claimed).Without(gone)
	problems = append(problems, reservedAmong(prev, gone, o)...)
	times := make(map[model.Key]int, len(docs))
	for _, e := range docs {
		times[model.KeyOf(e)]++
	}
	touched := make([]model.Entity, 0, len(docs))
	for _, e := range docs {
		k := model.KeyOf(e)
		before, existed := prev.Get(k)
		after, _ := next.Get(k)
		// What is as it was passed the checks once, and conditions are dear.
		if before != after || times[k] > 1 {
			touched = append(touched, e)
		}
		if existed && before != after && before.Meta().Reserved && !o.Force {
			problems = append(problems, model.Problem{
				Kind: k.Kind, Name: k.Name, Field: "metadata.name", Text: "is reserved and changed only by force",
			})
		}
	}
	checks := d.checks
	checks.UsersLike = img.usersLike
	err := next.Check(touched, checks)
	var more model.Problems
	if errors.As(err, &more) {
		problems = append(problems, more...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return next, err
}

// reservedAmong refuses to delete what is reserved, unless by force.
func reservedAmong(s *model.State, gone []model.Key, o Options) (problems model.Problems) {
	for _, k := range gone {
		if e, ok := s.Get(k); ok && e.Meta().Reserved && !o.Force {
			problems = append(problems, model.Problem{
				Kind: k.Kind, Name: k.Name, Field: "metadata.name", Text: ErrReserved.Error(),
			})
		}
	}
	return problems
}

// Delete deletes the entity that k names, its credentials, and all references to
// it; of the options, Prune and DryRun mean nothing. The error is ErrNotFound,
// ErrReserved unless by force, or ErrInUse, wrapped.
func (d *Directory) Delete(ctx context.Context, k model.Key, o Options) (Result, error) {
	var changes []Change
	img, err := d.update(ctx, func(prev *image) (*change, error) {
		if err := o.before(prev.state); err != nil {
			return nil, err
		}
		e, ok := prev.state.Get(k)
		if !ok {
			return nil, fmt.Errorf("%s %q: %w", k.Kind, k.Name, ErrNotFound)
		}
		if e.Meta().Reserved && !o.Force {
			return nil, fmt.Errorf("%s %q %w", k.Kind, k.Name, ErrReserved)
		}
		next := prev.state.Without([]model.Key{k})
		if err := next.Check(nil, d.checks); err != nil {
			return nil, fmt.Errorf("%s %q %w: %w", k.Kind, k.Name, ErrInUse, err)
		}
		changes = changesOf(prev.state, next, nil)
		return &change{state: next}, o.permit(prev.state, next)
	})
	if err != nil {
		return Result{}, err
	}
	return Result{img.Epoch, img.Generation, changes}, nil
}

// giveIDs gives ids to the entities that have none: those that With has just
// made and nobody else knows.
func giveIDs(prev, next *model.State) {
	for _, diff := range differences(prev, next) {
		if diff.new != nil && diff.new.Meta().ID == "" {
			diff.new.Meta().ID = newID()
		}
	}
}

// difference is an entity that two states have differently; nil where one of
// them has none.
type difference struct {
	old, new model.Entity
}

func (d difference) action() Action {
	switch {
	case d.old == nil:
		return Created
	case d.new == nil:
		return Deleted
	case d.old.Meta().Set != d.new.Meta().Set && sameContent(d.old, d.new):
		return Claimed
	}
	return Updated
}

// rank orders differences so that each comes after what it may refer to.
func (d difference) rank() int {
	k := cmp.Or(d.new, d.old).Kind()
	if k == model.KindIssuer {
		return -1 // a ServiceAccount's identities name it
	}
	return slices.Index(model.Kinds(), k)
}

// differences returns what differs. States share what does not, and their lists
// are sorted, so that this is a walk along both.
func differences(prev, next *model.State) []difference {
	diffs := compareLists(nil, prev.Policies, next.Policies)
	diffs = compareLists(diffs, prev.Users, next.Users)
	diffs = compareLists(diffs, prev.Groups, next.Groups)
	diffs = compareLists(diffs, prev.Roles, next.Roles)
	diffs = compareLists(diffs, prev.Services, next.Services)
	return compareLists(diffs, prev.Issuers, next.Issuers)
}

func compareLists[E interface {
	comparable
	model.Entity
}](diffs []difference, old, new []E) []difference {
	for len(old) > 0 && len(new) > 0 {
		if old[0] == new[0] {
			old, new = old[1:], new[1:]
			continue
		}
		switch order := strings.Compare(old[0].Meta().Name, new[0].Meta().Name); {
		case order < 0:
			diffs, old = append(diffs, difference{old[0], nil}), old[1:]
		case order > 0:
			diffs, new = append(diffs, difference{nil, new[0]}), new[1:]
		default:
			diffs, old, new = append(diffs, difference{old[0], new[0]}), old[1:], new[1:]
		}
	}
	for _, e := range old {
		diffs = append(diffs, difference{e, nil})
	}
	for _, e := range new {
		diffs = append(diffs, difference{nil, e})
	}
	return diffs
}

// changesOf returns what differs, and the docs that made no difference.
func changesOf(prev, next *model.State, docs []model.Entity) []Change {
	changes := []Change{}
	listed := map[model.Key]bool{}
	for _, diff := range differences(prev, next) {
		e := cmp.Or(diff.new, diff.old)
		k := model.KeyOf(e)
		changes = append(changes, Change{k.Kind, k.Name, diff.action(), e.Meta().Set})
		listed[k] = true
	}
	for _, e := range docs {
		if k := model.KeyOf(e); !listed[k] {
			there, _ := next.Get(k)
			changes = append(changes, Change{k.Kind, k.Name, Unchanged, there.Meta().Set})
		}
	}
	kinds := model.Kinds()
	slices.SortFunc(changes, func(a, b Change) int {
		return cmp.Or(
			cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			cmp.Compare(a.Name, b.Name))
	})
	return changes
}

func changed(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Action != Unchanged })
}

// EachDifference calls fn with each entity whose document differs between two
// states of one directory; old is nil where there is a new one, and new where one
// is gone.
func EachDifference(before, after *model.State, fn func(old, new model.Entity)) {
	for _, diff := range differences(before, after) {
		if diff.action() != Claimed {
			fn(diff.old, diff.new)
		}
	}
}
