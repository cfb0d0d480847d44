package bolt

import "time"

// LetBatchesGrow keeps a busy machine from ending batches early.
func (s *Store) LetBatchesGrow() { s.writers.maxAge = time.Hour }

// Waiting returns how many Updates are about to join a batch.
func (s *Store) Waiting() int64 { return s.writers.waiting.Load() }

// BreakBatch makes the commit of the open batch fail. It is called within an
// Update.
func (s *Store) BreakBatch() error { return s.writers.open.tx.Rollback() }

// Commits returns the number of the file's last transaction.
func (s *Store) Commits() (int, error) {
	btx, err := s.db.Begin(false)
	if err != nil {
		return 0, err
	}
	return btx.ID(), btx.Rollback()
}
