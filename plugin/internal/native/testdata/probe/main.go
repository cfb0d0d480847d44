// Command probe compares and measures, inside of a proxy, the two ways in which
// tokens are verified: by the proxy and by Go. Its configuration is JSON, the
// path of a request says what it answers.
package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
	"github.com/tidwall/gjson"

	"sallyport/plugin/internal/native"
	"sallyport/policydata"
	"sallyport/policydata/delta"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/token"
)

// main is never called in a reactor.
func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	config gjson.Result
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	b, err := proxywasm.GetPluginConfiguration()
	if err != nil || !gjson.ValidBytes(b) {
		return types.OnPluginStartStatusFailed
	}
	p.config = gjson.ParseBytes(b)
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &request{plugin: p} }

type request struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (r *request) OnHttpRequestHeaders(int, bool) types.Action {
	path, err := proxywasm.GetHttpRequestHeader(":path")
	var lines []string
	if err == nil {
		lines, err = r.plugin.answer(path)
	}
	status := uint32(200)
	if err != nil {
		status, lines = 500, []string{err.Error()}
	}
	if err := proxywasm.SendHttpResponse(status, nil, []byte(strings.Join(lines, "\n")), -1); err != nil {
		proxywasm.LogError(err.Error())
	}
	return types.ActionPause
}

func (p *plugin) answer(path string) ([]string, error) {
	switch path {
	case "/vectors":
		return p.vectors(), nil
	case "/costs":
		return p.costs()
	case "/tokens":
		return p.tokens()
	case "/load":
		return p.load()
	case "/deltas":
		return p.deltas()
	}
	return nil, errors.New("no such path")
}

// vectors verifies each vector by both ways: a line has the two reasons, whether
// the proxy was asked, and whether it knew the algorithm.
func (p *plugin) vectors() []string {
	var lines []string
	p.config.Get("vectors").ForEach(func(_, v gjson.Result) bool {
		algorithms := []string{v.Get("alg").Str}
		keys := []policydata.Key{{SPKI: decode(v.Get("spki"))}}
		asked, handled := false, false
		byProxy := token.VerifySignature(v.Get("jws").Str, keys, algorithms, token.WithSignatureFunc(
			func(alg string, spki []byte, input string, signature []byte) (bool, bool) {
				known, ok := native.VerifyToken(alg, spki, input, signature)
				asked, handled = true, known
				return known, ok
			}))
		byGo := token.VerifySignature(v.Get("jws").Str, keys, algorithms)
		lines = append(lines, fmt.Sprintf("%s %s %t %t", byProxy, byGo, asked, handled))
		return true
	})
	return lines
}

func decode(v gjson.Result) []byte {
	b, err := base64.StdEncoding.DecodeString(v.Str)
	if err != nil {
		panic(err)
	}
	return b
}

// costs measures one verification of each token by both ways, without all else:
// a line has the nanoseconds by the proxy (or -) and by Go.
func (p *plugin) costs() (lines []string, err error) {
	p.config.Get("costs").ForEach(func(_, v gjson.Result) bool {
		var byProxy, byGo string
		if byProxy, byGo, err = cost(v); err != nil {
			return false
		}
		lines = append(lines, byProxy+" "+byGo)
		return true
	})
	return lines, err
}

func cost(v gjson.Result) (byProxy, byGo string, err error) {
	alg, jws, spki := v.Get("alg").Str, v.Get("jws").Str, decode(v.Get("spki"))
	cut := strings.LastIndexByte(jws, '.')
	input := jws[:cut]
	signature, err := base64.RawURLEncoding.DecodeString(jws[cut+1:])
	if err != nil {
		return "", "", err
	}
	key, err := token.ParseSPKI(spki)
	if err != nil {
		return "", "", err
	}
	method := jwt.GetSigningMethod(alg)
	byGo = measure(func() {
		if failed := method.Verify(input, signature, key); failed != nil {
			err = failed
		}
	})
	byProxy = "-"
	if handled, _ := native.VerifyToken(alg, spki, input, signature); handled {
		byProxy = measure(func() {
			if _, ok := native.VerifyToken(alg, spki, input, signature); !ok {
				err = errors.New("refused by the proxy")
			}
		})
	}
	return byProxy, byGo, err
}

// tokens measures all checks of each token: a line has its reason, and the
// nanoseconds with the proxy's help and by Go alone.
func (p *plugin) tokens() ([]string, error) {
	snapshot, err := policydata.Load(decode(p.config.Get("issuers")), accept)
	if err != nil {
		return nil, err
	}
	byProxy, err := token.NewVerifier(snapshot.Issuers(), token.WithSignatureFunc(native.VerifyToken))
	if err != nil {
		return nil, err
	}
	byGo, err := token.NewVerifier(snapshot.Issuers())
	if err != nil {
		return nil, err
	}
	cache, now := token.NewCache(), p.config.Get("now").Int()
	var lines []string
	p.config.Get("tokens").ForEach(func(_, v gjson.Result) bool {
		raw := strings.Clone(v.Get("raw").Str)
		verify := byProxy.Verify
		if v.Get("cached").Bool() {
			verify = func(raw string, now int64) (policydata.Identity, token.Claims, policydata.Reason) {
				return byProxy.VerifyCached(cache, raw, now)
			}
		}
		_, _, reason := verify(raw, now)
		with := measure(func() { verify(raw, now) })
		without := "-"
		if !v.Get("cached").Bool() {
			without = measure(func() { byGo.Verify(raw, now) })
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", reason, with, without))
		return true
	})
	return lines, nil
}

// accept is a policydata.VerifyFunc that leaves the signature out.
func accept([]byte, []byte) error { return nil }

// load takes a configuration with a snapshot as the filter does, and its parts
// one by one: a line has the part, and the nanoseconds of the first time, when
// V8 has not optimized it yet, of the median of what follows, and of the fastest.
func (p *plugin) load() ([]string, error) {
	signed, spki := decode(p.config.Get("snapshot")), decode(p.config.Get("key"))
	parsed, err := token.ParseSPKI(spki)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("no ECDSA key")
	}
	c := pluginconfig.Config{TrustedKeys: [][]byte{spki}, Snapshot: signed}
	binary, text := c.AppendBinary(nil), c.AppendJSON(nil)
	byProxy := func(body, signature []byte) error {
		if ok, _ := native.Verify("sha256", spki, body, signature); !ok {
			err = errors.New("the proxy refused the signature")
		}
		return nil
	}
	parts := []struct {
		name string
		run  func() error
	}{
		{"configuration, binary", func() error { _, err := pluginconfig.Parse(binary); return err }},
		{"configuration, JSON", func() error { _, err := pluginconfig.Parse(text); return err }},
		{"validation", func() error { _, err := policydata.Load(signed, accept); return err }},
		{"Load in all", func() error { _, err := policydata.Load(signed, byProxy); return err }},
		{"signature, hash included, by the proxy", func() error { return byProxy(split(signed)) }},
		{"hash by Go", func() error { sha256.Sum256(signed); return nil }},
		{"signature by Go", func() error {
			body, signature := split(signed)
			digest := sha256.Sum256(body)
			if !ecdsa.VerifyASN1(key, digest[:], signature) {
				return errors.New("Go refused the signature")
			}
			return nil
		}},
	}
	var lines []string
	for _, part := range parts {
		line, failed := timed(part.name, part.run)
		if failed != nil || err != nil {
			return nil, errors.Join(failed, err)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// timed returns a line with the nanoseconds of the first run, the median of what
// follows, and of the fastest.
func timed(name string, run func() error) (line string, err error) {
	var times []int64
	for range 9 {
		begun := time.Now()
		if err := run(); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		times = append(times, time.Since(begun).Nanoseconds())
	}
	return fmt.Sprintf("%s: %d %d %d", name, times[0], median(times[1:]), slices.Min(times)), nil
}

// deltas applies each delta to a snapshot, its signature checked by the proxy: a
// line as of load.
func (p *plugin) deltas() (lines []string, err error) {
	base, spki := decode(p.config.Get("snapshot")), decode(p.config.Get("key"))
	verify := func(body, signature []byte) error {
		if ok, _ := native.Verify("sha256", spki, body, signature); !ok {
			return errors.New("the proxy refused the signature")
		}
		return nil
	}
	p.config.Get("deltas").ForEach(func(_, v gjson.Result) bool {
		signed := decode(v.Get("delta"))
		var line string
		line, err = timed(v.Get("name").Str, func() error { _, err := delta.Apply(base, signed, verify); return err })
		lines = append(lines, line)
		return err == nil
	})
	return lines, err
}

// split returns what a snapshot's signature covers, and the signature.
func split(signed []byte) (body, signature []byte) {
	_, _ = policydata.Load(signed, func(b, s []byte) error {
		body, signature = b, s
		return errors.New("enough")
	})
	return body, signature
}

const (
	warmUp = 20 * time.Millisecond // for V8's optimizer
	round  = 3 * time.Millisecond
	rounds = 7
)

// measure returns the nanoseconds of one run of f: the median of rounds in which
// it runs so often that the clock does not count.
func measure(f func()) string {
	n, begun := 0, time.Now()
	for time.Since(begun) < warmUp {
		f()
		n++
	}
	n = max(1, n*int(round)/int(warmUp))
	var times []int64
	for range rounds {
		begun := time.Now()
		for range n {
			f()
		}
		times = append(times, time.Since(begun).Nanoseconds()/int64(n))
	}
	return fmt.Sprint(median(times))
}

func median(times []int64) int64 {
	slices.Sort(times)
	return times[len(times)/2]
}
