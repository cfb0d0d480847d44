package directory

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"sallyport/host/internal/model"
)

// Secret is a secret access key. It prints as "[secret]", so that it does not
// end up in a log by mistake.
type Secret string

// String hides the secret.
func (Secret) String() string { return "[secret]" }

// GoString hides the secret.
func (Secret) GoString() string { return "[secret]" }

// MarshalText hides the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Reveal returns the secret itself, to show it once.
func (s Secret) Reveal() string { return string(s) }

// Credentials are a new access key of a user or a service.
type Credentials struct {
	AccessKeyID string
	Secret      Secret
}

// storedCredentials is the value of a credentials key.
//
// The secret is stored as its plain SHA-256. Slow hashes and salts protect
// secrets that can be guessed; this one is 32 random bytes, of which no table
// and no search finds a preimage, and a slow hash would let anybody who sends
// wrong secrets keep the host busy.
type storedCredentials struct {
	OwnerID string `json:"userId"`  // of the user or service
	Hash    string `json:"sha256"`  // of the secret's text, in hexadecimal
	Created int64  `json:"created"` // seconds since the Unix epoch
}

// credential is an access key, by its id.
type credential struct {
	storedCredentials
	owner model.Key
}

const (
	accessKeyPrefix = "SP"
	accessKeyLength = 20
	// maxSecretBytes bounds what is hashed; a real secret has 43 bytes.
	maxSecretBytes = 1024
	// maxCredentials bounds the access keys of one user or service.
	maxCredentials = 100
)

// CreateCredentials makes an access key for a user or a service. The secret is
// not stored and can't be had again. Of the options, Before counts. The error is
// ErrNotFound if there is no such owner, and model.Problems, wrapped, if the
// owner has too many.
func (d *Directory) CreateCredentials(ctx context.Context, owner model.Key, o Options) (Credentials, error) {
	creds := newCredentials()
	_, err := d.update(ctx, func(prev *image) (*change, error) {
		if err := o.before(prev.state); err != nil {
			return nil, err
		}
		if owned(prev, owner) >= maxCredentials {
			return nil, model.Problems{{
				Kind: owner.Kind, Name: owner.Name, Field: "credentials",
				Text: fmt.Sprintf("has %d access keys, and can't have more: delete some", maxCredentials),
			}}
		}
		return d.addCredentials(&change{state: prev.state}, owner, creds)
	})
	if err != nil {
		return Credentials{}, err
	}
	return creds, nil
}

// addCredentials adds creds for a user or service of c's state to c.
func (d *Directory) addCredentials(c *change, owner model.Key, creds Credentials) (*change, error) {
	e, ok := c.state.Get(owner)
	if !ok || !hasCredentials(owner.Kind) {
		return nil, fmt.Errorf("%s %q: %w", owner.Kind, owner.Name, ErrNotFound)
	}
	stored := storedCredentials{e.Meta().ID, hashOf(creds.Secret), d.now().Unix()}
	value, err := json.Marshal(stored)
	if err != nil {
		return nil, err
	}
	c.extra = map[string][]byte{credentialsKey(owner, creds.AccessKeyID): value}
	c.added = map[string]credential{creds.AccessKeyID: {stored, owner}}
	return c, nil
}

func newCredentials() Credentials {
	var id [16]byte
	var secret [32]byte
	rand.Read(id[:]) // never fails, says its documentation
	rand.Read(secret[:])
	text := accessKeyPrefix + base32.StdEncoding.EncodeToString(id[:])
	return Credentials{text[:accessKeyLength], Secret(base64.RawURLEncoding.EncodeToString(secret[:]))}
}

// hashOf is what is stored of a secret.
func hashOf(s Secret) string {
	hash := sha256.Sum256([]byte(s))
	return hex.EncodeToString(hash[:])
}

// isSecret reports whether what is stored of a secret says that this is it. It
// takes as long where nothing is stored.
func isSecret(text, stored string) bool {
	hash := sha256.Sum256([]byte(text))
	want, err := hex.DecodeString(stored)
	known := err == nil && len(want) == len(hash)
	if !known {
		want = make([]byte, len(hash))
	}
	return subtle.ConstantTimeCompare(hash[:], want) == 1 && known
}

// Authenticate returns the user or service whose access key this is. Whether
// that is disabled is for the decision to say. The error is ErrBadCredentials,
// whether the key does not exist or the secret is wrong.
func (d *Directory) Authenticate(ctx context.Context, accessKeyID, secret string) (model.Key, error) {
	img, err := d.view(ctx)
	if err != nil {
		return model.Key{}, err
	}
	if len(secret) > maxSecretBytes {
		return model.Key{}, ErrBadCredentials
	}
	cred, known := img.credentials.get(accessKeyID)
	// An unknown key is compared, too, so that it takes as long as a known one.
	if !isSecret(secret, cred.Hash) || !known {
		return model.Key{}, ErrBadCredentials
	}
	return cred.owner, nil
}
