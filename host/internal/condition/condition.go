package condition

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"

	"sallyport/policydata"
)

// Compile parses and checks a condition and returns its tree, which Build
// accepts: it keeps policydata.MaxConditionBytes, policydata.MaxExprNodes and
// policydata.MaxExprDepth. pathCaptures and
// hostCaptures are the names that every path pattern, and every host pattern, of
// the rule captures: only these have a value whenever the rule matches.
//
// The error is one line that begins with line and column in src, both counted
// from 1, the column in code points.
func Compile(src string, pathCaptures, hostCaptures []string) (*policydata.Expr, error) {
	if len(src) > policydata.MaxConditionBytes {
		return nil, fmt.Errorf("1:1: the condition has %d bytes, more than %d", len(src), policydata.MaxConditionBytes)
	}
	if !utf8.ValidString(src) {
		return nil, errors.New("1:1: the condition is not valid UTF-8")
	}
	celEnv, err := checkEnv()
	if err != nil {
		return nil, fmt.Errorf("cel environment: %w", err)
	}
	parsed, issues := celEnv.Parse(src)
	if err := firstIssue(issues); err != nil {
		return nil, err
	}
	// The parsed tree is still what the user wrote, so it names what is refused;
	// the checker would speak of an undeclared '_?_:_'. Translating it is sound,
	// because the checker can resolve the names that the translator let pass in
	// one way only, and with macros off nothing was expanded.
	t := newTranslator(parsed.NativeRep(), pathCaptures, hostCaptures)
	expr, err := t.expr(parsed.NativeRep().Expr(), 1)
	if err != nil {
		return nil, err
	}
	checked, issues := celEnv.Check(parsed)
	if err := firstIssue(issues); err != nil {
		return nil, err
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("1:1: the condition must be a bool, not a %s", out)
	}
	if err := t.checkLists(checked.NativeRep()); err != nil {
		return nil, err
	}
	return expr, nil
}

// checkEnv returns the environment of all conditions. It declares no capture by
// name, so that one environment serves all rules: path and host are maps of
// strings here, and the translator knows which keys there are.
var checkEnv = sync.OnceValues(func() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(&env.LibrarySubset{
			DisableMacros:    true,
			IncludeFunctions: functions(),
		})),
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.Variable(rootPath, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable(rootHost, cel.MapType(cel.StringType, cel.StringType)),
	}
	for _, v := range variables {
		typ := cel.StringType
		if v.list {
			typ = cel.ListType(cel.StringType)
		}
		opts = append(opts, cel.Variable(v.name, typ))
	}
	return cel.NewCustomEnv(opts...)
})

// functions returns the functions and overloads of CEL's standard library that
// the language has. Without those for bools, doubles, times, bytes and maps, what
// the engine can't do does not type-check either.
func functions() []*env.Function {
	overloadsOf := map[string][]string{
		operators.LogicalAnd:    {overloads.LogicalAnd},
		operators.LogicalOr:     {overloads.LogicalOr},
		operators.LogicalNot:    {overloads.LogicalNot},
		operators.Equals:        {overloads.Equals},
		operators.NotEquals:     {overloads.NotEquals},
		operators.Less:          {overloads.LessInt64, overloads.LessString},
		operators.LessEquals:    {overloads.LessEqualsInt64, overloads.LessEqualsString},
		operators.Greater:       {overloads.GreaterInt64, overloads.GreaterString},
		operators.GreaterEquals: {overloads.GreaterEqualsInt64, overloads.GreaterEqualsString},
		operators.In:            {overloads.InList},
		overloads.StartsWith:    {overloads.StartsWithString},
		overloads.EndsWith:      {overloads.EndsWithString},
		overloads.Contains:      {overloads.ContainsString},
		overloads.Size: {
			overloads.SizeString, overloads.SizeStringInst,
			overloads.SizeList, overloads.SizeListInst,
		},
	}
	var fns []*env.Function
	for name, ids := range overloadsOf {
		fn := &env.Function{Name: name}
		for _, id := range ids {
			fn.Overloads = append(fn.Overloads, &env.Overload{ID: id})
		}
		fns = append(fns, fn)
	}
	return fns
}
