package directory

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sallyport/host/internal/model"
	"sallyport/host/internal/store"
)

// ProxyToken is what is known of a proxy's token once it is made.
type ProxyToken struct {
	ID      string
	Name    string // of the proxy, as in its node.id, or of the fleet
	Fleet   bool   // any proxy of a fleet has it
	Created time.Time
	Expires time.Time // zero: never
}

// Expired reports whether a token has come to its end.
func (t ProxyToken) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// NewProxyToken says which token to make.
type NewProxyToken struct {
	Name  string
	Fleet bool
	TTL   time.Duration // 0: it never expires
}

// storedProxyToken is the value of a token's key. See storedCredentials for why
// the hash is plain.
type storedProxyToken struct {
	Name    string `json:"name"`
	Fleet   bool   `json:"fleet,omitempty"`
	Hash    string `json:"sha256"` // of the whole text, in hexadecimal
	Created int64  `json:"created"`
	Expires int64  `json:"expires,omitempty"`
}

const (
	// ProxyTokenPrefix begins the text of a proxy's token, spx_<id>_<secret>, so
	// that who finds one knows what it is.
	ProxyTokenPrefix = "spx_"

	proxyTokenIDLength = 16
	maxProxyNameBytes  = 256
	maxProxyTokens     = 10_000
	maxProxyTokenTTL   = 10 * 366 * 24 * time.Hour

	// keepExpired is for how long a token that has expired is listed, for who
	// asks why a proxy gets nothing any more.
	keepExpired = 7 * 24 * time.Hour
)

func proxyTokenKey(id string) string { return proxyTokensPrefix + id }

func (t *storedProxyToken) shown(id string) ProxyToken {
	shown := ProxyToken{ID: id, Name: t.Name, Fleet: t.Fleet, Created: time.Unix(t.Created, 0).UTC()}
	if t.Expires != 0 {
		shown.Expires = time.Unix(t.Expires, 0).UTC()
	}
	return shown
}

// CreateProxyToken makes a token by which a proxy proves who it is. The text is
// not stored and can't be had again. The error is model.Problems, wrapped, if
// there can't be such a token.
func (d *Directory) CreateProxyToken(ctx context.Context, n NewProxyToken) (ProxyToken, Secret, error) {
	if problem := n.problem(); problem != "" {
		return ProxyToken{}, "", proxyTokenProblem(n.Name, problem)
	}
	id, text := newProxyToken()
	var stored storedProxyToken
	_, err := d.update(ctx, func(prev *image) (*change, error) {
		if prev.proxyTokens.len() >= maxProxyTokens {
			return nil, proxyTokenProblem(n.Name, fmt.Sprintf("there are %d tokens of proxies, and there can't be more: revoke some", maxProxyTokens))
		}
		now := d.now()
		stored = storedProxyToken{Name: n.Name, Fleet: n.Fleet, Hash: hashOf(text), Created: now.Unix()}
		if n.TTL > 0 {
			stored.Expires = now.Add(n.TTL).Unix()
		}
		return &change{state: prev.state, proxyTokens: map[string]*storedProxyToken{id: &stored}}, nil
	})
	if err != nil {
		return ProxyToken{}, "", err
	}
	return stored.shown(id), text, nil
}

func proxyTokenProblem(name, text string) error {
	return model.Problems{{Kind: "proxy token", Name: name, Field: "name", Text: text}}
}

// problem says why there can't be such a token, "" if there can. A name is as
// free as a node.id is, but for what no terminal should be shown.
func (n *NewProxyToken) problem() string {
	switch {
	case n.Name == "" || len(n.Name) > maxProxyNameBytes:
		return fmt.Sprintf("want 1 to %d bytes", maxProxyNameBytes)
	case strings.ToValidUTF8(n.Name, "") != n.Name || strings.ContainsFunc(n.Name, isControl):
		return "want UTF-8 without control characters"
	case n.TTL < 0 || n.TTL > 0 && n.TTL < time.Second || n.TTL > maxProxyTokenTTL:
		return fmt.Sprintf("want a time to live from 1s to %s", maxProxyTokenTTL)
	}
	return ""
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7F && r <= 0x9F }

func newProxyToken() (id string, text Secret) {
	var number [10]byte
	var secret [32]byte
	rand.Read(number[:]) // never fails, says its documentation
	rand.Read(secret[:])
	id = strings.ToLower(base32.StdEncoding.EncodeToString(number[:]))
	return id, Secret(ProxyTokenPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(secret[:]))
}

// ProxyTokenID returns the id in the text of a token, which need not be one of
// ours; "" if the text is none.
func ProxyTokenID(text string) string {
	rest, ok := strings.CutPrefix(text, ProxyTokenPrefix)
	id, _, found := strings.Cut(rest, "_")
	if !ok || !found || len(id) != proxyTokenIDLength || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return ""
	}
	return id
}

// AuthenticateProxy returns the token that a text is. The error is
// ErrBadCredentials if it is none, or has expired.
func (d *Directory) AuthenticateProxy(ctx context.Context, text string) (ProxyToken, error) {
	id := ProxyTokenID(text)
	if id == "" || len(text) > maxSecretBytes {
		return ProxyToken{}, ErrBadCredentials
	}
	img, err := d.view(ctx)
	if err != nil {
		return ProxyToken{}, err
	}
	stored, known := img.proxyTokens.get(id)
	// An unknown token is compared, too, so that it takes as long as a known one.
	if !isSecret(text, stored.Hash) || !known {
		return ProxyToken{}, ErrBadCredentials
	}
	if t := stored.shown(id); !t.Expired(d.now()) {
		return t, nil
	}
	return ProxyToken{}, ErrBadCredentials
}

// GoodProxyTokens returns those of some ids whose tokens are there and have not
// expired.
func (d *Directory) GoodProxyTokens(ctx context.Context, ids []string) (map[string]bool, error) {
	img, err := d.view(ctx)
	if err != nil {
		return nil, err
	}
	good := make(map[string]bool, len(ids))
	for _, id := range ids {
		if t, ok := img.proxyTokens.get(id); ok && !t.shown(id).Expired(d.now()) {
			good[id] = true
		}
	}
	return good, nil
}

// ProxyTokens returns the tokens of proxies in the order of their ids.
func (d *Directory) ProxyTokens(ctx context.Context) ([]ProxyToken, error) {
	img, err := d.view(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]ProxyToken, 0, img.proxyTokens.len())
	for id, t := range img.proxyTokens.all() {
		list = append(list, t.shown(id))
	}
	slices.SortFunc(list, func(a, b ProxyToken) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// RevokeProxyToken withdraws a token at once. The error is ErrNotFound if there is
// none of this id.
func (d *Directory) RevokeProxyToken(ctx context.Context, id string) (Result, error) {
	img, err := d.update(ctx, func(prev *image) (*change, error) {
		if _, ok := prev.proxyTokens.get(id); !ok {
			return nil, fmt.Errorf("proxy token %q: %w", id, ErrNotFound)
		}
		return &change{state: prev.state, proxyTokens: map[string]*storedProxyToken{id: nil}}, nil
	})
	if err != nil {
		return Result{}, err
	}
	return Result{img.Epoch, img.Generation, []Change{}}, nil
}

// CollectProxyTokens removes tokens that expired some days ago, and reports how
// many. Without any there is no commit.
func (d *Directory) CollectProxyTokens(ctx context.Context) (removed int, err error) {
	img, err := d.view(ctx) // most of the time there is nothing to write
	if err != nil || len(d.longExpired(img)) == 0 {
		return 0, err
	}
	_, err = d.update(ctx, func(prev *image) (*change, error) {
		gone := d.longExpired(prev)
		if removed = len(gone); removed == 0 {
			return nil, nil
		}
		return &change{state: prev.state, proxyTokens: gone, part: "collector"}, nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// longExpired returns the tokens to remove.
func (d *Directory) longExpired(img *image) map[string]*storedProxyToken {
	gone := map[string]*storedProxyToken{}
	for id, t := range img.proxyTokens.all() {
		if t.shown(id).Expired(d.now().Add(-keepExpired)) {
			gone[id] = nil
		}
	}
	return gone
}

// proxyTokens writes what a change makes of the tokens of proxies.
func (w *writer) proxyTokens(c *change) {
	for _, id := range slices.Sorted(maps.Keys(c.proxyTokens)) {
		t := c.proxyTokens[id]
		if t == nil {
			w.delete(proxyTokenKey(id))
			continue
		}
		value, err := json.Marshal(t)
		if err != nil && w.err == nil {
			w.err = err
		}
		w.put(proxyTokenKey(id), value)
	}
}

// proxyTokens notes tokens that were made or are gone; those that went because
// they had expired, by their number.
func (a *auditor) proxyTokens(prev *image, c *change) {
	collected := 0
	for _, id := range slices.Sorted(maps.Keys(c.proxyTokens)) {
		if t := c.proxyTokens[id]; t != nil {
			a.addNamed(ProxyTokenCreated, t.Name, nil, shownProxyToken(id, *t))
			continue
		}
		old, _ := prev.proxyTokens.get(id)
		if old.shown(id).Expired(a.from.Time) && c.part != "" {
			collected++
			continue
		}
		a.addNamed(ProxyTokenRevoked, old.Name, shownProxyToken(id, old), nil)
	}
	if collected > 0 {
		a.add(ProxyTokensCollected, model.Key{}, map[string]int{"count": collected}, nil)
	}
}

// addNamed adds a record of what has a name and is no entity.
func (a *auditor) addNamed(operation, name string, before, after any) {
	a.add(operation, model.Key{Name: name}, before, after)
}

func shownProxyToken(id string, t storedProxyToken) any {
	shown := map[string]any{"id": id, "name": t.Name, "fleet": t.Fleet}
	if t.Expires != 0 {
		shown["expires"] = rfc3339(t.Expires)
	}
	return shown
}

// proxyTokenPairs reads the tokens of proxies.
func (l *loader) proxyTokenPairs(pairs []store.Pair) error {
	for _, p := range pairs {
		id, ok := strings.CutPrefix(p.Key, proxyTokensPrefix)
		if !ok {
			continue
		}
		var stored storedProxyToken
		if err := decodeStrict(p.Value, &stored); err != nil {
			return fmt.Errorf("key %q: %w", p.Key, err)
		}
		if ProxyTokenID(ProxyTokenPrefix+id+"_") != id {
			return fmt.Errorf("key %q: is not the id of a proxy's token", p.Key)
		}
		l.proxyTokens[id] = stored
	}
	return nil
}
