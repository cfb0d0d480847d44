package filtertest

import (
	"encoding/json"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
)

// BadConfig is a configuration that must be refused.
type BadConfig struct {
	Name   string
	Config []byte
	Want   string // in the log
}

// hdrFeatures is where a snapshot has its feature bits (see policydata).
const hdrFeatures = 16

// BadConfigs returns configurations that must be refused.
func (f *Fixture) BadConfigs(t testing.TB) []BadConfig {
	t.Helper()
	good := f.Config(t, nil)
	with := func(change func(c *pluginconfig.Config)) []byte {
		c := good
		change(&c)
		return c.AppendBinary(nil)
	}
	flipped := append([]byte(nil), good.Snapshot...)
	flipped[len(flipped)/2] ^= 1
	features := f.Resign(t, f.Source(t), func(body []byte) { body[hdrFeatures] |= 0x80 })
	foreign := f.ForeignConfig(t, false, nil)
	text := string(good.AppendJSON(nil))
	return []BadConfig{
		{"empty", nil, "plugin configuration"},
		{"garbage", []byte("\x00\xff garbage"), "plugin configuration"},
		{"half of it", []byte(text[:len(text)/2]), "plugin configuration"},
		{"truncated binary form", good.AppendBinary(nil)[:20], "truncated"},
		{"truncated snapshot", with(func(c *pluginconfig.Config) { c.Snapshot = c.Snapshot[:len(c.Snapshot)-1] }), "bad snapshot"},
		{"unknown member", []byte(strings.Replace(text, "{", `{"fail_open":true,`, 1)), "fail_open: unknown member"},
		{"member twice", []byte(strings.Replace(text, "{", `{"remove_token":true,"remove_token":false,`, 1)), "twice"},
		{"no key", with(func(c *pluginconfig.Config) { c.TrustedKeys = nil }), "trusted_keys"},
		{"key that is none", with(func(c *pluginconfig.Config) { c.TrustedKeys = [][]byte{[]byte("key")} }), "trusted_keys: entry 0"},
		{"RSA key", with(func(c *pluginconfig.Config) { c.TrustedKeys = [][]byte{spki(t, &f.rsa.PublicKey)} }), "want a P-256 key"},
		{"signed by another", foreign.AppendBinary(nil), "signature"},
		{"a bit flipped", with(func(c *pluginconfig.Config) { c.Snapshot = flipped }), "signature"},
		{"not signed at all", with(func(c *pluginconfig.Config) { c.Snapshot = []byte("SALLYPRT") }), "not a snapshot"},
		{"unknown feature bit", with(func(c *pluginconfig.Config) { c.Snapshot = features }), "bad snapshot at byte 16"},
	}
}

// Step is a configuration that a VM takes after others, and what is in force
// then.
type Step struct {
	Name   string
	Config []byte

	Reason     policydata.Reason // for GET /healthz without a token
	Generation string
}

// Check compares the outcome of GET /healthz with what the step wants.
func (s *Step) Check(t testing.TB, got Outcome) {
	t.Helper()
	var state struct{ Reason, Generation string }
	if err := json.Unmarshal([]byte(got.FilterState), &state); err != nil {
		t.Fatalf("filter state %q: %v", got.FilterState, err)
	}
	if state.Reason != s.Reason.String() || state.Generation != s.Generation {
		t.Errorf("got %s, generation %s; want %s, generation %s", state.Reason, state.Generation, s.Reason, s.Generation)
	}
	if got.Allowed != (s.Reason == policydata.ReasonAllowed) {
		t.Errorf("allowed: %t for %s", got.Allowed, s.Reason)
	}
}

// Sequence is what one VM goes through.
type Sequence struct {
	Name  string
	Steps []Step
}

// Sequences returns sequences of configurations of one plugin that are all
// accepted.
func (f *Fixture) Sequences(t testing.TB) []Sequence {
	t.Helper()
	// at is a snapshot in which /healthz is public where open.
	at := func(epoch, generation uint64, open bool) func(*policydata.Source) {
		return func(s *policydata.Source) {
			s.Epoch, s.Generation = epoch, generation
			if !open {
				s.Groups = s.Groups[:1]
			}
		}
	}
	binary := func(c pluginconfig.Config) []byte { return c.AppendBinary(nil) }
	cookie := f.Config(t, at(1, 3, true))
	cookie.TokenCookie = "session"
	none := f.Config(t, nil)
	none.Snapshot = nil
	both := f.Config(t, at(1, 6, true))
	both.TrustedKeys = append(both.TrustedKeys, spki(t, &f.stranger.PublicKey))
	allowed, denied := policydata.ReasonAllowed, policydata.ReasonNoToken
	return []Sequence{
		{"newer generations are taken", []Step{
			{"5", binary(f.Config(t, at(1, 5, true))), allowed, "5"},
			{"6", binary(f.Config(t, at(1, 6, false))), denied, "6"},
			{"7", binary(f.Config(t, at(1, 7, true))), allowed, "7"},
		}},
		{"the same generation is taken", []Step{
			{"5", binary(f.Config(t, at(1, 5, true))), allowed, "5"},
			{"5 again", binary(f.Config(t, at(1, 5, false))), denied, "5"},
		}},
		{"an older generation leaves the newer in force", []Step{
			{"5", binary(f.Config(t, at(1, 5, false))), denied, "5"},
			{"4", binary(f.Config(t, at(1, 4, true))), denied, "5"},
			{"6", binary(f.Config(t, at(1, 6, true))), allowed, "6"},
		}},
		{"a higher epoch wins with a lower generation", []Step{
			{"1.5", binary(f.Config(t, at(1, 5, true))), allowed, "5"},
			{"2.1", binary(f.Config(t, at(2, 1, false))), denied, "1"},
			{"1.9", binary(f.Config(t, at(1, 9, true))), denied, "1"},
		}},
		{"no snapshot leaves the last in force", []Step{
			{"none", binary(none), policydata.ReasonNoSnapshot, "0"},
			{"5", binary(f.Config(t, at(1, 5, true))), allowed, "5"},
			{"none again", binary(none), allowed, "5"},
		}},
		{"the rest of a configuration counts beside an older snapshot", []Step{
			{"5", binary(f.Config(t, at(1, 5, true))), allowed, "5"},
			{"3, tokens in cookies", binary(cookie), allowed, "5"},
		}},
		{"a snapshot of a key that is no longer trusted does not stay", []Step{
			{"9 of a stranger", binary(f.ForeignConfig(t, true, at(9, 9, true))), allowed, "9"},
			{"5", binary(f.Config(t, at(1, 5, false))), denied, "5"},
		}},
		{"a snapshot of a key that is still trusted stays", []Step{
			{"9 of a stranger", binary(f.ForeignConfig(t, true, at(1, 9, false))), denied, "9"},
			{"6, both trusted", binary(both), denied, "9"},
		}},
	}
}
