package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/model"
)

// maxDepth bounds how deep values nest. Documents need 7, key sets a few more.
const maxDepth = 32

// maxCollected bounds how many errors are kept, so that a file that is wrong
// throughout costs no more than one that is right.
const maxCollected = 1000

// decoder turns nodes into plain values of the form that encoding/json makes,
// and collects what is wrong with them.
type decoder struct {
	file   string
	errs   Errors
	suites []Suite // that were met among documents
}

func (d *decoder) errorf(n *yaml.Node, path, format string, args ...any) {
	if len(d.errs) < maxCollected {
		d.errs = append(d.errs, Error{d.file, n.Line, n.Column, path, fmt.Sprintf(format, args...)})
	}
}

// value returns the value of n as s describes it. What it returns is of use only
// if no error was collected.
func (d *decoder) value(n *yaml.Node, s *schema, path string, depth int) any {
	if !d.plainNode(n, path, depth) {
		return nil
	}
	switch s.shape {
	case shapeObject:
		return d.object(n, s, path, depth)
	case shapeList:
		return d.list(n, s, path, depth)
	case shapeAny:
		if n.Kind != yaml.MappingNode {
			d.unexpected(n, s, path)
			return nil
		}
		return d.any(n, path, depth)
	}
	return d.scalar(n, s, path)
}

// plainNode refuses what YAML has beyond JSON's values.
func (d *decoder) plainNode(n *yaml.Node, path string, depth int) bool {
	switch {
	case depth > maxDepth:
		d.errorf(n, path, "nests deeper than %d levels", maxDepth)
	case n.Kind == yaml.AliasNode:
		d.errorf(n, path, "YAML aliases are not supported: write the value out (to mean the text, write \"*%s\" in quotes)", n.Value)
	case n.Anchor != "":
		d.errorf(n, path, "YAML anchors are not supported: write the value out where it is needed")
	case n.Style&yaml.TaggedStyle != 0:
		d.errorf(n, path, "YAML tags such as %s are not supported", n.Tag)
	default:
		return true
	}
	return false
}

func (d *decoder) object(n *yaml.Node, s *schema, path string, depth int) any {
	if n.Kind != yaml.MappingNode {
		d.unexpected(n, s, path)
		return nil
	}
	out := map[string]any{}
	present := map[string]bool{}
	d.pairs(n, path, depth, func(key string, keyNode, valueNode *yaml.Node) {
		i := slices.IndexFunc(s.fields, func(f field) bool { return f.name == key })
		if i < 0 {
			d.errorf(keyNode, join(path, key), "unknown field%s", didYouMean(key, fieldNames(s)))
			return
		}
		present[key] = true
		out[key] = d.value(valueNode, s.fields[i].value, join(path, key), depth+1)
	})
	for _, f := range s.fields {
		if f.required && !present[f.name] {
			d.errorf(n, join(path, f.name), "is required: expected %s", f.value.expected())
		}
	}
	return out
}

// pairs calls fn for each key of the mapping n that is a text and is not there
// for the second time.
func (d *decoder) pairs(n *yaml.Node, path string, depth int, fn func(key string, k, v *yaml.Node)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if !d.plainNode(k, path, depth+1) {
			continue
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() != "!!str" {
			if k.ShortTag() == "!!merge" {
				d.errorf(k, path, "YAML merge keys are not supported: write the fields out")
			} else {
				d.errorf(k, path, "expected the name of a field, got %s", got(k))
			}
			continue
		}
		if line, twice := first[k.Value]; twice {
			d.errorf(k, join(path, k.Value), "is there twice, first in line %d", line)
			continue
		}
		first[k.Value] = k.Line
		fn(k.Value, k, v)
	}
}

func (d *decoder) list(n *yaml.Node, s *schema, path string, depth int) any {
	if n.Kind != yaml.SequenceNode {
		d.unexpected(n, s, path)
		return nil
	}
	out := make([]any, 0, len(n.Content))
	for i, item := range n.Content {
		out = append(out, d.value(item, s.item, fmt.Sprintf("%s[%d]", path, i), depth+1))
	}
	return out
}

func (d *decoder) scalar(n *yaml.Node, s *schema, path string) any {
	if n.Kind != yaml.ScalarNode {
		d.unexpected(n, s, path)
		return nil
	}
	if s.shape == shapeBool {
		if n.ShortTag() != "!!bool" || n.Value != "true" && n.Value != "false" {
			d.unexpected(n, s, path)
		}
		return n.Value == "true"
	}
	// A time looks the same with and without quotes.
	if s.shape == shapeTime && n.ShortTag() == "!!timestamp" {
		return d.time(n, s, path)
	}
	if n.ShortTag() != "!!str" || ambiguous(n) {
		d.unexpected(n, s, path)
		return nil
	}
	switch s.shape {
	case shapeTime:
		return d.time(n, s, path)
	case shapeDuration:
		if _, err := model.ParseDuration(n.Value); err != nil {
			d.errorf(n, path, "%s", err)
		}
	case shapeText:
		if s.oneOf != nil && !slices.Contains(s.oneOf, n.Value) {
			d.errorf(n, path, "expected %s, got %q%s", s.expected(), shorten(n.Value), didYouMean(n.Value, s.oneOf))
		}
	}
	return n.Value
}

func (d *decoder) time(n *yaml.Node, s *schema, path string) any {
	if _, err := time.Parse(time.RFC3339, n.Value); err != nil {
		d.unexpected(n, s, path)
	}
	return n.Value
}

// any returns the value of n whatever it is, as JSON has it.
func (d *decoder) any(n *yaml.Node, path string, depth int) any {
	if !d.plainNode(n, path, depth) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		d.pairs(n, path, depth, func(key string, _, v *yaml.Node) {
			out[key] = d.any(v, join(path, key), depth+1)
		})
		return out
	case yaml.SequenceNode:
		out := []any{}
		for i, item := range n.Content {
			out = append(out, d.any(item, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return out
	}
	return d.anyScalar(n, path)
}

func (d *decoder) anyScalar(n *yaml.Node, path string) any {
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		return nil
	case tag == "!!bool":
		return strings.EqualFold(n.Value, "true")
	case (tag == "!!int" || tag == "!!float") && json.Valid([]byte(n.Value)):
		return json.RawMessage(n.Value)
	case tag == "!!str" && !ambiguous(n):
		return n.Value
	}
	d.errorf(n, path, "expected a value that JSON has, got %s", got(n))
	return nil
}

func (d *decoder) unexpected(n *yaml.Node, s *schema, path string) {
	hint := ""
	if s.shape == shapeText && n.Kind == yaml.ScalarNode && n.Value != "" {
		hint = fmt.Sprintf("; to mean the text, write %q in quotes", shorten(n.Value))
	}
	if s.shape == shapeList && s.item.shape == shapeText && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		hint = fmt.Sprintf("; write [%q]", shorten(n.Value))
	}
	d.errorf(n, path, "expected %s, got %s%s", s.expected(), got(n), hint)
}

// got describes a value that was not expected.
func got(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
	default:
		return "something else"
	}
	v := shorten(n.Value)
	switch n.ShortTag() {
	case "!!null":
		return "nothing (null)"
	case "!!bool":
		return "the truth value " + v
	case "!!int", "!!float":
		return "the number " + v
	case "!!timestamp":
		return "the time " + v
	}
	if ambiguous(n) {
		return v + ", which some YAML readers take for a truth value"
	}
	return fmt.Sprintf("the text %q", v)
}

// ambiguous reports whether n is an unquoted text that YAML 1.1 takes for a
// truth value, and YAML 1.2 for a text.
func ambiguous(n *yaml.Node) bool {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Style&quoted != 0 {
		return false
	}
	switch strings.ToLower(n.Value) {
	case "y", "n", "yes", "no", "on", "off":
		return true
	}
	return false
}

// shorten keeps error messages on a line.
func shorten(s string) string {
	const most = 60
	runes := []rune(s[:min(len(s), 4*most)])
	if len(runes) <= most && len(s) <= 4*most {
		return s
	}
	return string(runes[:min(most, len(runes))]) + "..."
}

func fieldNames(s *schema) []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

func join(path, name string) string {
	name = shorten(name)
	if path == "" {
		return name
	}
	return path + "." + name
}
