package check

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/tidwall/gjson"

	"sallyport/host/wasmhost"
	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/token"
)

// WasmOptions says how the filter is run.
type WasmOptions struct {
	Module   []byte // the filter
	CacheDir string // of compiled modules; "": none
	Now      func() time.Time
}

// wasmEngine is the filter in wazero. The filter has no way round verification:
// claims without a token are put into one, signed by a key of this process that
// only a private variant of the snapshot trusts.
type wasmEngine struct {
	runtime *wasmhost.Runtime
	tokens  *wasmhost.Pool // the snapshot as it is
	claims  *wasmhost.Pool // the private variant
	source  policydata.Source
	signer  *ecdsa.PrivateKey
	now     func() time.Time
}

// NewWasm returns the filter in wazero, with the snapshot of a source.
func NewWasm(ctx context.Context, source policydata.Source, o WasmOptions) (_ Engine, err error) {
	rt, err := wasmhost.NewRuntime(ctx, wasmhost.Options{CacheDir: o.CacheDir, Now: o.Now})
	if err != nil {
		return nil, err
	}
	e := &wasmEngine{runtime: rt, source: source, now: o.Now}
	defer func() {
		if err != nil {
			_ = e.Close(context.WithoutCancel(ctx)) // the first error says more
		}
	}()
	module, err := rt.Compile(ctx, o.Module)
	if err != nil {
		return nil, err
	}
	if e.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	private, err := e.privateSource()
	if err != nil {
		return nil, err
	}
	if e.tokens, err = newPool(ctx, module, source); err != nil {
		return nil, err
	}
	e.claims, err = newPool(ctx, module, private)
	return e, err
}

func newPool(ctx context.Context, module *wasmhost.Module, source policydata.Source) (*wasmhost.Pool, error) {
	signed, key, err := build(source)
	if err != nil {
		return nil, err
	}
	config := pluginconfig.Config{TrustedKeys: [][]byte{key.SPKI()}, Snapshot: signed}
	return wasmhost.NewPool(ctx, module, config.AppendBinary(nil), runtime.GOMAXPROCS(0))
}

// privateAlgorithm signs the tokens that carry claims.
const privateAlgorithm = "ES256"

// privateSource is the source with issuers that trust e.signer alone, and
// without what depends on the age of a token.
func (e *wasmEngine) privateSource() (policydata.Source, error) {
	spki, err := x509.MarshalPKIXPublicKey(&e.signer.PublicKey)
	if err != nil {
		return policydata.Source{}, err
	}
	private := e.source
	private.Issuers = slices.Clone(e.source.Issuers)
	for i := range private.Issuers {
		private.Issuers[i].Algorithms = []string{privateAlgorithm}
		private.Issuers[i].Keys = []policydata.Key{{ID: "check", Algorithm: privateAlgorithm, SPKI: spki}}
	}
	private.Users = slices.Clone(e.source.Users)
	for i := range private.Users {
		private.Users[i].TokensNotBefore = 0
	}
	return private, nil
}

// Decide implements Engine.
func (e *wasmEngine) Decide(ctx context.Context, q *Query) (json.RawMessage, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if q.Explain {
		return nil, ErrNoExplanation
	}
	pool, raw := e.tokens, q.Token
	if q.hasClaims() {
		var err error
		if raw, err = e.tokenFor(string(q.Claims)); err != nil {
			return nil, err
		}
		pool = e.claims
	}
	r := q.request(raw)
	headers := append([][2]string{
		{":method", r.Method},
		{":path", r.Target},
		{":scheme", "https"},
		{":authority", r.Authority},
	}, r.Headers...)
	result, err := pool.Request(ctx, headers, true)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return decisionOf(&result)
}

// decisionOf returns the decision that the filter reported, if it also did what
// it reported.
func decisionOf(result *wasmhost.Result) (json.RawMessage, error) {
	d := result.FilterState[pluginconfig.FilterState]
	allowed := result.Verdict == wasmhost.VerdictContinue
	switch {
	case d == "":
		return nil, fmt.Errorf("filter: reported no decision")
	case allowed != (gjson.Get(d, "decision").Str == "allow"):
		return nil, fmt.Errorf("filter: reported %s and did otherwise", d)
	case !allowed && (result.Local == nil || int64(result.Local.Status) != gjson.Get(d, "status").Int()):
		return nil, fmt.Errorf("filter: reported %s and answered otherwise", d)
	}
	return json.RawMessage(d), nil
}

// tokenFor returns a token with claims that the private variant verifies. What
// the checks of a token look at is replaced by what passes them; the rest stays
// as it was written.
func (e *wasmEngine) tokenFor(claims string) (string, error) {
	payload := claims
	if token.ValidateJSON(claims) == nil && gjson.Parse(claims).IsObject() {
		payload = e.passable(gjson.Parse(claims))
	}
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"`+privateAlgorithm+`","kid":"check"}`)) + "." + encode([]byte(payload))
	sig, err := jwt.GetSigningMethod(privateAlgorithm).Sign(input, e.signer)
	if err != nil {
		return "", fmt.Errorf("sign claims: %w", err)
	}
	signed := input + "." + encode(sig)
	if len(signed) > token.MaxTokenBytes {
		return "", fmt.Errorf("claims: no token can hold as many: it may have %d bytes", token.MaxTokenBytes)
	}
	return signed, nil
}

func (e *wasmEngine) passable(claims gjson.Result) string {
	now := e.now().Unix()
	members := []string{`"iat":` + strconv.FormatInt(now, 10), `"exp":` + strconv.FormatInt(now+1, 10)}
	issuer, named := "", false
	claims.ForEach(func(name, value gjson.Result) bool {
		switch name.Str {
		case "iat", "exp", "nbf", "aud":
			return true
		case "iss":
			issuer, named = value.Str, true
		}
		members = append(members, name.Raw+":"+value.Raw)
		return true
	})
	if !named && len(e.source.Issuers) == 1 {
		issuer = e.source.Issuers[0].Issuer
		members = append(members, `"iss":`+quote(issuer))
	}
	for i := range e.source.Issuers {
		if e.source.Issuers[i].Issuer == issuer {
			members = append(members, `"aud":`+quote(e.source.Issuers[i].Audiences[0]))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func quote(s string) string {
	return `"` + string(policydata.AppendEscaped(nil, s)) + `"`
}

// Close implements Engine.
func (e *wasmEngine) Close(ctx context.Context) error { return e.runtime.Close(ctx) }
