package explain

import (
	"fmt"

	"sallyport/policydata"
)

// fixed are the meanings of reasons that need no more than themselves.
var fixed = map[policydata.Reason]string{
	policydata.ReasonInternalError: "The engine could not decide, so it denied. This is a fault of Sallyport: please report it.",
	policydata.ReasonBadToken: "The token can't be accepted whatever it says: its form, its algorithm, its key, its lifetime or its user name. " +
		"Whoever issues it, or maintains the Issuer, can fix that. A request with a bad token is refused on public routes, too.",
	policydata.ReasonExpired:        "The token's time is over, or it does not say when it ends. The client needs a new one.",
	policydata.ReasonNotYetValid:    "The token is from the future. The clocks of the issuer and of this machine differ by more than the Issuer's clockSkew.",
	policydata.ReasonUnknownIssuer:  `No Issuer has the token's "iss", byte for byte. An administrator can add one, or the client must get its token elsewhere.`,
	policydata.ReasonBadAudience:    `The token is for somebody else: its "aud" has none of the Issuer's audiences. The client must ask for a token for this audience.`,
	policydata.ReasonBadSignature:   "The signature does not fit the issuer's key: the token was changed, or signed by another key.",
	policydata.ReasonRevoked:        "The token was revoked: by its id, or with all of this user's that were issued before tokensNotBefore. The user must log in again.",
	policydata.ReasonReplayed:       "The token was used before, and may be used only once.",
	policydata.ReasonBadPath:        "The path, the host or the method has no single reading, so it was refused before anything else: such as //, a dot segment, an encoded slash. The client must send the canonical form.",
	policydata.ReasonUserDisabled:   "The User is disabled in the store. An administrator can enable it.",
	policydata.ReasonUnknownUser:    "The Issuer has requireKnownUser, and the store has no such User. An administrator can add one.",
	policydata.ReasonNoSnapshot:     "There is no policy yet. The host's operator must see why none was published.",
	policydata.ReasonStaleSnapshot:  "The policy is older than it may be. The host's operator must see why no newer one arrives.",
	policydata.ReasonDeniedByRule:   "Whoever maintains the policy can change the deny rule.",
	policydata.ReasonConditionError: "Whoever maintains the policy must write the condition so that it has a value for every request.",
	policydata.ReasonNoToken:        "The request has no token, and without one no rule of the group " + policydata.GroupUnauthenticated + " allows it.",
}

// meaning says what a reason means here, and who can change it.
func meaning(x *Explanation, d *policydata.Decision) string {
	switch d.Reason {
	case policydata.ReasonServiceGate:
		return serviceGate(x)
	case policydata.ReasonServiceDisabled:
		return fmt.Sprintf("The ServiceAccount %s is disabled. An administrator can enable it.", d.Service)
	case policydata.ReasonNoMatchingRule:
		return noMatch(x)
	}
	return fixed[d.Reason]
}

func serviceGate(x *Explanation) string {
	switch {
	case x.Service == nil:
		return fmt.Sprintf("The token says that %q acts for its user, and no ServiceAccount is known by that name to this issuer. "+
			"An administrator can add it as an identity of a ServiceAccount.", x.Token.Actor)
	case len(x.Gates) == 0 || len(x.Gates[0].Policies) == 0:
		return fmt.Sprintf("The service %s asks on behalf of %s, and its delegation gives it no governing role for this user. "+
			"An administrator can add one; the user's own rights were not asked about.", x.Service.Name, x.User)
	}
	return fmt.Sprintf("The service %s asks on behalf of %s, and its governing roles for this user do not allow the request; "+
		"the user's own rights were not asked about. Whoever maintains these roles can change that.", x.Service.Name, x.User)
}

func noMatch(x *Explanation) string {
	gate := &x.Gates[len(x.Gates)-1]
	if len(gate.Policies) == 0 {
		return "No policy counts for " + who(x) + ": none is attached to it, its groups or its roles. An administrator can attach one."
	}
	switch len(gate.Rules) {
	case 0:
		return "The policies that count for " + who(x) + " have no rules."
	case 1:
		return "The only rule that counts for " + who(x) + " does not match."
	}
	return fmt.Sprintf("None of the %d rules that count for %s matches.", len(gate.Rules), who(x))
}

func who(x *Explanation) string {
	if x.Service != nil && !x.Service.OnBehalf {
		return "the service " + x.Service.Name
	}
	return "the user " + x.User
}
