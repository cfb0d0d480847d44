package manifest

import (
	"fmt"
	"strings"
)

// maxErrors is how many errors are shown; what is counted beyond is said.
const maxErrors = 20

// Error is one thing that is wrong, and where.
type Error struct {
	File         string // as it was given; "-" is standard input
	Line, Column int    // from 1; 0: not known
	Field        string // such as "spec.rules[0].paths"; "": the document or file
	Text         string
}

// Error returns "file:line:column: field: text", without what is not known.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Line > 0 && e.Column > 0 {
		fmt.Fprintf(&b, ":%d", e.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Text)
	return b.String()
}

// Errors is the error of this package's functions: all that is wrong with a set
// of documents, in the order of files and lines.
type Errors []Error

// Error returns one line an error, for the first of them.
func (es Errors) Error() string {
	var lines []string
	for i, e := range es {
		if i == maxErrors {
			lines = append(lines, fmt.Sprintf("and %d more errors", len(es)-maxErrors))
			break
		}
		lines = append(lines, e.Error())
	}
	return strings.Join(lines, "\n")
}
