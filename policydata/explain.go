package policydata

// Trace is how a decision came about, for people who ask why. An Evaluator that
// was given one fills it with what it meets on its way: the same code decides,
// whether it is watched or not.
//
// Its JSON form is part of the interface: members are added, never changed.
type Trace struct {
	User      string        `json:"user"`              // user.name; "" if there is none
	KnownUser bool          `json:"known_user"`        // the store has this user
	Service   *ServiceTrace `json:"service,omitempty"` // the service that asks
	Groups    []GroupTrace  `json:"groups"`            // effective groups
	Roles     []RoleTrace   `json:"roles"`             // effective roles
	Gates     []GateTrace   `json:"gates"`             // that were asked, in order

	reached []uint32 // terminals that the walk led to, of policies that count
}

// ServiceTrace is the service that a token names.
type ServiceTrace struct {
	Name     string `json:"name"`
	Role     string `json:"role"`
	OnBehalf bool   `json:"on_behalf"` // of the user; else the token is its own
	Disabled bool   `json:"disabled"`
}

// Origin says where something comes from.
type Origin struct {
	Kind OriginKind `json:"kind"`
	Name string     `json:"name,omitempty"`
}

// OriginKind is a kind of origin.
type OriginKind string

// The origins. Their texts are part of the interface.
const (
	OriginToken      OriginKind = "token"      // a group that the token names
	OriginStore      OriginKind = "store"      // a group that has the user as a member
	OriginClaim      OriginKind = "claim"      // a role, by a value of the token's role claim
	OriginUser       OriginKind = "user"       // a role or policy, given to the user itself
	OriginGroup      OriginKind = "group"      // a role or policy, by a group
	OriginRole       OriginKind = "role"       // a policy, by a role
	OriginDelegation OriginKind = "delegation" // a policy, by a governing role
)

// GroupTrace is an effective group.
type GroupTrace struct {
	Name  string   `json:"name"`
	Known bool     `json:"known"` // the store has it, so it can carry policies
	From  []Origin `json:"from"`
}

// RoleTrace is an effective role.
type RoleTrace struct {
	Name string   `json:"name"`
	From []Origin `json:"from"`
}

// PolicyTrace is a policy that counts at a gate.
type PolicyTrace struct {
	Name string   `json:"name"`
	From []Origin `json:"from"`
}

// GateTrace is what a gate was asked and said.
type GateTrace struct {
	Gate     string        `json:"gate"`                    // service or user
	Decision string        `json:"decision"`                // allow or deny
	Reason   string        `json:"reason"`                  // of this gate alone
	Policies []PolicyTrace `json:"policies"`                // by name
	Rules    []RuleVerdict `json:"rules"`                   // of these policies, those nearest to a match first
	Omitted  int           `json:"rules_omitted,omitempty"` // rules that whoever shows this left out
}

// RuleVerdict is what became of a rule.
type RuleVerdict struct {
	Policy  string `json:"policy"`
	Rule    string `json:"rule"`    // its name, or "#" and its index
	Index   int    `json:"index"`   // within its policy
	Effect  string `json:"effect"`  // allow or deny
	Outcome string `json:"outcome"` // match, no_match, or error: of the condition of a rule that else matches
	Decides bool   `json:"decides"` // the gate decided by it

	// Obstacles are what keeps the rule from matching. A condition is evaluated
	// only where path and host match, or host alone does not and the condition
	// does not ask for it.
	Obstacles []Obstacle `json:"obstacles"`

	Methods   []string          `json:"methods"` // as the snapshot has them: groups such as @read as their members
	Hosts     []string          `json:"hosts"`
	Paths     []string          `json:"paths"`
	Path      string            `json:"path,omitempty"` // the pattern by which the path matches
	Captures  map[string]string `json:"captures,omitempty"`
	Condition *ConditionTrace   `json:"condition,omitempty"`
}

// Obstacle is a part of a rule that does not match.
type Obstacle string

// The obstacles. Their texts are part of the interface.
const (
	ObstacleMethod    Obstacle = "method"
	ObstacleHost      Obstacle = "host"
	ObstaclePath      Obstacle = "path"
	ObstacleCondition Obstacle = "condition"
)

// Outcomes of a rule.
const (
	OutcomeMatch   = "match"
	OutcomeNoMatch = "no_match"
	OutcomeError   = "error"
)

// Matches reports whether the rule matches the request.
func (v *RuleVerdict) Matches() bool { return v.Outcome == OutcomeMatch }

// ConditionTrace is a condition and what its parts came to.
type ConditionTrace struct {
	Text   string      `json:"text"`   // as written
	Result string      `json:"result"` // true, false, error, or not_evaluated
	Parts  []PartTrace `json:"parts,omitempty"`
}

// Results of a condition.
const (
	ResultTrue         = "true"
	ResultFalse        = "false"
	ResultError        = "error"
	ResultNotEvaluated = "not_evaluated"
)

// PartTrace is a part of a condition that is no constant.
type PartTrace struct {
	Expr  string `json:"expr"`
	Value any    `json:"value"`           // null for an error
	Error bool   `json:"error,omitempty"` // the part has no value
	// Decides is true for the parts that together make the result: of
	// "a && b" that is false those that are false.
	Decides bool `json:"decides,omitempty"`
}

// Watch makes the Evaluator tell in t how it decides, anew for each decision;
// nil ends it.
func (e *Evaluator) Watch(t *Trace) {
	e.watcher = nil // not an interface that holds a nil *Trace
	if t != nil {
		e.watcher = t
	}
}

func (t *Trace) reach(terminal uint32) { t.reached = append(t.reached, terminal) }

func (t *Trace) reset() {
	*t = Trace{Groups: []GroupTrace{}, Roles: []RoleTrace{}, Gates: []GateTrace{}, reached: t.reached[:0]}
}

// Decided reports whether a decision was told in t: a request that was refused
// before, by its path or token, asks no gate and no principal.
func (t *Trace) Decided() bool { return t.Groups != nil }
