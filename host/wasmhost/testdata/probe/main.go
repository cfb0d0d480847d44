// Command probe is the filter of the tests: its requests say what it does.
package main

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

// main is never called in a reactor.
func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

// lowest is the state of the VM that outlives a configuration: a configuration
// "floor N" is refused if N is below an earlier one.
var lowest int

type vm struct{ types.DefaultVMContext }

func (*vm) OnVMStart(int) types.OnVMStartStatus {
	config, err := proxywasm.GetVMConfiguration()
	return types.OnVMStartStatus(err == types.ErrorStatusNotFound || string(config) != "reject")
}

func (*vm) NewPluginContext(id uint32) types.PluginContext { return &plugin{id: id} }

type plugin struct {
	types.DefaultPluginContext
	id     uint32
	config string
	ticks  int
	ending bool // by proxy_done
}

func (p *plugin) OnPluginStart(size int) types.OnPluginStartStatus {
	config, err := proxywasm.GetPluginConfiguration()
	if err != nil && err != types.ErrorStatusNotFound {
		return types.OnPluginStartStatusFailed
	}
	if len(config) != size {
		panic("size of the configuration")
	}
	p.config = string(config)
	switch {
	case p.config == "trap":
		panic("told to trap")
	case strings.HasPrefix(p.config, "bad"):
		proxywasm.LogInfo("reading configuration")
		proxywasm.LogError("configuration is bad: " + p.config)
		return types.OnPluginStartStatusFailed
	case p.config == "release":
		release(proxywasm.ResumeHttpRequest)
	case p.config == "refuse":
		release(func() error { reply(403, "refused"); return nil })
	case strings.HasPrefix(p.config, "tick"), p.config == "linger":
		if proxywasm.SetTickPeriodMilliSeconds(1) != nil {
			return types.OnPluginStartStatusFailed
		}
	case strings.HasPrefix(p.config, "floor "):
		n, err := strconv.Atoi(p.config[6:])
		if err != nil || n < lowest {
			proxywasm.LogError("older than what is in force")
			return types.OnPluginStartStatusFailed
		}
		lowest = n
	}
	return types.OnPluginStartStatusOK
}

func (p *plugin) OnPluginDone() bool {
	proxywasm.LogDebug("done " + p.config)
	p.ending = p.config == "linger"
	return !p.ending
}

func (p *plugin) OnTick() {
	p.ticks++
	switch {
	case p.ending:
		proxywasm.LogDebug("lingered")
		proxywasm.PluginDone()
	case p.config == "tick trap":
		panic("told to trap at a tick")
	case p.config == "tick trap once":
		if _, _, err := proxywasm.GetSharedData("trapped"); err == nil || proxywasm.SetSharedData("trapped", nil, 0) != nil {
			return
		}
		panic("told to trap at the first tick")
	case p.config == "tick stop" && p.ticks == 3:
		if proxywasm.SetTickPeriodMilliSeconds(0) != nil {
			panic("stop ticks")
		}
		release(proxywasm.ResumeHttpRequest)
	case p.config == "tick release":
		release(proxywasm.ResumeHttpRequest)
	}
}

func (p *plugin) NewHttpContext(id uint32) types.HttpContext { return &request{plugin: p, id: id} }

type request struct {
	types.DefaultHttpContext
	plugin *plugin
	id     uint32
}

// OnHttpRequestHeaders does what the header x-do says. What fails is answered
// with 500 and the error.
func (r *request) OnHttpRequestHeaders(n int, end bool) types.Action {
	do, err := proxywasm.GetHttpRequestHeader("x-do")
	if err != nil {
		return reply(500, "x-do: "+err.Error())
	}
	verb, arg, _ := strings.Cut(do, " ")
	text, err := r.do(verb, arg)
	if err != nil {
		return reply(500, verb+": "+err.Error())
	}
	switch verb {
	case "pass", "mutate":
		return types.ActionContinue
	case "pause", "resume", "park", "wait":
		return types.ActionPause
	}
	return reply(200, text)
}

func reply(status uint32, body string) types.Action {
	headers := [][2]string{{"Content-Type", "text/x-probe"}, {"x-multi", "1"}, {"x-multi", "2"}}
	if err := proxywasm.SendHttpResponse(status, headers, []byte(body), -1); err != nil {
		panic(err)
	}
	return types.ActionPause
}

func (r *request) do(verb, arg string) (string, error) {
	switch verb {
	case "pass", "pause":
		return "", nil
	case "resume":
		return "", proxywasm.ResumeHttpRequest()
	case "park":
		parked[r.id] = true
		return "", nil
	case "parked":
		return strconv.Itoa(len(parked)), nil
	case "wait":
		return "", call(arg)
	case "calls":
		return calls()
	case "config":
		return r.plugin.config, nil
	case "ticks":
		return strconv.Itoa(r.plugin.ticks), nil
	case "panic":
		panic("told to panic")
	case "mutate":
		return "", mutate()
	case "value":
		return proxywasm.GetHttpRequestHeader(arg)
	case "pairs":
		return pairs()
	case "filter-state":
		return "", setFilterState(arg, "state")
	case "property":
		b, err := proxywasm.GetProperty(strings.Split(arg, "."))
		return string(b), err
	case "now":
		return strconv.FormatInt(time.Now().Unix(), 10), nil
	}
	return doShared(verb, arg)
}

func mutate() error {
	for _, f := range []func() error{
		func() error { return proxywasm.AddHttpRequestHeader("X-Added", "one") },
		func() error { return proxywasm.AddHttpRequestHeader("x-added", "two") },
		func() error { return proxywasm.ReplaceHttpRequestHeader("x-replace", "new") },
		func() error { return proxywasm.RemoveHttpRequestHeader("X-Remove") },
		func() error { return proxywasm.SetProperty([]string{"probe"}, []byte("set")) },
		func() error {
			return setFilterState("envoy.string", "state")
		},
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func pairs() (string, error) {
	list, err := proxywasm.GetHttpRequestHeaders()
	var b strings.Builder
	for _, p := range list {
		b.WriteString(p[0] + "=" + p[1] + "\n")
	}
	return b.String(), err
}

func setFilterState(path, value string) error {
	arg := append([]byte{1<<3 | 2, byte(len(path))}, path...)
	arg = append(append(arg, 2<<3|2, byte(len(value))), value...)
	_, err := proxywasm.CallForeignFunction("set_envoy_filter_state", arg)
	return err
}

func doShared(verb, arg string) (string, error) {
	switch verb {
	case "set":
		key, value, _ := strings.Cut(arg, "=")
		return "", proxywasm.SetSharedData(key, []byte(value), 0)
	case "get":
		value, _, err := proxywasm.GetSharedData(arg)
		return string(value), err
	case "cas": // sets with the current cas, then with a wrong one
		_, cas, err := proxywasm.GetSharedData(arg)
		if err != nil {
			return "", err
		}
		if err := proxywasm.SetSharedData(arg, []byte("second"), cas); err != nil {
			return "", err
		}
		return "", proxywasm.SetSharedData(arg, []byte("third"), cas)
	case "increment": // once, atomically
		return "", increment(arg)
	case "queue":
		return queue(arg)
	case "foreign":
		name, param, _ := strings.Cut(arg, " ")
		b, err := proxywasm.CallForeignFunction(name, []byte(param))
		return string(b), err
	case "metric":
		c := proxywasm.DefineCounterMetric("probe_counter")
		c.Increment(2)
		g := proxywasm.DefineGaugeMetric("probe_gauge")
		g.Add(5)
		g.Add(-3)
		proxywasm.DefineHistogramMetric("probe_histogram").Record(7)
		return strconv.FormatUint(c.Value(), 10) + " " + strconv.FormatInt(g.Value(), 10), nil
	case "call":
		_, err := proxywasm.DispatchHttpCall("cluster", [][2]string{{":path", "/"}}, nil, nil, 10, func(int, int, int) {})
		return "", err
	case "crash":
		var none []byte
		return string(none[len(arg)]), nil
	}
	return "", types.ErrorStatusBadArgument
}

func increment(key string) error {
	for {
		value, cas, err := proxywasm.GetSharedData(key)
		if err != nil {
			return err
		}
		b := make([]byte, 8)
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(value)+1)
		if err := proxywasm.SetSharedData(key, b, cas); err != types.ErrorStatusCasMismatch {
			return err
		}
	}
}

func queue(name string) (string, error) {
	id, err := proxywasm.RegisterSharedQueue(name)
	if err != nil {
		return "", err
	}
	found, err := proxywasm.ResolveSharedQueue("", name)
	if err != nil || found != id {
		return "other queue", err
	}
	if err := proxywasm.EnqueueSharedQueue(id, []byte("item")); err != nil {
		return "", err
	}
	item, err := proxywasm.DequeueSharedQueue(id)
	if err != nil {
		return "", err
	}
	_, err = proxywasm.DequeueSharedQueue(id)
	return string(item), err
}

func (r *request) OnHttpRequestBody(size int, end bool) types.Action {
	b, err := proxywasm.GetHttpRequestBody(0, size)
	if err != nil {
		return types.ActionPause
	}
	if string(b) == "shout" {
		if proxywasm.ReplaceHttpRequestBody([]byte("SHOUT")) != nil || proxywasm.AppendHttpRequestBody([]byte("!")) != nil ||
			proxywasm.PrependHttpRequestBody([]byte("<")) != nil {
			return types.ActionPause
		}
	}
	return types.ActionContinue
}

func (r *request) OnHttpResponseHeaders(n int, end bool) types.Action {
	seen := "seen"
	if _, err := proxywasm.GetHttpRequestHeader("x-do"); err != nil {
		seen = err.Error()
	}
	if proxywasm.ReplaceHttpResponseHeader("x-request-headers", seen) != nil {
		return types.ActionPause
	}
	return types.ActionContinue
}

func (r *request) OnHttpStreamDone() {
	delete(parked, r.id)
	do, err := proxywasm.GetHttpRequestHeader("x-do")
	if err != nil {
		proxywasm.LogWarn("log: " + err.Error())
		return
	}
	proxywasm.LogInfo("log: " + do)
	if proxywasm.ReplaceHttpRequestHeader("x-do", "late") == nil {
		proxywasm.LogWarn("log: headers can be changed")
	}
}
