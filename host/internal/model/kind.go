package model

// Kind is the kind of a document.
type Kind string

// The kinds.
const (
	KindUser           Kind = "User"
	KindGroup          Kind = "Group"
	KindPolicy         Kind = "Policy"
	KindRole           Kind = "Role"
	KindServiceAccount Kind = "ServiceAccount"
	KindIssuer         Kind = "Issuer"
)

// APIVersion is the apiVersion of all documents.
const APIVersion = "sallyport/v1"

// Kinds returns all kinds, each after those that its documents refer to, except
// that a ServiceAccount refers to an Issuer.
func Kinds() []Kind {
	return []Kind{KindPolicy, KindUser, KindGroup, KindRole, KindServiceAccount, KindIssuer}
}

// Collection is the kind's name in keys of the store and in the API's paths,
// such as "users"; "" for an unknown kind.
func (k Kind) Collection() string {
	switch k {
	case KindUser:
		return "users"
	case KindGroup:
		return "groups"
	case KindPolicy:
		return "policies"
	case KindRole:
		return "roles"
	case KindServiceAccount:
		return "services"
	case KindIssuer:
		return "issuers"
	}
	return ""
}

// New returns a new entity of the kind with the defaults of its fields, or nil
// for an unknown kind.
func New(k Kind) Entity {
	switch k {
	case KindUser:
		return &User{}
	case KindGroup:
		return &Group{}
	case KindPolicy:
		return &Policy{}
	case KindRole:
		return &Role{}
	case KindServiceAccount:
		return &ServiceAccount{}
	case KindIssuer:
		return newIssuer()
	}
	return nil
}
