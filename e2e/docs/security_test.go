package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
)

// mention is a path in backticks, or the name of a test, of which a part stands
// behind a slash.
var mention = regexp.MustCompile("`([^`\n]+)`|\\bTest[A-Z]\\w*(?:/[\\w-]+)*")

// Each row and paragraph of SECURITY.md that says where something is shown names
// files and tests that there are. A test is one of the package before it.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	root := envoytest.Root(t)
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	// A row is a part of its own, as a paragraph is.
	parts := strings.Split(strings.ReplaceAll(string(text), "\n|", "\n\n|"), "\n\n")
	tests, paths := 0, 0
	for _, part := range parts {
		dir := ""
		for _, m := range mention.FindAllStringSubmatch(part, -1) {
			if m[1] == "" {
				tests++
				if dir == "" || !hasTest(t, filepath.Join(root, dir), m[0]) {
					t.Errorf("package %q has no test %s:\n%s", dir, m[0], part)
				}
				continue
			}
			if found := find(root, dir, m[1]); found != "" {
				paths++
				dir = found
			} else if strings.HasPrefix(m[1], "e2e/") || strings.HasPrefix(m[1], "host/") ||
				strings.HasPrefix(m[1], "plugin/") || strings.HasPrefix(m[1], "policydata") {
				t.Errorf("there is no %s:\n%s", m[1], part)
			}
		}
	}
	if tests < 25 || paths < 25 {
		t.Errorf("%d tests and %d paths are named", tests, paths)
	}
}

// find returns the directory that a name means: of the repository, or of the
// directory that was named before it; "" if it names nothing there.
func find(root, dir, name string) string {
	if strings.Contains(name, "*") || path.IsAbs(name) {
		return ""
	}
	for _, candidate := range []string{name, path.Join(dir, name)} {
		info, err := os.Stat(filepath.Join(root, candidate))
		switch {
		case err != nil:
		case info.IsDir():
			return candidate
		default:
			return path.Dir(candidate)
		}
	}
	return ""
}

// hasTest reports whether a package has a test. A subtest is looked for as its
// name stands in the source.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	function, subtests, _ := strings.Cut(name, "/")
	if !strings.Contains(all.String(), "func "+function+"(t *testing.T)") {
		return false
	}
	for _, s := range strings.Split(subtests, "/") {
		if s != "" && !strings.Contains(all.String(), `"`+s+`"`) && !strings.Contains(all.String(), `"`+strings.ReplaceAll(s, "_", " ")+`"`) {
			return false
		}
	}
	return true
}
