package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sallyport/policydata"
	"sallyport/policydata/delta"
	"sallyport/policydata/token"
)

// signer is a key and the algorithms that are measured with it.
type signer struct {
	name       string
	key        crypto.Signer
	algorithms []string
}

func signers(b testing.TB) []signer {
	b.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	families := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	return []signer{
		{"2048", newRSA(b, 2048, 0), families},
		{"4096", newRSA(b, 4096, 0), families},
		{"P-256", newEC(b, elliptic.P256()), []string{"ES256"}},
		{"P-384", newEC(b, elliptic.P384()), []string{"ES384"}},
		{"P-521", newEC(b, elliptic.P521()), []string{"ES512"}},
		{"Ed25519", ed, []string{"EdDSA"}},
	}
}

// sign makes a token of an algorithm. Its header has a kid where that is not "".
func sign(b testing.TB, alg, kid, payload string, key crypto.Signer) string {
	b.Helper()
	header := `{"alg":"` + alg + `","typ":"JWT","kid":"` + kid + `"}`
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode([]byte(payload))
	signature, err := jwt.GetSigningMethod(alg).Sign(input, key)
	if err != nil {
		b.Fatal(err)
	}
	return input + "." + encode(signature)
}

// noTime leaves out the time that a benchmark of this package would show: that
// of its request. What counts was measured in the proxy.
func noTime(b *testing.B) { b.ReportMetric(0, "ns/op") }

// BenchmarkSignature prints what one verification costs in V8, by the proxy and
// by Go in the module.
func BenchmarkSignature(b *testing.B) {
	type entry struct {
		vector
		name string
	}
	var costs []entry
	for _, s := range signers(b) {
		for _, alg := range s.algorithms {
			costs = append(costs, entry{vector{Alg: alg, SPKI: spkiOf(b, s.key.Public()), JWS: sign(b, alg, "k", goodPayload, s.key)}, alg + " " + s.name})
		}
	}
	lines := startProxy(b, map[string]any{"costs": costs}).ask("/costs")
	if len(costs) == 0 || len(lines) != len(costs) {
		b.Fatalf("%d answers of %d", len(lines), len(costs))
	}
	b.Logf("%-16s %12s %12s", "", "proxy, µs", "Go, µs")
	for i, line := range lines {
		proxy, golang, _ := strings.Cut(line, " ")
		b.Logf("%-16s %12s %12s", costs[i].name, micros(b, proxy), micros(b, golang))
	}
	noTime(b)
}

// micros shows nanoseconds as microseconds; "-" is not measured.
func micros(b testing.TB, nanoseconds string) string {
	if nanoseconds == "-" {
		return nanoseconds
	}
	n, err := strconv.ParseInt(nanoseconds, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("%.1f", float64(n)/1000)
}

// now is the time at which the tokens are looked at.
const (
	now         = 1_800_000_000
	iss         = "https://idp.example.com"
	goodPayload = `{"iss":"` + iss + `","sub":"eric","aud":"api","iat":1799999990,"exp":1800000300,"groups":["foo"]}`
)

// candidate is a token whose refusal, or acceptance, is measured.
type candidate struct {
	Name   string `json:"-"`
	Raw    string `json:"raw"`
	Cached bool   `json:"cached"`
	want   policydata.Reason
}

// BenchmarkTokens prints what all checks of a token cost in V8: good ones, seen
// before and not, and what an attacker may send.
func BenchmarkTokens(b *testing.B) {
	keys := signers(b)
	issuer := policydata.Issuer{
		Name: "idp", Issuer: iss, Audiences: []string{"api"}, MaxTokenLifetime: 3600, ClockSkew: 30,
		UsernameClaims: [][]string{{"sub"}}, GroupsClaims: [][]string{{"groups"}},
	}
	tokens := garbage()
	for _, s := range keys {
		for _, alg := range s.algorithms {
			if !strings.HasSuffix(alg, "256") && s.name != "Ed25519" && !strings.HasPrefix(alg, "ES") {
				continue
			}
			kid := alg + "-" + s.name
			issuer.Keys = append(issuer.Keys, policydata.Key{ID: kid, Algorithm: alg, SPKI: spkiOf(b, s.key.Public())})
			if !slices.Contains(issuer.Algorithms, alg) {
				issuer.Algorithms = append(issuer.Algorithms, alg)
			}
			tokens = append(tokens, ofKey(b, alg, kid, s)...)
		}
	}
	snapshot, _, _ := signedSnapshot(b, policydata.Source{Generation: 1, Issuers: []policydata.Issuer{issuer}})
	config := map[string]any{"issuers": snapshot, "now": now, "tokens": tokens}
	lines := startProxy(b, config).ask("/tokens")
	if len(tokens) == 0 || len(lines) != len(tokens) {
		b.Fatalf("%d answers of %d", len(lines), len(tokens))
	}
	b.Logf("%-46s %-18s %12s %12s", "", "", "proxy, µs", "Go alone, µs")
	for i, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != tokens[i].want.String() {
			b.Errorf("%s: %q, want %s", tokens[i].Name, line, tokens[i].want)
			continue
		}
		b.Logf("%-46s %-18s %12s %12s", tokens[i].Name, fields[0], micros(b, fields[1]), micros(b, fields[2]))
	}
	noTime(b)
}

// ofKey are a good token and those with a wrong signature.
func ofKey(b testing.TB, alg, kid string, s signer) []candidate {
	good := sign(b, alg, kid, goodPayload, s.key)
	wrong := good[:len(good)-40] + flip(good[len(good)-40:])
	tokens := []candidate{
		{kid + ": good", good, false, policydata.ReasonAllowed},
		{kid + ": wrong signature", wrong, false, policydata.ReasonBadSignature},
	}
	if kid == "RS256-2048" {
		large := strings.TrimSuffix(goodPayload, "}") + `,"x":"` + strings.Repeat("a", 11_000) + `"}`
		largest := sign(b, alg, kid, large, s.key)
		names := strings.TrimSuffix(goodPayload, "}") + `,"x":` + manyNames(11_000) + "}"
		busiest := sign(b, alg, kid, names, s.key)
		tokens = append(tokens,
			candidate{kid + ": good, seen before", good, true, policydata.ReasonAllowed},
			candidate{kid + ": good, 15 KiB, seen before", largest, true, policydata.ReasonAllowed},
			candidate{kid + ": 15 KiB of text, wrong signature", largest[:len(largest)-40] + flip(largest[len(largest)-40:]), false, policydata.ReasonBadSignature},
			candidate{kid + ": 15 KiB of names, wrong signature", busiest[:len(busiest)-40] + flip(busiest[len(busiest)-40:]), false, policydata.ReasonBadSignature},
		)
	}
	return tokens
}

// flip changes the first letter.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// garbage is what needs no key: the cheap checks.
func garbage() []candidate {
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	header := func(alg, kid string) string { return encode(`{"alg":"` + alg + `","kid":"` + kid + `"}`) }
	signature := strings.Repeat("A", 342)
	const half = token.MaxTokenBytes / 2
	return []candidate{
		{"no dots, 1 KiB", strings.Repeat("A", 1024), false, policydata.ReasonBadToken},
		{"no dots, 16 KiB", strings.Repeat("A", token.MaxTokenBytes), false, policydata.ReasonBadToken},
		{"more than 16 KiB", strings.Repeat("A", token.MaxTokenBytes+1), false, policydata.ReasonBadToken},
		{"three parts, 16 KiB of what is no JSON", strings.Repeat("A", half) + "." + strings.Repeat("A", half-8) + ".AAAA", false, policydata.ReasonBadToken},
		{"unknown issuer", header("RS256", "RS256-2048") + "." + encode(`{"iss":"https://other.example.com","exp":1800000300}`) + "." + signature, false, policydata.ReasonUnknownIssuer},
		{"unknown issuer, 16 KiB of text", header("RS256", "RS256-2048") + "." + encode(`{"iss":"x","y":"`+strings.Repeat("a", 11_500)+`"}`) + "." + signature, false, policydata.ReasonUnknownIssuer},
		{"unknown issuer, 16 KiB of names", header("RS256", "RS256-2048") + "." + encode(manyNames(11_500)) + "." + signature, false, policydata.ReasonUnknownIssuer},
		{"16 KiB of nested arrays", header("RS256", "k") + "." + encode(`{"a":[`+strings.Repeat("[[[[1]]]],", 1150)+`1]}`) + "." + signature, false, policydata.ReasonBadToken},
		{"an algorithm that is not listed", header("HS256", "RS256-2048") + "." + encode(goodPayload) + "." + signature, false, policydata.ReasonBadToken},
		{"unknown kid", header("RS256", "nobody") + "." + encode(goodPayload) + "." + signature, false, policydata.ReasonBadToken},
		{"a signature of a wrong length", header("RS256", "RS256-2048") + "." + encode(goodPayload) + ".AAAA", false, policydata.ReasonBadSignature},
	}
}

// manyNames returns an object of about size bytes with as many names as fit.
func manyNames(size int) string {
	var text strings.Builder
	text.WriteByte('{')
	for i := 0; text.Len() < size; i++ {
		text.WriteString(`"` + strconv.FormatInt(int64(i), 36) + `":0,`)
	}
	return strings.TrimSuffix(text.String(), ",") + "}"
}

// signedSnapshot returns a snapshot, its size, and the key that signed it.
func signedSnapshot(b testing.TB, source policydata.Source) (signed []byte, size int, spki []byte) {
	b.Helper()
	body, err := policydata.Build(source)
	if err != nil {
		b.Fatal(err)
	}
	key := newEC(b, elliptic.P256())
	signed = signedBy(b, key, body)
	return signed, len(signed), spkiOf(b, &key.PublicKey)
}

// signedBy completes the body of a snapshot or a delta.
func signedBy(b testing.TB, key *ecdsa.PrivateKey, body []byte) []byte {
	b.Helper()
	sum := sha256.Sum256(body)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	return policydata.AppendSignature(body, "k", signature)
}

// fleet is 10,000 policies, and 10,000 users in 1,000 groups.
func fleet() policydata.Source {
	const n = 10_000
	source := policydata.Source{Generation: 1}
	name := func(i int) string { return fmt.Sprintf("team-%05d", i) }
	for i := range n {
		rule := policydata.Rule{Effect: policydata.EffectAllow, Methods: []string{"*"}, Paths: []string{"/workspaces/" + name(i) + "/**"}}
		source.Policies = append(source.Policies, policydata.Policy{Name: name(i), Rules: []policydata.Rule{rule}})
		source.Groups = append(source.Groups, policydata.Group{Name: name(i), Policies: []string{name(i)}})
	}
	for i := range n {
		user := policydata.User{Name: fmt.Sprintf("user-%05d", i), Policies: []string{name(i)}}
		source.Users = append(source.Users, user)
		g := &source.Groups[i%1_000]
		g.Members = append(g.Members, user.Name)
	}
	return source
}

// BenchmarkLoad prints what taking a snapshot of 10,000 policies and 10,000 users
// costs in V8, and its parts.
func BenchmarkLoad(b *testing.B) {
	signed, size, spki := signedSnapshot(b, fleet())
	lines := startProxy(b, map[string]any{"snapshot": signed, "key": spki}).ask("/load")
	b.Logf("a snapshot of %d bytes", size)
	logTimes(b, lines)
	noTime(b)
}

// logTimes prints lines of a name and three times.
func logTimes(b *testing.B, lines []string) {
	b.Helper()
	b.Logf("%-42s %12s %12s %12s", "", "first, µs", "later, µs", "fastest, µs")
	for _, line := range lines {
		name, times, _ := strings.Cut(line, ": ")
		fields := strings.Fields(times)
		if len(fields) != 3 {
			b.Fatalf("%q", line)
		}
		b.Logf("%-42s %12s %12s %12s", name, micros(b, fields[0]), micros(b, fields[1]), micros(b, fields[2]))
	}
}

// BenchmarkDelta prints what applying a delta to that snapshot costs in V8.
func BenchmarkDelta(b *testing.B) {
	type entry struct {
		Name  string `json:"name"`
		Delta []byte `json:"delta"`
	}
	key := newEC(b, elliptic.P256())
	snapshot := func(change func(*policydata.Source)) []byte {
		source := fleet()
		change(&source)
		body, err := policydata.Build(source)
		if err != nil {
			b.Fatal(err)
		}
		return signedBy(b, key, body)
	}
	base := snapshot(func(*policydata.Source) {})
	var entries []entry
	for _, c := range fleetChanges {
		body, err := delta.Make(base, snapshot(c.change))
		if err != nil {
			b.Fatal(err)
		}
		d := signedBy(b, key, body)
		entries = append(entries, entry{fmt.Sprintf("%s, %d bytes", c.name, len(d)), d})
	}
	lines := startProxy(b, map[string]any{"snapshot": base, "key": spkiOf(b, &key.PublicKey), "deltas": entries}).ask("/deltas")
	if len(lines) != len(entries) {
		b.Fatalf("%d answers of %d", len(lines), len(entries))
	}
	b.Logf("a snapshot of %d bytes", len(base))
	logTimes(b, lines)
	noTime(b)
}

// fleetChanges are what people do to the fleet.
var fleetChanges = []struct {
	name   string
	change func(*policydata.Source)
}{
	{"nothing", func(*policydata.Source) {}},
	{"a rule changed", func(s *policydata.Source) { s.Policies[5_000].Rules[0].Methods = []string{"GET"} }},
	{"a user added", func(s *policydata.Source) { s.Users = append(s.Users, policydata.User{Name: "user-05000b"}) }},
	{"a policy added", func(s *policydata.Source) {
		p := s.Policies[5_000]
		p.Name += "b"
		s.Policies = append(s.Policies, p)
	}},
	{"100 changes", func(s *policydata.Source) {
		for i := range 25 {
			s.Users = append(s.Users, policydata.User{Name: fmt.Sprintf("user-%05db", i*391)})
			p := s.Policies[i*397]
			p.Name += "b"
			s.Policies = append(s.Policies, p)
			s.Groups[i*29].Members = append(s.Groups[i*29].Members, s.Users[4_321+i].Name)
			s.Policies[i*353].Rules[0].Methods = []string{"GET"}
		}
	}},
}
