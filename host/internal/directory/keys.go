package directory

import (
	"strings"

	"sallyport/host/internal/model"
)

// Keys. Names hold no "/", so that a key has one reading.
const (
	authPrefix  = "auth/"
	auditPrefix = authPrefix + "audit/"
	// Tokens of proxies, by their ids. They belong to no entity.
	proxyTokensPrefix = authPrefix + "proxytokens/"
	formatKey         = "meta/format"
	generationKey     = "meta/generation"
	contentPrefix     = "meta/audit-content/"

	credentialsSegment = "credentials"
	revokedSegment     = "revoked"
	issuerKeysSegment  = "keys"
)

func entityKey(k model.Key) string {
	return authPrefix + k.Kind.Collection() + "/" + k.Name
}

// belowKey is the prefix of all that belongs to an entity.
func belowKey(k model.Key) string { return entityKey(k) + "/" }

func relationKey(owner, target model.Key) string {
	return belowKey(owner) + target.Kind.Collection() + "/" + target.Name
}

func credentialsKey(owner model.Key, accessKeyID string) string {
	return belowKey(owner) + credentialsSegment + "/" + accessKeyID
}

// issuerKeysKey is where the fetched keys of an issuer are.
func issuerKeysKey(issuer string) string {
	return belowKey(model.Key{Kind: model.KindIssuer, Name: issuer}) + issuerKeysSegment
}

// parsedKey is a key below authPrefix.
type parsedKey struct {
	owner   model.Key
	segment string // the collection of the other end, or a segment of above; "": the entity itself
	name    string // the name of the other end, or the access key's id
}

func parseKey(key string) (parsedKey, bool) {
	parts := strings.Split(strings.TrimPrefix(key, authPrefix), "/")
	if len(parts) < 2 {
		return parsedKey{}, false
	}
	kind, ok := kindOf(parts[0])
	if !ok {
		return parsedKey{}, false
	}
	p := parsedKey{owner: model.Key{Kind: kind, Name: parts[1]}}
	switch {
	case len(parts) == 2:
	case len(parts) == 3 && kind == model.KindIssuer && parts[2] == issuerKeysSegment:
		p.segment = issuerKeysSegment
	case len(parts) == 4:
		p.segment, p.name = parts[2], parts[3]
	default:
		return parsedKey{}, false
	}
	return p, true
}

func kindOf(collection string) (model.Kind, bool) {
	for _, k := range model.Kinds() {
		if k.Collection() == collection {
			return k, true
		}
	}
	return "", false
}
