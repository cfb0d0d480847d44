package bypass

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// client sends what no library would send.
type client struct {
	address string
	// tokens replace words in what is sent.
	tokens *strings.Replacer
}

// answer is what a client got.
type answer struct {
	status int    // 0: the stream or the connection was reset
	line   string // of the request as the upstream had it, quoted; "" if it was not asked
}

// http1 sends bytes on a connection of its own.
func (c client) http1(raw string) (a answer, err error) {
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return a, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	// A proxy that refuses may close before it has read all.
	_, _ = io.WriteString(conn, c.tokens.Replace(raw))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return a, fmt.Errorf("the answer's body: %w", err)
	}
	return answer{response.StatusCode, response.Header.Get(lineHeader)}, nil
}

const (
	aHost  = "host: a.example"
	member = "authorization: Bearer $FOO"
	inside = "GET /workspaces/foo/x" // what a member may do
)

// head returns a request without a body.
func head(line string, headers ...string) string {
	return line + " HTTP/1.1\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

// smuggled stands behind a request whose length two servers read differently.
const smuggled = "GET /admin/x HTTP/1.1\r\nhost: a\r\n\r\n"

// post returns a request that anybody may make, with a body.
func post(headers []string, body string) string {
	return head("POST /public/x", append([]string{aHost}, headers...)...) + body
}

// refusedTargets are refused with 400, wherever they would lead. The numbers are
// rows of SECURITY.md.
var refusedTargets = []struct{ rule, target string }{
	{"03 empty segment", "/workspaces//foo/x"},
	{"03 empty segment behind dots", "/workspaces/bar/..//foo/x"},
	{"04 leading empty segment", "//workspaces/foo/x"},
	{"04 a host in the path", "//a.example/admin/x"},
	{"05 encoded slash", "/workspaces/foo%2f..%2fbar"},
	{"05 encoded slash in upper case", "/workspaces/foo%2Fx"},
	{"05 encoded slash from a public path", "/public/..%2fadmin/x"},
	{"05 encoded slash from another's", "/workspaces/bar%2f..%2ffoo/x"},
	{"06 encoded backslash from a public path", "/public/..%5cadmin/x"},
	{"06 backslashes from a public path", `/public\..\admin\x`},
	{"06 encoded backslash", "/workspaces/foo%5c..%5cbar"},
	{"06 backslash", `/workspaces\foo`},
	{"07 dot segments", "/workspaces/foo/../bar/x"},
	{"07 dot segments from a public path", "/public/../admin/x"},
	{"07 dot segments from another's", "/workspaces/bar/../foo/x"},
	{"07 dot segments above the root", "/../../admin/x"},
	{"07 dot segment at the end", "/workspaces/foo/."},
	{"08 encoded dots", "/workspaces/foo/%2e%2e/bar"},
	{"08 encoded dots and slash", "/public/%2e%2e%2fadmin/x"},
	{"08 half encoded dots", "/workspaces/foo/.%2E/bar"},
	{"08 encoded dot", "/%2E/workspaces/foo/x"},
	{"11 dots and semicolon", "/workspaces/foo/..;/bar"},
	{"11 dots and semicolon from a public path", "/public/..;/admin/x"},
	{"12 path parameter", "/workspaces/foo;x=1/y"},
	{"13 path parameter behind a literal", "/admin;x=y"},
	{"14 encoded semicolon", "/workspaces/foo%3b/x"},
	{"14 dots and encoded semicolon", "/public/..%3b/admin/x"},
	{"15 twice encoded dots", "/workspaces/foo/%252e%252e/bar"},
	{"15 twice encoded slash", "/workspaces/foo/%252f"},
	{"15 twice encoded, from a public path", "/public/%252e%252e%252fadmin/x"},
	{"15 thrice encoded", "/public/%25252e%25252e/admin/x"},
	{"16 overlong slash of two bytes", "/workspaces/foo/..%c0%af../bar"},
	{"16 overlong backslash", "/workspaces/foo/..%c1%9c../bar"},
	{"16 half a letter before a slash", "/%c0%2fadmin/x"},
	{"16 overlong dots", "/workspaces/foo/%c0%ae%c0%ae/bar"},
	{"16 overlong slash", "/workspaces/foo/%e0%80%af"},
	{"17 NUL", "/workspaces/foo/\x00"},
	{"17 NUL behind dots", "/public/..%00/admin/x"},
	{"17 encoded NUL", "/workspaces/foo/%00"},
	{"17 encoded line end", "/workspaces/foo/%0d%0ax"},
	{"17 encoded DEL", "/workspaces/foo/%7f"},
	{"19 percent at the end", "/workspaces/foo/%"},
	{"19 short escape", "/workspaces/foo/%2"},
	{"19 no hex digits", "/workspaces/foo/%zz"},
	{"19 %u escapes", "/workspaces/foo/%u002e%u002e/bar"},
	{"20 byte that is no UTF-8", "/workspaces/foo/\xff"},
	{"20 raw UTF-8", "/workspaces/foo/\xc3\xa9"},
	{"21 fragment", "/workspaces/foo/#/../bar"},
	{"21 fragment behind the query", "/workspaces/foo/x?#/../bar"},
	{"21 fragment and dots", "/public/x#/../../admin/x"},
	{"22 control byte in the query", "/workspaces/foo/x?a=\x01"},
	{"28 no slash", "workspaces/foo/x"},
	{"28 query alone", "?/workspaces/foo/x"},
	{"28 scheme without authority", "http:/workspaces/foo/x"},
	{"longer than a path may be", "/workspaces/foo/" + strings.Repeat("a", 17000)},
}

// deniedTargets are canonical and not a member's.
var deniedTargets = []struct{ rule, target string }{
	{"01 a longer name", "/workspaces/foobar/x"},
	{"02 the collection", "/workspaces"},
	{"02 the collection with a slash", "/workspaces/"},
	{"02 a star", "/workspaces/*"},
	{"02 an encoded star", "/workspaces/%2a/x"},
	{"09 an encoded dot in a literal", "/workspaces%2e/foo/x"},
	{"10 dots at a literal's end", "/public../admin/x"},
	{"10 encoded dots at a literal's end", "/public%2e%2e/admin/x"},
	{"18 encoded letters", "/workspaces/b%61r/x"},
	{"18 encoded letters in a literal", "/workspac%65s/bar/x"},
	{"22 another path in the query", "/workspaces/bar/x?/workspaces/foo/x"},
	{"23 encoded question mark", "/workspaces/bar%3F/workspaces/foo"},
	{"24 case of a literal", "/Workspaces/foo/x"},
	{"24 case of a captured name", "/workspaces/FOO/x"},
	{"28 absolute form", "http://a.example/workspaces/bar/x"},
	{"47 a name with a dot is no pattern", "/workspaces/fxo/x"},
	{"48 a segment is one", "/one/a/b"},
	{"34 token in the query", "/workspaces/bar/x?access_token=$BAR"},
}

// badTokens are tokens that are not good, or give nothing where they are sent.
var badTokens = []struct {
	rule          string
	status        int
	target, token string
}{
	{"40 forged", 401, "/public/x", "FORGED"},
	{"40 not signed", 401, "/public/x", "UNSIGNED"},
	{"41 signed by another issuer", 401, "/public/x", "CONFUSED"},
	{"41 no issuer", 401, "/public/x", "NOBODY"},
	{"44 exp is negative", 401, "/public/x", "NEGATIVE"},
	{"44 exp is a text", 401, "/public/x", "TEXT"},
	{"44 exp is more than a number", 401, "/public/x", "HUGE"},
	{"45 no exp", 401, "/public/x", "ETERNAL"},
	{"46 deep JSON", 401, "/public/x", "DEEP"},
	{"47 group with a dot", 403, "/workspaces/foo/x", "DOT"},
	{"49 slash in a user's name", 401, "/root/x", "SLASH"},
	{"50 group *", 403, "/workspaces/%2a/x", "ODD"},
	{"50 group ..", 400, "/workspaces/../x", "ODD"},
	{"50 group foo/../bar", 403, "/workspaces/bar/x", "ODD"},
	{"50 built-in group", 403, "/workspaces/system:authenticated/x", "ODD"},
}

func refusedHTTP1() []attack {
	var list []attack
	add := func(rule string, status int, raw string) { list = append(list, attack{rule, status, raw}) }
	for _, c := range refusedTargets {
		add(c.rule, 400, head("GET "+c.target, aHost, member))
		add(c.rule+", no token", 400, head("GET "+c.target, aHost))
	}
	for _, c := range deniedTargets {
		add(c.rule, 403, head("GET "+c.target, aHost, member))
	}
	add("25 host of another tenant", 403, head("GET /tenant/x", "host: bar.ws.example", member))
	add("26 host of another tenant, with port and dot", 403, head("GET /tenant/x", "host: BAR.ws.example.:443", member))
	add("25 absolute form with another host", 403, head("GET http://bar.ws.example/tenant/x", "host: foo.ws.example", member))
	add("25 user name before the host", 403, head("GET http://foo.ws.example@bar.ws.example/tenant/x", aHost, member))
	add("25 two hosts", 400, head("GET /tenant/x", "host: foo.ws.example", "host: bar.ws.example", member))
	add("25 list of hosts", 400, head("GET /tenant/x", "host: foo.ws.example,bar.ws.example", member))
	add("25 no host", 400, head(inside, member))
	add("27 path in the host", 400, head("GET /tenant/x", "host: foo.ws.example/bar?x=", member))
	add("29 OPTIONS *", 404, head("OPTIONS *", aHost, member))
	add("30 CONNECT", 400, head("CONNECT foo.ws.example:443", aHost, member))
	add("30 CONNECT with a path", 400, head("CONNECT /workspaces/foo/x", aHost, member))
	add("31 WebSocket", 403, head(inside, aHost, member, "connection: upgrade", "upgrade: websocket"))
	add("31 upgrade with early data", 403, head(inside, aHost, member, "connection: upgrade", "upgrade: foo")+smuggled)
	add("33 two tokens", 401, head(inside, aHost, member, "authorization: Bearer $BAR"))
	add("33 the same token twice", 401, head(inside, aHost, member, member))
	add("33 another scheme first", 401, head("GET /public/x", aHost, "authorization: Basic abc", member))
	add("33 tokens in a list", 401, head(inside, aHost, member+",Bearer $BAR"))
	add("33 folded header", 401, head(inside, aHost, "authorization: Basic x", " , Bearer $FOO"))
	add("34 token only in the query", 401, head(inside+"?access_token=$FOO", aHost))
	add("34 token only in a cookie", 401, head(inside, aHost, "cookie: authorization=$FOO"))
	add("34 token for a proxy", 401, head(inside, aHost, "proxy-authorization: Bearer $FOO"))
	for _, name := range []string{"x-forwarded-uri", "x-original-url", "x-rewrite-url", "x-forwarded-prefix", "x-forwarded-path", "x-original-uri", "x-envoy-original-path"} {
		add("37 "+name, 403, head("GET /admin/x", aHost, member, name+": /public/x"))
	}
	for _, c := range badTokens {
		add(c.rule, c.status, head("GET "+c.target, aHost, "authorization: Bearer $"+c.token))
	}
	add("39 method in lower case", 400, head("get /workspaces/foo/x", aHost, member))
	add("51 any text as a token", 401, head("GET /public/x", aHost, "authorization: Bearer junk"))
	add("a token that is too long", 401, head("GET /public/x", aHost, "authorization: Bearer "+strings.Repeat("a", 30000)))
	add("no space behind the scheme", 401, head(inside, aHost, "authorization: Bearer\xa0$FOO"))
	add("connection: authorization", 401, head(inside, aHost, member, "connection: authorization"))
	add("1,000 headers", 431, head("GET /public/x", append([]string{aHost}, strings.Split(strings.Repeat("x: y\n", 999)+"x: y", "\n")...)...))
	add("a header that is too long", 431, head("GET /public/x", aHost, "x: "+strings.Repeat("a", 70000)))
	add("a space before the colon", 400, head(inside, aHost, member, "x-sallyport-user : admin"))
	add("NUL in a header", 400, head("GET /public/x", aHost, "x: a\x00b"))
	add("a second path in the line", 400, head("GET /public/x /admin/x", aHost))
	add("HTTP/1.0 without a host", 426, "GET /public/x HTTP/1.0\r\n\r\n")
	add("a body that is denied", 401, head("POST /admin/x", aHost, "transfer-encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n")
	add("length and chunks", 400, post([]string{"content-length: 6", "transfer-encoding: chunked"}, "0\r\n\r\n"+smuggled))
	add("chunks and length", 400, post([]string{"transfer-encoding: chunked", "content-length: 4"}, "23\r\n"+smuggled+"\r\n0\r\n\r\n"))
	add("two transfer encodings", 501, post([]string{"transfer-encoding: chunked", "transfer-encoding: identity"}, "0\r\n\r\n"+smuggled))
	add("an unknown transfer encoding", 501, post([]string{"transfer-encoding: xchunked"}, "0\r\n\r\n"+smuggled))
	add("a space behind transfer-encoding", 400, post([]string{"transfer-encoding : chunked", "content-length: 5"}, "0\r\n\r\n"+smuggled))
	add("two lengths", 400, post([]string{"content-length: 0", "content-length: 34"}, smuggled))
	add("a length with a sign", 400, post([]string{"content-length: +0"}, smuggled))
	return list
}

func (p *proxy) testRefusedHTTP1(t *testing.T) {
	p.refused(t, refusedHTTP1(), p.http1)
}

func passedHTTP1() []passed {
	return []passed{
		{"a member", head(inside, aHost, member), "GET /workspaces/foo/x HTTP/1.1"},
		{"18 encoded letters of the own name", head("GET /workspaces/f%6Fo/x", aHost, member), "GET /workspaces/f%6Fo/x HTTP/1.1"},
		{"22 dots in the query", head(inside+"?a=../../bar", aHost, member), "GET /workspaces/foo/x?a=../../bar HTTP/1.1"},
		{"26 case, port and dot of the host", head("GET /tenant/x", "host: FOO.ws.example.:80", member), "GET /tenant/x HTTP/1.1"},
		{"25 absolute form overrides Host", head("GET http://foo.ws.example/tenant/x", "host: bar.ws.example", member), "GET /tenant/x HTTP/1.1"},
		{"31 h2c", head(inside, aHost, member, "connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"), "GET /workspaces/foo/x HTTP/1.1"},
		{"32 identity that is repeated", head(inside, aHost, member, "x-sallyport-user: eric", "x-sallyport-user: admin", "x-sallyport-groups: foo", "x-sallyport-groups: admin"), "GET /workspaces/foo/x HTTP/1.1"},
		{"36 identity in all spellings", head(inside, aHost, member, "X-Sallyport-User: admin", "x-sallyport-user: root", "X-SALLYPORT-GROUPS: admin",
			"x_sallyport_user: admin", "x-sallyport_groups: admin", "x-sallyport-else: admin"), "GET /workspaces/foo/x HTTP/1.1"},
		{"36 identity nominated for removal", head(inside, aHost, member, "connection: x-sallyport-user, x-sallyport-groups"), "GET /workspaces/foo/x HTTP/1.1"},
		{"36 identity in a trailer", head("POST /workspaces/foo/x", aHost, member, "transfer-encoding: chunked") + "3\r\nabc\r\n0\r\nx-sallyport-user: admin\r\n\r\n", "POST /workspaces/foo/x HTTP/1.1"},
		{"36 line end in a header", head(inside, aHost, member, "x: b\rx-sallyport-user: admin"), "GET /workspaces/foo/x HTTP/1.1"},
		{"37 headers of Envoy", head(inside, aHost, member, "x-envoy-original-path: /admin/x", "x-envoy-retry-on: 5xx", "x-envoy-upstream-rq-timeout-ms: 1",
			"x-envoy-internal: true"), "GET /workspaces/foo/x HTTP/1.1"},
		{"38 method overrides", head(inside, aHost, member, "X-HTTP-Method-Override: DELETE", "x-http_method: DELETE", "x-method-override: DELETE"), "GET /workspaces/foo/x HTTP/1.1"},
		{"a request in the body", head("POST /workspaces/foo/x", aHost, member, fmt.Sprintf("content-length: %d", len(smuggled))) + smuggled, "POST /workspaces/foo/x HTTP/1.1"},
		{"a pipelined request is asked about", head(inside, aHost, member) + smuggled, "GET /workspaces/foo/x HTTP/1.1"},
	}
}

func (p *proxy) testPassedHTTP1(t *testing.T) {
	for _, c := range passedHTTP1() {
		t.Run(c.rule, func(t *testing.T) {
			a, err := p.http1(c.raw)
			p.expectMember(t, c.line, a, err)
		})
	}
}
