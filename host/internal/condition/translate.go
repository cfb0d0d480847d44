package condition

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"sallyport/policydata"
)

// translator turns the tree of one condition into a policydata.Expr. It knows
// names and constructs; types are left to the checker.
type translator struct {
	src                        string
	info                       *celast.SourceInfo
	pathCaptures, hostCaptures []string

	nodes  int           // how many were made
	locals []string      // the variables of the macros around, from the outermost
	joins  []celast.Expr // the uses of "+", for checkConcatenations
}

func newTranslator(src string, tree *celast.AST, pathCaptures, hostCaptures []string) *translator {
	return &translator{src: src, info: tree.SourceInfo(), pathCaptures: pathCaptures, hostCaptures: hostCaptures}
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
		return t.local(e)
	case celast.SelectKind:
		return t.selection(e, depth)
	case celast.ListKind:
		if len(e.AsList().OptionalIndices()) > 0 {
			return nil, t.unsupported(e, "an optional element")
		}
		return t.node(e, policydata.Expr{Op: policydata.OpList}, e.AsList().Elements(), depth)
	case celast.CallKind:
		return t.call(e, depth)
	case celast.ComprehensionKind:
		return t.macro(e, depth)
	case celast.MapKind:
		return nil, t.unsupported(e, "a map")
	case celast.StructKind:
		return nil, t.unsupported(e, "a message")
	}
	return nil, t.unsupported(e, "this expression")
}

// node returns an operator with its operands translated. Args is never nil.
func (t *translator) node(e celast.Expr, of policydata.Expr, operands []celast.Expr, depth int) (*policydata.Expr, error) {
	of.Pos = t.position(e)
	of.Args = make([]*policydata.Expr, 0, len(operands))
	for _, operand := range operands {
		arg, err := t.expr(operand, depth+1)
		if err != nil {
			return nil, err
		}
		of.Args = append(of.Args, arg)
	}
	return &of, nil
}

// leaf returns an operand without operands.
func (t *translator) leaf(e celast.Expr, of policydata.Expr) (*policydata.Expr, error) {
	return t.node(e, of, nil, 0)
}

func (t *translator) constant(e celast.Expr) (*policydata.Expr, error) {
	switch v := e.AsLiteral().(type) {
	case types.String:
		if !utf8.ValidString(string(v)) {
			return nil, t.errorf(e, "the string is not valid UTF-8")
		}
		return t.leaf(e, policydata.Expr{Op: policydata.OpString, Str: string(v)})
	case types.Int:
		return t.leaf(e, policydata.Expr{Op: policydata.OpInt, Int: int64(v)})
	case types.Uint:
		return t.leaf(e, policydata.Expr{Op: policydata.OpUint, Int: int64(v)})
	case types.Double:
		return t.leaf(e, policydata.Expr{Op: policydata.OpDouble, Int: int64(math.Float64bits(float64(v)))})
	case types.Bool:
		n := int64(0)
		if v {
			n = 1
		}
		return t.leaf(e, policydata.Expr{Op: policydata.OpBool, Int: n})
	case types.Null:
		return t.leaf(e, policydata.Expr{Op: policydata.OpNull})
	case types.Bytes:
		return nil, t.unsupported(e, "bytes")
	}
	return nil, t.unsupported(e, "this constant")
}

func (t *translator) call(e celast.Expr, depth int) (*policydata.Expr, error) {
	c := e.AsCall()
	name := c.FunctionName()
	spec, ok := calls[name]
	if !ok {
		return nil, t.unsupported(e, construct(name)+because(name))
	}
	operands := c.Args()
	if c.IsMemberFunction() {
		operands = append([]celast.Expr{c.Target()}, operands...)
	}
	// The checker would find this, too; the tree must not depend on it.
	if len(operands) != spec.args {
		if spec.op == policydata.OpTimePart && len(operands) == 2 {
			return nil, t.unsupported(e, construct(name)+" with a time zone: it is UTC")
		}
		return nil, t.errorf(e, "wrong number of operands for %s", construct(name))
	}
	switch spec.op {
	case policydata.OpTime:
		return t.timestamp(e, operands[0])
	case policydata.OpConcat:
		t.joins = append(t.joins, e)
	case policydata.OpIndex:
		if key, ok := operands[1].AsLiteral().(types.String); ok && utf8.ValidString(string(key)) {
			return t.field(e, policydata.OpField, operands[0], string(key), depth)
		}
	}
	expr, err := t.node(e, policydata.Expr{Op: spec.op, Int: spec.part}, operands, depth)
	if err == nil && spec.op == policydata.OpIn && expr.Args[0].Op == policydata.OpString {
		err = t.checkHeader(operands[0], expr.Args[1], expr.Args[0].Str)
	}
	return expr, err
}

// timestamp translates timestamp("..."): with a constant there is nothing to
// parse, and nothing to go wrong, in a request.
func (t *translator) timestamp(e, operand celast.Expr) (*policydata.Expr, error) {
	text, ok := operand.AsLiteral().(types.String)
	if operand.Kind() != celast.LiteralKind || !ok {
		return nil, t.unsupported(e, "timestamp() of what is no string constant")
	}
	at, ok := text.ConvertToType(types.TimestampType).(types.Timestamp)
	if !ok {
		return nil, t.errorf(operand, "timestamp(): want a time as in RFC 3339, such as 2026-11-01T00:00:00Z")
	}
	return t.leaf(e, policydata.Expr{Op: policydata.OpTime, Int: at.Unix(), Nanos: uint32(at.Nanosecond())})
}

// macro translates what exists() and all() were expanded to by the parser.
func (t *translator) macro(e celast.Expr, depth int) (*policydata.Expr, error) {
	c := e.AsComprehension()
	op, name := policydata.OpExists, c.IterVar()
	if c.LoopStep().AsCall().FunctionName() == operators.LogicalAnd {
		op = policydata.OpAll
	}
	if rootNames[name] {
		return nil, t.errorf(e, "'%s' means something else here; name the variable differently", name)
	}
	over, err := t.expr(c.IterRange(), depth+1)
	if err != nil {
		return nil, err
	}
	if len(t.locals) == policydata.MaxMacroDepth {
		return nil, t.errorf(e, "exists and all are nested deeper than %d", policydata.MaxMacroDepth)
	}
	t.locals = append(t.locals, name)
	predicate, err := t.expr(c.LoopStep().AsCall().Args()[1], depth+1)
	t.locals = t.locals[:len(t.locals)-1]
	if err != nil {
		return nil, err
	}
	return &policydata.Expr{Op: op, Args: []*policydata.Expr{over, predicate}, Pos: t.position(e)}, nil
}

// local translates a name that stands alone: the variable of a macro.
func (t *translator) local(e celast.Expr) (*policydata.Expr, error) {
	if i := t.localIndex(e.AsIdent()); i >= 0 {
		return t.leaf(e, policydata.Expr{Op: policydata.OpLocal, Int: int64(i)})
	}
	return nil, t.refuseIdent(e)
}

// localIndex returns which macro's variable a name is, the innermost's if there
// are several, or -1.
func (t *translator) localIndex(name string) int {
	for i, local := range slices.Backward(t.locals) {
		if local == name {
			return i
		}
	}
	return -1
}

// selection translates a.b: a variable, or a key of a map.
func (t *translator) selection(e celast.Expr, depth int) (*policydata.Expr, error) {
	s := e.AsSelect()
	op := policydata.OpField
	if s.IsTestOnly() {
		op = policydata.OpHas
	}
	operand := s.Operand()
	if operand.Kind() != celast.IdentKind || t.localIndex(operand.AsIdent()) >= 0 {
		return t.field(e, op, operand, s.FieldName(), depth)
	}
	if op == policydata.OpHas {
		return nil, t.errorf(e, "has() asks for keys of maps, such as has(token.claims.x); '%s.%s' is always there", operand.AsIdent(), s.FieldName())
	}
	return t.variable(operand, s.FieldName())
}

// field translates a key of a map that operand is.
func (t *translator) field(e celast.Expr, op policydata.Op, operand celast.Expr, key string, depth int) (*policydata.Expr, error) {
	expr, err := t.node(e, policydata.Expr{Op: op, Str: key}, []celast.Expr{operand}, depth)
	if err != nil {
		return nil, err
	}
	return expr, t.checkHeader(e, expr.Args[0], key)
}

// checkHeader refuses a constant name of a header that no header has.
func (t *translator) checkHeader(at celast.Expr, of *policydata.Expr, name string) error {
	if of.Op != policydata.OpVar || policydata.Var(of.Int) != policydata.VarRequestHeaders {
		return nil
	}
	if lower := strings.ToLower(name); lower != name {
		return t.errorf(at, "the names in request.headers are in lower case: '%s'", lower)
	}
	return nil
}

// variable translates a root and one field of it.
func (t *translator) variable(root celast.Expr, field string) (*policydata.Expr, error) {
	switch root.AsIdent() {
	case rootPath:
		return t.capture(root, policydata.OpPathVar, field, t.pathCaptures)
	case rootHost:
		return t.capture(root, policydata.OpHostVar, field, t.hostCaptures)
	}
	name := root.AsIdent() + "." + field
	for _, v := range variables {
		if v.name == name {
			return t.leaf(root, policydata.Expr{Op: policydata.OpVar, Int: int64(v.id)})
		}
	}
	if fields := fieldsOf(root.AsIdent()); len(fields) > 0 {
		return nil, t.errorf(root, "undeclared reference to '%s'; %s has: %s", name, root.AsIdent(), strings.Join(fields, ", "))
	}
	return nil, t.refuseIdent(root)
}

func (t *translator) capture(root celast.Expr, op policydata.Op, name string, captures []string) (*policydata.Expr, error) {
	if slices.Contains(captures, name) {
		return t.leaf(root, policydata.Expr{Op: op, Str: name})
	}
	ref := root.AsIdent() + "." + name
	if len(captures) == 0 {
		return nil, t.errorf(root, "undeclared reference to '%s'; not every %s of this rule captures '%s'", ref, root.AsIdent(), name)
	}
	return nil, t.errorf(root, "undeclared reference to '%s'; this rule captures: %s (in every %s)",
		ref, strings.Join(captures, ", "), root.AsIdent())
}

// rootNames are the names that no variable of a macro can have.
var rootNames = func() map[string]bool {
	names := map[string]bool{rootPath: true, rootHost: true}
	for _, v := range variables {
		root, _, _ := strings.Cut(v.name, ".")
		names[root] = true
	}
	return names
}()

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

// refuseIdent refuses a name that stands alone and is no variable of a macro.
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

// checkConcatenations refuses "+" where no operand is known to be a string:
// CEL's would add numbers and lists as well.
func (t *translator) checkConcatenations(checked *celast.AST) error {
	for _, e := range t.joins {
		args := e.AsCall().Args()
		if !slices.ContainsFunc(args, func(a celast.Expr) bool { return checked.GetType(a.ID()).IsExactType(cel.StringType) }) {
			return t.unsupported(e, "the operator '+' of what may be no string; \"\" + a + b joins strings")
		}
	}
	return nil
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

// because says why something is not in the language. A macro with a wrong number
// of operands comes here as a call.
func because(name string) string {
	switch {
	case name == operators.Exists || name == operators.All || name == operators.Has:
		return " with these operands"
	case reasons[name] != "":
		return ": " + reasons[name]
	}
	return ""
}

func (t *translator) unsupported(e celast.Expr, what string) error {
	return t.errorf(e, "not supported: %s", what)
}

func (t *translator) errorf(e celast.Expr, format string, args ...any) error {
	return errorAt(t.info.GetStartLocation(e.ID()), fmt.Sprintf(format, args...))
}

// position returns where e stands, in bytes; cel-go counts code points.
func (t *translator) position(e celast.Expr) int {
	at, ok := t.info.GetOffsetRange(e.ID())
	if !ok {
		return 0
	}
	points := int(at.Start)
	for i := range t.src {
		if points == 0 {
			return i
		}
		points--
	}
	return len(t.src)
}
