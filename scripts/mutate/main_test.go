package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"testing"
)

// What the mutations replace is still there, so that it shows at once when the
// code has moved away from them, and what they put there is Go.
func TestMutationsFit(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	for _, g := range groups {
		if len(g.mutations) == 0 || len(g.tests) == 0 {
			t.Errorf("group %s: %d mutations, %d packages of tests", g.name, len(g.mutations), len(g.tests))
		}
		for _, tests := range g.tests {
			if found, err := filepath.Glob(filepath.Join(root, tests.pkg, "*_test.go")); err != nil || len(found) == 0 {
				t.Errorf("group %s: no tests in %s: %v", g.name, tests.pkg, err)
			}
		}
		for _, m := range g.mutations {
			if seen[m.name] {
				t.Errorf("%s: twice", m.name)
			}
			seen[m.name] = true
			source, err := os.ReadFile(filepath.Join(root, m.file))
			if err != nil {
				t.Fatal(err)
			}
			changed, err := m.apply(source)
			if err != nil {
				t.Errorf("%s: %v", m.name, err)
				continue
			}
			if m.old == m.new {
				t.Errorf("%s: changes nothing", m.name)
			}
			if _, err := parser.ParseFile(token.NewFileSet(), m.file, changed, 0); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d mutations", len(seen))
	}
}
