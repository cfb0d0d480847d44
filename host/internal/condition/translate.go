package condition

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"sallyport/policydata"
)

// The roots whose fields are the captures of a rule.
const (
	rootPath = "path"
	rootHost = "host"
)

// variables are the names that conditions can use besides captures.
var variables = []struct {
	name string
	id   policydata.Var
	list bool // of string; else a string
}{
	{name: "request.method", id: policydata.VarRequestMethod},
	{name: "request.path", id: policydata.VarRequestPath},
	{name: "request.host", id: policydata.VarRequestHost},
	{name: "token.iss", id: policydata.VarTokenIss},
	{name: "token.sub", id: policydata.VarTokenSub},
	{name: "token.groups", id: policydata.VarTokenGroups, list: true},
	{name: "token.roles", id: policydata.VarTokenRoles, list: true},
	{name: "user.name", id: policydata.VarUserName},
	{name: "service.name", id: policydata.VarServiceName},
}

// unsupportedVariables are names of the language that this version does not
// have: to call them undeclared would send the reader looking for a misspelling.
var unsupportedVariables = []string{"request.headers", "request.query", "request.time", "token.claims"}

// calls are the operators and functions by their names in the tree. args counts
// the operands, the receiver of a member call included.
var calls = map[string]struct {
	op   policydata.Op
	args int
}{
	operators.LogicalAnd:    {policydata.OpAnd, 2},
	operators.LogicalOr:     {policydata.OpOr, 2},
	operators.LogicalNot:    {policydata.OpNot, 1},
	operators.Equals:        {policydata.OpEq, 2},
	operators.NotEquals:     {policydata.OpNe, 2},
	operators.Less:          {policydata.OpLt, 2},
	operators.LessEquals:    {policydata.OpLe, 2},
	operators.Greater:       {policydata.OpGt, 2},
	operators.GreaterEquals: {policydata.OpGe, 2},
	operators.In:            {policydata.OpIn, 2},
	overloads.StartsWith:    {policydata.OpStartsWith, 2},
	overloads.EndsWith:      {policydata.OpEndsWith, 2},
	overloads.Contains:      {policydata.OpContains, 2},
	overloads.Size:          {policydata.OpSize, 1},
}

// translator turns the tree of one condition into a policydata.Expr. It knows
// names and constructs; types are left to the checker.
type translator struct {
	info                       *celast.SourceInfo
	pathCaptures, hostCaptures []string

	nodes int           // how many were made
	lists []celast.Expr // the list literals, for checkLists
}

func newTranslator(tree *celast.AST, pathCaptures, hostCaptures []string) *translator {
	return &translator{info: tree.SourceInfo(), pathCaptures: pathCaptures, hostCaptures: hostCaptures}
}

// expr translates e, which is at the given depth; the root's is 1.
func (t *translator) expr(e celast.Expr, depth int) (*policydata.Expr, error) {
	if depth > policydata.MaxExprDepth {
		return nil, t.errorf(e, "the condition is nested deeper than %d", policydata.MaxExprDepth)
	}
	if t.nodes++; t.nodes > policydata.MaxExprNodes {
		return nil, t.errorf(e, "the condition has more than %d operators and operands", policydata.MaxExprNodes)
	}
	switch e.Kind() {
	case celast.LiteralKind:
		return t.constant(e)
	case celast.IdentKind:
		return nil, t.refuseIdent(e)
	case celast.SelectKind:
		return t.variable(e)
	case celast.ListKind:
		t.lists = append(t.lists, e)
		return t.node(policydata.OpList, e.AsList().Elements(), depth)
	case celast.CallKind:
		return t.call(e, depth)
	case celast.MapKind:
		return nil, t.unsupported(e, "a map")
	case celast.StructKind:
		return nil, t.unsupported(e, "a message")
	}
	return nil, t.unsupported(e, "this expression")
}

// node returns an operator with its operands translated. Args is never nil.
func (t *translator) node(op policydata.Op, operands []celast.Expr, depth int) (*policydata.Expr, error) {
	args := make([]*policydata.Expr, 0, len(operands))
	for _, operand := range operands {
		arg, err := t.expr(operand, depth+1)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	return &policydata.Expr{Op: op, Args: args}, nil
}

// leaf returns an operand without operands.
func leaf(op policydata.Op, str string, num int64) *policydata.Expr {
	return &policydata.Expr{Op: op, Str: str, Int: num, Args: []*policydata.Expr{}}
}

func (t *translator) constant(e celast.Expr) (*policydata.Expr, error) {
	switch v := e.AsLiteral().(type) {
	case types.String:
		if !utf8.ValidString(string(v)) {
			return nil, t.errorf(e, "the string is not valid UTF-8")
		}
		return leaf(policydata.OpString, string(v), 0), nil
	case types.Int:
		return leaf(policydata.OpInt, "", int64(v)), nil
	case types.Bool:
		if v {
			return leaf(policydata.OpBool, "", 1), nil
		}
		return leaf(policydata.OpBool, "", 0), nil
	case types.Uint:
		return nil, t.unsupported(e, "an unsigned number")
	case types.Double:
		return nil, t.unsupported(e, "a number with a fraction or exponent")
	case types.Bytes:
		return nil, t.unsupported(e, "bytes")
	case types.Null:
		return nil, t.unsupported(e, "null")
	}
	return nil, t.unsupported(e, "this constant")
}

func (t *translator) call(e celast.Expr, depth int) (*policydata.Expr, error) {
	c := e.AsCall()
	name := c.FunctionName()
	spec, ok := calls[name]
	if !ok {
		return nil, t.unsupported(e, construct(name))
	}
	operands := c.Args()
	if c.IsMemberFunction() {
		operands = append([]celast.Expr{c.Target()}, operands...)
	}
	// The checker would find this, too; the tree must not depend on it.
	if len(operands) != spec.args {
		return nil, t.errorf(e, "wrong number of operands for %s", construct(name))
	}
	return t.node(spec.op, operands, depth)
}

// construct names an operator or function to the reader of an error.
func construct(name string) string {
	switch name {
	case operators.Conditional:
		return "the conditional operator"
	case operators.Index:
		return "indexing"
	}
	if op, ok := operators.FindReverse(name); ok && name != operators.OldIn {
		return "the operator '" + op + "'"
	}
	return name + "()"
}

// variable translates a selection: a root and one field.
func (t *translator) variable(e celast.Expr) (*policydata.Expr, error) {
	operand, field := e.AsSelect().Operand(), e.AsSelect().FieldName()
	if operand.Kind() == celast.SelectKind {
		// What is wrong further left is said first.
		if _, err := t.variable(operand); err != nil {
			return nil, err
		}
	}
	if operand.Kind() != celast.IdentKind {
		return nil, t.unsupported(e, fmt.Sprintf("the field '%s' of a value", field))
	}
	root := operand.AsIdent()
	switch root {
	case rootPath:
		return t.capture(operand, policydata.OpPathVar, field, t.pathCaptures)
	case rootHost:
		return t.capture(operand, policydata.OpHostVar, field, t.hostCaptures)
	}
	name := root + "." + field
	for _, v := range variables {
		if v.name == name {
			return leaf(policydata.OpVar, "", int64(v.id)), nil
		}
	}
	if slices.Contains(unsupportedVariables, name) {
		return nil, t.unsupported(operand, name)
	}
	if fields := fieldsOf(root); len(fields) > 0 {
		return nil, t.errorf(operand, "undeclared reference to '%s'; %s has: %s", name, root, strings.Join(fields, ", "))
	}
	return nil, t.refuseIdent(operand)
}

func (t *translator) capture(root celast.Expr, op policydata.Op, name string, captures []string) (*policydata.Expr, error) {
	if slices.Contains(captures, name) {
		return leaf(op, name, 0), nil
	}
	ref := root.AsIdent() + "." + name
	if len(captures) == 0 {
		return nil, t.errorf(root, "undeclared reference to '%s'; not every %s of this rule captures '%s'", ref, root.AsIdent(), name)
	}
	return nil, t.errorf(root, "undeclared reference to '%s'; this rule captures: %s (in every %s)",
		ref, strings.Join(captures, ", "), root.AsIdent())
}

// fieldsOf returns the fields of a root other than path and host.
func fieldsOf(root string) []string {
	var fields []string
	for _, v := range variables {
		if field, ok := strings.CutPrefix(v.name, root+"."); ok {
			fields = append(fields, field)
		}
	}
	return fields
}

// refuseIdent refuses a name that stands alone: no variable does.
func (t *translator) refuseIdent(e celast.Expr) error {
	name := e.AsIdent()
	if name == rootPath || name == rootHost {
		return t.errorf(e, "'%s' alone has no value; use '%s.' and the name of a capture", name, name)
	}
	if fields := fieldsOf(name); len(fields) > 0 {
		return t.errorf(e, "'%s' alone has no value; %s has: %s", name, name, strings.Join(fields, ", "))
	}
	return t.errorf(e, "undeclared reference to '%s'", name)
}

// checkLists refuses lists of what is not a string, int or bool. An empty list
// whose element type nothing fixes has the type list(dyn).
func (t *translator) checkLists(checked *celast.AST) error {
	scalar := []*types.Type{cel.StringType, cel.IntType, cel.BoolType, cel.DynType}
	for _, list := range t.lists {
		params := checked.GetType(list.ID()).Parameters()
		ok := len(params) == 1 && slices.ContainsFunc(scalar, params[0].IsExactType)
		if !ok {
			return t.unsupported(list, "a list of lists")
		}
	}
	return nil
}

func (t *translator) unsupported(e celast.Expr, what string) error {
	return t.errorf(e, "not supported: %s", what)
}

func (t *translator) errorf(e celast.Expr, format string, args ...any) error {
	return errorAt(t.info.GetStartLocation(e.ID()), fmt.Sprintf(format, args...))
}
