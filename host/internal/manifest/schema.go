package manifest

import "sallyport/host/internal/model"

// shape is the form of a value.
type shape uint8

const (
	shapeText shape = iota
	shapeBool
	shapeDuration // text, a Go duration
	shapeTime     // text, RFC 3339
	shapeObject   // with the fields of the schema
	shapeList     // of items
	shapeAny      // any object, kept as JSON
)

// schema says what a value must look like.
type schema struct {
	shape  shape
	oneOf  []string // of a text: the values that it may have; nil: any
	fields []field  // of an object
	item   *schema  // of a list
}

// field is a field of an object.
type field struct {
	name     string
	required bool
	about    string // one line for people
	value    *schema
}

var (
	text     = &schema{shape: shapeText}
	boolean  = &schema{shape: shapeBool}
	duration = &schema{shape: shapeDuration}
	instant  = &schema{shape: shapeTime}
	texts    = &schema{shape: shapeList, item: text}
	paths    = &schema{shape: shapeList, item: texts}
	anything = &schema{shape: shapeAny}
)

func object(fields ...field) *schema { return &schema{shape: shapeObject, fields: fields} }

func listOf(item *schema) *schema { return &schema{shape: shapeList, item: item} }

func oneOf(values ...string) *schema { return &schema{shape: shapeText, oneOf: values} }

var metadata = object(
	field{"name", true, "the name, unique among documents of its kind", text},
	field{"description", false, "free text for people", text},
	field{"reserved", false, "true: changed or deleted only by force", boolean},
)

// specs are the fields of "spec", by kind.
var specs = map[model.Kind]*schema{
	model.KindUser: object(
		field{"email", false, "email address, unique among users", text},
		field{"externalId", false, "id in another system, unique among users", text},
		field{"disabled", false, "true: every request of the user is denied", boolean},
		field{"tokensNotBefore", false, "tokens issued before this time are revoked", instant},
		field{"policies", false, "names of Policies", texts},
	),
	model.KindGroup: object(
		field{"members", false, "names of Users", texts},
		field{"policies", false, "names of Policies", texts},
	),
	model.KindPolicy: object(
		field{"rules", true, "the rules; a matching deny wins over any allow", listOf(object(
			field{"name", false, "shown in explanations", text},
			field{"effect", true, "what a matching rule does", oneOf("allow", "deny")},
			field{"methods", true, "methods, *, @read, @write or @preflight", texts},
			field{"hosts", false, "host patterns; none: any host", texts},
			field{"paths", true, "path patterns", texts},
			field{"when", false, "condition in CEL", text},
		))},
	),
	model.KindRole: object(
		field{"governing", false, "true: for the Service Gate only", boolean},
		field{"policies", false, "names of Policies", texts},
		field{"users", false, "names of Users that have the role", texts},
		field{"groups", false, "names of Groups whose members have the role", texts},
		field{"claims", false, "values of a token's role claim that give the role", texts},
	),
	model.KindServiceAccount: object(
		field{"disabled", false, "true: every request of the service is denied", boolean},
		field{"role", true, "name of the Role of what the service does as itself", text},
		field{"identities", false, "how issuers' tokens name the service", listOf(object(
			field{"issuer", true, "name of an Issuer", text},
			field{"client", true, "value of the token's client claim", text},
			field{"subject", false, "sub of the service's own tokens", text},
		))},
		field{"delegation", false, "what the service may do on behalf of users", listOf(object(
			field{"role", true, "name of a governing Role", text},
			field{"users", false, "names of Users, or *", texts},
			field{"groups", false, "names of Groups", texts},
		))},
	),
	model.KindIssuer: object(
		field{"issuer", true, "the exact iss of its tokens", text},
		field{"audiences", true, "a token must be for one of these", texts},
		field{"algorithms", true, "signature algorithms that are accepted", texts},
		field{"jwks", true, "where the keys come from: exactly one of the fields", object(
			field{"inline", false, "a JWK Set", anything},
			field{"uri", false, "URL of a JWK Set", text},
			field{"discovery", false, "true: as the issuer's OpenID configuration says", boolean},
			field{"keepRemoved", false, "how long a fetched key is accepted that the issuer no longer lists; default 10m", duration},
		)},
		field{"usernamePrefix", false, "put before the user names of its tokens", text},
		field{"groupsPrefix", false, "put before the group names of its tokens", text},
		field{"shareNames", false, "true: its names are the same people's and groups' as other issuers'", boolean},
		field{"claims", false, "where a token's claims are; a path is a list of keys", object(
			field{"username", false, "the first path that is present decides; default [[sub]]", paths},
			field{"groups", false, "union of all paths; default [[groups]]", paths},
			field{"roles", false, "union of all paths; default none", paths},
			field{"client", false, "the first path that is present decides; default [[azp], [client_id]]", paths},
			field{"trimGroupPrefix", false, "cut off a group's name once", text},
			field{"headers", false, "claims that the upstream gets as headers", listOf(object(
				field{"header", true, "name of the header, in lower case", text},
				field{"claim", true, "claim path", texts},
			))},
		)},
		field{"clockSkew", false, "default 30s", duration},
		field{"maxTokenLifetime", false, "default 24h", duration},
		field{"requireKnownUser", false, "true: the user must exist as a User", boolean},
	),
}

// documentOf returns the schema of documents of kind k. A spec without required
// fields may be left out.
func documentOf(k model.Kind) *schema {
	spec := specs[k]
	required := false
	for _, f := range spec.fields {
		required = required || f.required
	}
	return object(
		field{"apiVersion", true, "the version of this format", oneOf(model.APIVersion)},
		field{"kind", true, "what the document describes", oneOf(string(k))},
		field{"metadata", true, "the document's name", metadata},
		field{"spec", required, "what it says", spec},
		field{"status", false, "what a host reported; it is not read", anything},
	)
}

// expected describes what s accepts, for error messages.
func (s *schema) expected() string {
	switch s.shape {
	case shapeBool:
		return "true or false"
	case shapeDuration:
		return `a duration such as "30s"`
	case shapeTime:
		return `a time such as "2026-11-01T00:00:00Z"`
	case shapeObject, shapeAny:
		return "an object"
	case shapeList:
		switch s.item.shape {
		case shapeObject:
			return "a list of objects"
		case shapeList:
			return "a list of lists of texts"
		}
		return "a list of texts"
	}
	if s.oneOf != nil {
		return joinOr(s.oneOf)
	}
	return "a text"
}

// joinOr writes "a", "a or b", "a, b or c".
func joinOr(words []string) string {
	out := ""
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			out += " or "
		case i > 0:
			out += ", "
		}
		out += w
	}
	return out
}
