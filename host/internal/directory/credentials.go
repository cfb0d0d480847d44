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

// Credentials are a new access key of a user.
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
	UserID  string `json:"userId"`
	Hash    string `json:"sha256"`  // of the secret's text, in hexadecimal
	Created int64  `json:"created"` // seconds since the Unix epoch
}

// credential is an access key, by its id.
type credential struct {
	storedCredentials
	user string
}

const (
	accessKeyPrefix = "SP"
	accessKeyLength = 20
	// maxSecretBytes bounds what is hashed; a real secret has 43 bytes.
	maxSecretBytes = 1024
)

// CreateCredentials makes an access key for the user. The secret is not stored
// and can't be had again. The error is ErrNotFound if there is no such user.
func (d *Directory) CreateCredentials(ctx context.Context, user string) (Credentials, error) {
	creds := newCredentials()
	_, err := d.update(ctx, func(prev *image) (*change, error) {
		return d.addCredentials(&change{state: prev.state}, user, creds)
	})
	if err != nil {
		return Credentials{}, err
	}
	return creds, nil
}

// addCredentials adds creds for a user of c's state to c.
func (d *Directory) addCredentials(c *change, user string, creds Credentials) (*change, error) {
	e, ok := c.state.Get(model.Key{Kind: model.KindUser, Name: user})
	if !ok {
		return nil, fmt.Errorf("%s %q: %w", model.KindUser, user, ErrNotFound)
	}
	hash := sha256.Sum256([]byte(creds.Secret))
	stored := storedCredentials{e.Meta().ID, hex.EncodeToString(hash[:]), d.now().Unix()}
	value, err := json.Marshal(stored)
	if err != nil {
		return nil, err
	}
	c.extra = map[string][]byte{credentialsKey(user, creds.AccessKeyID): value}
	c.added = map[string]credential{creds.AccessKeyID: {stored, user}}
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

// Authenticate returns the name of the user whose access key this is. Whether
// the user is disabled is for the decision to say. The error is
// ErrBadCredentials, whether the key does not exist or the secret is wrong.
func (d *Directory) Authenticate(ctx context.Context, accessKeyID, secret string) (string, error) {
	img, err := d.view(ctx)
	if err != nil {
		return "", err
	}
	if len(secret) > maxSecretBytes {
		return "", ErrBadCredentials
	}
	cred, known := img.credentials[accessKeyID]
	hash := sha256.Sum256([]byte(secret))
	// An unknown key is compared, too, so that it takes as long as a known one.
	want, err := hex.DecodeString(cred.Hash)
	if !known || err != nil || len(want) != len(hash) {
		want, known = make([]byte, len(hash)), false
	}
	if subtle.ConstantTimeCompare(hash[:], want) != 1 || !known {
		return "", ErrBadCredentials
	}
	return cred.user, nil
}
