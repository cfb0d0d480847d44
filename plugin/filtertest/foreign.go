package filtertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// VerifySignature is Envoy's foreign function verify_signature, from
// one protobuf message to another.
func VerifySignature(arg []byte) []byte {
	text := "signature does not verify"
	if ok, err := verify(arg); err != nil {
		text = err.Error()
	} else if ok {
		return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	}
	return protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), text)
}

func verify(arg []byte) (bool, error) {
	var fields [5][]byte // hash function, public key, signature, text, from 1
	for len(arg) > 0 {
		number, kind, n := protowire.ConsumeTag(arg)
		if n < 0 || kind != protowire.BytesType || number >= 5 {
			return false, errors.New("malformed argument")
		}
		value, m := protowire.ConsumeBytes(arg[n:])
		if m < 0 {
			return false, errors.New("malformed argument")
		}
		fields[number], arg = value, arg[n+m:]
	}
	hash, ok := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}[string(fields[1])]
	if !ok {
		return false, errors.New("hash function is not known")
	}
	key, err := x509.ParsePKIXPublicKey(fields[2])
	if err != nil {
		return false, err
	}
	h := hash.New()
	h.Write(fields[4])
	switch public := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, h.Sum(nil), fields[3]), nil
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, hash, h.Sum(nil), fields[3]) == nil, nil
	}
	return false, errors.New("neither an ECDSA nor an RSA key")
}
