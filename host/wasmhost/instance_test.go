package wasmhost

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"
)

func TestRequest(t *testing.T) {
	in := newInstance(t, Options{}, "hello")
	tests := []struct {
		name string // the rule
		do   string
		want string
		more [][2]string
	}{
		{"the plugin's configuration can be read", "config", "hello", nil},
		{"a custom header's value is its first", "value X-R", "a", [][2]string{{"x-r", "a"}, {"X-R", "b"}}},
		{"what Envoy joins is joined", "value authorization", "a,b", [][2]string{{"authorization", "a"}, {"Authorization", "b"}}},
		{"a header that is not there is not found", "value x-none", "value: error status returned by host: not found", nil},
		{
			"pairs list each value", "pairs",
			":authority=a.example:80\n:path=/p?q\n:method=GET\n:scheme=http\nx-do=pairs\nx-r=a\ncookie=1\nx-r=b\ncookie=2\n",
			[][2]string{{"x-r", "a"}, {"cookie", "1"}, {"X-R", "b"}, {"cookie", "2"}},
		},
		{"attributes follow from the headers", "property request.url_path", "/p", nil},
		{"other attributes are not found", "property source.address", "property: error status returned by host: not found", nil},
		{"an unknown foreign function is not found", "foreign nope x", "foreign: error status returned by host: not found", nil},
		{"a filter state without a factory is not found", "filter-state wasm.x", "filter-state: error status returned by host: not found", nil},
		{"an HTTP call finds no cluster", "call", "call: error status returned by host: bad argument", nil},
		{"metrics can be read back", "metric", "2 2", nil},
		{"shared data that is not there is not found", "get nothing", "get: error status returned by host: not found", nil},
		{"a queue gives an item once", "queue q", "queue: error status returned by host: empty", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(t, in, tt.do, tt.more...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRequestGoesOnWithItsChanges(t *testing.T) {
	in := newInstance(t, Options{}, "")
	sent := request("mutate", [2]string{"x-remove", "1"}, [2]string{"X-Remove", "2"},
		[2]string{"x-replace", "1"}, [2]string{"x-keep", "k"}, [2]string{"x-replace", "2"})
	result, err := in.Request(t.Context(), sent, true)
	if err != nil {
		t.Fatal(err)
	}
	if result.Verdict != VerdictContinue || result.Local != nil {
		t.Fatalf("verdict %d with %v, want to continue", result.Verdict, result.Local)
	}
	wantValues(t, result.Headers, "x-remove")
	wantValues(t, result.Headers, "x-replace", "new")
	wantValues(t, result.Headers, "x-added", "one", "two")
	wantValues(t, result.Headers, "x-keep", "k")
	wantValues(t, result.Headers, ":path", "/p?q")
	wantValues(t, sent, "x-remove", "1") // the caller's own are as they were
	if result.FilterState["envoy.string"] != "state" || result.FilterState["wasm.probe"] != "set" {
		t.Errorf("filter state %v", result.FilterState)
	}
	if n := result.Hostcalls()["proxy_add_header_map_value"]; n != 2 {
		t.Errorf("counted %d calls to add a header, want 2", n)
	}
}

func TestVerdicts(t *testing.T) {
	in := newInstance(t, Options{}, "")
	for do, want := range map[string]Verdict{
		"pass": VerdictContinue, "resume": VerdictContinue, "config": VerdictLocal,
	} {
		result, err := in.Request(t.Context(), request(do), true)
		if err != nil || result.Verdict != want {
			t.Errorf("%s: verdict %d, %v, want %d", do, result.Verdict, err, want)
		}
	}
	if (Result{}).Verdict == VerdictContinue {
		t.Error("the zero Result lets a request pass")
	}
}

func TestLocalResponse(t *testing.T) {
	in := newInstance(t, Options{}, "")
	result, err := in.Request(t.Context(), request("value x-none"), true)
	if err != nil {
		t.Fatal(err)
	}
	if result.Local.Status != 500 {
		t.Errorf("status %d, want 500", result.Local.Status)
	}
	wantValues(t, result.Local.Headers, "content-type", "text/x-probe")
	wantValues(t, result.Local.Headers, "x-multi", "1", "2")
}

func TestTrapKillsTheInstance(t *testing.T) {
	for _, do := range []string{"panic", "crash out of range"} {
		logger, logs := logBuffer(slog.LevelError)
		in := newInstance(t, Options{Logger: logger}, "")
		result, err := in.Request(t.Context(), request(do), true)
		if !errors.Is(err, ErrTrap) || result.Verdict != 0 {
			t.Errorf("%s: verdict %d, %v, want a trap", do, result.Verdict, err)
		}
		wantContains(t, logs.String(), "panic: ")
		if _, err := in.Request(t.Context(), request("pass"), true); !errors.Is(err, ErrTrap) {
			t.Errorf("after %s: %v, want the trap again", do, err)
		}
		if err := in.Reconfigure(nil); !errors.Is(err, ErrTrap) {
			t.Errorf("configuring after %s: %v, want the trap again", do, err)
		}
	}
}

func TestConfigurationIsRejected(t *testing.T) {
	m := compileProbe(t, Options{})
	_, err := m.NewInstance(t.Context(), []byte("bad one"))
	if !errors.Is(err, ErrConfigRejected) {
		t.Fatalf("got %v, want a rejection", err)
	}
	wantContains(t, err.Error(), "configuration is bad: bad one")
	var ce *ConfigError
	if !errors.As(err, &ce) || len(ce.Logs) != 2 || ce.Logs[0] != (LogLine{LevelInfo, "reading configuration"}) {
		t.Errorf("log lines of the attempt: %+v", ce)
	}
	if _, err = m.NewInstance(t.Context(), []byte("trap")); !errors.Is(err, ErrTrap) {
		t.Errorf("got %v, want a trap", err)
	}
	wantContains(t, err.Error(), "told to trap")
	m = compileProbe(t, Options{VMConfig: []byte("reject")})
	if _, err := m.NewInstance(t.Context(), nil); !errors.Is(err, ErrConfigRejected) {
		t.Errorf("VM configuration: got %v, want a rejection", err)
	}
}

func TestReconfigure(t *testing.T) {
	logger, logs := logBuffer(slog.LevelDebug)
	in := newInstance(t, Options{Logger: logger}, "one")
	if err := in.Reconfigure([]byte("two")); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, in, "config"); got != "two" || string(in.Config()) != "two" {
		t.Errorf("configuration %q, want two", got)
	}
	wantContains(t, logs.String(), "done one")
	err := in.Reconfigure([]byte("bad three"))
	if !errors.Is(err, ErrConfigRejected) {
		t.Fatalf("got %v, want a rejection", err)
	}
	wantContains(t, err.Error(), "configuration is bad: bad three")
	if got := ask(t, in, "config"); got != "two" {
		t.Errorf("after a rejection the configuration is %q, want two", got)
	}
	if err := in.Reconfigure([]byte("trap")); !errors.Is(err, ErrTrap) || in.Dead() == nil {
		t.Errorf("got %v, want a trap", err)
	}
}

func TestStreamCallbacks(t *testing.T) {
	logger, logs := logBuffer(slog.LevelInfo)
	in := newInstance(t, Options{Logger: logger}, "")
	s, err := in.openStream()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.requestHeaders(request("pass"), false); v != VerdictContinue || err != nil {
		t.Fatalf("request headers: verdict %d, %v", v, err)
	}
	body, v, err := s.requestBody([]byte("shout"), true)
	if string(body) != "<SHOUT!" || v != VerdictContinue || err != nil {
		t.Errorf("request body %q, verdict %d, %v", body, v, err)
	}
	if v, err := s.responseHeaders([][2]string{{":status", "200"}}, true); v != VerdictContinue || err != nil {
		t.Errorf("response headers: verdict %d, %v", v, err)
	}
	// As in Envoy, the request's headers are not there any more.
	wantValues(t, s.all[mapResponseHeaders].pairs, "x-request-headers", "error status returned by host: bad argument")
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	wantContains(t, logs.String(), "log: pass")
	if _, err := s.requestHeaders(request("pass"), true); err == nil {
		t.Error("a closed stream took headers")
	}
	if err := s.close(); err == nil {
		t.Error("a stream was closed twice")
	}
}

func TestClock(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	in := newInstance(t, Options{Now: func() time.Time { return at }}, "")
	if got := ask(t, in, "now"); got != strconv.FormatInt(at.Unix(), 10) {
		t.Errorf("the filter's clock says %s, want %d", got, at.Unix())
	}
	before := time.Now().Unix()
	got, err := strconv.ParseInt(ask(t, newInstance(t, Options{}, ""), "now"), 10, 64)
	if err != nil || got < before || got > time.Now().Unix() {
		t.Errorf("the filter's clock says %d, %v, want the real time", got, err)
	}
}

func TestSharedDataCAS(t *testing.T) {
	m := compileProbe(t, Options{})
	one, err := m.NewInstance(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := m.NewInstance(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, one, "set k=first")
	if got := ask(t, other, "get k"); got != "first" {
		t.Errorf("another VM reads %q, want first", got)
	}
	if got := ask(t, other, "cas k"); got != "cas: error status returned by host: cas mismatch" {
		t.Errorf("an old cas: %q", got)
	}
	if got := ask(t, one, "get k"); got != "second" {
		t.Errorf("after a mismatch the value is %q, want second", got)
	}
}

func TestForeignFunction(t *testing.T) {
	var onRequest bool
	in := newInstance(t, Options{Foreign: map[string]ForeignFunc{
		"echo":  func(s *Stream, arg []byte) ([]byte, Status) { onRequest = s != nil; return arg, StatusOK },
		"empty": func(*Stream, []byte) ([]byte, Status) { return nil, StatusOK },
	}}, "")
	if got := ask(t, in, "foreign echo me"); got != "me" || !onRequest {
		t.Errorf("got %q on a request: %t", got, onRequest)
	}
	if got := ask(t, in, "foreign empty"); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestMetrics(t *testing.T) {
	in := newInstance(t, Options{}, "")
	ask(t, in, "metric")
	ask(t, in, "metric")
	rt := in.module.rt
	for name, want := range map[string]Metric{
		"probe_counter":   {"probe_counter", MetricCounter, 4, 0},
		"probe_gauge":     {"probe_gauge", MetricGauge, 4, 0},
		"probe_histogram": {"probe_histogram", MetricHistogram, 14, 2},
	} {
		if got, ok := rt.Metric(name); !ok || got != want {
			t.Errorf("%s = %+v, want %+v", name, got, want)
		}
	}
	if _, ok := rt.Metric("nope"); ok {
		t.Error("a metric that nobody defined")
	}
	if got := rt.Metrics(); len(got) != 3 || got[0].Name != "probe_counter" {
		t.Errorf("metrics %+v", got)
	}
}

// Each hostcall of a request is made to fail once; each time the probe says so.
func TestInjectedFaults(t *testing.T) {
	var calls, failAt int
	in := newInstance(t, Options{Inject: func(string) (Status, bool) {
		calls++
		return StatusInternalFailure, calls == failAt
	}}, "")
	calls = 0
	if _, err := in.Request(t.Context(), request("mutate"), true); err != nil {
		t.Fatal(err)
	}
	const decide = 7 // the first seven make the decision
	if calls <= decide {
		t.Fatalf("%d hostcalls, want more than %d", calls, decide)
	}
	for failAt = 1; failAt <= decide; failAt++ {
		calls = 0
		result, err := in.Request(t.Context(), request("mutate"), true)
		if err != nil {
			t.Fatal(err)
		}
		if result.Verdict != VerdictLocal || result.Local.Status != 500 {
			t.Errorf("hostcall %d failed and the verdict is %d", failAt, result.Verdict)
		}
	}
}

func TestRequestLooksAtItsContextFirst(t *testing.T) {
	in := newInstance(t, Options{}, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := in.Request(ctx, request("pass"), true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if in.Dead() != nil {
		t.Errorf("the instance died: %v", in.Dead())
	}
}

func TestCompileRefuses(t *testing.T) {
	rt, err := NewRuntime(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(context.Background()) })
	for name, tt := range map[string]struct{ wasm, want string }{
		"what is no wasm":        {"hello", "invalid magic"},
		"a module of no version": {"\x00asm\x01\x00\x00\x00", "no proxy-wasm ABI"},
	} {
		_, err := rt.Compile(t.Context(), []byte(tt.wasm))
		if err == nil {
			t.Errorf("%s was compiled", name)
			continue
		}
		wantContains(t, err.Error(), tt.want)
	}
}

func BenchmarkRequest(b *testing.B) {
	in := newInstance(b, Options{}, "")
	for _, do := range []string{"pass", "config", "pairs"} {
		b.Run(do, func(b *testing.B) {
			headers := request(do, [2]string{"authorization", "Bearer x"}, [2]string{"user-agent", "bench"})
			var result Result
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if result, err = in.Request(b.Context(), headers, true); err != nil {
					b.Fatal(err)
				}
			}
			total := 0
			for _, n := range result.Hostcalls() {
				total += n
			}
			b.ReportMetric(float64(total), "hostcalls/op")
		})
	}
}

func BenchmarkStart(b *testing.B) {
	b.Run("compile_cold", func(b *testing.B) {
		for b.Loop() {
			compileProbe(b, Options{CacheDir: b.TempDir()})
		}
	})
	b.Run("compile_cached", func(b *testing.B) {
		for b.Loop() {
			compileProbe(b, Options{})
		}
	})
	b.Run("instantiate", func(b *testing.B) {
		m := compileProbe(b, Options{})
		for b.Loop() {
			in, err := m.NewInstance(b.Context(), nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := in.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
