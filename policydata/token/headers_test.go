package token_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

func TestAppendHeaders(t *testing.T) {
	tests := []struct{ name, value, want string }{ // want "": no header
		{"text", `"acme"`, "acme"},
		{"visible ASCII stays", `"a@b.example/~!#$&'()*+;=:?\"\\|"`, `a@b.example/~!#$&'()*+;=:?"\|`},
		{"escapes of JSON are resolved", `"\u0061\/"`, "a/"},
		{"what is not ASCII", `"\u00fc \t\r\n\u0000\u007f"`, "%C3%BC%20%09%0D%0A%00%7F"},
		{"percent and comma", `"50%,x"`, "50%25%2Cx"},
		{"a number", `12`, "12"},
		{"a number as it stands", `-1.50e+3`, "-1.50e+3"},
		{"true", `true`, "true"},
		{"false", `false`, "false"},
		{"an array", `["a","b,c",1,true]`, "a,b%2Cc,1,true"},
		{"an array of one", `["a"]`, "a"},
		{"an empty text", `""`, ""},
		{"an empty array", `[]`, ""},
		{"null", `null`, ""},
		{"an object", `{"a":"b"}`, ""},
		{"an array with an object", `["a",{"b":1}]`, ""},
		{"an array with an array", `["a",["b"]]`, ""},
		{"an array with null", `["a",null,"b"]`, ""},
		{"as long as allowed", `"` + strings.Repeat("a", token.MaxHeaderBytes) + `"`, strings.Repeat("a", token.MaxHeaderBytes)},
		{"too long", `"` + strings.Repeat("a", token.MaxHeaderBytes+1) + `"`, ""},
		{"too long when encoded", `"` + strings.Repeat(" ", token.MaxHeaderBytes/2) + `"`, ""},
	}
	issuer := testIssuer()
	issuer.ClaimHeaders = []policydata.ClaimHeader{{Header: "x-claim", Claim: []string{"a.b", "c"}}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := token.AppendHeaders(nil, &issuer, `{"a":{"b":{"c":"no"}},"a.b":{"c":`+tt.value+`}}`)
			var want [][2]string
			if tt.want != "" {
				want = [][2]string{{"x-claim", tt.want}}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestAppendHeadersTakesEachInOrder(t *testing.T) {
	issuer := testIssuer()
	issuer.ClaimHeaders = []policydata.ClaimHeader{
		{Header: "x-a", Claim: []string{"a"}},
		{Header: "x-b", Claim: []string{"no", "where"}},
		{Header: "x-c", Claim: []string{"a", "through a text"}},
		{Header: "x-d", Claim: []string{"a"}},
	}
	before := [][2]string{{"x", "y"}}
	if got := fmt.Sprint(token.AppendHeaders(before, &issuer, `{"a":1}`)); got != "[[x y] [x-a 1] [x-d 1]]" {
		t.Error(got)
	}
}
