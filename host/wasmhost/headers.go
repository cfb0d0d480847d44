package wasmhost

import (
	"slices"
	"strings"
)

// headerMap is an ordered list of headers with lower-case names, pseudo-headers
// included.
type headerMap struct {
	pairs [][2]string
	// request says that joinedHeaders apply.
	request bool
}

// joinedHeaders are the request headers of which Envoy keeps one line: it joins
// repeated ones with a comma as it reads them, so that a filter never sees
// them apart. The list was taken from Envoy 1.40 by asking it. Pseudo-headers
// are like them.
var joinedHeaders = map[string]bool{
	"accept":                         true,
	"accept-encoding":                true,
	"access-control-request-headers": true,
	"access-control-request-method":  true,
	"authorization":                  true,
	"cache-control":                  true,
	"content-encoding":               true,
	"content-type":                   true,
	"expect":                         true,
	"grpc-timeout":                   true,
	"if-match":                       true,
	"if-modified-since":              true,
	"if-none-match":                  true,
	"if-range":                       true,
	"origin":                         true,
	"pragma":                         true,
	"referer":                        true,
	"user-agent":                     true,
	"via":                            true,
	"x-client-trace-id":              true,
	"x-envoy-external-address":       true,
	"x-envoy-original-path":          true,
	"x-forwarded-for":                true,
	"x-forwarded-host":               true,
	"x-forwarded-port":               true,
	"x-forwarded-proto":              true,
	"x-request-id":                   true,
}

// newHeaderMap copies pairs, since a filter may change them.
func newHeaderMap(pairs [][2]string, request bool) *headerMap {
	m := &headerMap{pairs: make([][2]string, 0, len(pairs)), request: request}
	for _, p := range pairs {
		m.add(p[0], p[1])
	}
	return m
}

// first returns the first value of a header. Envoy's host does the same for
// proxy_get_header_map_value: a filter that must see each value of a repeated
// header has to ask for the pairs.
func (m *headerMap) first(name string) (string, bool) {
	name = strings.ToLower(name)
	for i := range m.pairs {
		if m.pairs[i][0] == name {
			return m.pairs[i][1], true
		}
	}
	return "", false
}

// add appends a value, to the one that is there where Envoy has one line only.
func (m *headerMap) add(name, value string) {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ":") || m.request && joinedHeaders[name] {
		for i := range m.pairs {
			if m.pairs[i][0] == name {
				m.pairs[i][1] += "," + value
				return
			}
		}
	}
	m.pairs = append(m.pairs, [2]string{name, value})
}

// replace leaves value as the header's only one, in the place of the first.
func (m *headerMap) replace(name, value string) {
	name = strings.ToLower(name)
	found := false
	m.pairs = slices.DeleteFunc(m.pairs, func(p [2]string) bool {
		if p[0] != name || !found {
			found = found || p[0] == name
			return false
		}
		return true
	})
	if !found {
		m.pairs = append(m.pairs, [2]string{name, value})
		return
	}
	for i := range m.pairs {
		if m.pairs[i][0] == name {
			m.pairs[i][1] = value
		}
	}
}

func (m *headerMap) remove(name string) {
	name = strings.ToLower(name)
	m.pairs = slices.DeleteFunc(m.pairs, func(p [2]string) bool { return p[0] == name })
}

// size is the number of pairs; a map that is not there has none.
func (m *headerMap) size() int {
	if m == nil {
		return 0
	}
	return len(m.pairs)
}

func (m *headerMap) byteSize() int {
	n := 0
	for _, p := range m.pairs {
		n += len(p[0]) + len(p[1])
	}
	return n
}
