package pushapi

import (
	"encoding/json"
	"testing"

	"sallyport/policydata"
)

func TestVersions(t *testing.T) {
	for _, text := range []string{"0.0", "1.42", "18446744073709551615.18446744073709551615"} {
		if v, ok := ParseVersion(text); !ok || v.String() != text {
			t.Errorf("%q is read as %v, %v", text, v, ok)
		}
	}
	for _, text := range []string{"", "1", "1.", ".1", "1.2.3", "-1.2", "+1.2", "01.2", "1.2 ", "1.18446744073709551616"} {
		if v, ok := ParseVersion(text); ok || v != (Version{}) {
			t.Errorf("%q is read as %v", text, v)
		}
	}
	ordered := []Version{{}, {0, 9}, {1, 0}, {1, 2}, {2, 1}}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := a.Compare(b), min(1, max(-1, i-j)); got != want {
				t.Errorf("%v against %v: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"a\u00e9", 3, "a\u00e9"}, {"a\u00e9", 2, "a"}, {"a\xffb", 9, "ab"}, {"", 0, ""}} {
		if got := Clip(tt.text, tt.n); got != tt.want {
			t.Errorf("%q to %d: %q, want %q", tt.text, tt.n, got, tt.want)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	r := Report{
		Instance: "edge \"1\"\n\xff", Process: "p", Worker: "w", Plugin: "sallyport", Push: PushPoll,
		Enforced: Version{1, 42}, Mark: "ab", Age: 3, Held: 2, Reason: "none",
	}
	r.Decisions[policydata.ReasonAllowed] = 7
	r.Decisions[policydata.ReasonNoToken] = 1
	var got map[string]any
	if err := json.Unmarshal(r.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"process": "p", "worker": "w", "plugin": "sallyport", "push": "poll",
		"enforced": "1.42", "mark": "ab", "age": 3.0, "held": 2.0, "refused": "", "reason": "none",
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %v, want %v", name, got[name], value)
		}
	}
	decisions, _ := got["decisions"].(map[string]any)
	if len(decisions) != 2 || decisions["allowed"] != 7.0 || decisions["no_token"] != 1.0 || len(got) != len(want)+2 {
		t.Errorf("got %v", got)
	}
}
