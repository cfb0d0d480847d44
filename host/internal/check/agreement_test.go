package check_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"sallyport/host/internal/check"
	"sallyport/policydata/decidetest"
)

var decisions = flag.Int("decisions", 500, "how many random decisions are compared among engines and reference")

// TestEnginesAgreeWithTheReference asks three: the engine as Go code, the built
// filter in wazero, and the reference; on random policy sets and requests, with
// tokens that are verified. The decisions of the two engines are the same, byte
// for byte, and say what the reference says.
func TestEnginesAgreeWithTheReference(t *testing.T) {
	const requestsPerSet = 100
	signer, err := decidetest.NewSigner()
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for set := range uint64(max(1, *decisions/requestsPerSet)) {
		r := decidetest.NewRandom(3, set)
		at := time.Unix(1_900_000_000+r.Int64N(200_000_000), 0)
		agreeOn(t, r, signer, requestsPerSet, at, reasons)
	}
	t.Log(reasons)
	if reasons["allowed"] == 0 || reasons["service_gate"] == 0 || reasons["denied_by_rule"] == 0 {
		t.Error("not all kinds of decision were compared: the test shows too little")
	}
}

func agreeOn(t *testing.T, r decidetest.Random, signer *decidetest.Signer, requests int, at time.Time, reasons map[string]int) {
	t.Helper()
	source := r.Source()
	signer.Trust(&source)
	native, wasm := enginesAt(t, source, func() time.Time { return at })
	for range requests {
		m := r.Message(at.Unix())
		q := queryOf(t, signer, &m)
		want, got := decidetest.Authorize(&source, &m, at.Unix()), decide(t, native, q)
		var d said
		if err := json.Unmarshal([]byte(got), &d); err != nil {
			t.Fatal(err)
		}
		reasons[d.Reason]++
		if d.String() != want.String() || d.Status != want.Reason.Status() || (d.Decision == "allow") != (d.Status == http.StatusOK) {
			t.Fatalf("%+v:\ngo        %s\nreference %v\nsource %+v", m, got, want, source)
		}
		if other := decide(t, wasm, q); other != got {
			t.Fatalf("%+v:\ngo   %s\nwasm %s\nsource %+v", m, got, other, source)
		}
	}
	if err := wasm.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// said is a decision as the engines write it.
type said struct {
	Decision string            `json:"decision"`
	Status   int               `json:"status"`
	Reason   string            `json:"reason"`
	Gate     string            `json:"gate"`
	Policy   string            `json:"policy"`
	Rule     string            `json:"rule"`
	User     string            `json:"user"`
	Service  string            `json:"service"`
	Captures map[string]string `json:"captures"`
}

// String writes it as decidetest.Verdict does.
func (d *said) String() string {
	return fmt.Sprintf("%s gate=%q policy=%q rule=%q user=%q service=%q %v", d.Reason, d.Gate, d.Policy, d.Rule, d.User, d.Service, d.Captures)
}

func queryOf(t *testing.T, signer *decidetest.Signer, m *decidetest.Message) *check.Query {
	t.Helper()
	q := &check.Query{Method: m.Method, Path: m.Target, Host: m.Authority, Headers: check.Headers{}}
	for _, h := range m.Headers {
		q.Headers[h[0]] = append(q.Headers[h[0]], h[1])
	}
	if m.Claims == "" {
		return q
	}
	signed, err := signer.Token(m.Claims)
	if err != nil {
		t.Fatal(err)
	}
	q.Token = signed
	return q
}
