package wasmhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// callback is a function of the guest that the host calls.
type callback int

const (
	onContextCreate callback = iota
	onVMStart
	onConfigure
	onTick
	onRequestHeaders
	onRequestBody
	onResponseHeaders
	onResponseBody
	onDone
	onLog
	onDelete
	numCallbacks
)

var callbackNames = [numCallbacks]string{
	onContextCreate:   "proxy_on_context_create",
	onVMStart:         "proxy_on_vm_start",
	onConfigure:       "proxy_on_configure",
	onTick:            "proxy_on_tick",
	onRequestHeaders:  "proxy_on_request_headers",
	onRequestBody:     "proxy_on_request_body",
	onResponseHeaders: "proxy_on_response_headers",
	onResponseBody:    "proxy_on_response_body",
	onDone:            "proxy_on_done",
	onLog:             "proxy_on_log",
	onDelete:          "proxy_on_delete",
}

var callbackParams = [numCallbacks]int{
	onContextCreate:   2,
	onVMStart:         2,
	onConfigure:       2,
	onTick:            1,
	onRequestHeaders:  3,
	onRequestBody:     3,
	onResponseHeaders: 3,
	onResponseBody:    3,
	onDone:            1,
	onLog:             1,
	onDelete:          1,
}

// maxCallbackParams is the largest of callbackParams.
const maxCallbackParams = 3

const (
	allocExport  = "proxy_on_memory_allocate"
	mallocExport = "malloc"
)

// instanceKey is the context key under which hostcalls find their Instance.
type instanceKey struct{}

// Instance is one VM that runs a filter with one plugin configuration. It
// serves one call at a time and is not safe for concurrent use.
type Instance struct {
	module *Module
	mod    api.Module
	mem    api.Memory
	// guestCtx carries the Instance to its hostcalls. It is no request's
	// context: a callback that has begun is always finished, since a VM that is
	// stopped midway can't go on.
	guestCtx  context.Context
	callbacks [numCallbacks]api.Function // nil if not exported
	alloc     api.Function
	stack     [maxCallbackParams]uint64
	allocArg  [1]uint64

	config    []byte
	root      uint32 // context id of the configuration in force; 0 if there is none
	lastID    uint32
	current   uint32 // context id of the callback that runs
	effective uint32 // set by proxy_set_effective_context; 0 is none
	streams   map[uint32]*Stream
	// configuring is the configuration that may be read: only while
	// proxy_on_configure runs, as in Envoy.
	configuring []byte
	inConfigure bool

	tickPeriod time.Duration
	lastTick   time.Time
	calls      hostcallCounts
	capturing  bool
	captured   []LogLine
	dead       error
	version    uint64 // of the Pool's configuration
}

// NewInstance starts a VM and configures it: _initialize, the root context,
// proxy_on_vm_start, proxy_on_configure, as Envoy does. A refusal is a
// *ConfigError that wraps ErrConfigRejected; a trap one that wraps ErrTrap.
func (m *Module) NewInstance(ctx context.Context, config []byte) (*Instance, error) {
	in := &Instance{module: m, streams: make(map[uint32]*Stream)}
	in.guestCtx = context.WithValue(context.Background(), instanceKey{}, in)
	in.startCapture()
	if err := in.start(config); err != nil {
		_ = in.Close(ctx) // the first error says more
		return nil, &ConfigError{Err: err, Logs: in.endCapture()}
	}
	in.endCapture()
	return in, nil
}

func (in *Instance) start(config []byte) error {
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
	root := in.nextID()
	if _, err := in.call(onContextCreate, root, 0, 0); err != nil {
		return err
	}
	vmConfig := uint64(len(in.module.rt.opts.VMConfig))
	if ok, err := in.call(onVMStart, root, vmConfig, 1); err != nil {
		return err
	} else if ok == 0 {
		return fmt.Errorf("%w: %s", ErrConfigRejected, callbackNames[onVMStart])
	}
	return in.configure(root, config)
}

// configure gives a root context its configuration. Where the filter takes it,
// that context is the one for streams from now on.
func (in *Instance) configure(root uint32, config []byte) error {
	in.configuring, in.inConfigure = config, true
	ok, err := in.call(onConfigure, root, uint64(len(config)), 1)
	in.configuring, in.inConfigure = nil, false
	if err != nil {
		return err
	}
	if ok == 0 {
		return ErrConfigRejected
	}
	in.root, in.config = root, slices.Clone(config)
	return nil
}

// Reconfigure gives the VM a new configuration, in a new root context. If the
// filter refuses it, the old context stays in force and the error is a
// *ConfigError that wraps ErrConfigRejected. A trap kills the Instance. There
// must be no open stream.
//
// A filter that answers false to proxy_on_done is not waited for.
func (in *Instance) Reconfigure(config []byte) error {
	if in.dead != nil {
		return in.dead
	}
	if len(in.streams) > 0 {
		return errors.New("reconfigure wasm filter: a stream is open")
	}
	in.startCapture()
	old := in.root
	root := in.nextID()
	_, err := in.call(onContextCreate, root, 0, 0)
	if err == nil {
		err = in.configure(root, config)
	}
	if err == nil {
		err = in.deleteContext(old)
	} else if errors.Is(err, ErrConfigRejected) {
		// What could trap here, would leave no VM: report that.
		if derr := in.deleteContext(root); derr != nil {
			err = derr
		}
	}
	logs := in.endCapture()
	if err != nil {
		return &ConfigError{Err: err, Logs: logs}
	}
	return nil
}

// deleteContext ends a root context.
func (in *Instance) deleteContext(id uint32) error {
	if _, err := in.call(onDone, id, 0, 1); err != nil {
		return err
	}
	_, err := in.call(onDelete, id, 0, 0)
	return err
}

// Config returns the configuration in force. It must not be changed.
func (in *Instance) Config() []byte { return in.config }

// Dead returns the error that ended the VM, or nil.
func (in *Instance) Dead() error { return in.dead }

// Close ends the VM.
func (in *Instance) Close(ctx context.Context) error {
	if in.dead == nil {
		in.dead = errors.New("wasm instance is closed")
	}
	if in.mod == nil {
		return nil
	}
	return in.mod.Close(ctx)
}

// MemorySize is how many bytes the VM's memory has. It never shrinks.
func (in *Instance) MemorySize() uint32 { return in.mem.Size() }

// TickPeriod is what the filter asked for by proxy_set_tick_period; 0 is never.
func (in *Instance) TickPeriod() time.Duration { return in.tickPeriod }

// Tick calls proxy_on_tick.
func (in *Instance) Tick() error {
	if in.dead != nil {
		return in.dead
	}
	in.lastTick = time.Now()
	_, err := in.call(onTick, in.root, 0, 0)
	return err
}

// tickIfDue calls Tick where a period has passed since the last.
func (in *Instance) tickIfDue() error {
	if in.tickPeriod == 0 || time.Since(in.lastTick) < in.tickPeriod {
		return nil
	}
	return in.Tick()
}

func (in *Instance) nextID() uint32 {
	in.lastID++
	return in.lastID
}

// call runs a callback for a context: the id is its first argument, and arg the
// second. What the guest does not export answers absent, Envoy's default.
func (in *Instance) call(cb callback, id uint32, arg, absent uint64) (uint64, error) {
	return in.call3(cb, id, arg, 0, absent)
}

func (in *Instance) call3(cb callback, id uint32, arg1, arg2, absent uint64) (uint64, error) {
	if in.dead != nil {
		return 0, in.dead
	}
	fn := in.callbacks[cb]
	if fn == nil {
		return absent, nil
	}
	in.stack = [maxCallbackParams]uint64{uint64(id), arg1, arg2}
	in.current, in.effective = id, 0
	err := fn.CallWithStack(in.guestCtx, in.stack[:])
	in.current, in.effective = 0, 0
	if err != nil {
		return 0, in.fail(callbackNames[cb], err)
	}
	if in.dead != nil { // the guest trapped while it allocated for a hostcall
		return 0, in.dead
	}
	return uint64(uint32(in.stack[0])), nil
}

// fail marks the VM dead. wazero's text goes on with a stack trace, which is
// left out.
func (in *Instance) fail(where string, err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	in.dead = fmt.Errorf("%w in %s: %s", ErrTrap, where, text)
	return in.dead
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
