package policydata

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The look-up finds what is there, and nothing else, however many there are.
func TestRevokedUntil(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{0, 1, 2, 3, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			src := Source{Issuers: []Issuer{testIssuer("a"), testIssuer("b")}}
			want := map[RevokedToken]int64{}
			for i := range n {
				token := RevokedToken{Issuer: []string{"a", "b"}[r.IntN(2)], ID: fmt.Sprint("t", i)}
				want[token] = 1 + r.Int64N(1<<40)
				src.Revoked = append(src.Revoked, RevokedToken{token.Issuer, token.ID, want[token]})
			}
			s := load(t, src)
			if got := s.Counts().Revoked; got != n {
				t.Errorf("%d are counted", got)
			}
			for _, issuer := range []string{"", "a", "b", "c"} {
				for i := range n + 1 {
					for _, id := range []string{fmt.Sprint("t", i), fmt.Sprint("T", i), fmt.Sprint("t", i, " ")} {
						if got := s.RevokedUntil(issuer, id); got != want[RevokedToken{Issuer: issuer, ID: id}] {
							t.Errorf("%q of %q is revoked until %d", id, issuer, got)
						}
					}
				}
			}
		})
	}
}

func TestRevokedUntilDoesNotAllocate(t *testing.T) {
	s := load(t, story())
	if n := testing.AllocsPerRun(100, func() { _ = s.RevokedUntil("kc", "t-2") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRevokedUntil(b *testing.B) {
	src := Source{Issuers: []Issuer{testIssuer("kc")}}
	for i := range MaxRevokedTokens {
		src.Revoked = append(src.Revoked, RevokedToken{"kc", fmt.Sprintf("9f0c1d2e-0000-4000-8000-%012d", i), 1})
	}
	s := load(b, src)
	b.ReportAllocs()
	for b.Loop() {
		if s.RevokedUntil("kc", "9f0c1d2e-0000-4000-8000-000000077777") == 0 {
			b.Fatal("not found")
		}
	}
}
