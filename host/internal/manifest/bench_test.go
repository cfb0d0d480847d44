package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/host/internal/manifest"
)

func BenchmarkParse10000Policies(b *testing.B) {
	var text strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&text, "---\napiVersion: sallyport/v1\nkind: Policy\nmetadata: {name: p%d}\nspec:\n  rules:\n  - effect: allow\n    methods: [\"*\"]\n    paths: [\"/workspaces/team%d/**\"]\n    when: '\"team%d\" in token.groups'\n", i, i, i)
	}
	data := []byte(text.String())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := manifest.Parse("a.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}
