package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Forms of output.
const (
	formTable = "table"
	formJSON  = "json"
	formYAML  = "yaml"
)

// checkForm refuses a form that there is not, before any work is done.
func checkForm(form string) error {
	switch form {
	case formTable, formJSON, formYAML:
		return nil
	}
	return fmt.Errorf("-o %s: there are table, json and yaml", form)
}

// printAs writes v as JSON or YAML, or calls table.
func printAs(w io.Writer, form string, v any, table func(io.Writer) error) error {
	switch form {
	case formTable:
		return table(w)
	case formYAML:
		return printYAML(w, v)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(escaped(out.Bytes()))
	return err
}

// printYAML writes v with the names that it has as JSON.
func printYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var generic yaml.Node // of JSON, which is YAML, so that the order stays
	if err := yaml.Unmarshal(escaped(b), &generic); err != nil {
		return err
	}
	blockStyle(&generic)
	return yaml.NewEncoder(w).Encode(&generic)
}

// escaped returns JSON with an escape for each character that JSON has in texts
// as it is, and YAML and documents not: it ends a line there, or controls a
// terminal, or is none.
func escaped(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for _, r := range string(data) {
		if r >= 0x7F && r <= 0x9F || r == 0xFEFF || r == 0xFFFE || r == 0xFFFF {
			out = fmt.Appendf(out, `\u%04x`, r)
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

// blockStyle makes nodes read from JSON look as YAML is written by hand. Their
// tags stay, so that "1" does not become a number.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && !plain(n.Value) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		blockStyle(c)
	}
}

// plainText is what every reader of YAML takes for the same text without quotes,
// unless it is one of the words that some take for something else.
var plainText = regexp.MustCompile(`^[A-Za-z/]([A-Za-z0-9_./@+()=,-]|:[A-Za-z0-9/]| [A-Za-z0-9(])*$`)

func plain(text string) bool {
	switch strings.ToLower(text) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return plainText.MatchString(text)
}

// printTrimmed writes text without the spaces that a table leaves at the ends of
// its lines.
func printTrimmed(w io.Writer, text string) error {
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
