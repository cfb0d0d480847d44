package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/host/wasmhost"
	"sallyport/plugin/filtertest"
	"sallyport/policydata"
)

// BenchmarkFilter is a whole request through the built filter in wazero, from
// its context to its end. wazero is slower than Envoy's V8; the share of the
// parts is alike.
func BenchmarkFilter(b *testing.B) {
	f := fixture()
	cases := map[string]bool{
		"public without a token": true, "own workspace": true, "own workspace, ES256": true,
		"another's workspace": true, "private without a token": true, "no snapshot": true,
		"identity headers replace spoofed ones": true,
	}
	h := newHost(b.Context(), b, wasmhost.Options{})
	for _, c := range filtertest.Cases(b) {
		if !cases[c.Name] {
			continue
		}
		delete(cases, c.Name)
		in := h.start(b, f.Setting(b, c.Setting))
		headers := append(f.Headers(&c), ordinaryHeaders...)
		b.Run(c.Name, func(b *testing.B) {
			for b.Loop() {
				if out, _ := request(b, in, headers); out.Allowed != (c.Reason == policydata.ReasonAllowed) {
					b.Fatal(out.FilterState)
				}
			}
		})
	}
	if len(cases) > 0 {
		b.Errorf("no such cases: %v", cases)
	}
}

// ordinaryHeaders are what a browser sends beside.
var ordinaryHeaders = [][2]string{
	{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
	{"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
	{"accept-language", "en-US,en;q=0.5"},
	{"accept-encoding", "gzip, deflate, br, zstd"},
	{"x-forwarded-for", "192.0.2.1"},
	{"x-forwarded-proto", "https"},
	{"x-request-id", "0f8fad5b-d9cb-469f-a165-70867728950e"},
}

// manyPolicies is a source of n policies, one for each of n users and groups.
func manyPolicies(src *policydata.Source, n int) {
	for i := range n {
		name := fmt.Sprintf("team-%05d", i)
		src.Policies = append(src.Policies, policydata.Policy{Name: name, Rules: []policydata.Rule{{
			Effect: policydata.EffectAllow, Methods: []string{"@read"},
			Paths: []string{"/teams/" + name + "/{item}/**"},
		}}})
		src.Groups = append(src.Groups, policydata.Group{Name: name, Members: []string{name}, Policies: []string{name}})
		src.Users = append(src.Users, policydata.User{Name: name})
	}
}

// The budget is a worker's memory with 10,000 policies and users (32 MB), in
// force and while the next is being taken.
func TestFilterMemory(t *testing.T) {
	const budget = 32_000_000
	f := fixture()
	h := newHost(t.Context(), t, wasmhost.Options{Foreign: verifySignature})
	for _, form := range []string{"binary", "JSON"} {
		t.Run(form, func(t *testing.T) {
			config := func(generation uint64) []byte {
				c := f.Config(t, func(s *policydata.Source) {
					s.Generation = generation
					manyPolicies(s, 10_000)
				})
				if form == "JSON" {
					return c.AppendJSON(nil)
				}
				return c.AppendBinary(nil)
			}
			small := h.start(t, f.Setting(t, "")).MemorySize()
			first := config(1)
			in := h.start(t, first)
			one := in.MemorySize()
			fastest := time.Hour
			for generation := range uint64(20) {
				next := config(generation + 2)
				begin := time.Now()
				if err := in.Reconfigure(next); err != nil {
					t.Fatal(err)
				}
				fastest = min(fastest, time.Since(begin))
				for range 200 {
					if out, _ := request(t, in, f.Request("GET", "/healthz")); !out.Allowed {
						t.Fatal(out.FilterState)
					}
				}
			}
			t.Logf("%s: configuration %d bytes; memory with a small snapshot %d, with one of 10,000 policies %d, after 20 more %d; the fastest reconfiguration %v",
				form, len(first), small, one, in.MemorySize(), fastest)
			if in.MemorySize() > budget {
				t.Errorf("%d bytes of memory, more than %d", in.MemorySize(), budget)
			}
		})
	}
}
