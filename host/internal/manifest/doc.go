// Package manifest reads the documents that people write, in YAML or JSON, and
// says with file, line, column and field what is wrong with them.
//
// It is strict: an unknown field, a value of another type, a name given twice or
// a missing field is an error, and so are the parts of YAML that read
// differently than they look: anchors, aliases, merge keys, tags, and unquoted
// texts such as 123, no or 2026-01-01 where a text is meant. What the fields of
// each kind are is data (schema.go); what values mean, and how documents refer
// to each other, is package model's matter, and Locate adds the places to what
// that reports.
package manifest
