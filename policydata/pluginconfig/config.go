// Package pluginconfig is the filter's plugin configuration, as the host writes
// it and the filter reads it.
//
// It is a JSON object:
//
//	{
//	  "trusted_keys": ["<base64 DER SubjectPublicKeyInfo>"],
//	  "snapshot": "<base64>",
//	  "token": {"header": "x-token"},
//	  "remove_token": false,
//	  "identity_headers": false,
//	  "host": {"cluster": "sallyport_host", "authority": "sallyport", "poll": false}
//	}
//
// A snapshot needs trusted_keys. Without snapshot every request is answered
// 503. host is a cluster of the proxy, and the Host header, which is "sallyport"
// by default. There the filter asks for a key that a token names and the
// snapshot does not have, and reports what it enforces; without it neither is
// done. With poll it also gets its snapshots from there, which needs
// trusted_keys, and a snapshot in the configuration serves until the first of
// them. See package pushapi. The proxy's token for the host is no part of the
// configuration, which proxies show to whoever may see theirs. Unknown members
// are refused.
//
// A host that pushes large snapshots sends the binary form: the text "SPCF",
// the length of the JSON object as a little-endian uint32, the object, and
// behind it the snapshot's bytes.
package pluginconfig

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"sallyport/policydata"
	"sallyport/policydata/token"
)

// Config is a plugin configuration.
type Config struct {
	TrustedKeys [][]byte // P-256 public keys that sign snapshots, as DER SubjectPublicKeyInfo
	Snapshot    []byte   // nil: none yet

	TokenHeader string // in lower case; "": authorization
	TokenCookie string

	RemoveToken     bool // take the token off what goes to the upstream
	IdentityHeaders bool // send x-sallyport-user, -groups and -generation to the upstream

	HostCluster   string // the proxy's cluster that is the host; "": the filter asks nobody
	HostAuthority string // the host's name in requests; "": DefaultAuthority
	Poll          bool   // get snapshots from the host
}

// DefaultAuthority is the host's name in requests of the filter.
const DefaultAuthority = "sallyport"

// Where the filter puts its decision: a property, which proxies keep as filter
// state below "wasm.", as in %FILTER_STATE(wasm.sallyport:PLAIN)%.
const (
	DecisionProperty = "sallyport"
	FilterState      = "wasm." + DecisionProperty
)

const (
	binaryMagic    = "SPCF"
	maxJSONBytes   = policydata.MaxSnapshotBytes * 2
	maxTrustedKeys = 16
	maxKeyBytes    = 4096
	maxNameBytes   = 64 // of the header or cookie with the token
	maxHostBytes   = 255
)

// Parse reads a configuration in either form. The error names the member that
// is wrong. Snapshot may share b's memory.
func Parse(b []byte) (Config, error) {
	if !strings.HasPrefix(string(b[:min(len(b), len(binaryMagic))]), binaryMagic) {
		return parseJSON(string(b), nil)
	}
	rest := b[len(binaryMagic):]
	if len(rest) < 4 || uint64(binary.LittleEndian.Uint32(rest)) > uint64(len(rest)-4) {
		return Config{}, errors.New("plugin configuration: truncated")
	}
	n := binary.LittleEndian.Uint32(rest)
	return parseJSON(string(rest[4:4+n]), rest[4+n:])
}

// parseJSON reads the object; snapshot is what the binary form has behind it.
func parseJSON(text string, snapshot []byte) (Config, error) {
	var c Config
	if len(text) > maxJSONBytes {
		return c, errors.New("plugin configuration: too large")
	}
	if err := token.ValidateJSON(text); err != nil {
		return c, fmt.Errorf("plugin configuration: %w", err)
	}
	object := gjson.Parse(text)
	if !object.IsObject() {
		return c, errors.New("plugin configuration: want a JSON object")
	}
	if len(snapshot) > 0 {
		c.Snapshot = snapshot
	}
	var err error
	object.ForEach(func(name, value gjson.Result) bool {
		if err = c.member(name.Str, value); err != nil {
			err = fmt.Errorf("plugin configuration: %s: %w", name.Str, err)
		}
		return err == nil
	})
	// These are parts of the text, which may have a whole snapshot.
	for _, s := range []*string{&c.TokenHeader, &c.TokenCookie, &c.HostCluster, &c.HostAuthority} {
		*s = strings.Clone(*s)
	}
	if err == nil && c.Snapshot != nil && len(c.TrustedKeys) == 0 {
		err = errors.New("plugin configuration: trusted_keys: at least one key is required with a snapshot")
	}
	if err == nil && c.Poll && len(c.TrustedKeys) == 0 {
		err = errors.New("plugin configuration: trusted_keys: at least one key is required to poll")
	}
	return c, err
}

func (c *Config) member(name string, value gjson.Result) error {
	switch name {
	case "trusted_keys":
		return c.trustedKeys(value)
	case "snapshot":
		if c.Snapshot != nil {
			return errors.New("given twice, in the object and behind it")
		}
		b, err := decodeBase64(value, policydata.MaxSnapshotBytes)
		c.Snapshot = b
		return err
	case "token":
		return c.tokenSource(value)
	case "remove_token":
		return readBool(value, &c.RemoveToken)
	case "identity_headers":
		return readBool(value, &c.IdentityHeaders)
	case "host":
		return c.host(value)
	}
	return errors.New("unknown member")
}

func (c *Config) trustedKeys(value gjson.Result) error {
	if !value.IsArray() {
		return errors.New("want an array of base64 strings")
	}
	for i, v := range value.Array() {
		b, err := decodeBase64(v, maxKeyBytes)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		c.TrustedKeys = append(c.TrustedKeys, b)
	}
	if len(c.TrustedKeys) > maxTrustedKeys {
		return fmt.Errorf("more than %d keys", maxTrustedKeys)
	}
	return nil
}

func (c *Config) tokenSource(value gjson.Result) error {
	if !value.IsObject() {
		return errors.New(`want {"header": "..."} or {"cookie": "..."}`)
	}
	var err error
	value.ForEach(func(name, v gjson.Result) bool {
		switch {
		case v.Type != gjson.String || v.Str == "":
			err = fmt.Errorf("%s: want a text that is not empty", name.Str)
		case name.Str == "header" && isName(v.Str):
			c.TokenHeader = strings.ToLower(v.Str)
		case name.Str == "cookie" && isName(v.Str): // RFC 6265 section 4.1.1: a token, too
			c.TokenCookie = v.Str
		default:
			err = fmt.Errorf("%s: unknown member or bad name", name.Str)
		}
		return err == nil
	})
	if err == nil && (c.TokenHeader == "") == (c.TokenCookie == "") {
		err = errors.New("want either header or cookie")
	}
	return err
}

func (c *Config) host(value gjson.Result) error {
	if !value.IsObject() {
		return errors.New(`want {"cluster": "..."}`)
	}
	var err error
	value.ForEach(func(name, v gjson.Result) bool {
		switch {
		case name.Str == "poll":
			if err = readBool(v, &c.Poll); err != nil {
				err = fmt.Errorf("poll: %w", err)
			}
		case v.Type != gjson.String || !isVisible(v.Str):
			err = fmt.Errorf("%s: want a text of 1 to %d visible ASCII characters", name.Str, maxHostBytes)
		case name.Str == "cluster":
			c.HostCluster = v.Str
		case name.Str == "authority":
			c.HostAuthority = v.Str
		default:
			err = fmt.Errorf("%s: unknown member", name.Str)
		}
		return err == nil
	})
	if err == nil && c.HostCluster == "" {
		err = errors.New("want a cluster")
	}
	return err
}

func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] >= 0x7F {
			return false
		}
	}
	return s != "" && len(s) <= maxHostBytes
}

// isName reports whether s may name a header or a cookie.
func isName(s string) bool {
	return len(s) <= maxNameBytes && s != "*" && policydata.IsToken(s)
}

func readBool(value gjson.Result, into *bool) error {
	if !value.IsBool() {
		return errors.New("want true or false")
	}
	*into = value.Bool()
	return nil
}

func decodeBase64(value gjson.Result, limit int) ([]byte, error) {
	if value.Type != gjson.String || value.Str == "" {
		return nil, errors.New("want a base64 string that is not empty")
	}
	if base64.StdEncoding.DecodedLen(len(value.Str)) > limit+2 {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(value.Str)
	if err != nil {
		return nil, errors.New("not base64 (RFC 4648 section 4, with padding)")
	}
	return b, nil
}

// AppendJSON appends the JSON form.
func (c *Config) AppendJSON(out []byte) []byte { return c.appendObject(out, c.Snapshot) }

// AppendBinary appends the binary form.
func (c *Config) AppendBinary(out []byte) []byte {
	object := c.appendObject(nil, nil)
	out = append(out, binaryMagic...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(object)))
	out = append(out, object...)
	return append(out, c.Snapshot...)
}

func (c *Config) appendObject(out, snapshot []byte) []byte {
	out = append(out, `{"trusted_keys":[`...)
	for i, k := range c.TrustedKeys {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendBase64(out, k)
	}
	out = append(out, ']')
	if len(snapshot) > 0 {
		out = append(out, `,"snapshot":`...)
		out = appendBase64(out, snapshot)
	}
	if c.TokenHeader != "" {
		out = appendText(append(out, `,"token":{"header":`...), c.TokenHeader)
		out = append(out, '}')
	}
	if c.TokenCookie != "" {
		out = appendText(append(out, `,"token":{"cookie":`...), c.TokenCookie)
		out = append(out, '}')
	}
	if c.RemoveToken {
		out = append(out, `,"remove_token":true`...)
	}
	if c.IdentityHeaders {
		out = append(out, `,"identity_headers":true`...)
	}
	if c.HostCluster != "" {
		out = appendText(append(out, `,"host":{"cluster":`...), c.HostCluster)
		if c.HostAuthority != "" {
			out = appendText(append(out, `,"authority":`...), c.HostAuthority)
		}
		if c.Poll {
			out = append(out, `,"poll":true`...)
		}
		out = append(out, '}')
	}
	return append(out, '}')
}

func appendBase64(out, b []byte) []byte {
	out = append(out, '"')
	out = base64.StdEncoding.AppendEncode(out, b)
	return append(out, '"')
}

func appendText(out []byte, s string) []byte {
	out = append(out, '"')
	out = policydata.AppendEscaped(out, s)
	return append(out, '"')
}
