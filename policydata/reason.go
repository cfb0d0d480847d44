package policydata

// Reason says why a request was decided as it was. The zero Reason is
// ReasonInternalError, so that a decision that nobody filled in denies.
type Reason uint8

// The reasons of a decision. Their texts (see [Reason.String]) are part of the
// interface: logs, metrics and tests rely on them.
const (
	ReasonInternalError Reason = iota
	ReasonAllowed
	ReasonNoToken
	ReasonBadToken
	ReasonExpired
	ReasonNotYetValid
	ReasonUnknownIssuer
	ReasonBadAudience
	ReasonBadSignature
	ReasonRevoked
	ReasonReplayed
	ReasonBadPath
	ReasonUserDisabled
	ReasonServiceDisabled
	ReasonUnknownUser
	ReasonDeniedByRule
	ReasonConditionError
	ReasonNoMatchingRule
	ReasonServiceGate
	ReasonNoSnapshot
	ReasonStaleSnapshot

	// NumReasons is how many reasons there are; valid reasons are below it.
	NumReasons
)

var reasonTexts = [NumReasons]string{
	ReasonInternalError:   "internal_error",
	ReasonAllowed:         "allowed",
	ReasonNoToken:         "no_token",
	ReasonBadToken:        "bad_token",
	ReasonExpired:         "expired",
	ReasonNotYetValid:     "not_yet_valid",
	ReasonUnknownIssuer:   "unknown_issuer",
	ReasonBadAudience:     "bad_audience",
	ReasonBadSignature:    "bad_signature",
	ReasonRevoked:         "revoked",
	ReasonReplayed:        "replayed",
	ReasonBadPath:         "bad_path",
	ReasonUserDisabled:    "user_disabled",
	ReasonServiceDisabled: "service_disabled",
	ReasonUnknownUser:     "unknown_user",
	ReasonDeniedByRule:    "denied_by_rule",
	ReasonConditionError:  "condition_error",
	ReasonNoMatchingRule:  "no_matching_rule",
	ReasonServiceGate:     "service_gate",
	ReasonNoSnapshot:      "no_snapshot",
	ReasonStaleSnapshot:   "stale_snapshot",
}

// String returns the reason's fixed text, such as "no_matching_rule".
func (r Reason) String() string {
	if r >= NumReasons {
		return reasonTexts[ReasonInternalError]
	}
	return reasonTexts[r]
}

// Status returns the HTTP status that answers a request decided for this
// reason: 200 stands for "goes on to the upstream". A reason that says nothing
// about the caller's rights (no, stale or broken policy) is a 503, never a 403,
// so that an operator can tell an outage from a denial. A reason that is not
// known counts as broken.
func (r Reason) Status() int {
	switch r {
	case ReasonAllowed:
		return 200
	case ReasonBadPath:
		return 400
	case ReasonNoToken, ReasonBadToken, ReasonExpired, ReasonNotYetValid,
		ReasonUnknownIssuer, ReasonBadAudience, ReasonBadSignature,
		ReasonRevoked, ReasonReplayed:
		return 401
	case ReasonUserDisabled, ReasonServiceDisabled, ReasonUnknownUser,
		ReasonDeniedByRule, ReasonConditionError, ReasonNoMatchingRule,
		ReasonServiceGate:
		return 403
	}
	return 503
}
