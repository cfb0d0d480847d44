package wasmhost

import (
	"context"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// hostcall is a function of the host that the guest calls.
type hostcall struct {
	name   string
	params string // a letter a parameter: i is i32, I is i64
	run    func(in *Instance, p params) Status
}

// params are the arguments of a hostcall as wazero passes them.
type params []uint64

func (p params) u32(i int) uint32 { return uint32(p[i]) }

// hostcallCounts counts calls by index into hostcalls.
type hostcallCounts [numHostcalls]uint32

const numHostcalls = 39

// hostcalls are all functions of module "env" of ABI 0.2.1.
var hostcalls = [numHostcalls]hostcall{
	{"proxy_log", "iii", proxyLog},
	{"proxy_get_log_level", "i", proxyGetLogLevel},
	{"proxy_get_current_time_nanoseconds", "i", proxyGetCurrentTime},
	{"proxy_set_tick_period_milliseconds", "i", proxySetTickPeriod},
	{"proxy_set_effective_context", "i", proxySetEffectiveContext},
	{"proxy_done", "", proxyDone},
	{"proxy_get_status", "iii", unimplemented},

	{"proxy_get_buffer_bytes", "iiiii", proxyGetBufferBytes},
	{"proxy_get_buffer_status", "iii", proxyGetBufferStatus},
	{"proxy_set_buffer_bytes", "iiiii", proxySetBufferBytes},
	{"proxy_get_header_map_size", "ii", proxyGetHeaderMapSize},
	{"proxy_get_header_map_pairs", "iii", proxyGetHeaderMapPairs},
	{"proxy_set_header_map_pairs", "iii", proxySetHeaderMapPairs},
	{"proxy_get_header_map_value", "iiiii", proxyGetHeaderMapValue},
	{"proxy_add_header_map_value", "iiiii", proxyAddHeaderMapValue},
	{"proxy_replace_header_map_value", "iiiii", proxyReplaceHeaderMapValue},
	{"proxy_remove_header_map_value", "iii", proxyRemoveHeaderMapValue},
	{"proxy_send_local_response", "iiiiiiii", proxySendLocalResponse},
	{"proxy_continue_stream", "i", proxyContinueStream},
	{"proxy_close_stream", "i", proxyCloseStream},

	{"proxy_get_property", "iiii", proxyGetProperty},
	{"proxy_set_property", "iiii", proxySetProperty},
	{"proxy_call_foreign_function", "iiiiii", proxyCallForeignFunction},

	{"proxy_get_shared_data", "iiiii", proxyGetSharedData},
	{"proxy_set_shared_data", "iiiii", proxySetSharedData},
	{"proxy_register_shared_queue", "iii", proxyRegisterSharedQueue},
	{"proxy_resolve_shared_queue", "iiiii", proxyResolveSharedQueue},
	{"proxy_dequeue_shared_queue", "iii", proxyDequeueSharedQueue},
	{"proxy_enqueue_shared_queue", "iii", proxyEnqueueSharedQueue},

	{"proxy_define_metric", "iiii", proxyDefineMetric},
	{"proxy_increment_metric", "iI", proxyIncrementMetric},
	{"proxy_record_metric", "iI", proxyRecordMetric},
	{"proxy_get_metric", "ii", proxyGetMetric},

	{"proxy_http_call", "iiiiiiiiii", proxyHTTPCall},
	{"proxy_grpc_call", "iiiiiiiiiiii", unimplemented},
	{"proxy_grpc_stream", "iiiiiiiii", unimplemented},
	{"proxy_grpc_send", "iiii", unimplemented},
	{"proxy_grpc_cancel", "i", unimplemented},
	{"proxy_grpc_close", "i", unimplemented},
}

func (h *hostcall) paramTypes() []api.ValueType {
	types := make([]api.ValueType, 0, len(h.params))
	for _, c := range h.params {
		if c == 'I' {
			types = append(types, api.ValueTypeI64)
		} else {
			types = append(types, api.ValueTypeI32)
		}
	}
	return types
}

// hostFunc is the hostcall with an index as wazero calls it.
func hostFunc(i int) api.GoFunc {
	return func(ctx context.Context, stack []uint64) {
		in := ctx.Value(instanceKey{}).(*Instance)
		stack[0] = uint64(in.dispatch(i, stack))
	}
}

// dispatch counts a hostcall and runs it, unless a fault is injected. A guest
// in its start function has no memory that could be read yet.
func (in *Instance) dispatch(i int, p params) Status {
	if s := in.stream(); s != nil {
		s.calls[i]++
	}
	if in.mem == nil {
		return StatusInternalFailure
	}
	if inject := in.module.rt.opts.Inject; inject != nil {
		if status, ok := inject(hostcalls[i].name); ok {
			return status
		}
	}
	return hostcalls[i].run(in, p)
}

func unimplemented(*Instance, params) Status { return StatusUnimplemented }

func proxyLog(in *Instance, p params) Status {
	level := Level(p.u32(0))
	if level > LevelCritical {
		return StatusBadArgument
	}
	text, ok := in.text(p.u32(1), p.u32(2))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	in.log(level, text)
	return StatusOK
}

// proxyGetLogLevel answers the lowest level that the logger takes.
func proxyGetLogLevel(in *Instance, p params) Status {
	level := LevelTrace
	for level < LevelCritical && !in.module.rt.opts.Logger.Enabled(in.guestCtx, level.slog()) {
		level++
	}
	return in.putUint32(p.u32(0), uint32(level))
}

func proxyGetCurrentTime(in *Instance, p params) Status {
	return in.putUint64(p.u32(0), uint64(in.module.rt.now().UnixNano()))
}

func proxySetTickPeriod(in *Instance, p params) Status {
	r := in.contextRoot()
	if r == nil {
		return StatusBadArgument
	}
	in.setTickPeriod(r, time.Duration(p.u32(0))*time.Millisecond)
	return StatusOK
}

func proxySetEffectiveContext(in *Instance, p params) Status {
	id := p.u32(0)
	if in.roots[id] == nil && in.streams[id] == nil {
		return StatusBadArgument
	}
	in.effective = id
	return StatusOK
}

// proxyDone ends a root context that has answered false to proxy_on_done.
func proxyDone(in *Instance, _ params) Status {
	r := in.roots[in.contextID()]
	if r == nil || !r.waiting {
		return StatusNotFound
	}
	r.waiting = false
	in.ended = append(in.ended, r)
	return StatusOK
}

func proxyGetProperty(in *Instance, p params) Status {
	path, ok := in.text(p.u32(0), p.u32(1))
	if !ok {
		return StatusInvalidMemoryAccess
	}
	value, ok := in.property(strings.TrimSuffix(path, "\x00"))
	if !ok {
		return StatusNotFound
	}
	return in.storeText(value, p.u32(2), p.u32(3))
}

// propertyPrefix stands before the path of a property that the filter set, where
// Envoy keeps it in the filter state.
const propertyPrefix = "wasm."

// property answers what plugin and proxy are called, what the filter set, and the few
// attributes of a request that follow from its headers.
func (in *Instance) property(path string) (string, bool) {
	switch path {
	case "plugin_name":
		return in.module.rt.opts.PluginName, true
	case "plugin_root_id", "plugin_vm_id":
		return "", true
	case "xds\x00node\x00id":
		return in.module.rt.opts.NodeID, true
	}
	s := in.stream()
	if s == nil {
		return "", false
	}
	if value, ok := s.filterState[propertyPrefix+path]; ok {
		return value, true
	}
	m := s.all[mapRequestHeaders]
	name, isRequest := strings.CutPrefix(path, "request\x00")
	if m == nil || !isRequest {
		return "", false
	}
	if header, ok := strings.CutPrefix(name, "headers\x00"); ok {
		return m.first(header)
	}
	switch name {
	case "path":
		return m.first(":path")
	case "url_path":
		target, ok := m.first(":path")
		target, _, _ = strings.Cut(target, "?")
		return target, ok
	case "host":
		return m.first(":authority")
	case "method":
		return m.first(":method")
	case "scheme":
		return m.first(":scheme")
	}
	return "", false
}

func proxySetProperty(in *Instance, p params) Status {
	path, ok1 := in.text(p.u32(0), p.u32(1))
	value, ok2 := in.text(p.u32(2), p.u32(3))
	if !ok1 || !ok2 {
		return StatusInvalidMemoryAccess
	}
	s := in.stream()
	if s == nil {
		return StatusNotFound
	}
	s.setFilterState(propertyPrefix+path, value)
	return StatusOK
}

func proxyCallForeignFunction(in *Instance, p params) Status {
	name, ok1 := in.text(p.u32(0), p.u32(1))
	arg, ok2 := in.text(p.u32(2), p.u32(3))
	if !ok1 || !ok2 {
		return StatusInvalidMemoryAccess
	}
	f := in.module.rt.opts.Foreign[name]
	if f == nil {
		return StatusNotFound
	}
	result, status := f(in.stream(), []byte(arg))
	if status != StatusOK {
		return status
	}
	return in.store(result, p.u32(4), p.u32(5))
}
