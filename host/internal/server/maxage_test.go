package server_test

import (
	"testing"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/store/bolt"
)

// TestAStartRenewsBeforeItPublishes: a host that was away for longer than the
// maximum age publishes nothing that is stale, and one that is started without an
// age takes it off.
func TestAStartRenewsBeforeItPublishes(t *testing.T) {
	const age = 10 * time.Minute
	c := config(t.TempDir())
	first := start(t, c)
	if p, _ := first.Publisher().Current(); !p.Version.Expires.IsZero() || p.Loaded.Expires() != 0 {
		t.Errorf("without an age: expires %s", p.Version.Expires)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	setLongAgo(t, c.DataDir, age)

	c.SnapshotMaxAge = age
	second := start(t, c)
	p, _ := second.Publisher().Current()
	if left := time.Until(time.Unix(p.Loaded.Expires(), 0)); left < age/2 || left > age+time.Second {
		t.Errorf("%s are left of what is published first", left)
	}
	if !p.Version.Expires.Equal(p.Version.Committed.Add(age)) {
		t.Errorf("committed %s, expires %s", p.Version.Committed, p.Version.Expires)
	}
	generation := p.Version.Generation
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}

	third := start(t, c) // at once: there is nothing to renew
	if p, _ := third.Publisher().Current(); p.Version.Generation != generation {
		t.Errorf("generation %d, want %d", p.Version.Generation, generation)
	}
	if err := third.stop(); err != nil {
		t.Fatal(err)
	}

	c.SnapshotMaxAge = 0
	if p, _ := start(t, c).Publisher().Current(); p.Loaded.Expires() != 0 {
		t.Error("without the flag it expires still")
	}
}

// setLongAgo leaves a store whose last commit expired long ago.
func setLongAgo(t *testing.T, dir string, age time.Duration) {
	t.Helper()
	s, err := bolt.Open(dir, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	past := directory.New(s, model.Checks{}, func() time.Time { return time.Now().Add(-24 * time.Hour) })
	if err := past.SetMaxAge(t.Context(), age); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
