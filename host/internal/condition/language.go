package condition

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"

	"sallyport/policydata"
)

// The roots whose fields are the captures of a rule.
const (
	rootPath = "path"
	rootHost = "host"
)

// The macros' loop conditions are calls of this function.
const (
	notStrictlyFalse         = operators.NotStrictlyFalse
	notStrictlyFalseOverload = overloads.NotStrictlyFalse
)

// variables are the names that conditions can use besides captures.
var variables = []struct {
	name string
	id   policydata.Var
	typ  *cel.Type
}{
	{"request.method", policydata.VarRequestMethod, cel.StringType},
	{"request.path", policydata.VarRequestPath, cel.StringType},
	{"request.host", policydata.VarRequestHost, cel.StringType},
	{"request.headers", policydata.VarRequestHeaders, cel.MapType(cel.StringType, cel.StringType)},
	{"request.query", policydata.VarRequestQuery, cel.MapType(cel.StringType, cel.ListType(cel.StringType))},
	{"request.time", policydata.VarRequestTime, cel.TimestampType},
	{"token.iss", policydata.VarTokenIss, cel.StringType},
	{"token.sub", policydata.VarTokenSub, cel.StringType},
	{"token.groups", policydata.VarTokenGroups, cel.ListType(cel.StringType)},
	{"token.roles", policydata.VarTokenRoles, cel.ListType(cel.StringType)},
	{"token.claims", policydata.VarTokenClaims, cel.MapType(cel.StringType, cel.DynType)},
	{"user.name", policydata.VarUserName, cel.StringType},
	{"service.name", policydata.VarServiceName, cel.StringType},
}

// call is an operator or function of the language.
type call struct {
	op        policydata.Op
	args      int // operands, the receiver of a member call included
	overloads []string
	part      int64 // of policydata.OpTimePart
}

// calls are the operators and functions by their names in the tree.
var calls = map[string]call{
	operators.LogicalAnd:  {op: policydata.OpAnd, args: 2, overloads: []string{overloads.LogicalAnd}},
	operators.LogicalOr:   {op: policydata.OpOr, args: 2, overloads: []string{overloads.LogicalOr}},
	operators.LogicalNot:  {op: policydata.OpNot, args: 1, overloads: []string{overloads.LogicalNot}},
	operators.Conditional: {op: policydata.OpIf, args: 3, overloads: []string{overloads.Conditional}},
	operators.Equals:      {op: policydata.OpEq, args: 2, overloads: []string{overloads.Equals}},
	operators.NotEquals:   {op: policydata.OpNe, args: 2, overloads: []string{overloads.NotEquals}},
	operators.Less: {op: policydata.OpLt, args: 2, overloads: []string{
		overloads.LessBool, overloads.LessString, overloads.LessTimestamp,
		overloads.LessInt64, overloads.LessUint64, overloads.LessDouble,
	}},
	operators.LessEquals: {op: policydata.OpLe, args: 2, overloads: []string{
		overloads.LessEqualsBool, overloads.LessEqualsString, overloads.LessEqualsTimestamp,
		overloads.LessEqualsInt64, overloads.LessEqualsUint64, overloads.LessEqualsDouble,
	}},
	operators.Greater: {op: policydata.OpGt, args: 2, overloads: []string{
		overloads.GreaterBool, overloads.GreaterString, overloads.GreaterTimestamp,
		overloads.GreaterInt64, overloads.GreaterUint64, overloads.GreaterDouble,
	}},
	operators.GreaterEquals: {op: policydata.OpGe, args: 2, overloads: []string{
		overloads.GreaterEqualsBool, overloads.GreaterEqualsString, overloads.GreaterEqualsTimestamp,
		overloads.GreaterEqualsInt64, overloads.GreaterEqualsUint64, overloads.GreaterEqualsDouble,
	}},
	operators.In:         {op: policydata.OpIn, args: 2, overloads: []string{overloads.InList, overloads.InMap}},
	operators.Index:      {op: policydata.OpIndex, args: 2, overloads: []string{overloads.IndexList, overloads.IndexMap}},
	operators.Add:        {op: policydata.OpConcat, args: 2, overloads: []string{overloads.AddString}},
	overloads.StartsWith: {op: policydata.OpStartsWith, args: 2, overloads: []string{overloads.StartsWithString}},
	overloads.EndsWith:   {op: policydata.OpEndsWith, args: 2, overloads: []string{overloads.EndsWithString}},
	overloads.Contains:   {op: policydata.OpContains, args: 2, overloads: []string{overloads.ContainsString}},
	overloads.Size: {op: policydata.OpSize, args: 1, overloads: []string{
		overloads.SizeString, overloads.SizeStringInst, overloads.SizeList, overloads.SizeListInst,
		overloads.SizeMap, overloads.SizeMapInst,
	}},
	overloads.TypeConvertTimestamp: {op: policydata.OpTime, args: 1, overloads: []string{overloads.StringToTimestamp}},
	overloads.TimeGetFullYear:      timePart(policydata.PartFullYear, overloads.TimestampToYear),
	overloads.TimeGetMonth:         timePart(policydata.PartMonth, overloads.TimestampToMonth),
	overloads.TimeGetDate:          timePart(policydata.PartDate, overloads.TimestampToDayOfMonthOneBased),
	overloads.TimeGetDayOfMonth:    timePart(policydata.PartDayOfMonth, overloads.TimestampToDayOfMonthZeroBased),
	overloads.TimeGetDayOfWeek:     timePart(policydata.PartDayOfWeek, overloads.TimestampToDayOfWeek),
	overloads.TimeGetDayOfYear:     timePart(policydata.PartDayOfYear, overloads.TimestampToDayOfYear),
	overloads.TimeGetHours:         timePart(policydata.PartHours, overloads.TimestampToHours),
	overloads.TimeGetMinutes:       timePart(policydata.PartMinutes, overloads.TimestampToMinutes),
	overloads.TimeGetSeconds:       timePart(policydata.PartSeconds, overloads.TimestampToSeconds),
	overloads.TimeGetMilliseconds:  timePart(policydata.PartMillis, overloads.TimestampToMilliseconds),
}

func timePart(part int64, overload string) call {
	return call{op: policydata.OpTimePart, args: 1, overloads: []string{overload}, part: part}
}

// reasons say why something of CEL is not in the language, where its name alone
// leaves the reader without a way on.
var reasons = map[string]string{
	overloads.Matches:          "a regular expression costs what its author makes it cost, in every request; use captures, startsWith, endsWith or contains",
	"map":                      "it makes lists; use exists or all",
	"filter":                   "it makes lists; use exists or all",
	"exists_one":               "use exists, or all",
	"existsOne":                "use exists, or all",
	operators.Subtract:         "there is no arithmetic",
	operators.Multiply:         "there is no arithmetic",
	operators.Divide:           "there is no arithmetic",
	operators.Modulo:           "there is no arithmetic",
	operators.Negate:           "there is no arithmetic",
	"duration":                 "there is no arithmetic with times; compare request.time with timestamp(\"...\")",
	"string":                   "there are no conversions",
	"int":                      "there are no conversions; numbers of different types compare as they are",
	"uint":                     "there are no conversions; numbers of different types compare as they are",
	"double":                   "there are no conversions; numbers of different types compare as they are",
	"bool":                     "there are no conversions",
	"dyn":                      "there are no conversions",
	"type":                     "there are no types as values; compare with a value of the type that is wanted",
	overloads.TypeConvertBytes: "there are no bytes",
}
