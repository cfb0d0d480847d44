package filter

import (
	"encoding/hex"
	"math/rand/v2"
	"os"
	"strings"

	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// worker is who a VM is to the host and to the VMs of other workers.
type worker struct {
	id workerID

	token    string // for the host; "": none
	badToken bool   // there is one, that no header can have

	instance string // the proxy's node id
	process  string // what the workers have agreed on; "": not yet
}

// maxTokenBytes bounds the token for the host.
const maxTokenBytes = 4096

func newWorker() worker {
	w := worker{id: newID(), token: os.Getenv(pushapi.TokenVariable)}
	if w.token != "" && !isHeaderText(w.token) {
		w.token, w.badToken = "", true
	}
	return w
}

// newID returns an id that is no secret: Go's generator is seeded by the proxy,
// for each VM anew.
func newID() (id workerID) {
	for i := range id {
		id[i] = byte(rand.Uint32())
	}
	return id
}

func isHeaderText(s string) bool {
	return len(s) <= maxTokenBytes && strings.IndexFunc(s, func(r rune) bool { return r <= 0x20 || r >= 0x7F }) < 0
}

// identify finds out what can be asked only in a running proxy.
func (w *worker) identify() {
	if w.process != "" {
		return
	}
	w.instance = nodeID()
	w.process = agreedProcess()
}

// agreedProcess returns the id that the first worker has given to the process;
// "" if that can't be found out now. Something else may stand there; then it is
// given another.
func agreedProcess() string {
	value, cas, ok := sharedData(processKey)
	if !ok {
		return ""
	}
	if isID(value) {
		return string(value)
	}
	id := newID()
	if !setSharedData(processKey, hex.AppendEncode(nil, id[:]), cas) {
		return "" // another was faster
	}
	return hex.EncodeToString(id[:])
}

func isID(b []byte) bool {
	if len(b) != 2*pushapi.IDBytes {
		return false
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// headers are those of every request to the host.
func (w *worker) headers(method, path string, c *pluginconfig.Config) [][2]string {
	authority := c.HostAuthority
	if authority == "" {
		authority = pluginconfig.DefaultAuthority
	}
	headers := [][2]string{{":method", method}, {":path", path}, {":authority", authority}}
	if w.token != "" {
		headers = append(headers, [2]string{"authorization", "Bearer " + w.token})
	}
	return headers
}

// text returns hex digits.
func (id workerID) text() string { return hex.EncodeToString(id[:]) }
