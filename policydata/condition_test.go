package policydata

import (
	"fmt"
	"testing"
)

// Shorthands for trees.
func op(o Op, args ...*Expr) *Expr { return &Expr{Op: o, Args: args} }
func text(s string) *Expr          { return &Expr{Op: OpString, Str: s} }
func number(n int64) *Expr         { return &Expr{Op: OpInt, Int: n} }
func truth(n int64) *Expr          { return &Expr{Op: OpBool, Int: n} }
func variable(v Var) *Expr         { return &Expr{Op: OpVar, Int: int64(v)} }
func list(args ...*Expr) *Expr     { return op(OpList, args...) }

// errs is an operand of type string, and errBool of type bool, that errs.
func errs() *Expr    { return text(boom) }
func errBool() *Expr { return op(OpEq, errs(), text("x")) }

func TestConditions(t *testing.T) {
	type row struct {
		when *Expr
		want condResult
	}
	holds := func(e *Expr) row { return row{e, condTrue} }
	fails := func(e *Expr) row { return row{e, condFalse} }
	breaks := func(e *Expr) row { return row{e, condError} }
	path := &Expr{Op: OpPathVar, Str: "team"}
	host := &Expr{Op: OpHostVar, Str: "h"}
	groups, roles := variable(VarTokenGroups), variable(VarTokenRoles)
	tests := map[string][]row{
		"bool":   {holds(truth(1)), holds(truth(-1)), fails(truth(0))},
		"not":    {holds(op(OpNot, truth(0))), fails(op(OpNot, truth(1))), breaks(op(OpNot, errBool()))},
		"string": {holds(op(OpEq, text("é"), text("é"))), fails(op(OpEq, text("a"), text("A"))), breaks(op(OpEq, errs(), errs()))},
		"int": {
			holds(op(OpEq, number(-1), number(-1))), fails(op(OpEq, number(1), number(2))),
			holds(op(OpLt, number(-1<<63), number(1<<63-1))), fails(op(OpGt, number(-1<<63), number(1<<63-1))),
		},
		"ne":             {holds(op(OpNe, text("a"), text("b"))), fails(op(OpNe, number(3), number(3))), breaks(op(OpNe, text("a"), errs()))},
		"lt":             {holds(op(OpLt, text("a"), text("b"))), fails(op(OpLt, text("b"), text("b"))), breaks(op(OpLt, errs(), text("b")))},
		"le":             {holds(op(OpLe, text("b"), text("b"))), fails(op(OpLe, text("c"), text("b"))), breaks(op(OpLe, text("b"), errs()))},
		"gt":             {holds(op(OpGt, text("ab"), text("a"))), fails(op(OpGt, text("a"), text("a"))), breaks(op(OpGt, errs(), text("b")))},
		"ge":             {holds(op(OpGe, number(2), number(2))), fails(op(OpGe, number(1), number(2))), breaks(op(OpGe, text("b"), errs()))},
		"bools_compared": {holds(op(OpLt, truth(0), truth(1))), holds(op(OpEq, truth(1), op(OpNot, truth(0)))), breaks(op(OpEq, truth(1), errBool()))},
		"and": {
			holds(op(OpAnd, truth(1), truth(1))), fails(op(OpAnd, truth(1), truth(0))), fails(op(OpAnd, truth(0), truth(1))),
			fails(op(OpAnd, truth(0), errBool())), fails(op(OpAnd, errBool(), truth(0))),
			breaks(op(OpAnd, truth(1), errBool())), breaks(op(OpAnd, errBool(), truth(1))), breaks(op(OpAnd, errBool(), errBool())),
		},
		"or": {
			fails(op(OpOr, truth(0), truth(0))), holds(op(OpOr, truth(1), truth(0))), holds(op(OpOr, truth(0), truth(1))),
			holds(op(OpOr, truth(1), errBool())), holds(op(OpOr, errBool(), truth(1))),
			breaks(op(OpOr, truth(0), errBool())), breaks(op(OpOr, errBool(), truth(0))), breaks(op(OpOr, errBool(), errBool())),
		},
		"in_constant_list": {
			holds(op(OpIn, text("b"), list(text("a"), text("b")))), fails(op(OpIn, text("c"), list(text("a"), text("b")))),
			fails(op(OpIn, text("c"), list())), holds(op(OpIn, number(2), list(number(1), number(2)))),
			breaks(op(OpIn, text("a"), list(text("a"), errs()))), breaks(op(OpIn, errs(), list(text("a")))), breaks(op(OpIn, errs(), list())),
		},
		"in_variable_list": {holds(op(OpIn, text("foo"), groups)), fails(op(OpIn, text("fo"), groups)), fails(op(OpIn, text(GroupAuthenticated), groups)), breaks(op(OpIn, errs(), groups))},
		"lists_compared": {
			holds(op(OpEq, list(), list())), holds(op(OpEq, list(text("foo"), text("bar")), groups)), holds(op(OpNe, list(text("bar"), text("foo")), groups)),
			fails(op(OpEq, list(text("foo")), groups)), fails(op(OpEq, groups, list(text("foo"), text("bar"), text("x")))),
			holds(op(OpNe, list(number(0)), list())), holds(op(OpEq, roles, list(text("lib"), text("librarian")))),
			breaks(op(OpEq, list(errs()), list())), breaks(op(OpNe, list(text("a")), list(text("b"), errs()))),
		},
		"starts_with": {holds(op(OpStartsWith, text("abc"), text("ab"))), fails(op(OpStartsWith, text("abc"), text("bc"))), breaks(op(OpStartsWith, errs(), text("")))},
		"ends_with":   {holds(op(OpEndsWith, text("abc"), text("bc"))), fails(op(OpEndsWith, text("abc"), text("ab"))), breaks(op(OpEndsWith, text("a"), errs()))},
		"contains":    {holds(op(OpContains, text("abc"), text("b"))), fails(op(OpContains, text("abc"), text("d"))), breaks(op(OpContains, text("a"), errs()))},
		"size": {
			holds(op(OpEq, op(OpSize, text("é€")), number(2))), holds(op(OpEq, op(OpSize, text("")), number(0))),
			holds(op(OpEq, op(OpSize, list(text("a"), text("b"))), number(2))), holds(op(OpEq, op(OpSize, groups), number(2))),
			breaks(op(OpEq, op(OpSize, errs()), number(0))), breaks(op(OpEq, op(OpSize, list(text("a"), errs())), number(2))),
		},
		"captures": {
			holds(op(OpEq, path, text("foo"))), holds(op(OpEq, host, text("api"))), holds(op(OpIn, path, groups)),
			breaks(op(OpEq, &Expr{Op: OpPathVar, Str: "team"}, errs())),
		},
		"variables": {
			holds(op(OpEq, variable(VarRequestMethod), text("GET"))), holds(op(OpEq, variable(VarRequestPath), text("/w/foo"))),
			holds(op(OpEq, variable(VarRequestHost), text("api.example.com"))), holds(op(OpEq, variable(VarTokenIss), text("https://kc"))),
			holds(op(OpEq, variable(VarTokenSub), text("sub-9"))), holds(op(OpEq, variable(VarUserName), text("eric"))),
			holds(op(OpEq, variable(VarServiceName), text(""))),
		},
	}
	covered := map[Op]bool{}
	for name, rows := range tests {
		for i, row := range rows {
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				noteOps(row.when, covered)
				if got := conditionResult(t, row.when); got != row.want {
					t.Errorf("got %d, want %d", got, row.want)
				}
			})
		}
	}
	for o := OpString; o < numOps; o++ {
		if !covered[o] {
			t.Errorf("operator %d has no test", o)
		}
	}
}

func noteOps(e *Expr, into map[Op]bool) {
	into[e.Op] = true
	for _, a := range e.Args {
		noteOps(a, into)
	}
}

// conditionResult evaluates when in a request of eric's, by what an allow and a
// deny rule make of it: an allow rule that errs does not match, a deny rule
// that errs denies.
func conditionResult(t *testing.T, when *Expr) condResult {
	t.Helper()
	reason := func(effect Effect) Reason {
		rule := Rule{Effect: effect, Methods: []string{"*"}, Hosts: []string{"{h}.example.com"}, Paths: []string{"/w/{team}"}, When: when}
		src := everyone([]Policy{{Name: "p", Rules: []Rule{rule}}}, "p")
		src.Roles = []Role{{Name: "librarian", Claims: []string{"lib"}}}
		body, err := Build(src)
		if err != nil {
			t.Fatal(err)
		}
		id := &Identity{Authenticated: true, Iss: "https://kc", Subject: "sub-9", User: "eric", Groups: []string{"foo", "bar", GroupAuthenticated}, Roles: []string{"lib", "system:x"}}
		d := NewEvaluator().Decide(mustLoad(t, raiseErrors(t, body)), &Request{Method: "GET", Path: "/w/foo", Host: "api.example.com"}, id)
		return d.Reason
	}
	switch allow, deny := reason(EffectAllow), reason(EffectDeny); {
	case allow == ReasonAllowed && deny == ReasonDeniedByRule:
		return condTrue
	case allow == ReasonNoMatchingRule && deny == ReasonNoMatchingRule:
		return condFalse
	case allow == ReasonNoMatchingRule && deny == ReasonConditionError:
		return condError
	default:
		t.Fatalf("allow gives %v, deny %v", allow, deny)
	}
	return condError
}

// Without a token the variables of token, user and service are empty.
func TestConditionsWithoutToken(t *testing.T) {
	empty := op(OpAnd, op(OpEq, variable(VarTokenGroups), list()), op(OpEq, variable(VarTokenRoles), list()))
	for _, v := range []Var{VarTokenIss, VarTokenSub, VarUserName, VarServiceName} {
		empty = op(OpAnd, empty, op(OpEq, variable(v), text("")))
	}
	src := everyone([]Policy{allowPaths("p", empty, "/**")})
	src.Groups = []Group{{Name: GroupUnauthenticated, Policies: []string{"p"}}}
	e := NewEvaluator()
	s := load(t, src)
	e.Decide(s, &Request{Method: "GET", Path: "/"}, &Identity{Authenticated: true, Iss: "i", Subject: "s", User: "eric", Groups: []string{"g"}, Roles: []string{"r"}})
	if d := e.Decide(s, &Request{Method: "GET", Path: "/"}, &Identity{}); !d.Allowed() {
		t.Errorf("got %v", d.Reason)
	}
}

// Of a service's own token groups, roles and user name are empty.
func TestConditionsOfAServiceItself(t *testing.T) {
	when := op(OpAnd,
		op(OpAnd, op(OpEq, variable(VarTokenGroups), list()), op(OpEq, variable(VarTokenRoles), list())),
		op(OpAnd, op(OpEq, variable(VarUserName), text("")), op(OpEq, variable(VarServiceName), text("mlops"))))
	src := story()
	src.Policies[6].Rules[0].When = when
	id := &Identity{Authenticated: true, Issuer: "kc", User: "root", Subject: "sub-1", Client: "mlops-client", Groups: []string{"foo"}, Roles: []string{"lib"}}
	if d := NewEvaluator().Decide(load(t, src), &Request{Method: "GET", Path: "/own/1"}, id); !d.Allowed() {
		t.Errorf("got %v", d.Reason)
	}
}
