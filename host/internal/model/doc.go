// Package model holds the documents that people write (kinds User, Group,
// Policy, Role, ServiceAccount and Issuer), the State that they make up
// together, and every rule that they must keep.
//
// Entities are immutable once they are part of a State: a State shares those
// that did not change with the State it was made from, so that a caller can tell
// by pointer comparison what a write touched.
//
// Rules report Problems, which name the document and the field but no file;
// package manifest adds file, line and column.
package model
