package compile

import (
	"encoding/json"
	"math"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/policydata"
)

const (
	// signatureBytes is more than a signature with the id of its key adds.
	signatureBytes = 1 << 10
	// tableFactor is by how much a policy's part of a snapshot may be larger than
	// its own: hash tables have sizes of their own.
	tableFactor = 4
	// textFactor is more than a byte of a document that is no policy can add: a
	// name of one byte, with what surrounds it in JSON, is a reference of a few
	// integers.
	textFactor = 32
)

// Sizes returns how large the snapshots of states are. It compiles like c, and
// extra as Body has it.
func (c *Compiler) Sizes(extra ...policydata.Issuer) directory.Sizes {
	return directory.Sizes{
		Limit: policydata.MaxSnapshotBytes,
		Exact: func(s *model.State) (size, growth int, err error) {
			source, err := c.Source(s, Version{Epoch: 1, Generation: 1})
			if err != nil {
				return 0, 0, err
			}
			source.Issuers = withExtra(source.Issuers, extra)
			// Not by c's builder: this is rare, and would keep as much memory again.
			body, err := policydata.Build(source)
			if err != nil {
				return 0, 0, err
			}
			return len(body) + signatureBytes, policydata.HashTableBytes(body), nil
		},
		Bound: bound,
	}
}

// bound returns what an entity adds to a snapshot at most. What can't be told
// makes the whole be measured.
func bound(e model.Entity) int {
	if p, ok := e.(*model.Policy); ok {
		body, err := New().Body(&model.State{Policies: []*model.Policy{p}}, Version{Epoch: 1, Generation: 1})
		if err != nil {
			return math.MaxInt32
		}
		return tableFactor * len(body)
	}
	text, err := json.Marshal(e)
	if err != nil {
		return math.MaxInt32
	}
	return textFactor * (len(e.Meta().Name) + len(text))
}
