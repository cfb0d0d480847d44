package devissuer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// KeyFile is the name of the key file in the data directory: two PKCS#8 private
// keys in PEM, RSA before P-256.
const KeyFile = "dev-issuer-key.pem"

const (
	rsaBits = 2048
	pemType = "PRIVATE KEY"
)

// newKeyFile makes the content of a key file.
func newKeyFile() ([]byte, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return encodeKeys(rsaKey, ecKey)
}

func encodeKeys(keys ...any) ([]byte, error) {
	var content bytes.Buffer
	for _, key := range keys {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		if err := pem.Encode(&content, &pem.Block{Type: pemType, Bytes: der}); err != nil {
			return nil, err
		}
	}
	return content.Bytes(), nil
}

// decodeKeys accepts exactly what newKeyFile writes. Errors quote none of it.
func decodeKeys(content []byte) (*rsa.PrivateKey, *ecdsa.PrivateKey, error) {
	malformed := errors.New("not two PKCS#8 private keys in PEM, RSA and P-256; without the file, new keys are made")
	first, rest := pem.Decode(content)
	if first == nil {
		return nil, nil, malformed
	}
	second, _ := pem.Decode(rest)
	if second == nil {
		return nil, nil, malformed
	}
	key1, err1 := x509.ParsePKCS8PrivateKey(first.Bytes)
	key2, err2 := x509.ParsePKCS8PrivateKey(second.Bytes)
	rsaKey, ok1 := key1.(*rsa.PrivateKey)
	ecKey, ok2 := key2.(*ecdsa.PrivateKey)
	if err1 != nil || err2 != nil || !ok1 || !ok2 || ecKey.Curve != elliptic.P256() {
		return nil, nil, malformed
	}
	if canonical, err := encodeKeys(rsaKey, ecKey); err != nil || !bytes.Equal(canonical, content) {
		return nil, nil, malformed
	}
	return rsaKey, ecKey, nil
}
