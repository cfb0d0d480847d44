package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/signing"
	"sallyport/policydata"
	"sallyport/policydata/delta"
	"sallyport/policydata/pushapi"
)

// Who has a snapshot and can build on it gets a delta, signed by the host's key,
// that makes the bytes which others get whole.
func TestPollersGetDeltas(t *testing.T) {
	c := config(t.TempDir())
	s := start(t, c)
	key, err := signing.Read(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	verify, err := signing.Verifier(key.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for i := range 100 {
		fmt.Fprintf(&users, "---\napiVersion: sallyport/v1\nkind: User\nmetadata: {name: user-%d}\n", i)
	}
	docs, err := manifest.Parse("users.yaml", []byte(users.String()))
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Directory().Apply(t.Context(), manifest.Entities(docs), directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + s.HTTPAddr()
	wait := fmt.Sprintf("?after=1.%d&wait=30s", result.Generation-1)
	resp, base, err := poll(t.Context(), http.DefaultClient, url, wait, "")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	baseTag := resp.Header.Get("ETag")

	wait = fmt.Sprintf("?after=1.%d&wait=30s", result.Generation)
	s.commit(t, "eric")
	resp, target, err := poll(t.Context(), http.DefaultClient, url, wait, "")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	tag := resp.Header.Get("ETag")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+pushapi.SnapshotPath+wait, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-None-Match", baseTag)
	req.Header.Set("A-IM", pushapi.DeltaManipulation)
	sent := []byte(fetch(t, req, http.StatusIMUsed))

	info, err := delta.Parse(sent)
	if err != nil || `"`+info.Base.String()+`"` != baseTag || `"`+info.Target.String()+`"` != tag || len(sent) > 1000 {
		t.Errorf("%d bytes from %v to %v, %v; want %s to %s", len(sent), info.Base, info.Target, err, baseTag, tag)
	}
	got, err := delta.Apply(base, sent, verify)
	if err != nil || !bytes.Equal(got, target) {
		t.Fatalf("%d bytes of %d, %v", len(got), len(target), err)
	}
	if _, err := policydata.Load(got, verify); err != nil {
		t.Error(err)
	}
}
