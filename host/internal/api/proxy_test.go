package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sallyport/host/internal/api"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/fleet"
	"sallyport/host/internal/xds"
	"sallyport/policydata/pushapi"
)

// guard runs the guard of a fixture until the test ends.
func (f *fixture) guard(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.proxies.Guard.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (f *fixture) proxyToken(t *testing.T, n directory.NewProxyToken) (directory.ProxyToken, string) {
	t.Helper()
	made, text, err := f.directory.CreateProxyToken(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return made, text.Reveal()
}

// byToken returns a request with a bearer token, "" for none.
func byToken(method, target, token, body string) *http.Request {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

func (f *fixture) poll(query string) *httptest.ResponseRecorder {
	return f.do(byToken(http.MethodGet, pushapi.SnapshotPath+query, "", ""))
}

func TestPollsAreAnswered(t *testing.T) {
	f := newFixture(t, options{})
	current, _ := f.publisher.Current()
	w := f.poll("?after=0.0&wait=30s")
	tag := w.Header().Get("ETag")
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), current.Bytes) || !strings.HasPrefix(tag, `"1.1-`) ||
		w.Header().Get("Content-Type") != pushapi.SnapshotType || w.Header().Get("Content-Length") != fmt.Sprint(len(current.Bytes)) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	req := byToken(http.MethodGet, pushapi.SnapshotPath, "", "")
	req.Header.Set("Accept-Encoding", "gzip")
	w = f.do(req)
	r, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatalf("%v: %v", err, w.Header())
	}
	if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, current.Bytes) || w.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("%v %v", w.Header(), err)
	}
	req = byToken(http.MethodGet, pushapi.SnapshotPath+"?after=1.1&wait=1ms", "", "")
	req.Header.Set("If-None-Match", tag)
	if w := f.do(req); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("nothing newer: %d %s", w.Code, w.Body)
	}
	wantProblem(t, f.poll("?after=1"), http.StatusBadRequest, "parameter after: want <epoch>.<generation>")
	held := make(chan *httptest.ResponseRecorder)
	go func() { held <- f.poll("?after=1.1&wait=60s") }()
	f.apply(t, readers)
	if w := <-held; w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("ETag"), `"1.2-`) {
		t.Errorf("what came: %d %v", w.Code, w.Header())
	}
}

func TestPollsBeforeAnythingIsPublished(t *testing.T) {
	f := newFixture(t, options{unpublished: true})
	w := f.poll("?wait=1ms")
	wantProblem(t, w, http.StatusServiceUnavailable, "nothing is published")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.proxies.Feed.Stop()
	wantProblem(t, f.poll("?wait=60s"), http.StatusServiceUnavailable, "the host stops")
}

// TestWhoGoesAwayFreesItsPlace: a place is taken for as long as a poll is held, and
// by no identity all of them.
func TestWhoGoesAwayFreesItsPlace(t *testing.T) {
	f := newFixture(t, options{})
	_, token := f.proxyToken(t, directory.NewProxyToken{Name: "edge-1"})
	_, other := f.proxyToken(t, directory.NewProxyToken{Name: "edge-2"})
	if _, err := f.publisher.Wait(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	ended := make(chan struct{})
	const most = 64
	for range most {
		go func() {
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, byToken(http.MethodGet, pushapi.SnapshotPath+"?after=1.3&wait=60s", token, "").WithContext(ctx))
			ended <- struct{}{}
		}()
	}
	ask := func(token string) *httptest.ResponseRecorder {
		return f.do(byToken(http.MethodGet, pushapi.SnapshotPath+"?after=1.3&wait=0s", token, ""))
	}
	for ask(token).Code != http.StatusTooManyRequests {
		time.Sleep(time.Millisecond)
	}
	w := ask(token)
	wantProblem(t, w, http.StatusTooManyRequests, "too many ask")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if w := ask(other); w.Code != http.StatusNotModified {
		t.Errorf("another proxy: %d", w.Code)
	}
	leave()
	for range most {
		<-ended
	}
	if w := ask(token); w.Code != http.StatusNotModified {
		t.Errorf("once they have gone: %d", w.Code)
	}
}

const (
	aProcess = "0123456789abcdef0123456789abcdef"
	aWorker  = "fedcba9876543210fedcba9876543210"
)

func reportOf(instance, worker string, enforced pushapi.Version) string {
	r := pushapi.Report{Instance: instance, Process: aProcess, Worker: worker, Plugin: "sallyport", Push: pushapi.PushPoll}
	if enforced != (pushapi.Version{}) {
		r.Enforced, r.Mark = enforced, "aa"
	}
	return string(r.AppendJSON(nil))
}

func (f *fixture) report(token, body string) *httptest.ResponseRecorder {
	return f.do(byToken(http.MethodPost, pushapi.ReportPath, token, body))
}

func (f *fixture) proxyPage(t *testing.T, query string) (page api.ProxyPage) {
	t.Helper()
	w := f.do(f.admin(http.MethodGet, "/api/v1/proxies"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &page); w.Code != http.StatusOK || err != nil {
		t.Fatalf("%d %s %v", w.Code, w.Body, err)
	}
	return page
}

func TestReportsAreListed(t *testing.T) {
	silent := xds.NodeStatus{Node: "edge-9", Address: "192.0.2.1:1", Subscribed: true, Sent: "1.1", Acked: "1.1", LastSeen: time.Now()}
	f := newFixture(t, options{streams: func() []xds.NodeStatus { return []xds.NodeStatus{silent} }})
	for worker, generation := range map[string]uint64{aWorker: 1, aProcess: 0} {
		v := pushapi.Version{Generation: generation}
		if generation > 0 {
			v.Epoch = 1
		}
		if w := f.report("", reportOf("edge-1", worker, v)); w.Code != http.StatusNoContent {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	if w := f.report("", reportOf("edge-2", aWorker, pushapi.Version{Epoch: 1, Generation: 5})); w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	wantProblem(t, f.report("", "{}"), http.StatusBadRequest, "is missing")
	wantProblem(t, f.report("", strings.Repeat(" ", 9000)), http.StatusRequestEntityTooLarge, "8192")
	if m := f.metrics(t); !strings.Contains(m, "\nsallyport_reports_total 4\n") || !strings.Contains(m, "\nsallyport_reports_refused_total 1\n") {
		t.Error("the report that was refused is not counted")
	}

	page := f.proxyPage(t, "")
	if page.Published != "1.1" || page.Wanted != "1.1" || page.Complete || len(page.Results) != 3 ||
		page.Summary != (fleet.Summary{Proxies: 3, Workers: 3, Enforcing: 2, Lagging: 2, Silent: 1}) {
		t.Errorf("%+v", page)
	}
	page = f.proxyPage(t, "?generation=1.6&lagging=true&amount=1&after=edge-1/~")
	if len(page.Results) != 1 || page.Results[0].Instance != "edge-2" || page.Results[0].Behind != 1 || !page.Pagination.HasMore {
		t.Errorf("%+v", page)
	}
	page = f.proxyPage(t, "?lagging=true&prefix=edge-2")
	if len(page.Results) != 0 || page.Summary.Proxies != 3 {
		t.Errorf("%+v", page)
	}
	for query, want := range map[string]string{
		"?generation=6": "parameter generation: want <epoch>.<generation>", "?lagging=2": "parameter lagging", "?wait=1s": "unknown parameter",
	} {
		wantProblem(t, f.do(f.admin(http.MethodGet, "/api/v1/proxies"+query, nil)), http.StatusBadRequest, want)
	}
}

// Who reports too often is told to come again, as an identity before anything is
// read, and as a worker.
func TestReportsAreLimited(t *testing.T) {
	f := newFixture(t, options{})
	_, flooding := f.proxyToken(t, directory.NewProxyToken{Name: "edge-1"})
	_, other := f.proxyToken(t, directory.NewProxyToken{Name: "edge-2"})
	good := reportOf("edge-2", aWorker, pushapi.Version{Epoch: 1, Generation: 1})
	flood := func(token, body string, status int) {
		t.Helper()
		const enough = 10_000
		for range enough {
			w := f.report(token, body)
			if w.Code == status {
				continue
			}
			wantProblem(t, w, http.StatusTooManyRequests, "too many reports")
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
			}
			return
		}
		t.Errorf("%d reports were read", enough)
	}
	flood(flooding, "{}", http.StatusBadRequest)
	if w := f.report(other, good); w.Code != http.StatusNoContent {
		t.Errorf("another proxy: %d %s", w.Code, w.Body)
	}
	flood(other, good, http.StatusNoContent)
}

func TestProxiesProveWhoTheyAre(t *testing.T) {
	f := newFixture(t, options{proof: true})
	_, edge := f.proxyToken(t, directory.NewProxyToken{Name: "edge-1"})
	_, prod := f.proxyToken(t, directory.NewProxyToken{Name: "prod", Fleet: true})
	first := pushapi.Version{Epoch: 1, Generation: 1}
	for name, tt := range map[string]struct {
		token, instance string
		want            int
	}{
		"a proxy for itself":             {edge, "edge-1", http.StatusNoContent},
		"a proxy that says no name":      {edge, "", http.StatusNoContent},
		"a proxy for another":            {edge, "edge-2", http.StatusForbidden},
		"a fleet for any":                {prod, "edge-1", http.StatusNoContent},
		"nobody":                         {"", "edge-1", http.StatusUnauthorized},
		"a variable that is not set":     {"-", "edge-1", http.StatusUnauthorized},
		"another token":                  {"spx_aaaaaaaaaaaaaaaa_x", "edge-1", http.StatusUnauthorized},
		"a token of the API":             {"eyJhbGciOiJub25lIn0.e30.", "edge-1", http.StatusUnauthorized},
		"the proxy's token with a space": {edge + " x", "edge-1", http.StatusUnauthorized},
	} {
		w := f.report(tt.token, reportOf(tt.instance, aWorker, first))
		if w.Code != tt.want {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, tt.want)
		}
		if w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	if w := f.do(f.admin(http.MethodGet, pushapi.SnapshotPath, nil)); w.Code != http.StatusUnauthorized {
		t.Errorf("an access key of the API: %d", w.Code)
	}
	for _, path := range []string{"/api/v1/proxies", "/api/v1/users", "/metrics"} {
		if w := f.do(byToken(http.MethodGet, path, prod, "")); w.Code != http.StatusUnauthorized {
			t.Errorf("%s by a proxy's token: %d", path, w.Code)
		}
	}
	for _, path := range []string{pushapi.SnapshotPath, api.ModulePath} {
		if w := f.do(byToken(http.MethodGet, path, edge, "")); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		if w := f.do(byToken(http.MethodGet, path, "", "")); w.Code != http.StatusUnauthorized {
			t.Errorf("%s by nobody: %d", path, w.Code)
		}
	}
	if w := f.do(byToken(http.MethodPost, pushapi.KeysPath, "", "{}")); w.Code != http.StatusUnauthorized {
		t.Errorf("keys by nobody: %d", w.Code)
	}
	if !strings.Contains(f.metrics(t), "\nsallyport_reports_refused_total 1\n") {
		t.Error("the report for another is not counted")
	}
	list := f.proxyPage(t, "").Results
	if len(list) != 2 || list[0].Identity != "fleet:prod" || list[1].Identity != "proxy:edge-1" || list[1].Instance != "edge-1" {
		t.Errorf("%+v", list)
	}
	for _, secret := range []string{edge, prod, edge[21:], prod[21:]} {
		if strings.Contains(f.log.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

func TestWhereNoProofIsNeededABadOneIsRefused(t *testing.T) {
	f := newFixture(t, options{})
	for token, want := range map[string]int{"": http.StatusNoContent, "-": http.StatusNoContent, "spx_aaaaaaaaaaaaaaaa_x": http.StatusUnauthorized} {
		if w := f.report(token, reportOf("a", aWorker, pushapi.Version{})); w.Code != want {
			t.Errorf("%q: %d, want %d", token, w.Code, want)
		}
	}
}

func TestBadProofsAreLimited(t *testing.T) {
	f := newFixture(t, options{proof: true})
	_, good := f.proxyToken(t, directory.NewProxyToken{Name: "edge-1"})
	last := 0
	for range 100 {
		if last = f.report("spx_aaaaaaaaaaaaaaaa_x", "{}").Code; last == http.StatusTooManyRequests {
			break
		}
	}
	logged := strings.Count(f.log.String(), "did not prove")
	w := f.report("spx_aaaaaaaaaaaaaaaa_x", "{}")
	if last != http.StatusTooManyRequests || w.Code != last || w.Header().Get("Retry-After") == "" || logged == 0 ||
		strings.Count(f.log.String(), "did not prove") != logged {
		t.Errorf("%d, %d, %v, %d in the log", last, w.Code, w.Header(), logged)
	}
	if w := f.report(good, reportOf("edge-1", aWorker, pushapi.Version{})); w.Code != http.StatusNoContent {
		t.Errorf("a good one: %d", w.Code)
	}
}

func TestProxyTokensByTheAPI(t *testing.T) {
	f := newFixture(t, options{proof: true})
	f.guard(t)
	create := func(body string) *httptest.ResponseRecorder {
		return f.do(f.admin(http.MethodPost, "/api/v1/proxy-tokens", strings.NewReader(body)))
	}
	var made api.ProxyToken
	w := create(`{"name":"edge-1","ttl":"720h"}`)
	if err := json.Unmarshal(w.Body.Bytes(), &made); w.Code != http.StatusCreated || err != nil || made.Expires.Sub(made.Created) != 720*time.Hour ||
		w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %+v %v", w.Code, w.Header(), err)
	}
	wantProblem(t, create(`{"name":"x","ttl":"30d"}`), http.StatusBadRequest, "ttl: want a time such as 720h")
	wantProblem(t, create(`{"name":"x","scope":"all"}`), http.StatusBadRequest, "unknown field")
	wantProblem(t, create(`{"name":""}`), http.StatusUnprocessableEntity, "nothing was changed")
	w = f.do(f.admin(http.MethodGet, "/api/v1/proxy-tokens", nil))
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), made.Token) || !strings.Contains(w.Body.String(), made.ID) {
		t.Errorf("%d %s", w.Code, w.Body)
	}

	// What the token began ends with it, whatever it waits for.
	version := f.proxyPage(t, "").Published
	began := make(chan *httptest.ResponseRecorder)
	go func() {
		began <- f.do(byToken(http.MethodGet, pushapi.SnapshotPath+"?wait=60s&after=9"+version, made.Token, ""))
	}()
	for !strings.Contains(f.metrics(t), "sallyport_pollers 1\n") {
		time.Sleep(time.Millisecond)
	}
	path := "/api/v1/proxy-tokens/" + made.ID
	if w := f.do(f.admin(http.MethodDelete, path, nil)); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	wantProblem(t, <-began, http.StatusUnauthorized, "revoked")
	wantProblem(t, f.do(f.admin(http.MethodDelete, path, nil)), http.StatusNotFound, made.ID)
	if w := f.do(byToken(http.MethodGet, pushapi.SnapshotPath, made.Token, "")); w.Code != http.StatusUnauthorized {
		t.Errorf("the revoked token: %d", w.Code)
	}
}

func (f *fixture) metrics(t *testing.T) string {
	t.Helper()
	w := f.do(f.admin(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestPollsOutliveTheLimitOnReading: the server's limits are for requests, and a
// poll that is held has been read.
func TestPollsOutliveTheLimitOnReading(t *testing.T) {
	f := newFixture(t, options{})
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		server := httptest.NewUnstartedServer(f.handler)
		server.Config.ReadTimeout = 50 * time.Millisecond
		server.EnableHTTP2 = protocol == "HTTP/2.0"
		server.StartTLS()
		for range 2 { // the second one on the same connection
			resp, err := server.Client().Get(server.URL + pushapi.SnapshotPath + "?after=1.1&wait=300ms")
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusNotModified || resp.Proto != protocol {
				t.Errorf("%s: %v, %v", protocol, resp, err)
			}
		}
		server.Close()
	}
}
