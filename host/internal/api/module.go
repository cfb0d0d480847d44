package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"sallyport/host/internal/proxyauth"
)

// ModulePath is where proxies fetch the filter.
const ModulePath = "/plugin/sallyport.wasm"

// Module is the filter as proxies fetch it.
type Module struct {
	Bytes  []byte
	SHA256 string // lower-case hex
}

// NewModule returns the filter with its digest.
func NewModule(b []byte) Module {
	digest := sha256.Sum256(b)
	return Module{b, hex.EncodeToString(digest[:])}
}

func (m Module) serve(w http.ResponseWriter, r *http.Request, _ proxyauth.Principal) {
	w.Header().Set("Content-Type", "application/wasm")
	w.Header().Set("ETag", `"`+m.SHA256+`"`)
	w.Header().Set("X-Checksum-Sha256", m.SHA256)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.Bytes))
}
