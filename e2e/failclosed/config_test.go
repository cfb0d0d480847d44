package failclosed

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/envoytest"
	"sallyport/e2e/hosttest"
	"sallyport/plugin/filtertest"
)

// badModules are files that are no filter, with what Envoy says of them.
func badModules(t *testing.T) map[string][2]string {
	t.Helper()
	whole, err := os.ReadFile(hosttest.Module(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := append([]byte(nil), whole...)
	flipped[20] ^= 0xFF // in the types
	return map[string][2]string{
		"truncated":     {file("truncated", whole[:len(whole)/2]), "corrupted Wasm module"},
		"damaged":       {file("damaged", flipped), "Failed to load Wasm code"},
		"no wasm":       {file("text", []byte("hello")), "Proxy-Wasm ABI version"},
		"empty":         {file("empty", nil), "Unable to create Wasm plugin"},
		"missing":       {filepath.Join(dir, "missing"), "Invalid path"},
		"no exports":    {file("bare", []byte("\x00asm\x01\x00\x00\x00")), "Proxy-Wasm ABI version"},
		"without WASI":  {file("imports", importing("env", "no_such_function")), "no_such_function"},
		"a directory":   {dir, ""},
		"too old a ABI": {file("old", exporting("proxy_abi_version_0_0_9")), "Proxy-Wasm ABI version"},
	}
}

// importing is a module of ABI 0.2.0 that imports a function which no proxy has.
func importing(module, function string) []byte {
	entry := append(text(module), append(text(function), 0, 0)...) // a function of type 0
	m := section(header(), 1, []byte{1, 0x60, 0, 0})
	m = section(m, 2, append([]byte{1}, entry...))
	m = section(m, 3, []byte{1, 0})
	m = section(m, 7, append([]byte{1}, append(text("proxy_abi_version_0_2_0"), 0, 1)...))
	return section(m, 10, []byte{1, 2, 0, 0x0b})
}

// exporting is a module with one function, which does nothing.
func exporting(function string) []byte {
	m := section(header(), 1, []byte{1, 0x60, 0, 0})
	m = section(m, 3, []byte{1, 0})
	m = section(m, 7, append([]byte{1}, append(text(function), 0, 0)...))
	return section(m, 10, []byte{1, 2, 0, 0x0b})
}

func header() []byte { return []byte("\x00asm\x01\x00\x00\x00") }

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

func section(module []byte, id byte, content []byte) []byte {
	return append(append(module, id, byte(len(content))), content...)
}

// Envoy does not start with a module that it can't load, or with a configuration
// that the filter refuses. So nothing listens.
func TestEnvoyDoesNotStart(t *testing.T) {
	f, up := filtertest.NewFixture(t), startUpstream(t)
	c := f.Config(t, nil)
	for name, module := range badModules(t) {
		t.Run(name, func(t *testing.T) {
			b := envoytest.Static(t, module[0], up.port)
			b.Add("ingress", func(l *envoytest.Listener) { l.Configure(c.AppendJSON(nil)) })
			if log := envoytest.Refused(t, b.Text()); !strings.Contains(log, module[1]) {
				t.Errorf("the log does not say %q:\n%s", module[1], log)
			}
		})
	}
	for _, c := range f.BadConfigs(t) {
		// The filter refuses each, as package e2e shows; Envoy takes one as the
		// other, and seconds to compile the filter.
		if c.Name != "garbage" && c.Name != "signed by another" {
			continue
		}
		t.Run("configuration: "+c.Name, func(t *testing.T) {
			b := envoytest.Static(t, hosttest.Module(t), up.port)
			b.Add("good", func(l *envoytest.Listener) {
				good := f.Config(t, nil)
				l.Configure(good.AppendJSON(nil))
			})
			b.Add("ingress", func(l *envoytest.Listener) {
				l.Plugin()["configuration"] = map[string]any{
					"@type": "type.googleapis.com/google.protobuf.BytesValue",
					"value": base64.StdEncoding.EncodeToString(c.Config),
				}
			})
			if log := envoytest.Refused(t, b.Text()); !strings.Contains(log, c.Want) {
				t.Errorf("the log does not say %q:\n%s", c.Want, log)
			}
		})
	}
}

// What is pushed and wrong changes nothing: neither where there was something good
// before, nor where there was nothing.
func TestEnvoyTakesNoWrongPush(t *testing.T) {
	f, up := filtertest.NewFixture(t), startUpstream(t)
	good := f.Config(t, nil)
	b := envoytest.Static(t, hosttest.Module(t), up.port)
	var served, fresh *envoytest.Discovery
	b.Add("served", func(l *envoytest.Listener) { served = l.Discover(t) })
	b.Add("fresh", func(l *envoytest.Listener) { fresh = l.Discover(t) })
	p := newProxy(t, f, up, b)
	p.closed(t, "served")
	served.Push(good.AppendBinary(nil), nil)
	p.Await("the good configuration", patience, func() error { return p.decides("served") })

	wrong := map[string]func(d *envoytest.Discovery){}
	for _, c := range f.BadConfigs(t) {
		wrong["configuration: "+c.Name] = func(d *envoytest.Discovery) { d.Push(c.Config, nil) }
	}
	for name, module := range badModules(t) {
		wrong["module: "+name] = func(d *envoytest.Discovery) {
			d.Push(good.AppendBinary(nil), map[string]any{"vm_config": map[string]any{
				"vm_id": "sallyport", "runtime": "envoy.wasm.runtime.v8",
				"code": map[string]any{"local": map[string]any{"filename": module[0]}},
			}})
		}
	}
	for name, push := range wrong {
		t.Run(name, func(t *testing.T) {
			for _, d := range []*envoytest.Discovery{served, fresh} {
				before := d.Refused(p.Envoy)
				push(d)
				p.Await("refusal", patience, func() error {
					if d.Refused(p.Envoy) == before {
						return errors.New("not refused")
					}
					return nil
				})
			}
			if err := p.decides("served"); err != nil {
				t.Error(err)
			}
			p.closed(t, "fresh")
		})
	}
	fresh.Push(good.AppendBinary(nil), nil)
	p.Await("the first good configuration", patience, func() error { return p.decides("fresh") })
}
