package wasmhost

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

// index returns where a hostcall stands in the table.
func index(t *testing.T, name string) int {
	t.Helper()
	for i := range hostcalls {
		if hostcalls[i].name == name {
			return i
		}
	}
	t.Fatalf("no hostcall %s", name)
	return 0
}

func TestHostcallTable(t *testing.T) {
	seen := make(map[string]bool)
	for _, h := range hostcalls {
		if h.name == "" || h.run == nil || seen[h.name] {
			t.Errorf("entry %q is empty or there twice", h.name)
		}
		seen[h.name] = true
	}
}

// inCallback opens a stream and stands as if its callback on headers ran.
func inCallback(t *testing.T, module *Module) *Instance {
	t.Helper()
	in, err := module.NewInstance(t.Context(), []byte("config"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := in.openStream()
	if err != nil {
		t.Fatal(err)
	}
	m := newHeaderMap(request("pass"), true)
	s.maps[mapRequestHeaders], s.all[mapRequestHeaders] = m, m
	s.body[bufferRequestBody], s.hasBody[bufferRequestBody] = []byte("body"), true
	in.current = s.id
	return in
}

func TestBadPointersAreRefused(t *testing.T) {
	in := inCallback(t, compileProbe(t, Options{}))
	in.module.rt.shared.set("", "value", 0)
	in.module.rt.shared.enqueue(in.module.rt.shared.register("q"), "item")
	in.module.rt.metrics.define(MetricCounter, "m")
	out := uint64(in.mem.Size()) // the first address that is not there
	tests := map[string]params{
		"proxy_log":                          {0, out, 1},
		"proxy_get_log_level":                {out},
		"proxy_get_current_time_nanoseconds": {out - 7},
		"proxy_get_buffer_bytes":             {bufferRequestBody, 0, 9, out - 3, 0},
		"proxy_get_buffer_status":            {bufferRequestBody, out, 0},
		"proxy_set_buffer_bytes":             {bufferRequestBody, 0, 0, out, 1},
		"proxy_get_header_map_size":          {0, out},
		"proxy_get_header_map_pairs":         {0, 8, out},
		"proxy_set_header_map_pairs":         {0, 8, 0xFFFFFFFF},
		"proxy_get_header_map_value":         {0, out, 1, 8, 8},
		"proxy_add_header_map_value":         {0, 8, 1, out, 1},
		"proxy_replace_header_map_value":     {0, 0xFFFFFFFF, 0xFFFFFFFF, 8, 1},
		"proxy_remove_header_map_value":      {0, out, 1},
		"proxy_send_local_response":          {200, 0, 0, out - 1, 2, 0, 0, 0},
		"proxy_get_property":                 {out, 1, 8, 8},
		"proxy_set_property":                 {8, 1, out, 1},
		"proxy_call_foreign_function":        {8, 1, out, 1, 8, 8},
		"proxy_get_shared_data":              {0, 0, 8, 8, out},
		"proxy_set_shared_data":              {0, 0, out, 1, 0},
		"proxy_register_shared_queue":        {0, 0, out},
		"proxy_resolve_shared_queue":         {out, 1, 0, 0, 8},
		"proxy_dequeue_shared_queue":         {1, out, 8},
		"proxy_enqueue_shared_queue":         {1, out, 1},
		"proxy_define_metric":                {0, 0, 0, out},
		"proxy_get_metric":                   {0, out},
	}
	for name, p := range tests {
		if got := in.dispatch(index(t, name), p); got != StatusInvalidMemoryAccess {
			t.Errorf("%s: status %d, want %d", name, got, StatusInvalidMemoryAccess)
		}
	}
}

// No arguments whatever make the host panic. What is written into the guest's
// memory by chance may make the guest trap, which is no panic of the host.
func TestHostcallsTakeAnyArguments(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	module := compileProbe(t, Options{})
	for i := range hostcalls {
		in := inCallback(t, module)
		size := uint64(in.mem.Size())
		edge := []uint64{0, 1, 2, 7, 8, 64, 0x10000, size - 1, size, 0x7FFFFFFF, 0xFFFFFFFF}
		for range 200 {
			p := make(params, max(len(hostcalls[i].params), 1))
			for j := range p {
				p[j] = edge[rng.IntN(len(edge))]
			}
			in.dispatch(i, p)
		}
	}
}

func TestStatuses(t *testing.T) {
	in := inCallback(t, compileProbe(t, Options{}))
	if !in.mem.Write(1024, encodePairs([][2]string{{"a", "b"}})[:9]) {
		t.Fatal("no memory")
	}
	tests := []struct {
		rule string
		name string
		p    params
		want Status
	}{
		{"a level that there isn't", "proxy_log", params{6, 0, 0}, StatusBadArgument},
		{"a map that there isn't", "proxy_get_header_map_value", params{8, 0, 0, 8, 8}, StatusBadArgument},
		{"a map that is not there now", "proxy_get_header_map_value", params{2, 0, 0, 8, 8}, StatusBadArgument},
		{"changing a map that is not there now", "proxy_add_header_map_value", params{2, 0, 0, 0, 0}, StatusBadArgument},
		{"malformed pairs", "proxy_set_header_map_pairs", params{0, 1024, 9}, StatusBadArgument},
		{"a response with malformed pairs", "proxy_send_local_response", params{200, 0, 0, 0, 0, 1024, 9, 0}, StatusBadArgument},
		{"a response with an informational status", "proxy_send_local_response", params{101, 0, 0, 0, 0, 0, 0, 0}, StatusBadArgument},
		{"a buffer that there isn't", "proxy_get_buffer_bytes", params{9, 0, 1, 8, 8}, StatusBadArgument},
		{"a range that overflows", "proxy_get_buffer_bytes", params{0, 0xFFFFFFFF, 2, 8, 8}, StatusBadArgument},
		{"the configuration outside of its callback", "proxy_get_buffer_bytes", params{bufferPluginConfig, 0, 1, 8, 8}, StatusNotFound},
		{"writing the VM's configuration", "proxy_set_buffer_bytes", params{bufferVMConfig, 0, 0, 0, 0}, StatusBadArgument},
		{"the effective context of nobody", "proxy_set_effective_context", params{99}, StatusBadArgument},
		{"a queue that there isn't", "proxy_dequeue_shared_queue", params{9, 8, 8}, StatusNotFound},
		{"an item for a queue that there isn't", "proxy_enqueue_shared_queue", params{9, 0, 0}, StatusNotFound},
		{"a metric that there isn't", "proxy_get_metric", params{9, 8}, StatusNotFound},
		{"a kind of metric that there isn't", "proxy_define_metric", params{3, 0, 0, 8}, StatusBadArgument},
		{"closing a TCP stream", "proxy_close_stream", params{2}, StatusUnimplemented},
		{"a gRPC call", "proxy_grpc_call", make(params, 12), StatusUnimplemented},
		{"done while nobody waits", "proxy_done", nil, StatusNotFound},
	}
	for _, tt := range tests {
		if got := in.dispatch(index(t, tt.name), tt.p); got != tt.want {
			t.Errorf("%s: status %d, want %d", tt.rule, got, tt.want)
		}
	}
	if s := in.stream(); s.local != nil {
		t.Errorf("a response was made: %+v", s.local)
	}
}

func TestSharedCASNeverIsZero(t *testing.T) {
	s := newSharedStore()
	s.lastCAS = 0xFFFFFFFF
	s.set("k", "v", 0)
	if v, _ := s.value("k"); v.cas == 0 {
		t.Error("the counter wrapped around to 0, which stands for any")
	}
}

func FuzzDecodePairs(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(encodePairs(nil))
	f.Add(encodePairs([][2]string{{"a", "b"}, {"", ""}, {":path", "/x"}}))
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := decodePairs(b)
		if err != nil {
			if pairs != nil {
				t.Error("pairs beside an error")
			}
			return
		}
		if len(b) > 0 && !bytes.Equal(encodePairs(pairs), b) {
			t.Errorf("%q is not what its pairs are encoded as", b)
		}
	})
}

func FuzzParseFilterState(f *testing.F) {
	seed := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "key")
	seed = protowire.AppendString(protowire.AppendTag(seed, 2, protowire.BytesType), "value")
	f.Add(protowire.AppendVarint(protowire.AppendTag(seed, 3, protowire.VarintType), 1))
	f.Add([]byte{0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		path, value, err := parseFilterState(b)
		if err != nil && path+value != "" {
			t.Error("a value beside an error")
		}
	})
}

func TestParseFilterState(t *testing.T) {
	b := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "key")
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), "old")
	b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), 1)
	b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), "value")
	path, value, err := parseFilterState(b)
	if diff := cmp.Diff([]string{"key", "value"}, []string{path, value}); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if _, _, err := parseFilterState(b[:len(b)-1]); err == nil {
		t.Error("a truncated message was read")
	}
}
