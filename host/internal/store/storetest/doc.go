// Package storetest is the conformance suite of package store.
package storetest
