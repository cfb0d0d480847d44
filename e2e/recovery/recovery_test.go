package recovery

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/e2e/edge"
	"sallyport/e2e/hosttest"
)

// patience bounds what a test waits for, on a machine with much else to do.
const patience = 2 * time.Minute

// allow lets anybody use what is below a path.
func allow(path string) string {
	return fmt.Sprintf(`
apiVersion: sallyport/v1
kind: Policy
metadata: {name: public}
spec: {rules: [{effect: allow, methods: [GET], paths: [%q]}]}
---
apiVersion: sallyport/v1
kind: Group
metadata: {name: "system:unauthenticated"}
spec: {policies: [public]}
`, path+"/**")
}

func get(path string) edge.Request { return edge.Request{Method: http.MethodGet, Path: path} }

// back starts a host where the one of e was, on another data directory.
func back(t *testing.T, e *edge.Edge, dir string, args ...string) {
	t.Helper()
	e.Host = hosttest.StartAt(t, dir, e.Host.HTTP, e.Host.XDS, args...)
}

// TestMaximumAge: a proxy that has not heard of its host for longer than the
// maximum age refuses all, and goes on when the host is back.
func TestMaximumAge(t *testing.T) {
	const age = "--snapshot-max-age=30s" // the least
	e := edge.Start(t, age)
	e.Host.Apply(allow("/public"))
	e.Await(t, get("/public"), http.StatusOK)
	first := e.Ask(t, get("/public")).Generation
	e.Envoy.Await("a generation that nobody wrote", patience, func() error {
		a := e.Ask(t, get("/public"))
		if a.Status != http.StatusOK {
			t.Errorf("while the host runs: %+v", a)
		}
		if a.Generation == first {
			return fmt.Errorf("generation %d still", first)
		}
		return nil
	})

	e.Host.Kill()
	if a := e.Ask(t, get("/public")); a.Status != http.StatusOK {
		t.Errorf("just after the host was killed: %+v", a)
	}
	e.Envoy.Await("stale", patience, func() error {
		if a := e.Ask(t, get("/public")); a.Reason != "stale_snapshot" {
			return fmt.Errorf("got %+v", a)
		}
		return nil
	})
	e.Await(t, get("/public"), http.StatusServiceUnavailable)
	e.Await(t, get("/other"), http.StatusServiceUnavailable) // and no 401, from which a client would conclude something

	back(t, e, e.Host.DataDir, age)
	e.Await(t, get("/public"), http.StatusOK)
	e.Await(t, get("/other"), http.StatusUnauthorized)
}

// TestARestoredHostIsInCharge: a proxy takes a lower generation of a higher epoch
// by itself, and never again one of the epoch before.
func TestARestoredHostIsInCharge(t *testing.T) {
	e := edge.Start(t)
	e.Host.Apply(allow("/then"))
	old, file, dir := e.Host.DataDir, filepath.Join(t.TempDir(), "backup"), t.TempDir()
	e.Host.Run(0, "", "backup", file)
	for i := range 5 {
		e.Host.Apply(allow(fmt.Sprint("/since-", i)))
	}
	e.Await(t, get("/since-4"), http.StatusOK)
	before := e.Ask(t, get("/since-4"))
	e.Host.Stop()

	hosttest.Run(t, 0, "", "restore", file, "--data-dir", dir)
	copyFile(t, old, dir, signingKey)
	copyFile(t, old, dir, hosttest.CredentialsFile)
	back(t, e, dir)
	e.Await(t, get("/then"), http.StatusOK)
	e.Await(t, get("/since-4"), http.StatusUnauthorized)
	after := e.Ask(t, get("/then"))
	if after.Generation >= before.Generation {
		t.Errorf("generation %d after %d: this is no test of epochs", after.Generation, before.Generation)
	}

	// The old host is started once more, by mistake, and even writes.
	e.Host.Stop()
	back(t, e, old)
	refused := e.Envoy.Stats()["wasmcustom.sallyport_snapshots_refused"]
	e.Host.Apply(allow("/since-5"))
	e.Envoy.Await("a refusal", patience, func() error {
		if n := e.Envoy.Stats()["wasmcustom.sallyport_snapshots_refused"]; n <= refused {
			return fmt.Errorf("%d refused", n)
		}
		return nil
	})
	e.Await(t, get("/then"), http.StatusOK)
	e.Await(t, get("/since-5"), http.StatusUnauthorized)
	if a := e.Ask(t, get("/then")); a.Generation != after.Generation {
		t.Errorf("generation %d, want %d", a.Generation, after.Generation)
	}

	// And the right one is still in charge.
	e.Host.Stop()
	back(t, e, dir)
	e.Host.Apply(allow("/last"))
	e.Await(t, get("/last"), http.StatusOK)
	e.Await(t, get("/then"), http.StatusUnauthorized)
}

// signingKey is the file of a data directory that a backup does not have.
const signingKey = "snapshot-key.pem"

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestARestoredHostWithoutItsKey: by ECDS the key that snapshots are verified
// with comes with them, so the proxy takes what a new key has signed.
func TestARestoredHostWithoutItsKey(t *testing.T) {
	e := edge.Start(t)
	e.Host.Apply(allow("/then"))
	file, dir := filepath.Join(t.TempDir(), "backup"), t.TempDir()
	e.Host.Run(0, "", "backup", file)
	e.Host.Apply(allow("/since"))
	e.Await(t, get("/since"), http.StatusOK)
	e.Host.Stop()
	hosttest.Run(t, 0, "", "restore", file, "--data-dir", dir)
	back(t, e, dir)
	e.Await(t, get("/then"), http.StatusOK)
	e.Await(t, get("/since"), http.StatusUnauthorized)
}
