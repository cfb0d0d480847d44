package policydata

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// worstCases are what policies, principals and paths of the largest kind cost.
// Each is allowed.
var worstCases = []struct {
	name   string
	source func() Source
	req    Request
	id     Identity
}{
	{"deepest_path", deepestPath, Request{Path: strings.Repeat("/a", MaxPatternSegments)}, Identity{}},
	{"path_of_16_KiB", deepestPath, Request{Path: "/t" + strings.Repeat("/a", MaxPathBytes/2-1)}, Identity{}},
	{"two_ways_at_12_levels", func() Source { return twoWays(12) }, Request{Path: strings.Repeat("/a", 12)}, Identity{}},
	{"wildcards_at_random_64_levels", wildcardsAtRandom, Request{Path: strings.Repeat("/a", MaxPatternSegments)}, Identity{}},
	{"user_in_1000_groups", memberOf1000, Request{Path: "/workspaces/" + teamName(999) + "/a"}, Identity{User: "eric"}},
	{"token_with_1000_groups", func() Source { return literalRules(10_000) }, Request{Path: "/workspaces/" + teamName(999) + "/a"}, Identity{Groups: manyGroups(1_000)}},
	{"token_with_1000_unknown_groups", func() Source { return templateRule(10_000) }, Request{Path: "/workspaces/" + teamName(999) + "/a"}, Identity{Groups: manyGroups(1_000)}},
}

func deepestPath() Source {
	return everyone([]Policy{
		allowPaths("deep", nil, strings.Repeat("/{c}", 1)+strings.Repeat("/*", MaxPatternSegments-2)+"/a"),
		allowPaths("tail", nil, "/t/**"),
	}, "deep", "tail")
}

// twoWays is a full binary tree of literals and wildcards: a path of that depth
// leads everywhere.
func twoWays(depth int) Source {
	p := Policy{Name: "p"}
	for i := range 1 << depth {
		var path strings.Builder
		for level := range depth {
			path.WriteString([]string{"/a", "/*"}[i>>level&1])
		}
		p.Rules = append(p.Rules, Rule{Effect: EffectAllow, Methods: []string{"*"}, Paths: []string{path.String()}})
	}
	return everyone([]Policy{p}, "p")
}

// wildcardsAtRandom are 1,000 policies, of which one is everyone's, whose
// patterns all match one path of 64 segments, and have few nodes in common.
func wildcardsAtRandom() Source {
	r := rand.New(rand.NewPCG(1, 1))
	var policies []Policy
	for i := range 1_000 {
		var path strings.Builder
		for range MaxPatternSegments {
			path.WriteString([]string{"/a", "/*"}[r.IntN(2)])
		}
		policies = append(policies, allowPaths(teamName(i), nil, path.String()))
	}
	return everyone(policies, teamName(0))
}

// memberOf1000 has a user in 1,000 of 10,000 groups, each with a policy.
func memberOf1000() Source {
	src := literalRules(10_000)
	src.Users = []User{{Name: "eric"}}
	for i := range 1_000 {
		src.Groups[1+i].Members = []string{"eric"}
	}
	return src
}

func BenchmarkWorst(b *testing.B) {
	for _, c := range worstCases {
		b.Run(c.name, func(b *testing.B) {
			s, e := load(b, c.source()), NewEvaluator()
			c.req.Method, c.id.Authenticated = "GET", true
			b.ReportAllocs()
			for b.Loop() {
				if d := e.Decide(s, &c.req, &c.id); !d.Allowed() {
					b.Fatal(d.Reason)
				}
			}
		})
	}
}

func TestWorstCasesNeverAllocate(t *testing.T) {
	for _, c := range worstCases {
		t.Run(c.name, func(t *testing.T) {
			s, e := load(t, c.source()), NewEvaluator()
			c.req.Method, c.id.Authenticated = "GET", true
			allocs := testing.AllocsPerRun(5, func() {
				if d := e.Decide(s, &c.req, &c.id); !d.Allowed() {
					t.Fatal(d.Reason)
				}
			})
			if allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

// lists is the other way to store permissions: for each principal a list, of
// which each entry is compared until one matches.
type lists map[string][][]string

func (l lists) allows(principals []string, path string) bool {
	for _, p := range principals {
		for _, pattern := range l[p] {
			if matchesSegments(pattern, path) {
				return true
			}
		}
	}
	return false
}

// matchesSegments compares a path with a pattern that was split before, segment
// by segment, without allocating.
func matchesSegments(pattern []string, path string) bool {
	for _, want := range pattern {
		if want == "**" {
			return true
		}
		if path == "" {
			return false
		}
		segment := path[1:]
		end := strings.IndexByte(segment, '/')
		if end < 0 {
			end = len(segment)
		}
		if segment[:end] != want && (want != "*" || end == 0) {
			return false
		}
		path = segment[end:]
	}
	return path == ""
}

// BenchmarkListsAndTries compares a map with lists against the trie: a principal
// with n permissions, of which the last one, or none, is for the request.
func BenchmarkListsAndTries(b *testing.B) {
	for _, n := range []int{1, 3, 10, 30, 100, 1_000, 10_000} {
		p := Policy{Name: "p"}
		l := lists{"g": nil}
		for i := range n {
			path := "/indices/" + teamName(i) + "/admin/**"
			p.Rules = append(p.Rules, Rule{Effect: EffectAllow, Methods: []string{"*"}, Paths: []string{path}})
			l["g"] = append(l["g"], strings.Split(path, "/")[1:])
		}
		src := everyone([]Policy{p})
		src.Groups = append(src.Groups, Group{Name: "g", Policies: []string{"p"}})
		s, e := load(b, src), NewEvaluator()
		id := &Identity{Authenticated: true, User: "u", Groups: []string{"g"}}
		for name, path := range map[string]string{
			"last": "/indices/" + teamName(n-1) + "/admin/read",
			"none": "/indices/other/admin/read",
		} {
			req := &Request{Method: "GET", Path: path}
			b.Run(fmt.Sprintf("lists/%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if l.allows(id.Groups, path) != (name == "last") {
						b.Fatal(path)
					}
				}
			})
			b.Run(fmt.Sprintf("trie/%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := e.Decide(s, req, id); d.Allowed() != (name == "last") {
						b.Fatal(d.Reason)
					}
				}
			})
		}
	}
}
