package wasmhost

import (
	"maps"
	"slices"
	"sync"
)

// sharedStore is the data and the queues that all VMs of a Runtime share, as
// VMs with one vm_id do in Envoy.
type sharedStore struct {
	mu      sync.Mutex // guards all below
	data    map[string]sharedValue
	lastCAS uint32
	tokens  map[string]uint32
	queues  map[uint32][]string
}

type sharedValue struct {
	value string
	cas   uint32
}

func newSharedStore() *sharedStore {
	return &sharedStore{
		data:   make(map[string]sharedValue),
		tokens: make(map[string]uint32),
		queues: make(map[uint32][]string),
	}
}

func (s *sharedStore) value(key string) (sharedValue, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.data[key]
	return v, ok
}

func (s *sharedStore) keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.data))
}

// set stores a value. A cas other than 0 must be the stored value's, if there
// is one.
func (s *sharedStore) set(key, value string, cas uint32) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.data[key]; ok && cas != 0 && cas != old.cas {
		return StatusCASMismatch
	}
	s.lastCAS++
	if s.lastCAS == 0 { // 0 means "whatever is there"
		s.lastCAS++
	}
	s.data[key] = sharedValue{value: value, cas: s.lastCAS}
	return StatusOK
}

// register returns the queue's token, making the queue where there is none.
func (s *sharedStore) register(name string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.tokens[name]
	if !ok {
		token = uint32(len(s.tokens)) + 1
		s.tokens[name] = token
		s.queues[token] = nil
	}
	return token
}

func (s *sharedStore) resolve(name string) (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.tokens[name]
	return token, ok
}

func (s *sharedStore) enqueue(token uint32, value string) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := s.queues[token]
	if !ok {
		return StatusNotFound
	}
	s.queues[token] = append(q, value)
	return StatusOK
}

func (s *sharedStore) dequeue(token uint32) (string, Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, ok := s.queues[token]
	if !ok {
		return "", StatusNotFound
	}
	if len(q) == 0 {
		return "", StatusEmpty
	}
	s.queues[token] = q[1:]
	return q[0], StatusOK
}
