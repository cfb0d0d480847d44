package policydata

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCanonicalPathAccepts(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"root", "/", "/"},
		{"plain", "/workspaces/foo/x", "/workspaces/foo/x"},
		{"trailing_slash_stays", "/workspaces/foo/", "/workspaces/foo/"},
		{"query_is_cut", "/workspaces/foo?x=/workspaces/bar", "/workspaces/foo"},
		{"query_is_cut_at_the_first_mark", "/a?b?c", "/a"},
		{"query_may_hold_what_a_path_may_not", "/a?b=//../;%2f%00\\%zz", "/a"},
		{"query_of_the_root", "/?x", "/"},
		{"empty_query", "/a?", "/a"},
		{"escaped_question_mark_is_path", "/mypath%3Ffoo=bar", "/mypath?foo=bar"},
		{"escaped_letters_are_decoded", "/workspac%65s/b%61r", "/workspaces/bar"},
		{"escaped_star_is_text", "/workspaces/%2a/x", "/workspaces/*/x"},
		{"escaped_space_is_text", "/a%20b", "/a b"},
		{"escaped_number_sign_is_text", "/a%23b", "/a#b"},
		{"utf8_after_decoding", "/caf%C3%A9", "/café"},
		{"lower_case_escapes", "/caf%c3%a9", "/café"},
		{"percent_sign_that_begins_no_escape", "/100%25", "/100%"},
		{"percent_sign_before_other_text", "/100%25zz", "/100%zz"},
		{"case_is_kept", "/Workspaces/BAR", "/Workspaces/BAR"},
		{"dots_within_a_segment", "/a.b/..c/c../.d/...", "/a.b/..c/c../.d/..."},
		{"sub_delimiters", "/a!$&'()*+,=:@-._~b", "/a!$&'()*+,=:@-._~b"},
		{"curly_brackets_are_text", "/{team}/x", "/{team}/x"},
		{"longest", "/" + strings.Repeat("a", MaxPathBytes-1), "/" + strings.Repeat("a", MaxPathBytes-1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := CanonicalPath(tt.raw)
			if !ok || got != tt.want {
				t.Errorf("%q: got %q, %t", tt.raw, got, ok)
			}
		})
	}
}

// The numbers are the rows of the bypass corpus; the others are rules of the
// specification that it does not reach.
func TestCanonicalPathRefuses(t *testing.T) {
	tests := []struct {
		name string
		raws []string
	}{
		{"empty", []string{""}},
		{"not_beginning_with_a_slash", []string{"a", "*", "?x", "http://h/workspaces/bar", "%2Fa", "host:443"}},
		{"03_multiple_slashes", []string{"/workspaces//bar/x", "//workspaces/bar", "//", "/a//", "/a//?x"}},
		{"04_leading_slashes_as_authority", []string{"//workspaces/bar/x"}},
		{"05_encoded_slash", []string{"/workspaces/foo%2f..%2fbar", "/a%2Fb", "/%2f", "/a%2f"}},
		{"06_backslash_raw_and_encoded", []string{"/workspaces/foo%5c..%5cbar", `/workspaces\bar`, "/%5C", `\a`}},
		{"07_dot_segments", []string{"/workspaces/foo/../bar/x", "/..", "/.", "/a/..", "/a/.", "/./a", "/../a", "/a/./b", "/.?x", "/..?x"}},
		{"08_encoded_dots", []string{"/workspaces/foo/%2e%2e/bar", "/%2E./", "/.%2e", "/%2e", "/%2E%2E"}},
		{"11_dots_with_semicolon", []string{"/workspaces/foo/..;/bar", "/.;/"}},
		{"12_matrix_parameters", []string{"/workspaces/foo;x=1/y", "/workspaces;a=b/bar/x"}},
		{"13_appended_parameters", []string{"/admin;x=y", "/admin;"}},
		{"14_encoded_semicolon", []string{"/workspaces/foo%3b/..", "/a%3Bb"}},
		{"15_double_encoding", []string{"/%252e%252e", "/a%252fb", "/%2561", "/%25%36%31", "/%25252e"}},
		{"16_overlong_utf8", []string{"/%c0%ae%c0%ae", "/%c0%af", "/%c1%9c", "/%c0%2fadmin", "/%e0%80%af"}},
		{"16_invalid_utf8", []string{"/%ff", "/%c3", "/%c3/%a9", "/%ed%a0%80", "/%f4%90%80%80"}},
		{"17_null_and_control_bytes", []string{"/admin%00", "/admin\x00", "/%0a", "/%0D", "/%1f", "/%7F", "/a\nb", "/a\tb", "/a b", "/a\x7f"}},
		{"19_bad_percent", []string{"/%2", "/%zz", "/a%", "/%", "/%2g", "/%g2", "/%?2f"}},
		{"20_raw_high_bytes", []string{"/a\x80", "/a\xff", "/café"}},
		{"21_fragment", []string{"/workspaces/foo/#/../bar", "/admin#x", "/a#", "/a?x#y"}},
		{"query_with_control_bytes", []string{"/a?\x00", "/a? b", "/a?\r\nx", "/a?\x7f"}},
		{"too_long", []string{"/" + strings.Repeat("a", MaxPathBytes), "/?" + strings.Repeat("a", MaxPathBytes)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, raw := range tt.raws {
				if got, ok := CanonicalPath(raw); ok {
					t.Errorf("%q accepted as %q", raw, got)
				}
			}
		})
	}
}

// Rows of the bypass corpus whose paths are canonical: the decision must not
// take them for eric's own workspace, foo.
func TestCanonicalPathsThatAreNotTheTeams(t *testing.T) {
	s, e := load(t, story()), NewEvaluator()
	eric := &Identity{Authenticated: true, Issuer: "kc", User: "eric", Groups: []string{"foo", "*", ""}}
	for name, raws := range map[string][]string{
		"01_prefix_boundary":       {"/workspaces/foobar/x", "/workspaces/foo-evil", "/workspaces/fo"},
		"02_collection":            {"/workspaces", "/workspaces/", "/workspaces/*", "/workspaces/%2a/x", "/workspaces/**"},
		"09_encoded_dot_in_prefix": {"/api%2e/admin/secret", "/workspaces%2e/foo"},
		"10_prefix_and_dots":       {"/api../admin", "/api%2e%2e/admin", "/workspaces../foo"},
		"18_encoded_letters":       {"/workspaces/b%61r/x", "/workspac%65s/bar"},
		"22_path_in_the_query":     {"/workspaces/bar/?x=/workspaces/foo", "/?/workspaces/foo"},
		"23_encoded_question_mark": {"/workspaces/bar%3F/workspaces/foo", "/workspaces%3F/foo"},
		"24_case":                  {"/Workspaces/foo", "/workspaces/FOO", "/workspaces/Foo/x"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, raw := range raws {
				path, ok := CanonicalPath(raw)
				if !ok {
					t.Errorf("%q is canonical, but refused", raw)
				}
				if d := e.Decide(s, &Request{Method: "GET", Path: path}, eric); d.Reason != ReasonNoMatchingRule {
					t.Errorf("%q: %v by %s", raw, d.Reason, d.Policy)
				}
			}
		})
	}
}

func TestCanonicalHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("a", 61) // 253 bytes
	tests := []struct{ name, authority, want string }{
		{"empty", "", ""},
		{"plain", "api.example.com", "api.example.com"},
		{"25_lower_case", "Httpbin.FOO", "httpbin.foo"},
		{"26_port_is_dropped", "host:443", "host"},
		{"26_empty_port_is_dropped", "host:", "host"},
		{"26_trailing_dot_is_dropped", "host.example.", "host.example"},
		{"26_trailing_dot_before_port", "host.:8080", "host"},
		{"address", "192.0.2.1:80", "192.0.2.1"},
		{"ipv6", "[2001:DB8::1]", "[2001:db8::1]"},
		{"ipv6_with_port", "[::1]:8443", "[::1]"},
		{"ipv6_with_ipv4", "[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"},
		{"hyphen_and_underscore", "a-b_c.d", "a-b_c.d"},
		{"longest", long, long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := CanonicalHost(tt.authority)
			if !ok || got != tt.want {
				t.Errorf("%q: got %q, %t", tt.authority, got, ok)
			}
		})
	}
	refused := map[string][]string{
		"two_trailing_dots":       {"host..", "host..:80"},
		"empty_label":             {".", ".host", "a..b", ":80"},
		"27_path_or_query":        {"example.com/abc?bar=", "a?b", "a#b", `a\b`},
		"userinfo":                {"user@host", "a:b@host", "user:80@host"},
		"bad_port":                {"host:http", "host:123456", "host:1:2", "host:-1", "host: 80"},
		"list":                    {"a,b", "a b", "a\tb", "a\x00"},
		"percent":                 {"a%2eb", "%61"},
		"not_ascii":               {"é.example", "a\xff", "ſ.example"},
		"ascii_only_in_lowercase": {"\u212A.example", "\u212A"},
		"wildcard_and_braces":     {"*", "*.a", "{team}"},
		"system_host":             {HostAPI},
		"bad_ipv6":                {"[", "[]", "[::1", "[::1]x", "[::1]:x", "[fe80::1%25eth0]", "[g::1]", "::1", "[" + strings.Repeat("a", 70) + "]"},
		"too_long":                {long + "a"},
	}
	for name, authorities := range refused {
		t.Run("refused_"+name, func(t *testing.T) {
			for _, a := range authorities {
				if got, ok := CanonicalHost(a); ok {
					t.Errorf("%q accepted as %q", a, got)
				}
			}
		})
	}
}

// checkCanonical holds for whatever CanonicalPath returns.
func checkCanonical(t *testing.T, raw, path string) {
	t.Helper()
	switch {
	case !strings.HasPrefix(path, "/"), !utf8.ValidString(path):
		t.Fatalf("%q: %q is no path", raw, path)
	case strings.Contains(path, "//"), strings.ContainsAny(path, `\;`):
		t.Fatalf("%q: %q has two readings", raw, path)
	case strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7F }):
		t.Fatalf("%q: %q has control characters", raw, path)
	}
	for i, segment := range strings.Split(path, "/") {
		if segment == "." || segment == ".." {
			t.Fatalf("%q: %q has a dot segment", raw, path)
		}
		for j := range len(segment) {
			if segment[j] == '%' && j+2 < len(segment) && isHex(segment[j+1]) && isHex(segment[j+2]) {
				t.Fatalf("%q: segment %d of %q can be decoded again", raw, i, path)
			}
		}
	}
	again := encodePath(path)
	if len(again) > MaxPathBytes {
		return
	}
	if got, ok := CanonicalPath(again); !ok || got != path {
		t.Fatalf("%q: %q, encoded as %q, becomes %q, %t", raw, path, again, got, ok)
	}
}

// encodePath percent-encodes all of a path but its slashes and dots.
func encodePath(path string) string {
	const hex = "0123456789ABCDEF"
	var out []byte
	for i := range len(path) {
		c := path[i]
		if c == '/' || c == '.' || isAlphanumeric(c) {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	return string(out)
}
