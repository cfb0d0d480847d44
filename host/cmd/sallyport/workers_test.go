package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/policydata/pushapi"
)

// workers has two workers of a proxy report to the script's host, until the
// script ends: "workers INSTANCE follows" enforce what is published, and
// "workers INSTANCE stuck" stay at 1.1, and refuse what is published.
func workers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: workers INSTANCE follows|stuck")
	}
	w := &reporters{
		server: ts.Getenv("SALLYPORT_SERVER"), key: ts.Getenv("SALLYPORT_ACCESS_KEY_ID"), secret: ts.Getenv("SALLYPORT_SECRET_ACCESS_KEY"),
		instance: args[0], stuck: args[1] == "stuck",
	}
	ts.Check(w.report(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			_ = w.report(ctx) // the host may be gone by now
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	ts.Defer(func() {
		cancel()
		running.Wait()
	})
}

// reporters are the workers of a proxy.
type reporters struct {
	server, key, secret string
	instance            string
	stuck               bool
}

func (w *reporters) report(ctx context.Context) error {
	published, err := w.published(ctx)
	if err != nil {
		return err
	}
	r := pushapi.Report{
		Instance: w.instance, Process: fmt.Sprintf("%032x", len(w.instance)), Plugin: "sallyport", Push: pushapi.PushPoll,
		Enforced: published, Mark: "aa",
	}
	for _, id := range []string{"a", "b"} {
		r.Worker = fmt.Sprintf("%s%031x", id, 0)
		if w.stuck && id == "b" {
			r.Enforced, r.Refused, r.Reason = pushapi.Version{Epoch: 1, Generation: 1}, published, "bad signature"
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.server+pushapi.ReportPath, bytes.NewReader(r.AppendJSON(nil)))
		if err != nil {
			return err
		}
		if err := expect(req, http.StatusNoContent, nil); err != nil {
			return err
		}
	}
	return nil
}

func (w *reporters) published(ctx context.Context) (v pushapi.Version, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server+"/api/v1/generation", nil)
	if err != nil {
		return v, err
	}
	req.SetBasicAuth(w.key, w.secret)
	var answer struct {
		Epoch      uint64 `json:"epoch,string"`
		Generation uint64 `json:"generation,string"`
	}
	err = expect(req, http.StatusOK, &answer)
	return pushapi.Version{Epoch: answer.Epoch, Generation: answer.Generation}, err
}

func expect(req *http.Request, want int, into any) error {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
