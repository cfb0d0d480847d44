package directory

import (
	"hash/maphash"
	"iter"
	"maps"
)

// tableShards is how many parts a table has.
const tableShards = 256

var tableSeed = maphash.MakeSeed()

// table is a map that is never modified. It is in parts, and a table that an
// edit makes of it shares those that the edit did not touch: with n entries a
// change copies n/256 of them.
type table[V any] struct {
	shards [tableShards]map[string]V
}

func shardOf(key string) uint64 { return maphash.String(tableSeed, key) % tableShards }

func (t *table[V]) get(key string) (V, bool) {
	v, ok := t.shards[shardOf(key)][key]
	return v, ok
}

func (t *table[V]) len() (n int) {
	for _, shard := range t.shards {
		n += len(shard)
	}
	return n
}

// all returns keys and values, in no order.
func (t *table[V]) all() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, shard := range t.shards {
			for key, v := range shard {
				if !yield(key, v) {
					return
				}
			}
		}
	}
}

// edit returns a copy to change.
func (t *table[V]) edit() *tableEdit[V] { return &tableEdit[V]{from: t} }

// tableEdit collects changes of a table.
type tableEdit[V any] struct {
	from  *table[V]
	made  *table[V] // nil: there is no change yet
	owned [tableShards]bool
}

func (e *tableEdit[V]) get(key string) (V, bool) { return e.done().get(key) }

func (e *tableEdit[V]) put(key string, v V) { e.own(shardOf(key))[key] = v }

func (e *tableEdit[V]) delete(key string) {
	if _, ok := e.get(key); ok {
		delete(e.own(shardOf(key)), key)
	}
}

// own returns a part as the edit may change it.
func (e *tableEdit[V]) own(shard uint64) map[string]V {
	if e.made == nil {
		t := *e.from
		e.made = &t
	}
	if !e.owned[shard] {
		e.owned[shard] = true
		e.made.shards[shard] = maps.Clone(e.made.shards[shard])
		if e.made.shards[shard] == nil {
			e.made.shards[shard] = map[string]V{}
		}
	}
	return e.made.shards[shard]
}

// done returns the table that the changes made.
func (e *tableEdit[V]) done() *table[V] {
	if e.made == nil {
		return e.from
	}
	return e.made
}
