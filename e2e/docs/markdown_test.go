package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
)

// block is a fenced block or a table of a page, in the page's order.
type block struct {
	kind string     // the fence's words, or the table's header: "request | claims | decision"
	text string     // of a fenced block
	rows [][]string // cells of a table
}

// readPage returns the blocks of a page of the repository. A page without any
// fails.
func readPage(t *testing.T, path ...string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{envoytest.Root(t)}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	lines := strings.Split(string(text), "\n")
	for i := 0; i < len(lines); i++ {
		switch line := lines[i]; {
		case strings.HasPrefix(line, "```"):
			b := block{kind: strings.TrimPrefix(line, "```")}
			for i++; i < len(lines) && lines[i] != "```"; i++ {
				b.text += lines[i] + "\n"
			}
			blocks = append(blocks, b)
		case strings.HasPrefix(line, "|"):
			b := block{kind: strings.TrimSpace(strings.Join(cells(line), " | "))}
			for i += 2; i < len(lines) && strings.HasPrefix(lines[i], "|"); i++ {
				b.rows = append(b.rows, cells(lines[i]))
			}
			blocks = append(blocks, b)
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("%v has no examples", path)
	}
	return blocks
}

// cells parts a table's row; `\|` is no border.
func cells(row string) []string {
	row = strings.ReplaceAll(strings.Trim(row, "|"), `\|`, "\x00")
	out := strings.Split(row, "|")
	for i := range out {
		out[i] = strings.TrimSpace(strings.ReplaceAll(out[i], "\x00", "|"))
	}
	return out
}

var codeSpan = regexp.MustCompile("`([^`]*)`")

// spans returns the texts of a cell that are in backticks.
func spans(cell string) []string {
	var out []string
	for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}
