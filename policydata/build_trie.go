package policydata

import (
	"errors"
	"slices"
)

// trieNode is one node of the path trie while it is built: the paths that
// share their segments up to here.
type trieNode struct {
	wild  uint32         // node behind one non-empty segment, or none
	exact []trieTerminal // patterns that end here
	tail  []trieTerminal // patterns that end here with "**"
}

// trieTerminal is a path pattern of a rule, at the node where it ends.
type trieTerminal struct {
	rule, path, pattern uint32
	capFirst, capCount  uint32 // in the builder's captures
}

// trieEdge is a literal segment that leads from one node to another.
type trieEdge struct {
	parent, text, child uint32
	hashed              string // the text, to hash it
}

// addPattern puts a pattern into the trie. Rules come in ascending order, so
// that each node's terminals are sorted by rule and path.
func (b *Builder) addPattern(segs []segment, t trieTerminal) {
	node := uint32(0)
	t.capFirst = uint32(len(b.captures))
	for i, s := range segs {
		switch s.kind {
		case segLiteral:
			node = b.literalChild(node, s.text)
		case segTail:
			t.capCount = uint32(len(b.captures)) - t.capFirst
			b.trie[node].tail = append(b.trie[node].tail, t)
			return
		case segCapture:
			b.captures = append(b.captures, [2]uint32{b.str(s.text), uint32(i)})
			node = b.wildChild(node)
		case segAny:
			node = b.wildChild(node)
		}
	}
	t.capCount = uint32(len(b.captures)) - t.capFirst
	b.trie[node].exact = append(b.trie[node].exact, t)
}

func (b *Builder) literalChild(node uint32, text string) uint32 {
	key := [2]uint32{node, b.str(text)}
	if child, ok := b.children[key]; ok {
		return child
	}
	child := b.addNode()
	b.children[key] = child
	b.edges = append(b.edges, trieEdge{node, key[1], child, text})
	return child
}

func (b *Builder) wildChild(node uint32) uint32 {
	if b.trie[node].wild == none {
		child := b.addNode() // first, since it may move the nodes
		b.trie[node].wild = child
	}
	return b.trie[node].wild
}

// addNode adds a node, with the memory of the one that stood there in the
// snapshot before.
func (b *Builder) addNode() uint32 {
	n := len(b.trie)
	if n == cap(b.trie) {
		b.trie = append(b.trie, trieNode{})
	}
	b.trie = b.trie[:n+1]
	node := &b.trie[n]
	node.wild, node.exact, node.tail = none, node.exact[:0], node.tail[:0]
	return uint32(n)
}

// encodeTrie writes nodes, terminals, captures and the hash table of edges.
func (b *Builder) encodeTrie() error {
	for _, n := range b.trie {
		exactFirst := b.putTerminals(n.exact)
		tailFirst := b.putTerminals(n.tail)
		b.put(secNodes, n.wild, exactFirst, uint32(len(n.exact)), tailFirst, uint32(len(n.tail)))
	}
	seed, err := b.hashTable(len(b.edges), b.edgeHashes())
	if err != nil {
		return err
	}
	b.seeds[seedEdges] = seed
	for _, i := range b.slots {
		if i == none {
			b.put(secEdges, none, none, none)
			continue
		}
		b.put(secEdges, b.edges[i].parent, b.edges[i].text, b.edges[i].child)
	}
	return nil
}

// edgeHashes returns the hashes of edges by seed. A node's hash is that of the
// path to it; nodes stand behind their parents.
func (b *Builder) edgeHashes() func(seed uint32, edge int) uint32 {
	hashes := make([]uint32, len(b.trie))
	known := uint32(none)
	return func(seed uint32, edge int) uint32 {
		if seed != known {
			b.hashNodes(seed, hashes)
			known = seed
		}
		return hashes[b.edges[edge].child]
	}
}

// hashNodes sets the hash of each node. Edges stand in the order of the nodes that
// they lead to; the nodes between are behind wildcards.
func (b *Builder) hashNodes(seed uint32, hashes []uint32) {
	hashes[0] = hashRoot
	next := 0
	for node := range b.trie {
		if next < len(b.edges) && b.edges[next].child == uint32(node) {
			e := &b.edges[next]
			hashes[node] = hashEdge(hashes[e.parent], hashText(seed, e.hashed))
			next++
		}
		if wild := b.trie[node].wild; wild != none {
			hashes[wild] = hashWild(hashes[node])
		}
	}
}

func (b *Builder) putTerminals(ts []trieTerminal) (first uint32) {
	first = b.count(secTerminals)
	for _, t := range ts {
		b.put(secTerminals, t.rule, t.path, t.pattern, b.count(secCaptures), t.capCount, 0)
		for _, c := range b.captures[t.capFirst:][:t.capCount] {
			b.put(secCaptures, c[0], c[1])
		}
	}
	return first
}

// hashTable places n items by their hash into a power of two of slots, at most
// half full, with linear probing: b.slots is the item in each slot or none. It
// tries seeds until no item is more than maxProbes away from its place. Who chooses
// names can make them collide, with more than maxProbes names for each seed: there
// are more seeds than a snapshot has room for that.
func (b *Builder) hashTable(n int, hash func(seed uint32, i int) uint32) (seed uint32, err error) {
	size := 2
	for size < 2*n {
		size *= 2
	}
	b.slots = slices.Grow(b.slots[:0], size)[:size]
	for seed = range uint32(maxSeeds) {
		if placeAll(b.slots, n, func(i int) uint32 { return hash(seed, i) }) {
			return seed, nil
		}
	}
	return 0, errors.New("names collide in every hash table tried")
}

func placeAll(slots []uint32, n int, hash func(i int) uint32) bool {
	for i := range slots {
		slots[i] = none
	}
	mask := uint32(len(slots) - 1)
	for i := range n {
		at, steps := hash(i)&mask, 1
		for slots[at] != none {
			if steps++; steps > maxProbes {
				return false
			}
			at = (at + 1) & mask
		}
		slots[at] = uint32(i)
	}
	return true
}
