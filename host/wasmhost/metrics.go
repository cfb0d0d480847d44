package wasmhost

import (
	"cmp"
	"slices"
	"sync"
)

// MetricType is the kind of a [Metric].
type MetricType uint32

// The kinds, by their numbers in the ABI.
const (
	MetricCounter MetricType = iota
	MetricGauge
	MetricHistogram
)

// Metric is the state of a metric that the filter defined.
type Metric struct {
	Name  string
	Type  MetricType
	Value uint64 // of a histogram: the sum of what was recorded
	Count uint64 // how often a histogram was recorded
}

type metricKey struct {
	kind MetricType
	name string
}

// metricStore holds the metrics of all VMs of a Runtime. A metric is known to
// the guest by its index.
type metricStore struct {
	mu  sync.Mutex // guards all below
	ids map[metricKey]uint32
	all []Metric
}

func newMetricStore() *metricStore {
	return &metricStore{ids: make(map[metricKey]uint32)}
}

// define returns the id of a metric; each VM defines its own and gets the same.
func (s *metricStore) define(kind MetricType, name string) (uint32, Status) {
	if kind > MetricHistogram {
		return 0, StatusBadArgument
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := metricKey{kind, name}
	id, ok := s.ids[key]
	if !ok {
		id = uint32(len(s.all))
		s.ids[key] = id
		s.all = append(s.all, Metric{Name: name, Type: kind})
	}
	return id, StatusOK
}

// increment adds to a counter or gauge. As in Envoy, a counter takes positive
// offsets only.
func (s *metricStore) increment(id uint32, offset int64) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id >= uint32(len(s.all)) {
		return StatusNotFound
	}
	m := &s.all[id]
	if m.Type == MetricHistogram || m.Type == MetricCounter && offset <= 0 {
		return StatusBadArgument
	}
	m.Value += uint64(offset)
	return StatusOK
}

// record adds to a counter, sets a gauge, or records a histogram's value.
func (s *metricStore) record(id uint32, value uint64) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id >= uint32(len(s.all)) {
		return StatusNotFound
	}
	switch m := &s.all[id]; m.Type {
	case MetricGauge:
		m.Value = value
	case MetricHistogram:
		m.Count++
		m.Value += value
	default:
		m.Value += value
	}
	return StatusOK
}

// value reads a counter or gauge; a histogram can't be read by the guest.
func (s *metricStore) value(id uint32) (uint64, Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id >= uint32(len(s.all)) {
		return 0, StatusNotFound
	}
	if s.all[id].Type == MetricHistogram {
		return 0, StatusBadArgument
	}
	return s.all[id].Value, StatusOK
}

// snapshot returns all metrics, sorted by name and type.
func (s *metricStore) snapshot() []Metric {
	s.mu.Lock()
	out := slices.Clone(s.all)
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b Metric) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
	})
	return out
}

// find returns the metric of a name: its counter before its gauge before its
// histogram.
func (s *metricStore) find(name string) (Metric, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind := MetricCounter; kind <= MetricHistogram; kind++ {
		if id, ok := s.ids[metricKey{kind, name}]; ok {
			return s.all[id], true
		}
	}
	return Metric{}, false
}
