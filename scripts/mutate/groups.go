package main

import (
	"path/filepath"
	"slices"
)

// A group is mutations of what the same tests must keep right.
type group struct {
	name string
	// tests are run for each mutation until one fails: those of its own package
	// first, whether they are listed here or not.
	tests     []tests
	built     bool // the tests run the built filter
	mutations []mutation
}

// tests are tests of a package: those that the expression matches, "" for all.
type tests struct{ pkg, run string }

var groups = []group{
	{name: "engine", tests: []tests{{pkg: "./policydata"}, {pkg: "./policydata/authorize"}}, mutations: engine},
	{name: "format", tests: []tests{{"./policydata", "Load|Layout|Frame|Collide|Canonical|Decide|Golden|Evaluator|Trie|Path|Build|Delegat"}}, mutations: format},
}

// testsOf returns the tests for a mutation of a file.
func (g *group) testsOf(file string) []tests {
	own := "./" + filepath.Dir(file)
	at := slices.IndexFunc(g.tests, func(t tests) bool { return t.pkg == own })
	switch {
	case g.built:
		return g.tests
	case at < 0:
		return append([]tests{{pkg: own}}, g.tests...)
	}
	list := []tests{g.tests[at]}
	return append(append(list, g.tests[:at]...), g.tests[at+1:]...)
}
