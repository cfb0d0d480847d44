package xds

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"sallyport/e2e/envoytest"
	"sallyport/host/internal/envoyconfig"
	"sallyport/host/internal/signing"
	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
)

// snapshot returns a signed snapshot of a generation that opens one path.
func snapshot(t *testing.T, key *signing.Key, generation uint64) []byte {
	t.Helper()
	return sign(t, key, body(t, generation))
}

func sign(t *testing.T, key *signing.Key, body []byte) []byte {
	t.Helper()
	signed, err := key.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func body(t *testing.T, generation uint64) []byte {
	t.Helper()
	body, err := policydata.Build(policydata.Source{
		Epoch: 1, Generation: generation,
		Policies: []policydata.Policy{{Name: "p", Rules: []policydata.Rule{{
			Effect: policydata.EffectAllow, Methods: []string{"*"}, Paths: []string{fmt.Sprintf("/generation-%d", generation)},
		}}}},
		Groups: []policydata.Group{{Name: policydata.GroupUnauthenticated, Policies: []string{"p"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestFilterRefusesWhatItCanNotTrust pushes snapshots that the real filter must
// refuse: each leaves the one before in force.
func TestFilterRefusesWhatItCanNotTrust(t *testing.T) {
	module := filepath.Join(envoytest.Root(t), "build", "sallyport.wasm")
	if _, err := os.Stat(module); err != nil {
		t.Fatalf("no filter: run `make build`: %v", err)
	}
	trusted, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(upstream.Close)
	address := unusedAddress(t)
	bootstrap, err := envoyconfig.ECDS(envoyconfig.Options{
		Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", XDS: address, ModulePath: module, Upstream: upstream.Listener.Addr().String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	e := envoytest.Start(t, bootstrap)
	proxy := edge{Envoy: e, t: t, address: e.Address("ingress")}
	s := New(Options{})
	host(t, s, address)
	push := func(version string, snapshot []byte) {
		t.Helper()
		config := pluginconfig.Config{TrustedKeys: [][]byte{trusted.SPKI()}, Snapshot: snapshot}
		if err := s.Set(version, FilterConfig{PluginConfiguration: config.AppendBinary(nil), ModulePath: module}); err != nil {
			t.Fatal(err)
		}
	}
	good := snapshot(t, trusted, 5)
	push("1.5", good)
	proxy.opens(5)

	tampered := snapshot(t, trusted, 6)
	tampered[len(tampered)/2] ^= 1
	newer := body(t, 6)
	newer[16] |= 0x80 // a feature bit, well signed
	for name, refused := range map[string][]byte{
		"another key":       snapshot(t, stranger, 6),
		"tampered":          tampered,
		"unknown feature":   sign(t, trusted, newer),
		"truncated":         good[:len(good)-1],
		"not a snapshot":    []byte("hello"),
		"bytes behind it":   append(snapshot(t, trusted, 6), 0),
		"unsigned":          good[:len(good)-80],
		"a signature of it": append(snapshot(t, trusted, 6)[:200], good[200:]...),
	} {
		t.Run(name, func(t *testing.T) {
			push("1.6-"+name, refused)
			await(t, s, "refusing "+name, func(n NodeStatus) bool { return n.Nacked == "1.6-"+name })
			proxy.t = t
			proxy.opens(5)
		})
	}
	proxy.t = t

	push("1.7", snapshot(t, trusted, 7))
	proxy.opens(7)

	// An older one is taken by the trial VM, which remembers nothing, but not by
	// the workers.
	push("1.5-again", good)
	await(t, s, "taking 1.5 again", func(n NodeStatus) bool { return n.Acked == "1.5-again" })
	proxy.opens(7)
}

// opens waits until every worker opens the path of a generation, and of no
// other.
func (e edge) opens(generation int) {
	e.t.Helper()
	e.Await(fmt.Sprintf("generation %d", generation), patience, func() error {
		for range 12 {
			for g := 5; g <= 7; g++ {
				http.DefaultClient.CloseIdleConnections()
				answer, err := http.Get(fmt.Sprintf("http://%s/generation-%d", e.address, g))
				if err != nil {
					return err
				}
				if err := answer.Body.Close(); err != nil {
					return err
				}
				if (answer.StatusCode == http.StatusOK) != (g == generation) {
					return fmt.Errorf("generation %d answered %d", g, answer.StatusCode)
				}
			}
		}
		return nil
	})
}
