package condition

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/parser"

	"sallyport/policydata"
)

// Compile parses and checks a condition and returns its tree, which Build
// accepts: it keeps policydata.MaxConditionBytes, policydata.MaxExprNodes,
// policydata.MaxExprDepth and policydata.MaxMacroDepth. pathCaptures and
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
	// the checker would speak of an undeclared '_-_'. Translating it is sound,
	// because the checker can resolve the names that the translator let pass in
	// one way only.
	t := newTranslator(src, parsed.NativeRep(), pathCaptures, hostCaptures)
	expr, err := t.expr(parsed.NativeRep().Expr(), 1)
	if err != nil {
		return nil, err
	}
	checked, issues := celEnv.Check(parsed)
	if err := firstIssue(issues); err != nil {
		return nil, err
	}
	if out := checked.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("1:1: the condition must be a bool, not a %s", out)
	}
	if len(t.joins) == 0 {
		return expr, nil
	}
	// In the language alone "+" makes strings of what it joins. Whether it does
	// in CEL is for the whole of CEL to say.
	if checked, err = checkAll(parsed); err != nil {
		return nil, err
	}
	if err := t.checkConcatenations(checked.NativeRep()); err != nil {
		return nil, err
	}
	return expr, nil
}

// checkAll checks a condition as one of the whole of CEL.
func checkAll(parsed *cel.Ast) (*cel.Ast, error) {
	celEnv, err := wholeEnv()
	if err != nil {
		return nil, fmt.Errorf("cel environment: %w", err)
	}
	checked, issues := celEnv.Check(parsed)
	return checked, firstIssue(issues)
}

// checkEnv returns the environment of all conditions. It declares no capture by
// name, so that one environment serves all rules: path and host are maps of
// strings here, and the translator knows which keys there are.
var checkEnv = sync.OnceValues(func() (*cel.Env, error) {
	return newEnv(cel.StdLib(cel.StdLibSubset(&env.LibrarySubset{
		DisableMacros:    true,
		IncludeFunctions: functions(),
	})))
})

// wholeEnv is checkEnv with all that CEL has.
var wholeEnv = sync.OnceValues(func() (*cel.Env, error) {
	return newEnv(cel.StdLib(cel.StdLibSubset(&env.LibrarySubset{DisableMacros: true})))
})

func newEnv(library cel.EnvOption) (*cel.Env, error) {
	opts := []cel.EnvOption{
		library,
		cel.Macros(parser.HasMacro, parser.ExistsMacro, parser.AllMacro),
		cel.EagerlyValidateDeclarations(true),
		cel.Variable(rootPath, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable(rootHost, cel.MapType(cel.StringType, cel.StringType)),
	}
	for _, v := range variables {
		opts = append(opts, cel.Variable(v.name, v.typ))
	}
	return cel.NewCustomEnv(opts...)
}

// functions returns the functions and overloads of CEL's standard library that
// the language has. Without the others, what the engine can't do does not
// type-check either.
func functions() []*env.Function {
	var fns []*env.Function
	for name, call := range calls {
		fn := &env.Function{Name: name}
		for _, id := range call.overloads {
			fn.Overloads = append(fn.Overloads, &env.Overload{ID: id})
		}
		fns = append(fns, fn)
	}
	// What macros expand to, as they come from the parser.
	return append(fns, &env.Function{Name: notStrictlyFalse, Overloads: []*env.Overload{{ID: notStrictlyFalseOverload}}})
}
