package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero/api"
)

// callback is a function of the guest that the host calls.
type callback int

const (
	onContextCreate callback = iota
	onVMStart
	onConfigure
	onTick
	onHTTPCallResponse
	onRequestHeaders
	onRequestBody
	onRequestTrailers
	onResponseHeaders
	onResponseBody
	onDone
	onLog
	onDelete
	numCallbacks
)

var callbackNames = [numCallbacks]string{
	onContextCreate:    "proxy_on_context_create",
	onVMStart:          "proxy_on_vm_start",
	onConfigure:        "proxy_on_configure",
	onTick:             "proxy_on_tick",
	onHTTPCallResponse: "proxy_on_http_call_response",
	onRequestHeaders:   "proxy_on_request_headers",
	onRequestBody:      "proxy_on_request_body",
	onRequestTrailers:  "proxy_on_request_trailers",
	onResponseHeaders:  "proxy_on_response_headers",
	onResponseBody:     "proxy_on_response_body",
	onDone:             "proxy_on_done",
	onLog:              "proxy_on_log",
	onDelete:           "proxy_on_delete",
}

var callbackParams = [numCallbacks]int{
	onContextCreate:    2,
	onVMStart:          2,
	onConfigure:        2,
	onTick:             1,
	onHTTPCallResponse: 5,
	onRequestHeaders:   3,
	onRequestBody:      3,
	onRequestTrailers:  2,
	onResponseHeaders:  3,
	onResponseBody:     3,
	onDone:             1,
	onLog:              1,
	onDelete:           1,
}

// maxCallbackParams is the largest of callbackParams.
const maxCallbackParams = 5

const (
	allocExport  = "proxy_on_memory_allocate"
	mallocExport = "malloc"
)

// instanceKey is the context key under which hostcalls find their Instance.
type instanceKey struct{}

// Instance is one VM that runs a filter with one plugin configuration. It is
// safe for concurrent use: requests, ticks and answers to HTTP calls enter the
// VM one after the other, and a request that the filter paused is not in it.
type Instance struct {
	module *Module
	// guestCtx carries the Instance to its hostcalls. It is no request's
	// context: a callback that has begun is always finished, since a VM that is
	// stopped midway can't go on.
	guestCtx context.Context

	mu        sync.Mutex // held while the guest runs, so that hostcalls have it; guards all below
	mod       api.Module
	mem       api.Memory
	callbacks [numCallbacks]api.Function // nil if not exported
	alloc     api.Function
	stack     [maxCallbackParams]uint64
	allocArg  [1]uint64

	root      *root // with the configuration in force; nil if there is none yet
	roots     map[uint32]*root
	streams   map[uint32]*Stream
	lastID    uint32
	current   uint32 // context id of the callback that runs
	effective uint32 // set by proxy_set_effective_context; 0 is none
	// configuring is the configuration that may be read: only while
	// proxy_on_configure runs, as in Envoy.
	configuring []byte
	inConfigure bool
	// touched and ended are what the callback that runs did to paused streams
	// and to roots that wait for proxy_done. It takes effect when the callback
	// has returned.
	touched []*Stream
	ended   []*root

	calls      int    // outstanding HTTP calls
	lastCallID uint32 // of an HTTP call
	response   *callResponse

	capturing bool
	captured  []LogLine
	dead      error
	version   uint64 // of the Pool's configuration
}

// NewInstance starts a VM and configures it: _initialize, the root context,
// proxy_on_vm_start, proxy_on_configure, as Envoy does. A refusal is a
// *ConfigError that wraps ErrConfigRejected; a trap one that wraps ErrTrap.
// An Instance that is no longer needed must be closed, if only for its ticks.
func (m *Module) NewInstance(ctx context.Context, config []byte) (*Instance, error) {
	in := &Instance{module: m, roots: make(map[uint32]*root), streams: make(map[uint32]*Stream)}
	in.guestCtx = context.WithValue(context.Background(), instanceKey{}, in)
	m.rt.add(in)
	logs, err := in.start(config)
	if err != nil {
		_ = in.Close(ctx) // the first error says more
		return nil, &ConfigError{Err: err, Logs: logs}
	}
	return in, nil
}

func (in *Instance) start(config []byte) ([]LogLine, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.startCapture()
	err := in.instantiate()
	if err == nil {
		err = in.firstRoot(config)
	}
	return in.endCapture(), err
}

func (in *Instance) instantiate() error {
	mod, err := in.module.rt.wazero.InstantiateModule(in.guestCtx, in.module.compiled, in.module.moduleConfig(in))
	if err != nil {
		return in.fail("_initialize", err)
	}
	in.mod = mod
	in.mem = mod.Memory()
	for i, name := range callbackNames {
		in.callbacks[i] = mod.ExportedFunction(name)
	}
	if in.alloc = mod.ExportedFunction(allocExport); in.alloc == nil {
		in.alloc = mod.ExportedFunction(mallocExport)
	}
	return nil
}

// firstRoot makes the first root context, which also gets the VM's configuration.
func (in *Instance) firstRoot(config []byte) error {
	r, err := in.newRoot()
	if err != nil {
		return err
	}
	ok, err := in.call(onVMStart, 1, r.id, uint32(len(in.module.rt.opts.VMConfig)))
	if err != nil {
		return err
	}
	if ok == 0 {
		return fmt.Errorf("%w: %s", ErrConfigRejected, callbackNames[onVMStart])
	}
	return in.configure(r, config)
}

// Dead returns the error that ended the VM, or nil.
func (in *Instance) Dead() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.dead
}

// Close ends the VM, its ticks and its HTTP calls. Requests that are paused in
// it are refused.
func (in *Instance) Close(ctx context.Context) error {
	in.module.rt.remove(in)
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.dead == nil {
		in.die(errors.New("wasm instance is closed"))
	}
	if in.mod == nil {
		return nil
	}
	mod := in.mod
	in.mod = nil
	return mod.Close(ctx)
}

// MemorySize is how many bytes the VM's memory has. It never shrinks.
func (in *Instance) MemorySize() uint32 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.mem.Size()
}

func (in *Instance) nextID() uint32 {
	in.lastID++
	return in.lastID
}

// call runs a callback for a context, whose id is the first argument. What the
// guest does not export answers absent, Envoy's default. in.mu is held, here
// and in all that leads here.
func (in *Instance) call(cb callback, absent uint64, id uint32, args ...uint32) (uint64, error) {
	if in.dead != nil {
		return 0, in.dead
	}
	fn := in.callbacks[cb]
	if fn == nil {
		return absent, nil
	}
	in.stack = [maxCallbackParams]uint64{uint64(id)}
	for i, arg := range args {
		in.stack[1+i] = uint64(arg)
	}
	in.current, in.effective = id, 0
	err := fn.CallWithStack(in.guestCtx, in.stack[:])
	in.current, in.effective = 0, 0
	if err != nil {
		return 0, in.fail(callbackNames[cb], err)
	}
	if in.dead != nil { // the guest trapped while it allocated for a hostcall
		return 0, in.dead
	}
	answer := uint64(uint32(in.stack[0]))
	return answer, in.afterCall()
}

// afterCall does what the guest asked for during a callback and what Envoy
// leaves until the callback has returned.
func (in *Instance) afterCall() error {
	touched, ended := in.touched, in.ended
	in.touched, in.ended = nil, nil
	for _, s := range touched {
		s.settle()
	}
	for _, r := range ended {
		if err := in.deleteRoot(r); err != nil {
			return err
		}
	}
	return nil
}

// fail marks the VM dead. wazero's text goes on with a stack trace, which is
// left out.
func (in *Instance) fail(where string, err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	in.die(fmt.Errorf("%w in %s: %s", ErrTrap, where, text))
	return in.dead
}

// die ends all that would enter the VM again, and tells those who wait for it.
func (in *Instance) die(err error) {
	in.dead = err
	for _, r := range in.roots {
		in.stop(r)
	}
	for _, s := range in.streams {
		s.wake()
	}
}

// contextID is the context for which hostcalls act.
func (in *Instance) contextID() uint32 {
	if in.effective != 0 {
		return in.effective
	}
	return in.current
}

// stream is the stream for which hostcalls act; nil in a root context.
func (in *Instance) stream() *Stream { return in.streams[in.contextID()] }

func (in *Instance) startCapture() { in.capturing, in.captured = true, nil }

func (in *Instance) endCapture() []LogLine {
	in.capturing = false
	logs := in.captured
	in.captured = nil
	return logs
}

// text returns a copy of guest memory.
func (in *Instance) text(ptr, size uint32) (string, bool) {
	b, ok := in.mem.Read(ptr, size)
	return string(b), ok
}

// store hands data to the guest: it allocates guest memory for it and writes
// address and size to where the guest wants them. It allocates once a hostcall,
// and never before the hostcall has read its arguments: the allocation is not
// held by the guest until the hostcall returns, so that a second one could free
// it, and it may move the guest's memory. Empty data is address 0.
func (in *Instance) store(data []byte, ptrPtr, sizePtr uint32) Status {
	if !in.writable(ptrPtr, 4) || !in.writable(sizePtr, 4) {
		return StatusInvalidMemoryAccess
	}
	var addr uint32
	if len(data) > 0 {
		in.allocArg[0] = uint64(len(data))
		if err := in.alloc.CallWithStack(in.guestCtx, in.allocArg[:]); err != nil {
			_ = in.fail(allocExport, err)
			return StatusInternalFailure
		}
		addr = uint32(in.allocArg[0])
		if addr == 0 || !in.mem.Write(addr, data) {
			return StatusInvalidMemoryAccess
		}
	}
	in.mem.WriteUint32Le(ptrPtr, addr)
	in.mem.WriteUint32Le(sizePtr, uint32(len(data)))
	return StatusOK
}

func (in *Instance) storeText(s string, ptrPtr, sizePtr uint32) Status {
	return in.store([]byte(s), ptrPtr, sizePtr)
}

// putUint32 writes a result of a hostcall.
func (in *Instance) putUint32(ptr, v uint32) Status {
	if !in.mem.WriteUint32Le(ptr, v) {
		return StatusInvalidMemoryAccess
	}
	return StatusOK
}

func (in *Instance) putUint64(ptr uint32, v uint64) Status {
	if !in.mem.WriteUint64Le(ptr, v) {
		return StatusInvalidMemoryAccess
	}
	return StatusOK
}

func (in *Instance) writable(ptr, size uint32) bool {
	return uint64(ptr)+uint64(size) <= uint64(in.mem.Size())
}
