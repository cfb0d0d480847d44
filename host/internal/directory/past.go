package directory

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

// past is what the documents were, found by undoing records from the newest on.
type past struct {
	reader   store.Reader
	entities map[model.Key]model.Entity // as far as it got; what the image has is shared with it
	// gone is how what is no longer there was when it went.
	gone map[model.Key]model.Entity
}

// pastOf returns the documents that img had at a generation. The error wraps
// ErrUnreachable where the records don't say.
func pastOf(r store.Reader, img *image, generation uint64) (*past, error) {
	p := &past{reader: r, entities: map[model.Key]model.Entity{}, gone: map[model.Key]model.Entity{}}
	for _, e := range img.state.Entities() {
		p.entities[model.KeyOf(e)] = e
	}
	switch {
	case generation == 0:
		return nil, fmt.Errorf("generation 0, when nothing was there yet, %w", ErrUnreachable)
	case generation > img.Generation:
		return nil, fmt.Errorf("generation %d %w: the last is %d", generation, ErrUnreachable, img.Generation)
	}
	oldest := img.Generation // that can be gone back to
	reached := oldest == generation
	err := eachBackward(r, img.Audit, func(record *Record) (bool, error) {
		if reached = record.Generation <= generation; reached {
			return false, nil
		}
		oldest = record.Generation
		more, err := p.undo(record)
		if more && record.Sequence == 1 { // all that ever was recorded is undone
			oldest--
			reached = oldest <= generation
		}
		return more, err
	})
	if err != nil {
		return nil, err
	}
	if !reached {
		return nil, fmt.Errorf("generation %d %w: what is recorded reaches back to generation %d (sallyport audit)",
			generation, ErrUnreachable, oldest)
	}
	return p, nil
}

// eachBackward calls fn with each record from a number back to the first that is
// kept, until it returns false.
func eachBackward(r store.Reader, newest uint64, fn func(*Record) (bool, error)) error {
	for end := newest; end > 0; {
		begin := end - min(end-1, auditChunk-1)
		records, err := scanAudit(r, begin, int(end-begin+1))
		if err != nil {
			return err
		}
		// Where older ones were removed, there are newer ones in their place.
		records = slices.DeleteFunc(records, func(r Record) bool { return r.Sequence > end })
		for i := range slices.Backward(records) {
			if more, err := fn(&records[i]); !more || err != nil {
				return err
			}
		}
		if uint64(len(records)) < end-begin+1 {
			return nil
		}
		end = begin - 1
	}
	return nil
}

// undo takes back what a record says. It is false where nobody can: an epoch
// began, and generations before have their numbers twice; or what was there is
// not kept.
func (p *past) undo(r *Record) (bool, error) {
	k := model.Key{Kind: r.Kind, Name: r.Name}
	now, there := p.entities[k]
	switch r.Operation {
	case EpochBegun:
		return false, nil
	case string(Created), string(Updated):
		if !there {
			return false, r.misfit(errors.New("it is not there"))
		}
	case string(Deleted):
		if there {
			return false, r.misfit(errors.New("it is there"))
		}
	default:
		return true, nil // no document's
	}
	if r.Operation == string(Created) {
		delete(p.entities, k)
		return true, nil
	}
	e, err := p.before(r, now)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, r.misfit(err)
	}
	if p.entities[k] = e; !there && p.gone[k] == nil {
		p.gone[k] = e
	}
	return true, nil
}

// misfit is the error of a record that does not say what became of what there
// is.
func (r *Record) misfit(err error) error {
	return fmt.Errorf("what was before generation %d %w: audit record %d, of %s %q, does not fit: %w",
		r.Generation, ErrUnreachable, r.Sequence, r.Kind, r.Name, err)
}

// recorded is a described entity as it is read from a record.
type recorded struct {
	Description *string                    `json:"description"`
	Reserved    *bool                      `json:"reserved"`
	Set         *string                    `json:"set"` // no part of documents: it stays as it is
	Spec        map[string]json.RawMessage `json:"spec"`
}

// before returns what an entity was before a record; now is what it was after,
// nil if it was deleted.
func (p *past) before(r *Record, now model.Entity) (model.Entity, error) {
	was, err := p.recorded(r.Sequence, beforeContent, r.Before)
	if err != nil {
		return nil, err
	}
	e := model.New(r.Kind)
	e.Meta().Name = r.Name
	var is recorded
	if now != nil {
		if is, err = p.recorded(r.Sequence, afterContent, r.After); err != nil {
			return nil, err
		}
		e.Meta().Description, e.Meta().Reserved = now.Meta().Description, now.Meta().Reserved
		if was.Spec, err = specBefore(now, was.Spec, is.Spec); err != nil {
			return nil, err
		}
	}
	if was.Description != nil {
		e.Meta().Description = *was.Description
	}
	if was.Reserved != nil {
		e.Meta().Reserved = *was.Reserved
	}
	text, err := json.Marshal(was.Spec)
	if err != nil {
		return nil, err
	}
	return e, decodeStrict(text, e)
}

func (p *past) recorded(sequence uint64, part string, inRecord json.RawMessage) (out recorded, err error) {
	text, err := content(p.reader, sequence, part, inRecord)
	if err != nil {
		return out, err
	}
	return out, decodeStrict(text, &out)
}

// specBefore returns the members of a document's spec before a difference, of
// which was and is are the two sides.
func specBefore(now model.Entity, was, is map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	spec := members(now)
	lists := map[string][]string{}
	for _, rel := range relations(now) {
		lists[relationField(now.Kind(), rel.kind)] = *rel.names
	}
	for name := range is {
		if _, isList := lists[name]; !isList {
			delete(spec, name)
		}
	}
	for name, value := range was {
		if _, isList := lists[name]; !isList {
			spec[name] = value
		}
	}
	for name, list := range lists {
		before, err := listBefore(list, was[name], is[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if spec[name], err = json.Marshal(before); err != nil {
			return nil, err
		}
	}
	return spec, nil
}

// listBefore returns a list of names before some had gone and others had come.
func listBefore(list []string, gone, come json.RawMessage) ([]string, error) {
	names := make(map[string]bool, len(list))
	for _, n := range list {
		names[n] = true
	}
	for _, side := range []struct {
		text  json.RawMessage
		there bool
	}{{come, true}, {gone, false}} {
		var changed []string
		if side.text != nil {
			if err := json.Unmarshal(side.text, &changed); err != nil {
				return nil, err
			}
		}
		for _, n := range changed {
			if names[n] != side.there {
				return nil, fmt.Errorf("%q: is there: %v, want %v", n, names[n], side.there)
			}
			if side.there {
				delete(names, n)
			} else {
				names[n] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
