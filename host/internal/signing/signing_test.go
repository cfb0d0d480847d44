package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/host/internal/signing"
	"sallyport/policydata"
)

func snapshot(t *testing.T, key *signing.Key) []byte {
	t.Helper()
	body, err := policydata.Build(policydata.Source{Epoch: 1, Generation: 2})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := key.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func verifier(t *testing.T, key *signing.Key) policydata.VerifyFunc {
	t.Helper()
	verify, err := signing.Verifier(key.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	return verify
}

func TestASignedSnapshotLoadsWithItsKeyAlone(t *testing.T) {
	key, err := signing.Open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signed := snapshot(t, key)
	s, err := policydata.Load(signed, verifier(t, key))
	if err != nil {
		t.Fatal(err)
	}
	if s.KeyID() != key.ID() || key.ID() == other.ID() || len(key.ID()) != 16 {
		t.Errorf("key id %q in the snapshot, %q of the key, %q of another", s.KeyID(), key.ID(), other.ID())
	}
	if _, err := policydata.Load(signed, verifier(t, other)); !errors.Is(err, policydata.ErrSignature) {
		t.Errorf("with another key: got %v, want ErrSignature", err)
	}
}

func TestAnyChangedByteIsRefused(t *testing.T) {
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	signed, verify := snapshot(t, key), verifier(t, key)
	keyID := bytes.Index(signed, []byte(key.ID()))
	for i := range signed {
		if i >= keyID && i < keyID+len(key.ID()) {
			continue // a hint for people and logs, which is not signed
		}
		changed := bytes.Clone(signed)
		changed[i] ^= 1
		if _, err := policydata.Load(changed, verify); err == nil {
			t.Errorf("byte %d of %d changed, and it was accepted", i, len(signed))
		}
	}
	for i := range signed {
		if _, err := policydata.Load(signed[:i], verify); err == nil {
			t.Errorf("%d of %d bytes were accepted", i, len(signed))
		}
	}
}

func TestOpenKeepsTheKey(t *testing.T) {
	dir := t.TempDir()
	if _, err := signing.Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read without a key: got %v, want ErrNotExist", err)
	}
	first, err := signing.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func(string) (*signing.Key, error){"Open": signing.Open, "Read": signing.Read} {
		if again, err := open(dir); err != nil || !bytes.Equal(first.SPKI(), again.SPKI()) {
			t.Errorf("%s: another key, or %v", name, err)
		}
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	tests := map[string]struct {
		content []byte
		want    string
	}{
		"empty":         {nil, "not a private key in PEM"},
		"no PEM":        {[]byte("secret"), "not a private key in PEM"},
		"another type":  {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY"}), "not a private key in PEM"},
		"no PKCS#8":     {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}), "not a PKCS#8 private key"},
		"another curve": {pkcs8(p384), "not a P-256 key"},
		"an RSA key":    {pkcs8(rsaKey), "not a P-256 key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, signing.KeyFile)
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := signing.Open(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one with %q and the path", err, tt.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, tt.content) {
				t.Errorf("the file was changed: %v", err)
			}
		})
	}
}

func TestVerifierRefusesOtherKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&p384.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for want, b := range map[string][]byte{"not a DER SubjectPublicKeyInfo": []byte("x"), "not a P-256 key": spki} {
		if _, err := signing.Verifier(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
}

// TestOneKeyMakesOneSignature: hosts with one store and one key publish the same
// bytes.
func TestOneKeyMakesOneSignature(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := signing.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := signing.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshot(t, first), snapshot(t, again)) {
		t.Error("two signatures of one snapshot")
	}
}

// The check that goes with a signature takes the bytes that were signed, and
// nothing else.
func TestSignToVerify(t *testing.T) {
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	body, err := policydata.Build(policydata.Source{Epoch: 1, Generation: 2})
	if err != nil {
		t.Fatal(err)
	}
	signed, verify, err := key.SignToVerify(bytes.Clone(body))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signed, snapshot(t, key)) {
		t.Error("it is not what Sign makes")
	}
	for _, check := range []policydata.VerifyFunc{verify, verifier(t, key)} {
		if _, err := policydata.Load(signed, check); err != nil {
			t.Error(err)
		}
	}
	keyID := bytes.Index(signed, []byte(key.ID()))
	for i := range signed {
		if i >= keyID && i < keyID+len(key.ID()) {
			continue // not signed
		}
		changed := bytes.Clone(signed)
		changed[i] ^= 1
		if _, err := policydata.Load(changed, verify); err == nil {
			t.Errorf("byte %d of %d changed, and it was accepted", i, len(signed))
		}
	}
	other, err := policydata.Build(policydata.Source{Epoch: 1, Generation: 3})
	if err != nil {
		t.Fatal(err)
	}
	later, err := key.Sign(other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policydata.Load(later, verify); !errors.Is(err, policydata.ErrSignature) {
		t.Errorf("another snapshot by the key: got %v, want ErrSignature", err)
	}
}

// BenchmarkSigning is what signing a snapshot and checking that costs, with the
// digest shared and not.
func BenchmarkSigning(b *testing.B) {
	key, err := signing.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	verify, err := signing.Verifier(key.SPKI())
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 3<<20)
	b.Run("shared", func(b *testing.B) {
		for b.Loop() {
			signed, verify, err := key.SignToVerify(body)
			if err == nil {
				err = check(signed, len(body), verify)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("twice", func(b *testing.B) {
		for b.Loop() {
			signed, err := key.Sign(body)
			if err == nil {
				err = check(signed, len(body), verify)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

func check(signed []byte, length int, verify policydata.VerifyFunc) error {
	_, sig, err := policydata.ParseSignature(signed[length:])
	if err != nil {
		return err
	}
	return verify(signed[:length], sig)
}
