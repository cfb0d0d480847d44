package proxyauth

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"time"

	"sallyport/host/internal/directory"
)

// Principal is who asks. The zero Principal is anonymous.
type Principal struct {
	Identity string
	Instance string // the only instance that it speaks for; "": any

	token   string    // id of its token; "": none
	expires time.Time // of its certificate; zero: none
}

// SpeaksFor reports whether what says to be of an instance may be. An instance
// that has no name is the one that the principal speaks for.
func (p Principal) SpeaksFor(instance string) bool {
	return p.Instance == "" || instance == "" || instance == p.Instance
}

func ofToken(t directory.ProxyToken) Principal {
	if t.Fleet {
		return Principal{Identity: "fleet:" + t.Name, token: t.ID}
	}
	return Principal{Identity: "proxy:" + t.Name, Instance: t.Name, token: t.ID}
}

// maxNameBytes bounds the name that a certificate gives; a longer one is not
// cut, since two could become one.
const maxNameBytes = 256

func ofCertificate(c *x509.Certificate) Principal {
	name := ""
	switch {
	case len(c.URIs) > 0:
		name = c.URIs[0].String()
	case len(c.DNSNames) > 0:
		name = c.DNSNames[0]
	default:
		name = c.Subject.CommonName
	}
	if name == "" || len(name) > maxNameBytes || strings.ToValidUTF8(name, "") != name {
		digest := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		name = hex.EncodeToString(digest[:])
	}
	return Principal{Identity: "cert:" + name, expires: c.NotAfter}
}

// Certificate returns the verified certificate of a client, nil if it shows none.
func Certificate(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}

// noToken is what Envoy writes in place of a variable of the environment that it
// has not.
const noToken = "-"

// bearer returns the token that credentials are, "" if there are none. What is
// there and is no token is returned as it is, and is none of ours.
func bearer(authorization []string) (text string, isToken bool) {
	if len(authorization) == 0 {
		return "", true
	}
	scheme, text, _ := strings.Cut(authorization[0], " ")
	if len(authorization) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	if text = strings.TrimSpace(text); text == noToken {
		text = ""
	}
	return text, true
}
