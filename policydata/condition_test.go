package policydata

import (
	"fmt"
	"maps"
	"math"
	"testing"
)

// Shorthands for trees.
func op(o Op, args ...*Expr) *Expr { return &Expr{Op: o, Args: args} }
func text(s string) *Expr          { return &Expr{Op: OpString, Str: s} }
func number(n int64) *Expr         { return &Expr{Op: OpInt, Int: n} }
func truth(n int64) *Expr          { return &Expr{Op: OpBool, Int: n} }
func variable(v Var) *Expr         { return &Expr{Op: OpVar, Int: int64(v)} }
func list(args ...*Expr) *Expr     { return op(OpList, args...) }

func local(n int64) *Expr { return &Expr{Op: OpLocal, Int: n} }

func field(of *Expr, name string) *Expr { return &Expr{Op: OpField, Str: name, Args: []*Expr{of}} }
func has(of *Expr, name string) *Expr   { return &Expr{Op: OpHas, Str: name, Args: []*Expr{of}} }
func double(d float64) *Expr            { return &Expr{Op: OpDouble, Int: int64(math.Float64bits(d))} }
func uints(n uint64) *Expr              { return &Expr{Op: OpUint, Int: int64(n)} }
func null() *Expr                       { return &Expr{Op: OpNull} }
func part(n int64, of *Expr) *Expr      { return &Expr{Op: OpTimePart, Int: n, Args: []*Expr{of}} }

func moment(seconds int64, nanos uint32) *Expr {
	return &Expr{Op: OpTime, Int: seconds, Nanos: nanos}
}

// claim is a claim, or part of one.
func claim(path ...string) *Expr {
	e := variable(VarTokenClaims)
	for _, name := range path {
		e = field(e, name)
	}
	return e
}

// errs is an operand that errs, and errBool one that would be a bool.
func errs() *Expr    { return claim("none") }
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
		},
		"variables": {
			holds(op(OpEq, variable(VarRequestMethod), text("GET"))), holds(op(OpEq, variable(VarRequestPath), text("/w/foo"))),
			holds(op(OpEq, variable(VarRequestHost), text("api.example.com"))), holds(op(OpEq, variable(VarTokenIss), text("https://kc"))),
			holds(op(OpEq, variable(VarTokenSub), text("sub-9"))), holds(op(OpEq, variable(VarUserName), text("eric"))),
			holds(op(OpEq, variable(VarServiceName), text(""))),
		},
	}
	maps.Copy(tests, map[string][]row{
		"constants_of_other_types": {
			holds(op(OpEq, null(), null())), fails(op(OpEq, null(), number(0))), fails(op(OpEq, null(), list())), breaks(op(OpLt, null(), null())),
			holds(op(OpLt, uints(1), uints(math.MaxUint64))), holds(op(OpLt, double(-1.5), double(0))), holds(op(OpEq, double(0), double(math.Copysign(0, -1)))),
			fails(op(OpEq, text("1"), number(1))), breaks(op(OpLt, text("1"), number(1))), breaks(op(OpGe, list(), list())), breaks(op(OpLt, truth(0), number(1))),
		},
		"numbers_of_different_types": {
			holds(op(OpEq, number(1), uints(1))), holds(op(OpLt, number(-1), uints(0))), holds(op(OpLt, number(1<<63-1), uints(1<<63))), holds(op(OpGt, uints(math.MaxUint64), number(-1))),
			holds(op(OpEq, double(2), number(2))), holds(op(OpLe, number(2), double(2.5))), holds(op(OpGt, uints(3), double(2.5))), fails(op(OpEq, number(3), double(2.5))),
			holds(op(OpEq, double(1<<63), uints(1<<63))), holds(op(OpLt, number(1<<63-1), double(1e300))), holds(op(OpIn, number(1), list(text("1"), double(1)))),
		},
		"timestamps": {
			holds(op(OpEq, variable(VarRequestTime), moment(testTime, 0))), holds(op(OpLt, variable(VarRequestTime), moment(testTime, 1))), fails(op(OpGt, moment(-1, 5), moment(0, 0))),
			fails(op(OpEq, variable(VarRequestTime), number(testTime))), breaks(op(OpLt, variable(VarRequestTime), number(1))),
		},
		"parts_of_timestamps": {
			holds(op(OpEq, part(PartFullYear, variable(VarRequestTime)), number(2027))), holds(op(OpEq, part(PartMillis, moment(0, 5e8)), number(500))),
			breaks(op(OpEq, part(PartHours, text("x")), number(1))), breaks(op(OpEq, part(PartHours, errs()), number(1))),
		},
		"claims_of_all_types": {
			holds(claim("yes")), fails(claim("no")), breaks(claim("s")), breaks(errs()), holds(op(OpEq, claim("s"), text("text"))), holds(op(OpEq, claim("nil"), null())),
			holds(op(OpEq, claim("n"), number(2))), holds(op(OpEq, claim("f"), double(-1.25e2))), holds(op(OpGt, claim("huge"), double(math.MaxFloat64))),
			holds(op(OpEq, claim("esc\"aped"), text("a\n\"\\/\b\f\r\té😀"))), holds(op(OpEq, claim("o", "deep", "er"), list())), holds(op(OpEq, op(OpSize, variable(VarTokenClaims)), number(12))),
		},
		"fields": {
			breaks(op(OpEq, claim("s", "x"), text(""))), breaks(op(OpEq, claim("l", "x"), text(""))), breaks(op(OpEq, claim("nil", "x"), text(""))), breaks(op(OpEq, claim("none", "x"), text(""))),
			holds(op(OpEq, field(variable(VarRequestHeaders), "x-one"), text("1"))), holds(op(OpEq, field(variable(VarRequestQuery), "b"), list(text(""), text("é +")))),
		},
		"has": {
			holds(has(claim(), "s")), holds(has(claim(), "nil")), fails(has(claim(), "none")), fails(has(claim("o"), "x")), fails(has(claim("s"), "x")), fails(has(claim("nil"), "x")),
			breaks(has(claim("l"), "x")), breaks(has(claim("none"), "x")), holds(has(variable(VarRequestHeaders), "x-one")), fails(has(variable(VarRequestQuery), "x-one")),
		},
		"index": {
			holds(op(OpEq, op(OpIndex, claim("l"), number(1)), text("b"))), holds(op(OpEq, op(OpIndex, claim("l"), double(0)), text("a"))), holds(op(OpEq, op(OpIndex, claim("l"), uints(0)), text("a"))),
			breaks(op(OpEq, op(OpIndex, claim("l"), number(5)), text("b"))), breaks(op(OpEq, op(OpIndex, claim("l"), number(-1)), text("b"))), breaks(op(OpEq, op(OpIndex, claim("l"), double(0.5)), text("a"))),
			breaks(op(OpEq, op(OpIndex, claim("l"), text("0")), text("a"))), breaks(op(OpEq, op(OpIndex, claim(), number(0)), text("a"))), breaks(op(OpEq, op(OpIndex, claim("l"), truth(0)), text("a"))),
			holds(op(OpIn, text("x"), field(op(OpIndex, claim("o"), path), "r"))), breaks(op(OpIn, text("x"), field(op(OpIndex, claim("o"), host), "r"))),
			holds(op(OpEq, op(OpIndex, groups, number(1)), text("bar"))), holds(op(OpEq, op(OpIndex, list(text("q"), number(7)), number(1)), number(7))), breaks(op(OpEq, op(OpIndex, list(), uints(math.MaxUint64)), null())),
		},
		"in_map": {
			holds(op(OpIn, text("s"), claim())), fails(op(OpIn, text("x"), claim())), fails(op(OpIn, number(1), claim())), holds(op(OpIn, text("x-one"), variable(VarRequestHeaders))),
			breaks(op(OpIn, text("s"), claim("s"))), breaks(op(OpIn, errs(), claim())), holds(op(OpIn, null(), claim("l"))), fails(op(OpIn, number(9), groups)),
		},
		"conditional": {
			holds(op(OpIf, truth(1), truth(1), errBool())), fails(op(OpIf, truth(0), errBool(), truth(0))), breaks(op(OpIf, errBool(), truth(1), truth(1))), breaks(op(OpIf, text("x"), truth(1), truth(1))),
		},
		"exists": {
			holds(op(OpExists, groups, op(OpEq, local(0), text("bar")))), fails(op(OpExists, groups, op(OpEq, local(0), text("x")))), fails(op(OpExists, list(), errBool())),
			holds(op(OpExists, groups, op(OpOr, op(OpEq, local(0), text("bar")), errBool()))), breaks(op(OpExists, groups, errBool())), breaks(op(OpExists, groups, local(0))),
			breaks(op(OpExists, claim("s"), truth(1))), breaks(op(OpExists, errs(), truth(1))), breaks(op(OpExists, list(truth(1), errs()), local(0))),
			holds(op(OpExists, claim(), op(OpEq, local(0), text("l")))), holds(op(OpExists, groups, op(OpExists, claim("l"), op(OpEq, op(OpConcat, local(0), local(1)), text("foob"))))),
		},
		"all": {
			holds(op(OpAll, groups, op(OpNe, local(0), text("x")))), fails(op(OpAll, groups, op(OpEq, local(0), text("foo")))), holds(op(OpAll, list(), errBool())), breaks(op(OpAll, groups, errBool())),
			fails(op(OpAll, claim("l"), op(OpAnd, op(OpEq, local(0), text("a")), truth(0)))), holds(op(OpAll, variable(VarRequestHeaders), op(OpStartsWith, local(0), text("x-")))),
			holds(op(OpAll, variable(VarRequestQuery), op(OpIn, local(0), list(text("a"), text("b"), text(""))))),
		},
		"joined": {
			holds(op(OpEq, op(OpConcat, text("a"), op(OpConcat, text(""), path)), text("afoo"))), breaks(op(OpEq, op(OpConcat, text("a"), claim("n")), text("a2"))), breaks(op(OpEq, op(OpConcat, errs(), text("")), text(""))),
		},
		"maps_compared": {
			holds(op(OpEq, claim("o"), claim("o2"))), fails(op(OpEq, claim("o"), claim())), fails(op(OpEq, claim("o3"), claim("o"))), fails(op(OpEq, claim("o"), claim("o3"))), fails(op(OpEq, claim("o"), list())), holds(op(OpNe, claim("o", "foo"), claim("o", "deep"))), holds(op(OpEq, claim(), claim())),
		},
		"of_wrong_types": {
			breaks(op(OpNot, text("x"))), breaks(op(OpAnd, truth(1), text("x"))), fails(op(OpAnd, truth(0), text("x"))), holds(op(OpOr, claim("n"), truth(1))), breaks(op(OpOr, truth(0), null())),
			breaks(op(OpEq, op(OpSize, number(1)), number(1))), breaks(op(OpContains, claim("n"), text(""))), breaks(op(OpEndsWith, text(""), null())), breaks(text("true")), breaks(list()),
		},
	})
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

// testTime is 2027-01-15T08:00:00Z.
const testTime = 1_800_000_000

const testClaims = ` {"yes":true, "no" : false,"nil":null,"n":2,"f":-1.25E+2,"huge":1e999,"s":"text","esc\"aped":"a\n\"\\\/\b\f\r\t\u00e9\uD83D\ude00",` +
	`"l":["a","b",{},[],null ],"o":{"foo":{"r":["x"]}, "deep":{"er":[]}},"o3":{"foo":{"r":["x"]}},"o2":{"deep":{"\u0065r":[ ]},"foo":{"r":["x"]}}}`

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
		id := &Identity{Authenticated: true, Iss: "https://kc", Subject: "sub-9", User: "eric", Groups: []string{"foo", "bar", GroupAuthenticated}, Roles: []string{"lib", "system:x"}, Claims: testClaims}
		req := &Request{
			Method: "GET", Path: "/w/foo", Host: "api.example.com", Time: testTime, Query: "a=1&b&=&b=%c3%a9+%2B",
			Headers: [][2]string{{":path", "/w/foo"}, {"x-one", "1"}, {"authorization", "Basic x"}, {"x-two", "2"}},
		}
		d := NewEvaluator().Decide(mustLoad(t, body), req, id)
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
