package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// JSON is read by its own parser: YAML's knows no surrogate pairs ("\ud83d\ude00").
// It makes the nodes that the YAML parser would make.

// looksLikeJSON reports whether data, of unknown kind, is JSON. YAML that is
// JSON as well means the same.
func looksLikeJSON(data []byte) bool {
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	return len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && json.Valid(trimmed)
}

// eachJSON calls visit for each document of a stream of JSON values, of which
// those that are arrays hold documents.
func (d *decoder) eachJSON(data []byte, visit func(*yaml.Node) bool) {
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1, column: 1}
	r.dec.UseNumber()
	for {
		n, err := r.node(0)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.errs = append(d.errs, r.error(d.file, err))
			return
		}
		roots := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			roots = n.Content
		}
		for _, root := range roots {
			if !visit(root) {
				return
			}
		}
	}
}

type jsonReader struct {
	data         []byte
	dec          *json.Decoder
	offset       int // up to here line and column are counted
	line, column int
}

var (
	errJSONDepth     = errors.New("nests too deep")
	errJSONSurrogate = errors.New("a text has half of a surrogate pair")
)

// node reads the next value; io.EOF if there is none.
func (r *jsonReader) node(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, errJSONDepth
	}
	start := int(r.dec.InputOffset())
	token, err := r.dec.Token()
	if err != nil {
		if errors.Is(err, io.EOF) && depth > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	for start < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[start]) >= 0 {
		start++
	}
	r.moveTo(start)
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line, Column: r.column}
	switch v := token.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if v == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		return n, r.children(n, depth)
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
		if loneSurrogate(v, r.data[start:r.dec.InputOffset()]) {
			return nil, errJSONSurrogate
		}
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
	case bool:
		n.Tag, n.Value = "!!bool", "false"
		if v {
			n.Value = "true"
		}
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

func (r *jsonReader) children(n *yaml.Node, depth int) error {
	for r.dec.More() {
		child, err := r.node(depth + 1)
		if err != nil {
			return err
		}
		n.Content = append(n.Content, child)
	}
	_, err := r.dec.Token() // the closing bracket
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// loneSurrogate reports whether the JSON text raw has an escape that stands for
// no character; encoding/json replaces it.
func loneSurrogate(v string, raw []byte) bool {
	return strings.ContainsRune(v, utf8.RuneError) && !bytes.ContainsRune(raw, utf8.RuneError) &&
		!bytes.Contains(bytes.ToLower(raw), []byte(`\ufffd`))
}

func (r *jsonReader) moveTo(offset int) {
	offset = min(offset, len(r.data))
	if offset <= r.offset {
		return
	}
	skipped := r.data[r.offset:offset]
	if i := bytes.LastIndexByte(skipped, '\n'); i >= 0 {
		r.line += bytes.Count(skipped, []byte("\n"))
		r.column = 1
		skipped = skipped[i+1:]
	}
	r.column += utf8.RuneCount(skipped)
	r.offset = offset
}

func (r *jsonReader) error(file string, err error) Error {
	offset := int(r.dec.InputOffset())
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = max(0, int(syntax.Offset)-1)
	}
	r.moveTo(offset)
	return Error{File: file, Line: r.line, Column: r.column, Text: "is not valid JSON: " + err.Error()}
}
