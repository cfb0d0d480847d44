package bypass

import "testing"

// rewrites change the path before our filter, or path and host behind it, as an
// operator must not.
func rewrites() []setting {
	route := func(members map[string]any) func(manager map[string]any) {
		return func(manager map[string]any) {
			hosts := manager["route_config"].(map[string]any)["virtual_hosts"].([]any)
			r := hosts[0].(map[string]any)["routes"].([]any)[0].(map[string]any)
			r["match"] = map[string]any{"prefix": "/"}
			for name, value := range members {
				r["route"].(map[string]any)[name] = value
			}
		}
	}
	return []setting{
		{"before", func(manager map[string]any) {
			lua := map[string]any{"name": "lua", "typed_config": map[string]any{
				"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
				"default_source_code": map[string]any{
					"inline_string": `function envoy_on_request(r) r:headers():replace(":path", string.gsub(r:headers():get(":path"), "^/public", "")) end`,
				},
			}}
			manager["http_filters"] = append([]any{lua}, manager["http_filters"].([]any)...)
		}},
		{"behind", route(map[string]any{"regex_rewrite": map[string]any{
			"pattern": map[string]any{"regex": "^/public"}, "substitution": "",
		}})},
		{"host", route(map[string]any{"host_rewrite_literal": "bar.ws.example"})},
	}
}

// 52: the filter decides on what Envoy has then. What is rewritten before it is
// decided as rewritten. What a route rewrites behind it arrives as nobody has
// decided: that is why our configuration has no rewrites, and why a policy must
// name what the client sends where an operator has them.
func TestRewrites(t *testing.T) {
	up, clients, j := startSettings(t, rewrites())
	const public = "GET /public/admin/x"
	for _, c := range []struct {
		setting, request string
		status           int
		judged           bool // what arrives is allowed
	}{
		{"before", head(public, aHost, member), 403, false},
		{"before", head("GET /public/workspaces/foo/x", aHost, member), 200, true},
		{"behind", head(public, aHost, member), 200, false},
		{"behind", head("GET /public/../admin/x", aHost, member), 400, false},
		{"host", head("GET /tenant/x", "host: foo.ws.example", member), 200, false},
		{"host", head("GET /tenant/x", "host: bar.ws.example", member), 403, false},
	} {
		a, err := clients[c.setting].http1(c.request)
		if err != nil || a.status != c.status {
			t.Errorf("%s: %q: status %d, want %d; %v", c.setting, c.request[:40], a.status, c.status, err)
		}
		up.wait()
		for _, m := range up.take() {
			if err := j.check(m); (err == nil) != c.judged {
				t.Errorf("%s: what arrived as %q: %v", c.setting, m.line, err)
			}
		}
	}
}
