package main

import (
	"path/filepath"
	"slices"
)

// A group is mutations of what the same tests must keep right.
type group struct {
	name string
	// tests are run for each mutation until one fails: those of its own package
	// first, all of them if none are listed here. The quick ones come first.
	tests     []tests
	built     bool // the tests run the built filter
	mutations []mutation
}

// tests are tests of a package: those that the expression matches, "" for all.
type tests struct{ pkg, run string }

var groups = []group{
	{
		name: "engine", tests: []tests{
			{"./policydata", "^TestDecide"},
			{"./policydata/authorize", ""},
			{"./policydata", ""},
		}, mutations: engine,
	},
	{
		name: "format", tests: []tests{
			{"./policydata", "Load|Layout|Frame|Collide|Revoked"},
			{"./policydata", "Canonical|Decide|Golden|Evaluator|Build"},
		}, mutations: format,
	},
	{name: "delta", tests: []tests{{pkg: "./policydata/delta"}}, mutations: deltas},
	{name: "filter", tests: []tests{{pkg: "./plugin/internal/filter"}}, mutations: filters},
	{name: "built", built: true, tests: []tests{{"./e2e/poll", "Garbage|Leaders|Stolen|Hostcalls|HostThatIsAway"}, {"./e2e", "HostcallFails"}}, mutations: builtFilters},
	{name: "polls", tests: []tests{{pkg: "./host/internal/poll"}, {"./host/internal/api", "Poll|Prox|Proof|Report|WhoGoes"}}, mutations: polls},
	{name: "fleet", tests: []tests{{pkg: "./host/internal/fleet"}}, mutations: fleets},
	{
		name: "proofs", tests: []tests{
			{pkg: "./host/internal/proxyauth"},
			{"./host/internal/directory", "ProxyToken|WhatAToken"},
			{"./host/internal/api", "Poll|Prox|Proof|Report|WhoGoes"},
			{"./host/internal/server", "Beyond|TLS|TokensAndCertificates"},
		}, mutations: proofs,
	},
	{
		name: "history", tests: []tests{
			{"./host/internal/directory", "Closed|Roll|ComesBack|ComeBack|StayRevoked|GoBack|HowFar|Content|Set|Claim|Prune|Renew|Age|Clock|Write|Epoch"},
			{"./host/internal/store/bolt", "Conformance|Batch|Updates|Write"},
		}, mutations: histories,
	},
	{name: "publish", tests: []tests{{pkg: "./host/internal/publish"}, {"./host/internal/server", "Looking|MaxAge|Renew"}}, mutations: publications},
	{name: "xds", tests: []tests{{"./host/internal/xds", "Proxy|Refused|Newest|Stream|Same|Answer|Subscribes|ADS|Text|All|Set"}, {"./host/internal/server", "TokensAndCertificates"}}, mutations: streams},
}

// testsOf returns the tests for a mutation of a file.
func (g *group) testsOf(file string) []tests {
	if g.built {
		return g.tests
	}
	own := "./" + filepath.Dir(file)
	isOwn := func(t tests) bool { return t.pkg == own }
	list := slices.DeleteFunc(slices.Clone(g.tests), func(t tests) bool { return !isOwn(t) })
	if len(list) == 0 {
		list = []tests{{pkg: own}}
	}
	return append(list, slices.DeleteFunc(slices.Clone(g.tests), isOwn)...)
}
