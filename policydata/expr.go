package policydata

// Op is the operator or operand kind of an [Expr].
type Op uint8

// Operands and operators of conditions. Their numbers are part of the snapshot
// format: never renumber, only append.
const (
	_            Op = iota
	OpString        // constant Str
	OpInt           // constant Int
	OpBool          // constant Int != 0
	OpList          // list of Args
	OpVar           // the variable Int, one of the Var constants
	OpPathVar       // path.<Str>: the text captured by {Str} of the path pattern
	OpHostVar       // host.<Str>: the text captured by {Str} of the host pattern
	OpAnd           // Args[0] && Args[1]
	OpOr            // Args[0] || Args[1]
	OpNot           // !Args[0]
	OpEq            // Args[0] == Args[1]
	OpNe            // Args[0] != Args[1]
	OpLt            // Args[0] < Args[1]
	OpLe            // Args[0] <= Args[1]
	OpGt            // Args[0] > Args[1]
	OpGe            // Args[0] >= Args[1]
	OpIn            // Args[0] in Args[1]
	OpStartsWith    // Args[0].startsWith(Args[1])
	OpEndsWith      // Args[0].endsWith(Args[1])
	OpContains      // Args[0].contains(Args[1])
	OpSize          // size(Args[0]): code points of a string, length of a list

	numOps
)

// Var is a variable of the condition language.
type Var uint8

// The variables. Their numbers are part of the snapshot format.
const (
	_                Var = iota
	VarRequestMethod     // request.method, string
	VarRequestPath       // request.path, string: the canonical path, decoded
	VarRequestHost       // request.host, string: lower case, no port
	VarTokenIss          // token.iss, string
	VarTokenSub          // token.sub, string
	VarTokenGroups       // token.groups, list of string: effective groups, no built-ins
	VarTokenRoles        // token.roles, list of string: mapped values and names of effective Roles
	VarUserName          // user.name, string
	VarServiceName       // service.name, string

	numVars
)

// Expr is a condition as a tree, type-checked by the host with cel-go. Build
// compiles it into the snapshot. Types are static: string, int, bool, and list
// of one of these; Build refuses a tree whose types do not fit.
type Expr struct {
	Op   Op
	Str  string
	Int  int64
	Args []*Expr
}
