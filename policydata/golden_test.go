package policydata

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file of the newest format version anew")

const golden = "testdata/snapshot_v1.bin"

// Snapshots of version 1 that are out there must load and decide as ever, and
// Build must go on writing these bytes: hosts on one store compare them.
func TestGoldenSnapshot(t *testing.T) {
	body, err := Build(goldenSource())
	if err != nil {
		t.Fatal(err)
	}
	built := AppendSignature(body, "golden", []byte("not a signature"))
	if *update {
		if err := os.WriteFile(golden, built, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, built) {
		t.Errorf("Build writes %d other bytes than the golden file's %d", len(built), len(b))
	}
	s, err := Load(b, func(signed, sig []byte) error {
		if string(sig) != "not a signature" || len(signed) != len(b)-headLen("golden", sig) {
			t.Errorf("%d bytes are signed by %q", len(signed), sig)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Epoch() != 1 || s.Generation() != 7 || s.Created() != 1_800_000_000 || s.Expires() != 1_900_000_000 || s.KeyID() != "golden" || s.Size() != len(b) {
		t.Errorf("header: %d %d %d %d %q %d", s.Epoch(), s.Generation(), s.Created(), s.Expires(), s.KeyID(), s.Size())
	}
	want := Counts{Policies: 9, Rules: 10, Paths: 10, Users: 2, Groups: 3, Roles: 3, Services: 2, Issuers: 1, Revoked: 2}
	if s.Counts() != want {
		t.Errorf("%+v", s.Counts())
	}
	if got := s.TokensNotBefore("root"); got != 1_700_000_000 {
		t.Errorf("tokens of root not before %d", got)
	}
	for _, user := range []string{"gone", "nobody", ""} {
		if got := s.TokensNotBefore(user); got != 0 {
			t.Errorf("tokens of %q not before %d", user, got)
		}
	}
	if got := s.RevokedUntil("kc", "b"); got != 1_800_000_600 {
		t.Errorf("revoked until %d", got)
	}
	i := s.Issuers()[0]
	if want := goldenSource().Issuers[0]; !i.Equal(&want) || !i.FetchedKeys || len(i.ClaimHeaders) != 1 {
		t.Errorf("%+v", i)
	}
	for _, tt := range []struct {
		req  Request
		want string
	}{
		{Request{Method: "PUT", Path: "/workspaces/foo/x"}, "own-workspace"},
		{Request{Method: "PURGE", Path: "/cache/x", Host: "a.ws.example.org"}, "host-bound"},
		{Request{Method: "GET", Path: "/conditions/abc", Host: "h.example", Time: 5, Headers: [][2]string{{"x-h", ""}}}, "conditions"},
	} {
		id := &Identity{Authenticated: true, Issuer: "kc", User: "root", Iss: "https://kc", Claims: `{"a":{},"l":["x-h"]}`}
		d := NewEvaluator().Decide(s, &tt.req, id)
		if !d.Allowed() || d.Policy != tt.want {
			t.Errorf("%+v: %v by %q", tt.req, d.Reason, d.Policy)
		}
	}
}

func headLen(keyID string, sig []byte) int { return len(AppendSignature(nil, keyID, sig)) }

// goldenSource has records of every section and operators of every kind.
func goldenSource() Source {
	src := story()
	src.Created, src.Expires = 1_800_000_000, 1_900_000_000
	src.Users[0].TokensNotBefore = 1_700_000_000
	x := func() *Expr { return &Expr{Op: OpPathVar, Str: "x"} }
	first := &Expr{Op: OpStartsWith, Args: []*Expr{x(), text("a")}, Pos: 3}
	when := op(OpAnd, first, op(OpEndsWith, x(), text("c")))
	for _, e := range []*Expr{
		op(OpContains, x(), text("b")), op(OpEq, op(OpSize, x()), number(3)), op(OpLt, x(), text("b")), op(OpLe, x(), text("b")),
		op(OpGt, number(5), number(-5)), op(OpGe, x(), text("a")), op(OpNe, &Expr{Op: OpHostVar, Str: "h"}, text("x")),
		op(OpNot, op(OpIn, x(), list(text("q")))), op(OpOr, truth(0), op(OpEq, variable(VarTokenIss), text("https://kc"))),
		op(OpIn, text("foo"), variable(VarTokenGroups)),
		op(OpIf, has(claim("a"), "b"), op(OpEq, op(OpIndex, claim("a"), text("b")), null()), op(OpEq, op(OpConcat, x(), text("d")), text("abcd"))),
		op(OpAll, variable(VarRequestHeaders), op(OpExists, claim("l"), op(OpEq, local(0), local(1)))),
		op(OpLt, part(PartDayOfWeek, variable(VarRequestTime)), uints(7)), op(OpLt, moment(1, 2), variable(VarRequestTime)),
		op(OpEq, op(OpSize, variable(VarRequestQuery)), double(0)),
	} {
		when = op(OpAnd, when, e)
	}
	src.Policies = append(src.Policies, Policy{Name: "conditions", Rules: []Rule{{
		Name: "all", Effect: EffectAllow, Methods: []string{"GET", "@preflight"}, Hosts: []string{"{h}.example"}, Paths: []string{"/conditions/{x}"}, When: when, Text: "as written",
	}}})
	src.Groups[2].Policies = []string{"conditions"}
	src.Issuers[0].Keys = []Key{{ID: "k", Algorithm: "RS256", SPKI: []byte{0x30, 0x00}}}
	src.Issuers[0].FetchedKeys = true
	src.Issuers[0].ClientClaims = [][]string{{"azp"}, {"client_id"}}
	src.Issuers[0].ClaimHeaders = []ClaimHeader{{Header: "x-tenant", Claim: []string{"tenant", "id"}}}
	src.Revoked = []RevokedToken{{"kc", "b", 1_800_000_600}, {"kc", "a", 1_800_000_500}}
	return src
}

// The golden file has records in every section, or it would not hold their
// layout fast.
func TestGoldenSnapshotIsComplete(t *testing.T) {
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	for id := range numSections {
		if binary.LittleEndian.Uint32(b[headerBytes+id*sectionEntryBytes+12:]) == 0 {
			t.Errorf("section %d is empty", id)
		}
	}
}
