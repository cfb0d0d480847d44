package decidetest

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/policydata"
)

// refScope is what a condition of the reference is evaluated in.
type refScope struct {
	request  *policydata.Request
	who      *Asker
	captures map[string]string
	locals   []any
}

// refCondition evaluates a condition; not ok is an error.
func refCondition(e *policydata.Expr, r *policydata.Request, who *Asker, captures map[string]string) (holds, ok bool) {
	v, ok := (&refScope{request: r, who: who, captures: captures}).eval(e)
	holds, isBool := v.(bool)
	return holds, ok && isBool
}

// eval returns a value: nil, bool, int64, uint64, float64, string, time.Time,
// []any or map[string]any.
func (s *refScope) eval(e *policydata.Expr) (any, bool) {
	switch e.Op {
	case policydata.OpExists, policydata.OpAll:
		return s.quantify(e)
	case policydata.OpIf:
		c, ok := s.eval(e.Args[0])
		switch {
		case !ok || c != true && c != false:
			return nil, false
		case c == true:
			return s.eval(e.Args[1])
		}
		return s.eval(e.Args[2])
	}
	var args []any
	bad := false
	for _, a := range e.Args {
		v, ok := s.eval(a)
		if !ok {
			v, bad = nil, true
		}
		args = append(args, v)
	}
	switch {
	case e.Op == policydata.OpAnd && (args[0] == false || args[1] == false):
		return false, true
	case e.Op == policydata.OpOr && (args[0] == true || args[1] == true):
		return true, true
	case bad:
		return nil, false
	}
	if len(args) == 0 && e.Op != policydata.OpList {
		return s.operand(e)
	}
	return refOperator(e, args)
}

func (s *refScope) quantify(e *policydata.Expr) (any, bool) {
	over, ok := s.eval(e.Args[0])
	if !ok {
		return nil, false
	}
	var elements []any
	switch over := over.(type) {
	case []any:
		elements = over
	case map[string]any:
		for k := range over {
			elements = append(elements, k)
		}
	default:
		return nil, false
	}
	errs, decides := false, e.Op == policydata.OpExists
	for _, v := range elements {
		s.locals = append(s.locals, v)
		p, ok := s.eval(e.Args[1])
		s.locals = s.locals[:len(s.locals)-1]
		if ok && p == decides {
			return decides, true
		}
		errs = errs || !ok || p != !decides
	}
	return !decides, !errs
}

func (s *refScope) operand(e *policydata.Expr) (any, bool) {
	switch e.Op {
	case policydata.OpString:
		return e.Str, true
	case policydata.OpInt:
		return e.Int, true
	case policydata.OpUint:
		return uint64(e.Int), true
	case policydata.OpDouble:
		return math.Float64frombits(uint64(e.Int)), true
	case policydata.OpBool:
		return e.Int != 0, true
	case policydata.OpNull:
		return nil, true
	case policydata.OpTime:
		return time.Unix(e.Int, int64(e.Nanos)).UTC(), true
	case policydata.OpLocal:
		return s.locals[e.Int], true
	case policydata.OpPathVar:
		return s.captures[e.Str], true
	case policydata.OpHostVar:
		return s.captures["host."+e.Str], true
	}
	return s.variable(policydata.Var(e.Int))
}

func (s *refScope) variable(v policydata.Var) (any, bool) {
	list := func(texts []string) []any {
		var out []any
		for _, s := range texts {
			out = append(out, s)
		}
		return out
	}
	r, who := s.request, s.who
	switch v {
	case policydata.VarRequestQuery:
		values, err := url.ParseQuery(r.Query)
		query := map[string]any{}
		for name, texts := range values {
			query[name] = list(texts)
			if !utf8.ValidString(name + " " + strings.Join(texts, " ")) {
				return nil, false
			}
		}
		return query, err == nil
	case policydata.VarTokenClaims:
		claims := map[string]any{}
		if who.Claims != "" && json.Unmarshal([]byte(who.Claims), &claims) != nil {
			return nil, false
		}
		return claims, true
	}
	return map[policydata.Var]any{
		policydata.VarRequestMethod: r.Method, policydata.VarRequestPath: r.Path, policydata.VarRequestHost: r.Host,
		policydata.VarRequestHeaders: refHeaders(r), policydata.VarRequestTime: time.Unix(r.Time, 0).UTC(),
		policydata.VarTokenIss: who.Iss, policydata.VarTokenSub: who.Subject, policydata.VarUserName: who.User, policydata.VarServiceName: who.Service,
		policydata.VarTokenGroups: list(who.Groups), policydata.VarTokenRoles: list(who.Roles),
	}[v], true
}

func refHeaders(r *policydata.Request) map[string]any {
	out := map[string]any{}
	for _, h := range r.Headers {
		name, text := h[0], h[1]
		if slices.Contains([]string{"host", "authorization", "proxy-authorization", r.TokenHeader}, name) ||
			strings.HasPrefix(name, ":") || strings.HasPrefix(name, "x-sallyport-") {
			continue
		}
		if before, ok := out[name]; ok && name == "cookie" {
			text = before.(string) + "; " + text
		} else if ok {
			text = before.(string) + "," + text
		}
		out[name] = text
	}
	return out
}

func refOperator(e *policydata.Expr, args []any) (any, bool) {
	switch e.Op {
	case policydata.OpList:
		return append([]any{}, args...), true
	case policydata.OpNot:
		b, ok := args[0].(bool)
		return !b, ok
	case policydata.OpAnd, policydata.OpOr: // neither operand decided
		_, left := args[0].(bool)
		_, right := args[1].(bool)
		return e.Op == policydata.OpAnd, left && right
	case policydata.OpEq:
		return refEqual(args[0], args[1]), true
	case policydata.OpNe:
		return !refEqual(args[0], args[1]), true
	case policydata.OpLt, policydata.OpLe, policydata.OpGt, policydata.OpGe:
		c, ok := refCompare(args[0], args[1])
		return map[policydata.Op]bool{policydata.OpLt: c < 0, policydata.OpLe: c <= 0, policydata.OpGt: c > 0, policydata.OpGe: c >= 0}[e.Op], ok
	case policydata.OpIn:
		return refIn(args[0], args[1])
	case policydata.OpField:
		m, _ := args[0].(map[string]any)
		v, ok := m[e.Str]
		return v, ok
	case policydata.OpHas:
		m, _ := args[0].(map[string]any)
		_, isList := args[0].([]any)
		_, there := m[e.Str]
		return there, !isList
	case policydata.OpIndex:
		return refIndex(args[0], args[1])
	case policydata.OpSize:
		return refSize(args[0])
	case policydata.OpTimePart:
		return refTimePart(args[0], e.Int)
	}
	x, xOK := args[0].(string)
	y, yOK := args[1].(string)
	return map[policydata.Op]any{
		policydata.OpStartsWith: strings.HasPrefix(x, y), policydata.OpEndsWith: strings.HasSuffix(x, y),
		policydata.OpContains: strings.Contains(x, y), policydata.OpConcat: x + y,
	}[e.Op], xOK && yOK
}

func refSize(v any) (any, bool) {
	switch v := v.(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), true
	case []any:
		return int64(len(v)), true
	case map[string]any:
		return int64(len(v)), true
	}
	return nil, false
}

func refIn(x, of any) (any, bool) {
	switch of := of.(type) {
	case []any:
		return slices.ContainsFunc(of, func(v any) bool { return refEqual(x, v) }), true
	case map[string]any:
		key, ok := x.(string)
		_, there := of[key]
		return ok && there, true
	}
	return nil, false
}

func refIndex(of, at any) (any, bool) {
	if m, ok := of.(map[string]any); ok {
		key, isKey := at.(string)
		v, there := m[key]
		return v, isKey && there
	}
	list, _ := of.([]any)
	n := refNumber(at)
	if n == nil || !n.IsInt() || n.Sign() < 0 {
		return nil, false
	}
	i, _ := n.Int64()
	if i >= int64(len(list)) {
		return nil, false
	}
	return list[i], true
}

func refTimePart(v any, part int64) (any, bool) {
	t, ok := v.(time.Time)
	return int64([]int{
		t.Year(), int(t.Month()) - 1, t.Day(), t.Day() - 1, int(t.Weekday()), t.YearDay() - 1,
		t.Hour(), t.Minute(), t.Second(), t.Nanosecond() / 1e6,
	}[part]), ok
}

// refNumber returns a number, or nil.
func refNumber(v any) *big.Float {
	switch v := v.(type) {
	case int64:
		return new(big.Float).SetInt64(v)
	case uint64:
		return new(big.Float).SetUint64(v)
	case float64:
		return new(big.Float).SetFloat64(v)
	}
	return nil
}

func refEqual(x, y any) bool {
	switch x := x.(type) {
	case []any:
		y, ok := y.([]any)
		return ok && slices.EqualFunc(x, y, refEqual)
	case map[string]any:
		y, ok := y.(map[string]any)
		return ok && maps.EqualFunc(x, y, refEqual)
	case nil:
		return y == nil
	}
	c, ok := refCompare(x, y)
	return ok && c == 0
}

func refCompare(x, y any) (int, bool) {
	if a, b := refNumber(x), refNumber(y); a != nil && b != nil {
		return a.Cmp(b), true
	}
	switch x := x.(type) {
	case string:
		y, ok := y.(string)
		return strings.Compare(x, y), ok
	case bool:
		y, ok := y.(bool)
		rank := map[bool]int{true: 1}
		return cmp.Compare(rank[x], rank[y]), ok
	case time.Time:
		y, ok := y.(time.Time)
		return x.Compare(y), ok
	}
	return 0, false
}
