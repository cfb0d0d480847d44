package policydata

import (
	"encoding/json"
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestDecisionAppendJSON(t *testing.T) {
	tests := []struct {
		name string
		d    Decision
		want string
	}{
		{"zero", Decision{}, `{"decision":"deny","status":503,"reason":"internal_error","gate":"","policy":"","rule":"","user":"","service":"","generation":"0","captures":{}}`},
		{
			"full",
			Decision{
				Reason: ReasonAllowed, Gate: GateUser, Policy: "p", Rule: "#0", User: "eric", Service: "mlops",
				Epoch: 3, Generation: 1<<64 - 1,
				Captures: []Capture{{Name: "team", Value: "foo"}, {Name: "team", Value: "bar", Host: true}},
			},
			`{"decision":"allow","status":200,"reason":"allowed","gate":"user","policy":"p","rule":"#0","user":"eric","service":"mlops","generation":"18446744073709551615","captures":{"team":"foo","host.team":"bar"}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(tt.d.AppendJSON(nil))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Texts of every kind come back as they were, and bytes that are no UTF-8 as
// encoding/json writes them, too.
func TestDecisionAppendJSONIsReadByOthers(t *testing.T) {
	var texts []string
	for c := range 256 {
		texts = append(texts, "a"+string(rune(c))+"b", "a"+string([]byte{byte(c)})+"b")
	}
	texts = append(texts, "\u2028\u2029", "\U0001F600", "\xed\xa0\x80", "\xc0\xaf", `\u0041`, "</script>", "\ufffd")
	for _, text := range texts {
		d := Decision{Policy: text, Rule: text, User: text, Service: text, Captures: []Capture{{Name: "n", Value: text}}}
		out := d.AppendJSON([]byte("prefix"))
		var got struct {
			Policy, Rule, User, Service string
			Captures                    map[string]string
		}
		if err := json.Unmarshal(out[len("prefix"):], &got); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		encoded, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var want string
		if err := json.Unmarshal(encoded, &want); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{got.Policy, got.Rule, got.User, got.Service, got.Captures["n"]} {
			if s != want || !utf8.ValidString(s) {
				t.Errorf("%q: got %q, want %q", text, s, want)
			}
		}
	}
}

func TestReasons(t *testing.T) {
	want := map[string]int{
		"internal_error": 503, "allowed": 200, "no_token": 401, "bad_token": 401, "expired": 401,
		"not_yet_valid": 401, "unknown_issuer": 401, "bad_audience": 401, "bad_signature": 401,
		"revoked": 401, "replayed": 401, "bad_path": 400, "user_disabled": 403, "service_disabled": 403,
		"unknown_user": 403, "denied_by_rule": 403, "condition_error": 403, "no_matching_rule": 403,
		"service_gate": 403, "no_snapshot": 503, "stale_snapshot": 503,
	}
	got := map[string]int{}
	for r := range NumReasons {
		got[r.String()] = r.Status()
		if d := (Decision{Reason: r}); d.Allowed() != (r.Status() == 200) {
			t.Errorf("%v: allowed is %t with status %d", r, d.Allowed(), r.Status())
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownReasonIsAnInternalError(t *testing.T) {
	for _, r := range []Reason{NumReasons, 255} {
		if d := (Decision{Reason: r}); r.String() != "internal_error" || r.Status() != 503 || d.Allowed() {
			t.Errorf("%d: %v %d", r, r, r.Status())
		}
	}
}

func TestGates(t *testing.T) {
	for gate, want := range map[Gate]string{GateNone: "", GateService: "service", GateUser: "user", 9: ""} {
		t.Run(strconv.Quote(want), func(t *testing.T) {
			if gate.String() != want {
				t.Errorf("got %q", gate)
			}
		})
	}
}
