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
	OpSize          // size(Args[0]): code points of a string, length of a list or map
	OpNull          // constant null
	OpUint          // constant uint64(Int)
	OpDouble        // constant math.Float64frombits(uint64(Int))
	OpTime          // constant: Int seconds since the Unix epoch, and Nanos
	OpLocal         // the variable of the Int-th macro around it, from the outermost, 0
	OpField         // Args[0].<Str>
	OpHas           // has(Args[0].<Str>)
	OpIndex         // Args[0][Args[1]]
	OpIf            // Args[0] ? Args[1] : Args[2]
	OpExists        // Args[0].exists(<OpLocal>, Args[1])
	OpAll           // Args[0].all(<OpLocal>, Args[1])
	OpConcat        // Args[0] + Args[1], of strings
	OpTimePart      // part Int, one of the Part constants, of the timestamp Args[0] in UTC

	numOps
)

// Var is a variable of the condition language.
type Var uint8

// The variables. Their numbers are part of the snapshot format.
const (
	_                 Var = iota
	VarRequestMethod      // request.method, string
	VarRequestPath        // request.path, string: the canonical path, decoded
	VarRequestHost        // request.host, string: lower case, no port
	VarTokenIss           // token.iss, string
	VarTokenSub           // token.sub, string
	VarTokenGroups        // token.groups, list of string: effective groups, no built-ins
	VarTokenRoles         // token.roles, list of string: mapped values and names of effective Roles
	VarUserName           // user.name, string
	VarServiceName        // service.name, string
	VarRequestHeaders     // request.headers, map of string to string
	VarRequestQuery       // request.query, map of string to list of string
	VarRequestTime        // request.time, timestamp of whole seconds
	VarTokenClaims        // token.claims, map of string to what JSON has

	numVars
)

// The parts of a timestamp, each counted as CEL's function of the name does.
const (
	PartFullYear   = iota // getFullYear()
	PartMonth             // getMonth(), from 0
	PartDate              // getDate(), day of the month from 1
	PartDayOfMonth        // getDayOfMonth(), from 0
	PartDayOfWeek         // getDayOfWeek(), from 0, Sunday
	PartDayOfYear         // getDayOfYear(), from 0
	PartHours             // getHours()
	PartMinutes           // getMinutes()
	PartSeconds           // getSeconds()
	PartMillis            // getMilliseconds()

	numParts
)

// Expr is a condition as a tree, type-checked by the host with cel-go. Build
// compiles it into the snapshot and checks its form; types are the host's
// affair, and an operand that does not fit is an error when it is met.
type Expr struct {
	Op    Op
	Str   string
	Int   int64
	Nanos uint32 // of OpTime
	Args  []*Expr
	Pos   int // where it stands in Rule.Text, in bytes: its operator, or its first byte
}

// anyArgs is the arity of an operator that takes any number of operands.
const anyArgs = -1

// arity returns how many operands op has; not ok if there is no such operator.
func (op Op) arity() (n int, ok bool) {
	switch op {
	case OpString, OpInt, OpBool, OpVar, OpPathVar, OpHostVar, OpNull, OpUint, OpDouble, OpTime, OpLocal:
		return 0, true
	case OpNot, OpSize, OpField, OpHas, OpTimePart:
		return 1, true
	case OpAnd, OpOr, OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpIn, OpStartsWith, OpEndsWith, OpContains,
		OpIndex, OpExists, OpAll, OpConcat:
		return 2, true
	case OpIf:
		return 3, true
	case OpList:
		return anyArgs, true
	}
	return 0, false
}

// isMacro reports whether the last operand of op is evaluated for each element
// of the first, with a variable of its own.
func (op Op) isMacro() bool { return op == OpExists || op == OpAll }
