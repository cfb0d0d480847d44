package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"sallyport/host/internal/model"
)

// MaxFileBytes is how large a file may be: room for some 100,000 rules.
const MaxFileBytes = 16 << 20

// Parse reads the documents in data, YAML or JSON. The name stands in errors
// for the file; one that ends in ".json" must hold JSON. The error is of type
// Errors.
func Parse(name string, data []byte) ([]Document, error) {
	docs, errs := parse(name, data)
	return checked(docs, errs)
}

// checked adds what is wrong between documents.
func checked(docs []Document, errs Errors) ([]Document, error) {
	first := map[model.Key]Document{}
	for _, doc := range docs {
		k := model.KeyOf(doc.Entity)
		if other, twice := first[k]; twice {
			e := doc.place("metadata.name")
			e.Text = fmt.Sprintf("%s %q is there twice, first in %s:%d", k.Kind, k.Name, other.File, other.Line)
			errs = append(errs, e)
			continue
		}
		first[k] = doc
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return docs, nil
}

// parse reads one file.
func parse(name string, data []byte) ([]Document, Errors) {
	docs, _, errs := parseAll(name, data)
	return docs, errs
}

// parseAll reads one file, with the suites of tests in it.
func parseAll(name string, data []byte) (docs []Document, suites []Suite, _ Errors) {
	d := &decoder{file: name}
	data = bytes.TrimPrefix(data, []byte("\uFEFF")) // a byte order mark
	if err := checkText(name, data); err != nil {
		return nil, nil, Errors{*err}
	}
	visit := func(root *yaml.Node) bool {
		if doc := d.document(root); doc.Entity != nil {
			docs = append(docs, doc)
		}
		return len(d.errs) < maxCollected
	}
	if strings.EqualFold(filepath.Ext(name), ".json") || looksLikeJSON(data) {
		d.eachJSON(data, visit)
	} else {
		d.eachYAML(data, visit)
	}
	return docs, d.suites, d.errs
}

func checkText(name string, data []byte) *Error {
	if len(data) > MaxFileBytes {
		return &Error{File: name, Text: fmt.Sprintf("is larger than %d bytes; split it into several files", MaxFileBytes)}
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return textError(name, data, i, "is not valid UTF-8 from here on")
		case unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r':
			return textError(name, data, i, fmt.Sprintf("must not contain the control character %U; in quotes, write an escape", r))
		}
		i += size
	}
	return nil
}

func textError(name string, data []byte, at int, text string) *Error {
	line := 1 + bytes.Count(data[:at], []byte("\n"))
	column := 1 + utf8.RuneCount(data[1+bytes.LastIndexByte(data[:at], '\n'):at])
	return &Error{File: name, Line: line, Column: column, Text: text}
}

// eachYAML calls visit for the documents of a YAML stream that are not empty.
func (d *decoder) eachYAML(data []byte, visit func(*yaml.Node) bool) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		err := decodeNode(dec, &n)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.errs = append(d.errs, yamlError(d.file, data, err))
			return
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) != 1 {
			continue
		}
		root := n.Content[0]
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" && root.Anchor == "" {
			continue
		}
		if !visit(root) {
			return
		}
	}
}

// decodeNode makes an error of a panic: the parser's own recovery lets those
// pass that it did not raise, and the bytes are not ours.
func decodeNode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("yaml: can't be parsed")
		}
	}()
	return dec.Decode(n)
}

var yamlErrorText = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

// yamlError translates an error of the YAML parser, which knows the line only.
func yamlError(file string, data []byte, err error) Error {
	e := Error{File: file, Line: 1, Text: err.Error()}
	if m := yamlErrorText.FindStringSubmatch(e.Text); m != nil {
		e.Text = m[2]
		if line, err := strconv.Atoi(m[1]); err == nil {
			e.Line = line
		}
		if m[1] != "" && parserError(e.Text) {
			e.Line++
		}
	}
	e.Text = "is not valid YAML: " + e.Text + yamlHint(lineAt(data, e.Line))
	return e
}

// parserError reports whether the text is one of the parser proper: those count
// lines from 0, the scanner's from 1.
func parserError(text string) bool {
	after, ok := strings.CutPrefix(text, "did not find expected ")
	if !ok {
		return false
	}
	for _, what := range []string{"'-' indicator", "key", "',' or", "node content", "<document start>"} {
		if strings.HasPrefix(after, what) {
			return true
		}
	}
	return false
}

func lineAt(data []byte, line int) string {
	lines := bytes.SplitN(data, []byte("\n"), line+1)
	if line > len(lines) {
		return ""
	}
	return string(lines[line-1])
}

var unquotedSign = regexp.MustCompile(`(?:^|[\s\[,{:-])([@*%` + "`" + `][^\s,\]}"']*)`)

// yamlHint says what is probably meant by a line that can't be parsed.
func yamlHint(line string) string {
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	if strings.Contains(indent, "\t") {
		return "; indent by spaces, not by tabs"
	}
	if m := unquotedSign.FindStringSubmatch(line); m != nil {
		return fmt.Sprintf("; write %q in quotes", m[1])
	}
	return ""
}
