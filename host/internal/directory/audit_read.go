package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

// AuditQuery says which records are asked for. The zero values of Kind to Since
// ask for all.
type AuditQuery struct {
	Kind  model.Kind
	Name  string
	User  string // whose writes
	Since time.Time

	Oldest bool   // first; otherwise the newest come first
	After  uint64 // records after this one in that order; 0: from the first
	Amount int
}

// AuditPage is an answer to a query.
type AuditPage struct {
	Records []Record
	Last    uint64 // the last record that was looked at, to go on after
	More    bool   // there may be more
}

const (
	// auditChunk is how many records are read at once.
	auditChunk = 500
	// maxAuditSearch bounds how many records are read for one page.
	maxAuditSearch = 20_000
)

func (q *AuditQuery) matches(r *Record) bool {
	return (q.Kind == "" || r.Kind == q.Kind) && (q.Name == "" || r.Name == q.Name) &&
		(q.User == "" || r.Actor.User == q.User) && !r.Time.Before(q.Since)
}

// Audit returns a page of the audit records.
func (d *Directory) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	var page AuditPage
	err := d.store.View(ctx, func(r store.Reader) (err error) {
		page = AuditPage{Records: []Record{}, Last: q.After}
		if q.Oldest {
			return page.forward(r, q)
		}
		return page.backward(r, q)
	})
	if err != nil {
		return AuditPage{}, fmt.Errorf("read the audit records: %w", err)
	}
	return page, nil
}

func (p *AuditPage) forward(r store.Reader, q AuditQuery) error {
	from := q.After + 1
	if q.After == 0 && !q.Since.IsZero() {
		var err error
		if from, err = firstSince(r, q.Since); err != nil {
			return err
		}
	}
	for searched := 0; ; {
		records, err := scanAudit(r, from, auditChunk)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, record := range records {
			if searched++; searched > maxAuditSearch || !p.take(q, record) {
				p.More = true
				return nil
			}
		}
		from = p.Last + 1
	}
}

// backward reads chunks from the newest on.
func (p *AuditPage) backward(r store.Reader, q AuditQuery) error {
	oldest, newest, err := auditRange(r)
	if err != nil || newest == 0 {
		return err
	}
	end := newest // the newest that is not looked at yet
	if q.After > 0 {
		end = min(end, q.After-1)
	}
	for searched := 0; end >= oldest; {
		begin := max(oldest, end-min(end, auditChunk-1))
		records, err := scanAudit(r, begin, int(end-begin+1))
		if err != nil {
			return err
		}
		for _, record := range slices.Backward(records) {
			if record.Time.Before(q.Since) {
				return nil
			}
			if searched++; searched > maxAuditSearch || !p.take(q, record) {
				p.More = true
				return nil
			}
		}
		if begin == oldest {
			return nil
		}
		end = begin - 1
	}
	return nil
}

// take adds a record that is asked for; it reports false if there is no room.
func (p *AuditPage) take(q AuditQuery, r Record) bool {
	if q.matches(&r) {
		if len(p.Records) == q.Amount {
			return false
		}
		p.Records = append(p.Records, r)
	}
	p.Last = r.Sequence
	return true
}

// auditRange returns the first and the last record's number; 0 if there is none.
func auditRange(r store.Reader) (oldest, newest uint64, err error) {
	value, err := r.Get(generationKey)
	if errors.Is(err, store.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	g, err := readGeneration(r, value)
	if err != nil {
		return 0, 0, err
	}
	first, err := scanAudit(r, 0, 1)
	if err != nil || len(first) == 0 {
		return 0, 0, err
	}
	return first[0].Sequence, g.Audit, nil
}

// firstSince returns the number of the first record that is not older than since.
func firstSince(r store.Reader, since time.Time) (uint64, error) {
	oldest, newest, err := auditRange(r)
	if err != nil {
		return 0, err
	}
	for oldest <= newest {
		middle := oldest + (newest-oldest)/2
		records, err := scanAudit(r, middle, 1)
		switch {
		case err != nil:
			return 0, err
		case len(records) > 0 && records[0].Time.Before(since):
			oldest = middle + 1
		case middle == 0:
			return 0, nil
		default:
			newest = middle - 1
		}
	}
	return oldest, nil
}

// scanAudit returns records from a number on.
func scanAudit(r store.Reader, from uint64, limit int) ([]Record, error) {
	pairs, err := r.Scan(auditPrefix, auditKey(from), limit)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(pairs))
	for i, p := range pairs {
		if err := json.Unmarshal(p.Value, &records[i]); err != nil {
			return nil, fmt.Errorf("key %q: %w", p.Key, err)
		}
	}
	return records, nil
}

// AuditLimits bound the audit records that are kept; 0 is no bound.
type AuditLimits struct {
	Records int
	Age     time.Duration
}

// TrimAudit removes the oldest audit records beyond the limits, and reports how
// many. It is no commit: what proxies enforce does not change.
func (d *Directory) TrimAudit(ctx context.Context, l AuditLimits) (removed int, err error) {
	for {
		n := 0
		err := d.store.Update(ctx, func(tx store.Tx) error {
			n = 0
			oldest, newest, err := auditRange(tx)
			if err != nil || newest == 0 {
				return errors.Join(err, errUnchanged)
			}
			records, err := scanAudit(tx, oldest, auditChunk)
			if err != nil {
				return err
			}
			for _, r := range records {
				if !d.expired(r, newest, l) {
					break
				}
				for _, key := range []string{auditKey(r.Sequence), contentKey(r.Sequence, beforeContent), contentKey(r.Sequence, afterContent)} {
					if err := tx.Delete(key); err != nil {
						return err
					}
				}
				n++
			}
			if n == 0 {
				return errUnchanged
			}
			return nil
		})
		if err != nil && !errors.Is(err, errUnchanged) {
			return removed, fmt.Errorf("remove old audit records: %w", err)
		}
		if removed += n; n < auditChunk {
			return removed, nil
		}
	}
}

func (d *Directory) expired(r Record, newest uint64, l AuditLimits) bool {
	return l.Records > 0 && newest-r.Sequence >= uint64(l.Records) || l.Age > 0 && d.now().Sub(r.Time) > l.Age
}
