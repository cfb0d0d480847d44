package bypass

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is a request in HTTP/2, header by header, as no client library would
// send it.
type stream struct {
	headers  [][2]string
	data     string
	trailers [][2]string
	open     bool // the stream is not ended
}

// http2 sends a stream on a connection of its own.
func (c client) http2(s stream) (a answer, err error) {
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	out, err := c.frames(s)
	if err != nil {
		return a, err
	}
	_, _ = conn.Write(out) // a proxy that refuses may close before it has read all
	framer := http2.NewFramer(io.Discard, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return a, err
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, h := range frame.RegularFields() {
				if h.Name == lineHeader {
					a.line = h.Value
				}
			}
			a.status, err = strconv.Atoi(frame.PseudoValue("status"))
			return a, err
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return a, nil
		}
	}
}

func (c client) frames(s stream) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&out, nil)
	framer.AllowIllegalWrites = true
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	write := func(list [][2]string, end bool) error {
		block.Reset()
		for _, h := range list {
			if err := encoder.WriteField(hpack.HeaderField{Name: h[0], Value: c.tokens.Replace(h[1])}); err != nil {
				return err
			}
		}
		const frameSize = 16 << 10
		rest := block.Bytes()
		first := rest[:min(len(rest), frameSize)]
		rest = rest[len(first):]
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: end, EndHeaders: len(rest) == 0})
		for err == nil && len(rest) > 0 {
			part := rest[:min(len(rest), frameSize)]
			rest = rest[len(part):]
			err = framer.WriteContinuation(1, len(rest) == 0, part)
		}
		return err
	}
	err := framer.WriteSettings()
	err = errors.Join(err, write(s.headers, s.data == "" && s.trailers == nil && !s.open))
	if s.data != "" {
		err = errors.Join(err, framer.WriteData(1, s.trailers == nil && !s.open, []byte(s.data)))
	}
	if s.trailers != nil {
		err = errors.Join(err, write(s.trailers, true))
	}
	return out.Bytes(), err
}

type pairs = [][2]string

var memberPair = [2]string{"authorization", "Bearer $FOO"}

// ask returns a stream that is complete but for what is added.
func ask(method, authority, path string, more ...[2]string) stream {
	return stream{headers: append(pairs{{":method", method}, {":scheme", "http"}, {":authority", authority}, {":path", path}}, more...)}
}

// asMember returns a request of a member with further headers.
func asMember(more ...[2]string) stream {
	return ask("GET", "a", "/workspaces/foo/x", append(pairs{memberPair}, more...)...)
}

// attack2 is an attack in HTTP/2.
type attack2 struct {
	rule   string
	status int // 0: the stream or the connection is reset
	stream stream
}

func refusedHTTP2() []attack2 {
	list := []attack2{
		{"29 OPTIONS *", 404, ask("OPTIONS", "a", "*", memberPair)},
		{"30 CONNECT", 400, stream{headers: pairs{{":method", "CONNECT"}, {":authority", "foo.ws.example:443"}, memberPair}, open: true}},
		{"30 CONNECT with a path", 0, ask("CONNECT", "a", "/workspaces/foo/x", memberPair)},
		{"31 extended CONNECT", 0, stream{headers: pairs{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/workspaces/foo/x"}, memberPair}, open: true}},
		{"31 upgrade", 0, asMember([2]string{"upgrade", "websocket"})},
		{"33 two tokens", 401, asMember([2]string{"authorization", "Bearer $BAR"})},
		{"33 another scheme first", 401, ask("GET", "a", "/public/x", [2]string{"authorization", "Basic abc"}, memberPair)},
		{"36 name in upper case", 0, asMember([2]string{"X-Sallyport-User", "admin"})},
		{"36 space in a name", 0, asMember([2]string{"x-sallyport-user ", "admin"})},
		{"36 colon in a name", 0, asMember([2]string{"x-sallyport-user:", "admin"})},
		{"36 line end in a name", 0, asMember([2]string{"x\r\nx-sallyport-user", "admin"})},
		{"36 line end in a value", 0, asMember([2]string{"x", "b\r\nx-sallyport-user: admin"})},
		{"NUL in a value", 0, asMember([2]string{"x", "a\x00b"})},
		{"an empty name", 0, asMember([2]string{"", "b"})},
		{"connection: authorization", 0, asMember([2]string{"connection", "authorization"})},
		{"1,000 headers", 0, asMember(slices.Repeat(pairs{{"x", "y"}}, 1000)...)},
		{"two paths", 0, stream{headers: pairs{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/workspaces/foo/x"}, {":path", "/admin/x"}, memberPair}}},
		{"two methods", 0, stream{headers: pairs{{":method", "GET"}, {":method", "DELETE"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/workspaces/foo/x"}, memberPair}}},
		{"25 two authorities", 0, stream{headers: pairs{{":method", "GET"}, {":scheme", "http"}, {":authority", "foo.ws.example"}, {":authority", "bar.ws.example"}, {":path", "/tenant/x"}, memberPair}}},
		{"25 another authority than Host", 403, ask("GET", "bar.ws.example", "/tenant/x", [2]string{"host", "foo.ws.example"}, memberPair)},
		{"26 authority of another tenant, with port and dot", 403, ask("GET", "BAR.ws.example.:443", "/tenant/x", memberPair)},
		{"25 Host of another tenant", 403, stream{headers: pairs{{":method", "GET"}, {":scheme", "http"}, {":path", "/tenant/x"}, {"host", "bar.ws.example"}, memberPair}}},
		{"25 no authority", 0, stream{headers: pairs{{":method", "GET"}, {":scheme", "http"}, {":path", "/workspaces/foo/x"}, memberPair}}},
		{"27 user name in the authority", 0, ask("GET", "bar@foo.ws.example", "/tenant/x", memberPair)},
		{"28 absolute form", 0, ask("GET", "a", "http://a/workspaces/foo/x", memberPair)},
		{"28 no path", 0, stream{headers: pairs{{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}, memberPair}}},
		{"28 empty path", 0, ask("GET", "a", "", memberPair)},
		{"a request line in the path", 0, ask("GET", "a", "/workspaces/foo/x HTTP/1.1\r\nhost: a\r\n\r\nGET /admin/x", memberPair)},
		{"a request line in the query", 0, ask("GET", "a", "/workspaces/foo/x?a= HTTP/1.1", memberPair)},
		{"39 a path in the method", 0, ask("GET /admin/x?", "a", "/workspaces/foo/x", memberPair)},
		{"39 a request line in the method", 0, ask("GET /admin/x HTTP/1.1\r\nx: y\r\n\r\nGET", "a", "/workspaces/foo/x", memberPair)},
		{"39 empty method", 0, ask("", "a", "/workspaces/foo/x", memberPair)},
		{"39 method that is no token", 0, ask("GET,DELETE", "a", "/workspaces/foo/x", memberPair)},
		{"39 method in lower case", 403, ask("get", "foo.ws.example", "/tenant/x", memberPair)},
		{"denied by rule", 403, ask("DELETE", "a", "/workspaces/foo/locked/x", memberPair)},
		{"34 token in a trailer", 401, stream{headers: ask("POST", "a", "/workspaces/foo/x").headers, data: "abc", trailers: pairs{memberPair}}},
		{"a path in a trailer", 0, stream{headers: ask("POST", "a", "/public/x").headers, data: "abc", trailers: pairs{{":path", "/admin/x"}}}},
		{"a body that is denied", 401, stream{headers: ask("POST", "a", "/admin/x").headers, data: "abc"}},
		{"gRPC that is denied", 200, ask("POST", "a", "/admin.Service/Method", [2]string{"content-type", "application/grpc"}, [2]string{"te", "trailers"})},
		{"transfer-encoding", 0, ask("POST", "a", "/public/x", [2]string{"transfer-encoding", "chunked"})},
	}
	// Of the bytes that Envoy's codec refuses it resets the stream.
	reset := map[string]bool{"17 NUL": true, "22 control byte in the query": true, "28 no slash": true, "28 query alone": true, "28 scheme without authority": true}
	for _, c := range refusedTargets {
		status := 400
		if reset[c.rule] {
			status = 0
		}
		list = append(list,
			attack2{c.rule, status, ask("GET", "a", c.target, memberPair)},
			attack2{c.rule + ", no token", status, ask("GET", "a", c.target)})
	}
	for _, c := range deniedTargets {
		if !strings.HasPrefix(c.target, "/") {
			continue // the absolute form is above
		}
		list = append(list, attack2{c.rule, 403, ask("GET", "a", c.target, memberPair)})
	}
	for _, c := range badTokens {
		list = append(list, attack2{c.rule, c.status, ask("GET", "a", c.target, [2]string{"authorization", "Bearer $" + c.token})})
	}
	return list
}

func (p *proxy) testRefusedHTTP2(t *testing.T) {
	streams := make(map[string]stream)
	var attacks []attack
	for _, a := range refusedHTTP2() {
		attacks = append(attacks, attack{a.rule, a.status, a.rule})
		streams[a.rule] = a.stream
	}
	p.refused(t, attacks, func(rule string) (answer, error) { return p.http2(streams[rule]) })
}

// passed2 is what may reach the upstream, with the line that it has there.
type passed2 struct {
	rule   string
	stream stream
	line   string
}

func passedHTTP2() []passed2 {
	const line = "GET /workspaces/foo/x HTTP/1.1"
	return []passed2{
		{"a member", asMember(), line},
		{"25 authority overrides Host", ask("GET", "foo.ws.example", "/tenant/x", [2]string{"host", "bar.ws.example"}, memberPair), "GET /tenant/x HTTP/1.1"},
		{"25 Host in the place of an authority", stream{headers: pairs{{":method", "GET"}, {":scheme", "http"}, {":path", "/tenant/x"}, {"host", "foo.ws.example"}, memberPair}}, "GET /tenant/x HTTP/1.1"},
		{"32 identity that is repeated", asMember(pairs{{"x-sallyport-groups", "foo"}, {"x-sallyport-groups", "admin"}}...), line},
		{"36 identity in all spellings", asMember(pairs{
			{"x-sallyport-user", "admin"},
			{"x-sallyport-user", "root"},
			{"x-sallyport-groups", "admin"},
			{"x_sallyport_user", "admin"},
			{"x-sallyport_groups", "admin"},
			{"x-sallyport-else", "admin"},
		}...), line},
		{"36 identity in a trailer", stream{
			headers: ask("POST", "a", "/workspaces/foo/x", memberPair).headers, data: "abc", trailers: pairs{{"x-sallyport-user", "admin"}},
		}, "POST /workspaces/foo/x HTTP/1.1"},
		{"37 headers of Envoy", asMember(pairs{{"x-envoy-original-path", "/admin/x"}, {"x-envoy-retry-on", "5xx"}, {"x-envoy-internal", "true"}}...), line},
		{"38 method overrides", asMember(pairs{{"x-http-method-override", "DELETE"}, {"x-http_method", "DELETE"}, {"x-method-override", "DELETE"}}...), line},
		// A method is what it is byte for byte, also where a rule denies one: see
		// SECURITY.md.
		{"39 deny rules and methods in lower case", ask("delete", "a", "/workspaces/foo/locked/x", memberPair), "delete /workspaces/foo/locked/x HTTP/1.1"},
		{"a request in the body", stream{headers: ask("POST", "a", "/workspaces/foo/x", memberPair).headers, data: smuggled}, "POST /workspaces/foo/x HTTP/1.1"},
	}
}

func (p *proxy) testPassedHTTP2(t *testing.T) {
	for _, c := range passedHTTP2() {
		t.Run(c.rule, func(t *testing.T) {
			a, err := p.http2(c.stream)
			p.expectMember(t, c.line, a, err)
		})
	}
}
