package trim

import (
	"encoding/binary"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is a module of sections: ids, each with its content.
func module(sections ...any) []byte {
	out := []byte(preamble)
	for i := 0; i < len(sections); i += 2 {
		out = appendBytes(append(out, byte(sections[i].(int))), sections[i+1].([]byte))
	}
	return out
}

// exports is the content of an export section, each name with its place for an
// index.
func exports(names ...string) []byte {
	out := binary.AppendUvarint(nil, uint64(len(names)))
	for i, name := range names {
		kind := byte(0)
		if name == "memory" {
			kind = 2
		}
		out = append(appendBytes(out, []byte(name)), kind)
		out = binary.AppendUvarint(out, uint64(1000+i))
	}
	return out
}

func keptNames() []string {
	var names []string
	for name := range kept {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestModule(t *testing.T) {
	code := []byte("code")
	names := append([]string{"proxy_on_new_connection"}, keptNames()...)
	in := module(0, []byte("\x04name"), 1, []byte("types"), 7, exports(append(names, "proxy_on_done")...), 10, code, 0, []byte("\x04last"))
	got, err := Module(in)
	if err != nil {
		t.Fatal(err)
	}
	// The indexes are those of the names in the whole module.
	want := binary.AppendUvarint(nil, uint64(len(kept)))
	whole := exports(names...)
	want = append(want, whole[1+len("\x17proxy_on_new_connection")+3:]...)
	if string(got) != string(module(1, []byte("types"), 7, want, 10, code)) {
		t.Errorf("got %q", got)
	}
	again, err := Module(got)
	if err != nil || string(again) != string(got) {
		t.Errorf("a trimmed module is not left as it is: %v", err)
	}
}

func TestModuleRefuses(t *testing.T) {
	all := keptNames()
	good := module(7, exports(all...))
	long := exports(all...)
	tests := []struct {
		rule string
		in   []byte
		want string
	}{
		{"no bytes", nil, "not a WebAssembly module"},
		{"another version", []byte("\x00asm\x02\x00\x00\x00"), "not a WebAssembly module"},
		{"no exports", module(1, []byte("types")), "0 export sections"},
		{"two export sections", append(slices.Clone(good), good[len(preamble):]...), "2 export sections"},
		{"a section that is not known", module(14, []byte{}, 7, long), "section 14: not known"},
		{"a section without a length", append(slices.Clone(good), 1), "section 1: truncated"},
		{"a section beyond the end", append(slices.Clone(good), 1, 5, 0), "section 1: truncated"},
		{"a length of more than 32 bits", append([]byte(preamble), 7, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F), "number too large"},
		{"a length of more than five bytes", append([]byte(preamble), 7, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00), "number too large"},
		{"an export that is missing", module(7, exports(all[1:]...)), `["_initialize"] are missing`},
		{"an export that is not known", module(7, exports(append(all, "proxy_on_new_things")...)), `"proxy_on_new_things" is not known`},
		{"an export twice", module(7, exports(append(all, all[0])...)), "there twice"},
		{"more exports than there are", module(7, append([]byte{byte(len(all) + 1)}, long[1:]...)), "truncated"},
		{"fewer exports than there are", module(7, append([]byte{byte(len(all) - 1)}, long[1:]...)), "bytes behind the last export"},
		{"an export without its kind", module(7, append([]byte{1}, "\x01a"...)), "truncated"},
		{"an export without its index", module(7, append([]byte{1}, "\x01a\x00"...)), "truncated"},
		{"a name beyond the end", module(7, append([]byte{1}, "\x7fa"...)), "truncated"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if out, err := Module(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) || out != nil {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for n := range len(good) {
		if _, err := Module(good[:n]); err == nil {
			t.Errorf("the first %d bytes of a module were accepted", n)
		}
	}
}

func FuzzModule(f *testing.F) {
	f.Add(module(0, []byte("x"), 7, exports(append(keptNames(), "proxy_on_done")...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := Module(b)
		if err != nil {
			return
		}
		again, err := Module(out)
		if err != nil || string(again) != string(out) {
			t.Errorf("the result is not a fixed point: %v", err)
		}
	})
}

// A callback that the filter implements must stay exported.
func TestCallbacksOfTheFilterAreKept(t *testing.T) {
	exportOf := map[string]string{
		"OnPluginStart":         "proxy_on_configure",
		"OnHttpRequestHeaders":  "proxy_on_request_headers",
		"OnHttpRequestTrailers": "proxy_on_request_trailers",
		"OnHttpStreamDone":      "proxy_on_log",
		"OnTick":                "proxy_on_tick",
		"NewPluginContext":      "proxy_on_context_create",
		"NewHttpContext":        "proxy_on_context_create",
	}
	files, err := filepath.Glob("../filter/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			method, ok := decl.(*ast.FuncDecl)
			if !ok || method.Recv == nil || !ast.IsExported(method.Name.Name) {
				continue
			}
			found++
			if export := exportOf[method.Name.Name]; !kept[export] {
				t.Errorf("%s: %s is a callback whose export %q is not kept", name, method.Name.Name, export)
			}
		}
	}
	if found < len(exportOf) {
		t.Errorf("only %d callbacks were found", found)
	}
}
