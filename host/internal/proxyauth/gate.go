package proxyauth

import (
	"errors"
	"sync"
)

// ErrTooMany is returned when a Gate has no place.
var ErrTooMany = errors.New("too many ask")

// mostOfProxy bounds the places of one proxy: one for each plugin, and as many
// again while it restarts.
const mostOfProxy = 64

// Gate bounds how many there are of something, of all and of one identity. It is
// safe for concurrent use.
type Gate struct {
	limit int

	mu   sync.Mutex
	held int            // guarded by mu
	of   map[string]int // guarded by mu; by identity
}

// NewGate returns a Gate for so many.
func NewGate(limit int) *Gate { return &Gate{limit: limit, of: map[string]int{}} }

// Enter takes a place; leave gives it back. No fleet gets all places, so that
// one that runs wild leaves some to others. The error is ErrTooMany.
func (g *Gate) Enter(p Principal) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := g.limit
	switch {
	case p.Instance != "":
		most = min(most, mostOfProxy)
	case p.Identity != "":
		most -= most / 4
	}
	if g.held >= g.limit || g.of[p.Identity] >= most {
		return nil, ErrTooMany
	}
	g.held++
	g.of[p.Identity]++
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.held--
		if g.of[p.Identity]--; g.of[p.Identity] == 0 {
			delete(g.of, p.Identity)
		}
	}), nil
}

// Held returns how many places are taken.
func (g *Gate) Held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}
