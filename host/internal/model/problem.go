package model

import (
	"fmt"
	"strings"
)

// Problem is one violation of a rule by a document.
type Problem struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`
	Field string `json:"field"` // such as "spec.rules[0].paths[1]"
	Text  string `json:"text"`
}

func (p Problem) String() string {
	return fmt.Sprintf("%s %q: %s: %s", p.Kind, p.Name, p.Field, p.Text)
}

// Problems is the error that State.Check returns: all that is wrong with a set
// of documents.
type Problems []Problem

// Error returns one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}
