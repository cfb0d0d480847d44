package policydata

// CheckClaimHeader says whether a claim may be handed to the upstream in a
// header of this name.
func CheckClaimHeader(name string) error { return checkClaimHeader(name) }
