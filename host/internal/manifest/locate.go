package manifest

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/model"
)

// Locate adds files, lines and columns to the problems that err reports about
// docs, if err is or wraps model.Problems; otherwise it returns err as it is.
func Locate(docs []Document, err error) error {
	var problems model.Problems
	if !errors.As(err, &problems) {
		return err
	}
	byKey := make(map[model.Key]int, len(docs))
	for i, doc := range docs {
		byKey[model.KeyOf(doc.Entity)] = i
	}
	// Problems come in the order of rules; people read in that of lines.
	order := map[string]int{}
	for i, doc := range docs {
		if _, ok := order[doc.File]; !ok {
			order[doc.File] = i
		}
	}
	errs := make(Errors, 0, len(problems))
	for _, p := range problems {
		e := Error{File: string(p.Kind) + " " + p.Name + " (stored)", Field: p.Field}
		if i, ok := byKey[model.Key{Kind: p.Kind, Name: p.Name}]; ok {
			e = docs[i].place(p.Field)
		}
		e.Text = p.Text
		errs = append(errs, e)
	}
	slices.SortStableFunc(errs, func(a, b Error) int {
		if a.File != b.File {
			return order[a.File] - order[b.File]
		}
		return a.Line - b.Line
	})
	return errs
}

// place returns an Error for a field of doc, without text. A field that is not
// there has the place of the one that it should be in.
func (doc Document) place(field string) Error {
	n := doc.root
	for rest := field; rest != ""; {
		var next *yaml.Node
		next, rest = step(n, rest)
		if next == nil {
			break
		}
		n = next
	}
	return Error{File: doc.File, Line: n.Line, Column: n.Column, Field: field}
}

// step takes the first step of a path such as "rules[0].paths" from n; the node
// is nil if it leads nowhere.
func step(n *yaml.Node, path string) (next *yaml.Node, rest string) {
	if index, ok := strings.CutPrefix(path, "["); ok {
		digits, rest, _ := strings.Cut(index, "]")
		i, err := strconv.Atoi(digits)
		if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
			return nil, ""
		}
		return n.Content[i], strings.TrimPrefix(rest, ".")
	}
	end := strings.IndexAny(path, ".[")
	if end < 0 {
		end = len(path)
	}
	name, rest := path[:end], strings.TrimPrefix(path[end:], ".")
	if n.Kind != yaml.MappingNode {
		return nil, ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1], rest
		}
	}
	return nil, ""
}
