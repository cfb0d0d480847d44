package oidctest

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/e2e/hosttest"
)

// fetch returns status and body of an endpoint.
func fetch(t *testing.T, p *Provider, e Endpoint, header ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.URL(e), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := *p.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// ids returns the key ids of the served set.
func ids(t *testing.T, p *Provider) []string {
	t.Helper()
	_, body := fetch(t, p, Keys)
	var set struct {
		Keys []struct{ Kid string }
	}
	if err := json.Unmarshal(body, &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.Kid)
	}
	return ids
}

// decode returns a part of a token.
func decode(t *testing.T, token string, part int) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[part])
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTokensVerifyWithTheServedSet(t *testing.T) {
	p := Start(t, Options{Path: "/realms/eo"})
	p.PublishEncryptionKey()
	algorithms := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	type line struct {
		ID   string          `json:"id"`
		JWS  string          `json:"jws"`
		JWKS json.RawMessage `json:"jwks"`
	}
	var tokens []line
	for _, a := range algorithms {
		p.Rotate(a)
		tokens = append(tokens, line{ID: a, JWS: p.Mint(Claims{"sub": "eric"})})
	}
	_, set := fetch(t, p, Keys)
	var batch strings.Builder
	for _, l := range tokens {
		l.JWKS = set
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		batch.Write(append(b, '\n'))
	}
	out := hosttest.Run(t, 0, batch.String(), "token", "verify", "--batch", "-")
	verified := 0
	for text := range strings.Lines(out) {
		var answer struct {
			ID     string
			OK     bool
			Reason string
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		if !answer.OK {
			t.Errorf("%s: %s", answer.ID, answer.Reason)
		}
		verified++
	}
	if verified != len(algorithms) {
		t.Errorf("%d of %d tokens were answered", verified, len(algorithms))
	}
}

func TestRotation(t *testing.T) {
	p := Start(t, Options{})
	first := p.Active()
	kid := func() any { return decode(t, p.Mint(nil), 0)["kid"] }

	passive := p.Publish("ES256")
	if got := kid(); got != first.ID {
		t.Errorf("a key that is only published signs: %v", got)
	}
	if got, want := ids(t, p), []string{passive.ID, first.ID}; !slices.Equal(got, want) {
		t.Errorf("set %v, want %v", got, want)
	}
	p.Activate(passive)
	if got := kid(); got != passive.ID {
		t.Errorf("signed by %v, want the activated %v", got, passive.ID)
	}
	if got := ids(t, p); !slices.Contains(got, first.ID) {
		t.Error("the key that signed before is not published any more")
	}
	p.Withdraw(first)
	next := p.Rotate("RS256")
	if got := kid(); got != next.ID {
		t.Errorf("signed by %v, want %v", got, next.ID)
	}
	if got, want := ids(t, p), []string{next.ID, passive.ID}; !slices.Equal(got, want) {
		t.Errorf("set %v, want %v", got, want)
	}
	if got := decode(t, p.MintWith(first, nil), 0)["kid"]; got != first.ID {
		t.Errorf("signed by %v, want the withdrawn %v", got, first.ID)
	}
}

func TestMintedClaims(t *testing.T) {
	p := Start(t, Options{Path: "/realms/eo", Algorithm: "ES256"})
	got := decode(t, p.Mint(Claims{"sub": "eric", "jti": nil, "exp": 1}), 1)
	if got["iss"] != p.Issuer() || got["sub"] != "eric" || got["exp"] != 1.0 {
		t.Errorf("claims %v", got)
	}
	if _, ok := got["jti"]; ok {
		t.Error("a claim that was set to nil is there")
	}
}

func TestFaults(t *testing.T) {
	p := Start(t, Options{Algorithm: "ES256"})
	for _, tc := range []struct {
		name   string
		e      Endpoint
		fault  Fault
		status int
		body   string
	}{
		{"failing", Keys, Failing, 500, "Sorry"},
		{"garbage", Keys, Garbage, 200, "Sorry"},
		{"redirect", Discovery, Redirect("https://other.example.com/"), 302, "other.example.com"},
		{"wrong issuer", Discovery, WrongIssuer, 200, `"issuer":"https://other.example.com"`},
		{"healthy again", Discovery, Healthy, 200, `"issuer":"` + p.Issuer() + `"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p.Fail(tc.e, tc.fault)
			response, body := fetch(t, p, tc.e)
			if response.StatusCode != tc.status || !strings.Contains(string(body), tc.body) {
				t.Errorf("got %d %s, want %d with %s", response.StatusCode, body, tc.status, tc.body)
			}
		})
	}
	t.Run("down", func(t *testing.T) {
		p.Fail(Keys, Down)
		response, err := p.Client().Get(p.URL(Keys))
		if err == nil {
			response.Body.Close()
			t.Errorf("got %d", response.StatusCode)
		}
	})
	t.Run("slow until lifted", func(t *testing.T) {
		p.Fail(Keys, Slow)
		before := p.Requests(Keys)
		answered := make(chan int)
		go func() {
			response, err := p.Client().Get(p.URL(Keys))
			if err != nil {
				t.Error(err)
				close(answered)
				return
			}
			response.Body.Close()
			answered <- response.StatusCode
		}()
		for p.Requests(Keys) == before {
			time.Sleep(time.Millisecond)
		}
		select {
		case <-answered:
			t.Error("answered before the fault was lifted")
		default:
		}
		p.Fail(Keys, Healthy)
		if status := <-answered; status != http.StatusOK {
			t.Errorf("got %d", status)
		}
	})
}

func TestKeySetIsCached(t *testing.T) {
	p := Start(t, Options{Algorithm: "ES256", CacheControl: "max-age=60", ETag: true})
	response, _ := fetch(t, p, Keys)
	tag := response.Header.Get("ETag")
	if tag == "" || response.Header.Get("Cache-Control") != "max-age=60" {
		t.Fatalf("header %v", response.Header)
	}
	if response, _ = fetch(t, p, Keys, "If-None-Match", tag); response.StatusCode != http.StatusNotModified {
		t.Errorf("same set: got %d", response.StatusCode)
	}
	p.Publish("ES256")
	if response, _ = fetch(t, p, Keys, "If-None-Match", tag); response.StatusCode != http.StatusOK {
		t.Errorf("another set: got %d", response.StatusCode)
	}
	if p.Requests(Keys) != 3 || p.NotModified() != 1 {
		t.Errorf("%d requests, %d not modified; want 3 and 1", p.Requests(Keys), p.NotModified())
	}
}

func TestTokenEndpoint(t *testing.T) {
	p := Start(t, Options{TLS: true, Algorithm: "ES256"})
	p.AddClient("mlops", "s3cret", Claims{"sub": "service-mlops"})
	p.AddUser("eric", "pass", Claims{"sub": "eric", "groups": []string{"/foo"}})
	for _, tc := range []struct {
		name   string
		form   url.Values
		status int
		sub    string // or the error
	}{
		{"client credentials", url.Values{"grant_type": {"client_credentials"}, "client_id": {"mlops"}, "client_secret": {"s3cret"}}, 200, "service-mlops"},
		{"password", url.Values{"grant_type": {"password"}, "client_id": {"mlops"}, "client_secret": {"s3cret"}, "username": {"eric"}, "password": {"pass"}}, 200, "eric"},
		{"wrong secret", url.Values{"grant_type": {"client_credentials"}, "client_id": {"mlops"}, "client_secret": {"guess"}}, 401, "invalid_client"},
		{"unknown client", url.Values{"grant_type": {"client_credentials"}, "client_id": {"other"}}, 401, "invalid_client"},
		{"wrong password", url.Values{"grant_type": {"password"}, "client_id": {"mlops"}, "client_secret": {"s3cret"}, "username": {"eric"}, "password": {"guess"}}, 400, "invalid_grant"},
		{"unknown grant", url.Values{"grant_type": {"magic"}, "client_id": {"mlops"}, "client_secret": {"s3cret"}}, 400, "unsupported_grant_type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			response, err := p.Client().PostForm(p.URL(Token), tc.form)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var answer struct {
				Error  string
				Access string `json:"access_token"`
			}
			if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			got := answer.Error
			if answer.Access != "" {
				claims := decode(t, answer.Access, 1)
				got, _ = claims["sub"].(string)
				if claims["azp"] != "mlops" {
					t.Errorf("azp %v", claims["azp"])
				}
			}
			if response.StatusCode != tc.status || got != tc.sub {
				t.Errorf("got %d %q, want %d %q", response.StatusCode, got, tc.status, tc.sub)
			}
		})
	}
}
