package main

import (
	"encoding/json"
	"fmt"
	"io"

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
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// printYAML writes v with the names that it has as JSON.
func printYAML(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var generic yaml.Node // of JSON, which is YAML, so that the order stays
	if err := yaml.Unmarshal(b, &generic); err != nil {
		return err
	}
	blockStyle(&generic)
	return yaml.NewEncoder(w).Encode(&generic)
}

// blockStyle makes nodes read from JSON look as YAML is written by hand. Their
// tags stay, so that "1" does not become a number.
func blockStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		blockStyle(c)
	}
}
