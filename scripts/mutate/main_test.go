package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the mutations replace is still there, so that it shows at once when the
// engine has moved away from them.
func TestMutationsFit(t *testing.T) {
	if len(mutations) < 30 {
		t.Errorf("%d mutations", len(mutations))
	}
	seen := map[string]bool{}
	for _, m := range mutations {
		if seen[m.name] {
			t.Errorf("%s: twice", m.name)
		}
		seen[m.name] = true
		source, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.old); n != 1 {
			t.Errorf("%s: %s has the text to replace %d times", m.name, m.file, n)
		}
		if m.old == m.new {
			t.Errorf("%s: changes nothing", m.name)
		}
	}
}
