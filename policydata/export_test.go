package policydata

// What the tests share that compare with package decidetest, which imports this
// one.
var (
	Everyone        = everyone
	AllowPaths      = allowPaths
	LiteralRules    = literalRules
	SharedPath      = sharedPath
	Story           = story
	TeamName        = teamName
	ClaimConditions = claimConditions
)

// The claims that seed fuzzing.
const (
	TestClaims  = testClaims
	BenchClaims = benchClaims
)

// RoleNames returns what token.roles was at the last decision.
func (e *Evaluator) RoleNames() []string { return e.roleNames }

func names[T any](s []T, name func(T) string) []string {
	out := make([]string, len(s))
	for i := range s {
		out[i] = name(s[i])
	}
	return out
}
