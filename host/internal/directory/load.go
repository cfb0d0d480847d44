package directory

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
	"sallyport/policydata"
)

// format is the value of formatKey: the layout of keys and values.
const format = "1"

// Revision is what was committed last.
type Revision struct {
	Epoch      uint64
	Generation uint64    // 0: nothing was committed yet
	Created    time.Time // when the generation was committed, in whole seconds
	// MaxAge is for how long proxies go by the generation, in whole seconds; 0:
	// until they have another.
	MaxAge time.Duration
	State  *model.State
}

// storedGeneration is the value of generationKey.
type storedGeneration struct {
	Epoch      uint64 `json:"epoch"`
	Generation uint64 `json:"generation"`
	Created    int64  `json:"created"` // seconds since the Unix epoch
	// Commit is a random id: what was read at one value of this can be kept for
	// as long as that is the value.
	Commit string `json:"commit,omitempty"`
	// Bootstrapped is true once the first user was made.
	Bootstrapped bool `json:"bootstrapped,omitempty"`
	// APIPolicies is the apiPoliciesVersion of the policies that were made.
	APIPolicies int `json:"apiPolicies,omitempty"`
	// MaxAge is Revision's, in seconds.
	MaxAge int64 `json:"maxAge,omitempty"`
	// Audit is the number of the last audit record.
	Audit uint64 `json:"audit,omitempty"`
}

// image is the content of the store at one generation. It is never modified.
type image struct {
	storedGeneration
	index
	state    *model.State
	raw      string   // the value of generationKey
	dangling []string // keys that count for nothing
	bound    int      // what the state's snapshot has at most; 0: not known
}

// read returns the content of the store: the image in memory, now or before, if
// it is of the generation that r sees.
func (d *Directory) read(r store.Reader, before []*image) (*image, error) {
	value, err := r.Get(generationKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if img, ok := d.known(value, before); ok {
		return img, nil
	}
	g, err := readGeneration(r, value)
	if err != nil {
		return nil, err
	}
	img, err := load(r)
	if err != nil {
		return nil, err
	}
	img.storedGeneration, img.raw = g, string(value)
	d.keep(img)
	d.settle(img)
	return img, nil
}

// readGeneration decodes the value of generationKey, which is empty in a new
// store.
func readGeneration(r store.Reader, value []byte) (storedGeneration, error) {
	g := storedGeneration{Epoch: 1}
	if len(value) == 0 {
		return g, nil
	}
	if err := decodeStrict(value, &g); err != nil {
		return g, fmt.Errorf("key %s: %w", generationKey, err)
	}
	value, err := r.Get(formatKey)
	if err != nil {
		return g, fmt.Errorf("key %s: %w", formatKey, err)
	}
	if string(value) != format {
		return g, fmt.Errorf("the store has format %q, this version reads format %q", value, format)
	}
	return g, nil
}

// loader reads the store into an image.
type loader struct {
	entities    map[model.Key]model.Entity
	references  map[model.Key]map[string]string // of services
	credentials map[string]credential
	revoked     []policydata.RevokedToken
	keys        map[string]*model.IssuerKeys
	proxyTokens map[string]storedProxyToken
	dangling    []string
}

func load(r store.Reader) (*image, error) {
	pairs, err := entityPairs(r)
	if err != nil {
		return nil, err
	}
	l := &loader{
		entities:    map[model.Key]model.Entity{},
		references:  map[model.Key]map[string]string{},
		credentials: map[string]credential{},
		keys:        map[string]*model.IssuerKeys{},
		proxyTokens: map[string]storedProxyToken{},
	}
	// An entity's key is not always before those below it ("a!" is between "a"
	// and "a/"), and relations need both ends.
	for _, entities := range []bool{true, false} {
		for _, p := range pairs {
			if strings.HasPrefix(p.Key, proxyTokensPrefix) {
				continue // see proxyTokenPairs
			}
			key, ok := parseKey(p.Key)
			if !ok {
				return nil, fmt.Errorf("key %q: unknown layout, perhaps of a later version", p.Key)
			}
			if (key.segment == "") != entities {
				continue
			}
			if err := l.pair(key, p); err != nil {
				return nil, fmt.Errorf("key %q: %w", p.Key, err)
			}
		}
	}
	if err := l.proxyTokenPairs(pairs); err != nil {
		return nil, err
	}
	if err := l.services(); err != nil {
		return nil, err
	}
	return &image{state: l.state(), index: l.index(), dangling: l.dangling}, nil
}

// entityPairs returns all that is below authPrefix but audit records, which are
// many and no part of the state.
func entityPairs(r store.Reader) ([]store.Pair, error) {
	var all []store.Pair
	for from := authPrefix; ; {
		next, err := r.Scan(authPrefix, from, 1)
		if err != nil || len(next) == 0 {
			return all, err
		}
		collection, _, _ := strings.Cut(strings.TrimPrefix(next[0].Key, authPrefix), "/")
		prefix := authPrefix + collection
		if prefix+"/" != auditPrefix {
			pairs, err := r.Scan(prefix, from, 0)
			if err != nil {
				return nil, err
			}
			all = append(all, pairs...)
			from = pairs[len(pairs)-1].Key + "\x00"
			continue
		}
		from = auditPrefix[:len(auditPrefix)-1] + "0" // "0" is what comes behind "/"
	}
}

func (l *loader) pair(key parsedKey, p store.Pair) error {
	switch key.segment {
	case "":
		return l.entity(key.owner, p.Value)
	case credentialsSegment:
		return l.credential(key, p)
	case revokedSegment:
		return l.revocation(key, p)
	case issuerKeysSegment:
		return l.issuerKeys(key, p)
	}
	return l.relation(key, p)
}

func (l *loader) entity(k model.Key, value []byte) error {
	var stored storedEntity
	if err := decodeStrict(value, &stored); err != nil {
		return err
	}
	e := model.New(k.Kind)
	if err := decodeStrict(stored.Spec, e); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	*e.Meta() = model.Metadata{
		Name: k.Name, Description: stored.Description, Reserved: stored.Reserved, ID: stored.ID, Set: stored.Set,
	}
	l.entities[k] = e
	l.references[k] = stored.References
	return nil
}

// relation adds a name to a list of its owner, in the order of keys and hence
// sorted.
func (l *loader) relation(key parsedKey, p store.Pair) error {
	var stored storedRelation
	if err := decodeStrict(p.Value, &stored); err != nil {
		return err
	}
	kind, ok := kindOf(key.segment)
	if !ok {
		return errors.New("unknown relation, perhaps of a later version")
	}
	target := model.Key{Kind: kind, Name: key.name}
	if !l.counts(key.owner, stored.From) || !l.counts(target, stored.To) {
		l.dangling = append(l.dangling, p.Key)
		return nil
	}
	for _, r := range relations(l.entities[key.owner]) {
		if r.kind == kind {
			*r.names = append(*r.names, key.name)
			return nil
		}
	}
	return errors.New("unknown relation, perhaps of a later version")
}

// counts reports whether what is named k now is what had the id.
func (l *loader) counts(k model.Key, id string) bool {
	e, ok := l.entities[k]
	return ok && id != "" && e.Meta().ID == id
}

func (l *loader) credential(key parsedKey, p store.Pair) error {
	var stored storedCredentials
	if err := decodeStrict(p.Value, &stored); err != nil {
		return err
	}
	if !hasCredentials(key.owner.Kind) {
		return errors.New("unknown relation, perhaps of a later version")
	}
	if !l.counts(key.owner, stored.OwnerID) {
		l.dangling = append(l.dangling, p.Key)
		return nil
	}
	l.credentials[key.name] = credential{owner: key.owner, storedCredentials: stored}
	return nil
}

// services drops what services may do for users, groups and roles that are
// gone. Its role and its identities can't just be dropped (see
// model.State.Without), and no write leaves them without what they name.
func (l *loader) services() error {
	for k, e := range l.entities {
		s, ok := e.(*model.ServiceAccount)
		if !ok {
			continue
		}
		gone := func(kind model.Kind, name string) bool {
			if name == model.AllUsers {
				return false
			}
			other := model.Key{Kind: kind, Name: name}
			return !l.counts(other, l.references[k][entityKey(other)])
		}
		if gone(model.KindRole, s.Role) {
			return fmt.Errorf("key %q: the service's role %q is gone", entityKey(k), s.Role)
		}
		for _, id := range s.Identities {
			if gone(model.KindIssuer, id.Issuer) {
				return fmt.Errorf("key %q: the issuer %q of an identity is gone", entityKey(k), id.Issuer)
			}
		}
		s.Delegation = keptDelegations(s.Delegation, gone)
	}
	return nil
}

func keptDelegations(list []model.Delegation, gone func(model.Kind, string) bool) []model.Delegation {
	var kept []model.Delegation
	for _, d := range list {
		d.Users = slices.DeleteFunc(d.Users, func(n string) bool { return gone(model.KindUser, n) })
		d.Groups = slices.DeleteFunc(d.Groups, func(n string) bool { return gone(model.KindGroup, n) })
		if !gone(model.KindRole, d.Role) && len(d.Users)+len(d.Groups) > 0 {
			kept = append(kept, d)
		}
	}
	return kept
}

func (l *loader) index() index {
	x := newIndex()
	e := x.edit()
	for _, entity := range l.entities {
		e.entity(difference{new: entity})
	}
	for id, c := range l.credentials {
		e.addCredential(id, c)
	}
	for id, t := range l.proxyTokens {
		e.proxyTokens.put(id, t)
	}
	return e.done()
}

func (l *loader) state() *model.State {
	s := &model.State{}
	if len(l.keys) > 0 {
		s.Keys = l.keys
	}
	for _, e := range l.entities {
		switch e := e.(type) {
		case *model.User:
			s.Users = append(s.Users, e)
		case *model.Group:
			s.Groups = append(s.Groups, e)
		case *model.Policy:
			s.Policies = append(s.Policies, e)
		case *model.Role:
			s.Roles = append(s.Roles, e)
		case *model.ServiceAccount:
			s.Services = append(s.Services, e)
		case *model.Issuer:
			s.Issuers = append(s.Issuers, e)
		}
	}
	sortByName(s.Users)
	sortByName(s.Groups)
	sortByName(s.Policies)
	sortByName(s.Roles)
	sortByName(s.Services)
	sortByName(s.Issuers)
	slices.SortFunc(l.revoked, compareRevoked)
	s.Revoked = l.revoked
	return s
}

func sortByName[E model.Entity](list []E) {
	slices.SortFunc(list, func(a, b E) int { return strings.Compare(a.Meta().Name, b.Meta().Name) })
}
