package manifest_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"sallyport/host/internal/manifest"
	"sallyport/host/internal/model"
)

var updateGolden = flag.Bool("update", false, "write what is got into testdata/errors")

// checks stand in for the real ones, which have tests of their own.
var checks = model.Checks{
	Condition: func(src string, pathCaptures, hostCaptures []string) error {
		for _, word := range strings.Fields(src) {
			name, ok := strings.CutPrefix(word, "path.")
			if ok && !slices.Contains(pathCaptures, name) {
				return errors.New("1:1: path." + name + " is not captured")
			}
		}
		return nil
	},
	Keys: func(jwks []byte) error {
		if !strings.Contains(string(jwks), `"keys"`) {
			return errors.New("expected a key set with keys")
		}
		return nil
	},
	KeyURL: func(url string) error {
		if strings.HasPrefix(url, "http:") {
			return errors.New("expected https")
		}
		return nil
	},
}

// TestErrors runs testdata/errors: each archive holds files and, as "want", the
// lines of the error that reading and checking them gives; none if it is empty.
func TestErrors(t *testing.T) {
	archives, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives (%v)", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "want" })
			if want < 0 || len(archive.Files) < 2 {
				t.Fatal(`expected files and "want"`)
			}
			got := readAndCheck(t, archive)
			if *updateGolden {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

func readAndCheck(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range archive.Files {
		if f.Name == "want" {
			continue
		}
		path := filepath.Join(dir, f.Name)
		// Escapes let an archive hold what an editor would not keep.
		data := strings.NewReplacer("{TAB}", "\t", "{BOM}", "\uFEFF", "{BAD}", "\xff", "{CR}", "\r", "{NUL}", "\x00").Replace(string(f.Data))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(data), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	docs, err := manifest.Read(strings.NewReader(""), dir)
	if err == nil {
		entities := manifest.Entities(docs)
		state := &model.State{}
		err = manifest.Locate(docs, state.With(entities).Check(entities, checks))
	}
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "") + "\n"
}

const design = `apiVersion: sallyport/v1
kind: Policy
metadata: {name: own-workspace}
spec:
  rules:
  - name: members                      # optional
    effect: allow
    methods: ["*"]
    hosts: ["api.example.com", "*.example.org", "{team}.ws.example.org"]
    paths: ["/workspaces/{team}/**"]
    when: path.team in token.groups
---
apiVersion: sallyport/v1
kind: User
metadata: {name: eric, description: Eric, reserved: true}
spec: {email: eric@example.org, externalId: "", disabled: false, tokensNotBefore: "2026-11-01T00:00:00Z", policies: []}
---
# an empty document
---
{"apiVersion": "sallyport/v1", "kind": "User", "metadata": {"name": "bob"}}
---
apiVersion: sallyport/v1
kind: Issuer
metadata: {name: keycloak}
spec:
  issuer: https://idp.example.com/realms/eo
  audiences: [workspace-api]
  algorithms: [RS256]
  jwks: {inline: {keys: [{kty: RSA, n: abc, e: AQAB, ext: true, size: 2048, no-value: null}]}}
  claims:
    username: [[preferred_username]]
    roles: [[realm_access, roles]]
    trimGroupPrefix: "/"
  clockSkew: 1m
`

func TestParseReadsAllFields(t *testing.T) {
	docs, err := manifest.Parse("design.yaml", []byte(design))
	if err != nil {
		t.Fatal(err)
	}
	want := []model.Entity{
		&model.Policy{
			Metadata: model.Metadata{Name: "own-workspace"},
			Rules: []model.Rule{{
				Name: "members", Effect: model.Allow, Methods: []string{"*"},
				Hosts: []string{"api.example.com", "*.example.org", "{team}.ws.example.org"},
				Paths: []string{"/workspaces/{team}/**"}, When: "path.team in token.groups",
			}},
		},
		&model.User{
			Metadata:        model.Metadata{Name: "eric", Description: "Eric", Reserved: true},
			Email:           "eric@example.org",
			TokensNotBefore: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC),
			Policies:        []string{},
		},
		&model.User{Metadata: model.Metadata{Name: "bob"}},
		&model.Issuer{
			Metadata:   model.Metadata{Name: "keycloak"},
			Issuer:     "https://idp.example.com/realms/eo",
			Audiences:  []string{"workspace-api"},
			Algorithms: []string{"RS256"},
			JWKS:       model.JWKS{Inline: []byte(`{"keys":[{"e":"AQAB","ext":true,"kty":"RSA","n":"abc","no-value":null,"size":2048}]}`)},
			Claims: model.Claims{
				Username:        [][]string{{"preferred_username"}},
				Groups:          [][]string{{"groups"}},
				Roles:           [][]string{{"realm_access", "roles"}},
				Client:          [][]string{{"azp"}, {"client_id"}},
				TrimGroupPrefix: "/",
			},
			ClockSkew:        model.Duration(time.Minute),
			MaxTokenLifetime: model.Duration(24 * time.Hour),
		},
	}
	if diff := cmp.Diff(want, manifest.Entities(docs)); diff != "" {
		t.Errorf("entities (-want +got):\n%s", diff)
	}
	var lines []int
	for _, doc := range docs {
		lines = append(lines, doc.Line)
	}
	if diff := cmp.Diff([]int{1, 13, 20, 22}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestParseReadsAByteOrderMarkAndCRLF(t *testing.T) {
	text := "\uFEFF" + strings.ReplaceAll(design, "\n", "\r\n")
	docs, err := manifest.Parse("design.yaml", []byte(text))
	if err != nil || len(docs) != 4 {
		t.Errorf("got %d documents and %v, want 4", len(docs), err)
	}
}

func TestParseJSON(t *testing.T) {
	const user = `{"apiVersion":"sallyport/v1","kind":"User","metadata":{"name":"%"},"spec":{"email":"\ud83d\ude00@example.org"}}`
	one, two := strings.Replace(user, "%", "one", 1), strings.Replace(user, "%", "two", 1)
	for name, text := range map[string]string{
		"array":  "[" + one + "," + two + "]",
		"stream": one + "\n" + two,
	} {
		t.Run(name, func(t *testing.T) {
			docs, err := manifest.Parse("a.json", []byte(text))
			if err != nil || len(docs) != 2 {
				t.Fatalf("got %d documents and %v, want 2", len(docs), err)
			}
			if got := docs[1].Entity.(*model.User).Email; got != "😀@example.org" {
				t.Errorf("email %q", got)
			}
		})
	}
}

func TestReadTakesFilesDirectoriesAndStdin(t *testing.T) {
	dir := t.TempDir()
	user := func(name string) string {
		return "apiVersion: sallyport/v1\nkind: User\nmetadata: {name: " + name + "}\n"
	}
	for name, text := range map[string]string{
		"d/b.yml": user("b"), "d/a.yaml": user("a"), "d/sub/c.json": `{"apiVersion":"sallyport/v1","kind":"User","metadata":{"name":"c"}}`,
		"d/README.md": "no manifest", "d/.hidden.yaml": "no manifest", "d/.git/x.yaml": "no manifest", "single.conf": user("single"),
		"empty.yaml": "# nothing\n---\n", "none/README.md": "",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	docs, err := manifest.Read(strings.NewReader(user("stdin")), filepath.Join(dir, "d"), manifest.Stdin, filepath.Join(dir, "single.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, doc := range docs {
		names = append(names, doc.Entity.Meta().Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "c", "stdin", "single"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for path, want := range map[string]string{"empty.yaml": "no documents in", "none": "no *.yaml, *.yml or *.json in", "missing": "no such file"} {
		if _, err := manifest.Read(nil, filepath.Join(dir, path)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", path, err, want)
		}
	}
}

func TestParseIsBounded(t *testing.T) {
	deep := strings.Repeat("[", 5000)
	for name, tt := range map[string]struct{ file, text, want string }{
		"file size":       {"a.yaml", strings.Repeat("#", manifest.MaxFileBytes+1), "is larger than"},
		"depth of YAML":   {"a.yaml", "kind: User\nspec: " + deep + strings.Repeat("]", 5000), "is required"},
		"depth in JWKS":   {"a.yaml", "kind: Issuer\nspec: {jwks: {inline: {keys: " + deep + strings.Repeat("]", 5000) + "}}}", "nests deeper"},
		"depth of JSON":   {"a.json", deep, "nests too deep"},
		"open brackets":   {"a.yaml", strings.Repeat("{", 100_000), "not valid YAML"},
		"open sequences":  {"a.yaml", strings.Repeat("- ", 100_000), "not valid YAML"},
		"alias bomb":      {"a.yaml", "kind: User\nspec: {policies: &a [x,x], email: &b [*a,*a]}\n", "anchors are not supported"},
		"many errors":     {"a.yaml", "kind: User\n" + manyFields(5000), "and 980 more errors"},
		"cyclic document": {"a.yaml", "&a [*a]", "anchors are not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := manifest.Parse(tt.file, []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %q", err, tt.want)
			}
			if n := strings.Count(err.Error(), "\n"); n > 20 {
				t.Errorf("the error has %d lines", n)
			}
		})
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("f" + strings.Repeat("x", i%7) + "_" + string(rune('a'+i%26)) + strings.Repeat("y", i/182) + ": 1\n")
	}
	return b.String()
}

func FuzzParse(f *testing.F) {
	f.Add("a.yaml", []byte(design))
	f.Add("a.json", []byte(`[{"apiVersion":"sallyport/v1","kind":"User","metadata":{"name":"a"}}]`))
	f.Add("a.yaml", []byte("a: &a [*a]\n<<: *a\n? [x]\n: !!binary x\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		docs, err := manifest.Parse(name, data)
		if (err == nil) == (docs == nil) && len(docs) > 0 {
			t.Fatal("documents and an error")
		}
		if err != nil {
			_ = err.Error()
			return
		}
		entities := manifest.Entities(docs)
		_ = manifest.Locate(docs, (&model.State{}).With(entities).Check(entities, checks))
	})
}
