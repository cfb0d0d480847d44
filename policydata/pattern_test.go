package policydata

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wantError checks that err has a text, or that there is none for "".
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestCheckPathPattern(t *testing.T) {
	tests := []struct {
		name, pattern string
		captures      []string
		want          string
	}{
		{"root", "/", nil, ""},
		{"all", "/**", nil, ""},
		{"trailing_slash", "/a/", nil, ""},
		{"captures_in_order", "/a/{team}/*/{_x1}/**", []string{"team", "_x1"}, ""},
		{"utf8", "/café/ü", nil, ""},
		{"text_that_only_looks_like_dots", "/.../.a/a./..b", nil, ""},
		{"64_segments", strings.Repeat("/a", 64), nil, ""},
		{"empty", "", nil, `begins with "/"`},
		{"relative", "a/b", nil, `begins with "/"`},
		{"only_a_wildcard", "**", nil, `begins with "/"`},
		{"65_segments", strings.Repeat("/a", 65), nil, "at most 64 segments"},
		{"too_long", "/" + strings.Repeat("a", MaxPatternBytes), nil, "at most 2048 bytes"},
		{"invalid_utf8", "/\xff", nil, "valid UTF-8"},
		{"percent", "/a%2Fb", nil, "decoded text"},
		{"backslash", `/a\b`, nil, "can never match"},
		{"semicolon", "/a;b", nil, "can never match"},
		{"control_character", "/a\n", nil, "control characters"},
		{"delete", "/a\x7f", nil, "control characters"},
		{"empty_segment", "/a//b", nil, `"//" can never match`},
		{"leading_empty_segment", "//a", nil, `"//" can never match`},
		{"dot_segment", "/a/./b", nil, "can never match"},
		{"dot_dot_segment", "/a/..", nil, "can never match"},
		{"inner_double_star", "/a/**/b", nil, "only at the end"},
		{"double_star_before_slash", "/a/**/", nil, "only at the end"},
		{"partial_wildcard", "/a*", nil, "whole segment"},
		{"partial_double_star", "/a**", nil, "whole segment"},
		{"triple_star", "/***", nil, "whole segment"},
		{"partial_capture", "/a{b}", nil, "whole segment"},
		{"capture_with_suffix", "/{b}.json", nil, "whole segment"},
		{"unclosed_capture", "/{b", nil, "whole segment"},
		{"repeated_capture", "/{b}/{b}", nil, "same name twice"},
		{"empty_capture", "/{}", nil, "1 to 64 characters"},
		{"long_capture", "/{" + strings.Repeat("a", 65) + "}", nil, "1 to 64 characters"},
		{"capture_beginning_with_a_digit", "/{1a}", nil, "a letter or _"},
		{"capture_with_hyphen", "/{a-b}", nil, "a letter or _"},
		{"nested_capture", "/{{a}}", nil, "a letter or _"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			captures, err := CheckPathPattern(tt.pattern)
			wantError(t, err, tt.want)
			if diff := cmp.Diff(tt.captures, captures); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheckHostPattern(t *testing.T) {
	tests := []struct {
		name, pattern string
		captures      []string
		want          string
	}{
		{"plain", "api.example.com", nil, ""},
		{"any_case", "API.Example.COM", nil, ""},
		{"trailing_dot", "api.example.com.", nil, ""},
		{"one_label", "localhost", nil, ""},
		{"wildcard", "*.example.org", nil, ""},
		{"capture", "{team}.ws.example.org", []string{"team"}, ""},
		{"captures", "{a}.{b}.c", []string{"a", "b"}, ""},
		{"wildcard_and_capture", "*.{a}.c", []string{"a"}, ""},
		{"ipv6", "[2001:db8::1]", nil, ""},
		{"system_api", HostAPI, nil, ""},
		{"empty", "", nil, "must not be empty"},
		{"too_long", strings.Repeat("a.", 127), nil, "at most 253 bytes"},
		{"other_system_name", "system:other", nil, `only system host is "system:api"`},
		{"port", "a:80", nil, "no port"},
		{"ipv6_with_port", "[::1]:80", nil, "no address"},
		{"ipv6_unclosed", "[::1", nil, "no address"},
		{"only_a_wildcard", "*", nil, "leave hosts out"},
		{"inner_wildcard", "a.*.c", nil, "only as the first"},
		{"double_star", "**.a", nil, "whole segment"},
		{"partial_wildcard", "a*.b", nil, "whole segment"},
		{"partial_capture", "x{a}.b", nil, "whole segment"},
		{"repeated_capture", "{a}.{a}", nil, "same name twice"},
		{"empty_label", "a..b", nil, "no host label"},
		{"leading_dot", ".a", nil, "no host label"},
		{"path", "a/b", nil, "no host label"},
		{"not_ascii", "é.example", nil, "no host label"},
		{"ascii_only_in_lowercase", "\u212A.example", nil, "no host label"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			captures, err := CheckHostPattern(tt.pattern)
			wantError(t, err, tt.want)
			if tt.want == "" {
				if diff := cmp.Diff(tt.captures, captures); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestCheckMethod(t *testing.T) {
	tests := []struct{ name, method, want string }{
		{"any", "*", ""},
		{"read", "@read", ""},
		{"write", "@write", ""},
		{"preflight", "@preflight", ""},
		{"known", "GET", ""},
		{"own", "M-SEARCH", ""},
		{"lower_case_is_another_method", "get", ""},
		{"empty", "", "1 to 64 characters"},
		{"too_long", strings.Repeat("A", 65), "1 to 64 characters"},
		{"unknown_group", "@all", "unknown method group"},
		{"space", "GET POST", "no method"},
		{"comma", "GET,POST", "no method"},
		{"not_ascii", "GÉT", "no method"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, CheckMethod(tt.method), tt.want) })
	}
}

func TestIsToken(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "get": true, "M-SEARCH": true, "*": true, strings.Repeat("A", 65): true,
		"": false, "GET ": false, "GET /x": false, "GET\r\n": false, "GET\x00": false, "@read": false, "GET,POST": false, "G\xc9T": false,
	} {
		if got := IsToken(method); got != want {
			t.Errorf("%q: %t, want %t", method, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"plain", "own-workspace", ""},
		{"utf8_and_spaces", "Jörg Ä @ x.y:z", ""},
		{"longest", strings.Repeat("a", 256), ""},
		{"dots", "...", ""},
		{"system_without_colon", "system", ""},
		{"system_in_other_case", "System:x", ""},
		{"empty", "", "not be empty"},
		{"too_long", strings.Repeat("a", 257), "at most 256 bytes"},
		{"invalid_utf8", "a\xff", "valid UTF-8"},
		{"dot", ".", `not be "." or ".."`},
		{"dot_dot", "..", `not be "." or ".."`},
		{"system", "system:authenticated", `begin with "system:"`},
		{"slash", "a/b", `contain "/"`},
		{"star", "a*", `contain "/" or "*"`},
		{"newline", "a\nb", "control characters"},
		{"delete", "a\x7f", "control characters"},
		{"c1_control", "a\u0085", "control characters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, CheckName(tt.text), tt.want) })
	}
}
