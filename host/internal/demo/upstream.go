package demo

import (
	"encoding/json"
	"net/http"
	"time"
)

// echo answers with what reached it, so that one sees what the filter let
// through and what it took off.
func echo(w http.ResponseWriter, r *http.Request) {
	headers := r.Header.Clone()
	if headers.Get("Authorization") != "" {
		headers.Set("Authorization", "(a token)") // the answer may end up in a log
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]any{
		"upstream": "you reached the upstream",
		"method":   r.Method,
		"target":   r.RequestURI,
		"host":     r.Host,
		"headers":  headers,
	})
}

func newUpstream() *http.Server {
	return &http.Server{Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second, DisableGeneralOptionsHandler: true}
}
