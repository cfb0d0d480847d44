package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"net/http"
	"time"
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

func (m Module) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/wasm")
	w.Header().Set("ETag", `"`+m.SHA256+`"`)
	w.Header().Set("X-Checksum-Sha256", m.SHA256)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.Bytes))
}

// fileNameOf returns the file name of a part of a form with its directories,
// which the standard library's own method cuts off: it only stands in errors.
func fileNameOf(disposition, field string) string {
	if _, params, err := mime.ParseMediaType(disposition); err == nil && params["filename"] != "" {
		return params["filename"]
	}
	return field
}
