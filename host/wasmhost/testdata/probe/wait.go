package main

import (
	"strconv"
	"strings"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
)

// parked are the requests that wait for a configuration or a tick, by their
// contexts. They outlive a configuration.
var parked = map[uint32]bool{}

// release ends the wait of all that are parked.
func release(end func() error) {
	for id := range parked {
		if err := proxywasm.SetEffectiveContext(id); err != nil {
			panic(err)
		}
		if err := end(); err != nil {
			panic(err)
		}
	}
	clear(parked)
}

// call asks the cluster "host" and goes on with its answer: the request itself
// where that is a 204, a local response that shows it otherwise.
func call(path string) error {
	timeout := 10_000
	if text, err := proxywasm.GetHttpRequestHeader("x-timeout"); err == nil {
		if timeout, err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	headers := [][2]string{{":method", "POST"}, {":path", path}, {":authority", "sallyport"}, {"x-sent", "1"}}
	_, err := proxywasm.DispatchHttpCall("host", headers, []byte("question"), nil, uint32(timeout), answered)
	return err
}

func answered(headers, body, trailers int) {
	if headers == 0 {
		reply(500, "no answer")
		return
	}
	pairs, err := proxywasm.GetHttpCallResponseHeaders()
	if err != nil || len(pairs) != headers {
		panic("headers of the answer")
	}
	if pairs[0] == [2]string{":status", "204"} {
		if err := proxywasm.AddHttpRequestHeader("x-called", "yes"); err != nil {
			panic(err)
		}
		if err := proxywasm.ResumeHttpRequest(); err != nil {
			panic(err)
		}
		return
	}
	var text strings.Builder
	for _, p := range pairs {
		text.WriteString(p[0] + "=" + p[1] + "\n")
	}
	if body > 0 {
		b, err := proxywasm.GetHttpCallResponseBody(0, body)
		if err != nil {
			panic(err)
		}
		text.Write(b)
	}
	if trailers > 0 {
		pairs, err := proxywasm.GetHttpCallResponseTrailers()
		if err != nil || len(pairs) != trailers {
			panic("trailers of the answer")
		}
		text.WriteString("\n" + pairs[0][0] + "=" + pairs[0][1])
	}
	reply(200, text.String())
}

// calls sends requests that are never answered until one can't be sent, and says
// how many there were.
func calls() (string, error) {
	for n := 0; ; n++ {
		headers := [][2]string{{":method", "GET"}, {":path", "/never"}, {":authority", "sallyport"}}
		if _, err := proxywasm.DispatchHttpCall("host", headers, nil, nil, 0, func(int, int, int) {}); err != nil {
			return strconv.Itoa(n), nil
		}
	}
}
