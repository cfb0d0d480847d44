package bypass

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
)

// number begins the name of a row; span is how rows are counted in the table.
var (
	number = regexp.MustCompile(`^HTTP/(?:1\.1|2) (?:passes: )?(\d\d) `)
	span   = regexp.MustCompile(`\d\d(?:-\d\d)?`)
)

// The table of SECURITY.md and the attacks have the same rows, but for those which
// the table says are shown by another package.
func TestSecurityHasARowForEachAttack(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(envoytest.Root(t), "SECURITY.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Known bypasses, row by row\n")
	table, _, _ = strings.Cut(table, "\n## ")
	sent := map[int]bool{}
	for _, r := range rows() {
		if m := number.FindStringSubmatch(r.name); m != nil {
			n, _ := strconv.Atoi(m[1]) // two digits
			sent[n] = true
		}
	}
	told, shown := map[int]bool{}, map[int]bool{52: true} // by TestRewrites
	maps.Copy(shown, sent)
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		first, rest, _ := strings.Cut(strings.TrimPrefix(line, "| "), "|")
		for _, n := range numbers(first) {
			told[n] = true
			if !shown[n] && !strings.Contains(rest, "`policydata/") && !strings.Contains(rest, "`e2e/") && !strings.Contains(rest, "`host/") {
				t.Errorf("row %02d of the table is no attack, and names no other test", n)
			}
		}
	}
	for n := range sent {
		if !told[n] {
			t.Errorf("row %02d is not in the table", n)
		}
	}
	if len(told) < 40 {
		t.Errorf("the table has %d rows", len(told))
	}
}

// numbers reads "01 02" and "07-10".
func numbers(cell string) []int {
	var list []int
	for _, s := range span.FindAllString(cell, -1) {
		from, to, ok := strings.Cut(s, "-")
		if !ok {
			to = from
		}
		a, _ := strconv.Atoi(from) // digits
		b, _ := strconv.Atoi(to)
		for n := a; n <= b; n++ {
			list = append(list, n)
		}
	}
	return slices.Compact(list)
}
