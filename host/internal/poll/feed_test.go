package poll

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

func v(generation uint64) pushapi.Version { return pushapi.Version{Epoch: 1, Generation: generation} }

// framed is as good as a snapshot here: it has the frame of one, and a signature
// whose end is its mark.
func framed(size int, content string) []byte {
	b := bytes.Repeat([]byte("policy "), size/7)
	copy(b, "SALLYPRT\x01\x00\x00\x00")
	binary.LittleEndian.PutUint32(b[56:], uint32(len(b)))
	return policydata.AppendSignature(b, "", fmt.Appendf(nil, "%-16s", content))
}

func snapshot(content string) []byte { return framed(7000, content) }

func tagOf(version pushapi.Version, snapshot []byte) string {
	mark, _ := policydata.Mark(snapshot)
	return version.ETag(mark)
}

func set(t *testing.T, f *Feed, version pushapi.Version, b []byte) string {
	t.Helper()
	if err := f.Set(version, b); err != nil {
		t.Fatal(err)
	}
	return tagOf(version, b)
}

func TestWhatIsSent(t *testing.T) {
	f := New(Options{})
	old, current := snapshot("old"), snapshot("current")
	oldTag := set(t, f, v(4), old)
	tag := set(t, f, v(5), current)
	for name, tt := range map[string]struct {
		q    Request
		sent bool
	}{
		"to who has nothing":                      {Request{}, true},
		"to who has an older one":                 {Request{After: v(4), Has: []string{oldTag}}, true},
		"nothing to who has it":                   {Request{After: v(5), Has: []string{tag}}, false},
		"nothing to who has its version":          {Request{After: v(5)}, false},
		"to who has its version by another key":   {Request{After: v(5), Has: []string{v(5).ETag("aa")}}, true},
		"nothing to who has a later one":          {Request{After: v(6), Has: []string{v(6).ETag("aa")}}, false},
		"nothing to who has a later epoch":        {Request{After: pushapi.Version{Epoch: 2}}, false},
		"nothing to who refused it":               {Request{After: v(4), Refused: v(5)}, false},
		"to who refused an older one":             {Request{After: v(3), Refused: v(4)}, true},
		"nothing to who has it among other files": {Request{After: v(4), Has: []string{oldTag, tag}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := f.Await(t.Context(), &tt.q)
			if !tt.sent {
				if !errors.Is(err, ErrNothingNew) {
					t.Errorf("%+v, %v", a, err)
				}
				return
			}
			if err != nil || a.ETag != tag || a.Base != "" || a.Gzip || a.Type != pushapi.SnapshotType || &a.Body[0] != &current[0] {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

func TestWhoWaitsIsAnsweredByWhatComes(t *testing.T) {
	f := New(Options{})
	if _, err := f.Await(t.Context(), &Request{}); !errors.Is(err, ErrNothing) {
		t.Errorf("nothing published: %v", err)
	}
	if _, err := f.Await(t.Context(), &Request{Wait: time.Millisecond}); !errors.Is(err, ErrNothing) {
		t.Errorf("nothing published, after a wait: %v", err)
	}
	got := make(chan *Answer)
	go func() {
		a, _ := f.Await(t.Context(), &Request{Wait: time.Hour})
		got <- a
	}()
	tag := set(t, f, v(1), snapshot("1"))
	if a := <-got; a == nil || a.ETag != tag {
		t.Errorf("%+v", a)
	}
	if _, err := f.Await(t.Context(), &Request{After: v(1), Wait: time.Millisecond}); !errors.Is(err, ErrNothingNew) {
		t.Errorf("nothing newer: %v", err)
	}
	ended := errors.New("ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ended)
	if _, err := f.Await(ctx, &Request{After: v(1), Wait: time.Hour}); !errors.Is(err, ended) {
		t.Errorf("the cause of the end: %v", err)
	}
	f.Stop()
	f.Stop()
	if _, err := f.Await(t.Context(), &Request{After: v(1), Wait: time.Hour}); !errors.Is(err, ErrStopping) {
		t.Errorf("stopped: %v", err)
	}
	if err := f.Set(v(2), []byte("x")); err == nil || !strings.Contains(err.Error(), "snapshot 1.2: it is not signed") {
		t.Errorf("no snapshot: %v", err)
	}
}

// Who is held is answered by what is published then, and not at the end of its time.
func TestWhoIsHeldIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(Options{})
		set(t, f, v(1), snapshot("1"))
		var got *Answer
		begun := time.Now()
		go func() { got, _ = f.Await(t.Context(), &Request{After: v(1), Wait: time.Minute}) }()
		synctest.Wait()
		tag := set(t, f, v(2), snapshot("2"))
		synctest.Wait()
		if got == nil || got.ETag != tag || time.Since(begun) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// small is a delta that says what it is of.
func small(base, target []byte) ([]byte, error) {
	return []byte("from" + string(base[len(base)-16:]) + "to" + string(target[len(target)-16:])), nil
}

func TestDeltas(t *testing.T) {
	var computed atomic.Int64
	f := New(Options{Delta: func(base, target []byte) ([]byte, error) {
		computed.Add(1)
		return small(base, target)
	}})
	first, second, third := snapshot("1"), snapshot("2"), snapshot("3")
	firstTag := set(t, f, v(1), first)
	set(t, f, v(2), second)
	thirdTag := set(t, f, v(3), third)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			a, err := f.Await(t.Context(), &Request{After: v(1), Has: []string{firstTag}, Delta: true, Gzip: true})
			if err != nil || a.Base != firstTag || a.ETag != thirdTag || a.Type != pushapi.DeltaType || a.Gzip ||
				string(a.Body) != "from1               to3               " {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	wg.Wait()
	if n := computed.Load(); n != 1 {
		t.Errorf("made %d times", n)
	}
	for name, q := range map[string]Request{
		"who can't build on it":      {After: v(1), Has: []string{firstTag}},
		"who has what nobody knows":  {After: v(1), Has: []string{v(1).ETag("aa")}, Delta: true},
		"who does not say what":      {After: v(1), Delta: true},
		"who has nothing of the tag": {Delta: true},
	} {
		if a, err := f.Await(t.Context(), &q); err != nil || a.Base != "" || !bytes.Equal(a.Body, third) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeltasLeaveTheHostSomeOfItsProcessors(t *testing.T) {
	var making, most, made atomic.Int64
	f := New(Options{Delta: func(base, target []byte) ([]byte, error) {
		defer making.Add(-1)
		for n := making.Add(1); n > most.Load(); {
			most.Store(n)
		}
		made.Add(1)
		for range 100 {
			runtime.Gosched() // so that the others come
		}
		return small(base, target)
	}})
	tags := make([]string, MaxBases+1)
	for i := range tags {
		tags[i] = set(t, f, v(uint64(i)+1), snapshot(fmt.Sprint(i)))
	}
	var wg sync.WaitGroup
	for i := range MaxBases {
		wg.Go(func() {
			if _, err := f.Await(t.Context(), &Request{After: v(uint64(i) + 1), Has: tags[i : i+1], Delta: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != MaxBases || most.Load() > int64(mostMade()) {
		t.Errorf("%d of %d deltas were made at once, want at most %d", most.Load(), made.Load(), mostMade())
	}
}

func TestADeltaThatIsNotWorthItIsNotSent(t *testing.T) {
	var made []byte
	var failure error
	var failed int
	f := New(Options{
		Delta:  func(_, _ []byte) ([]byte, error) { return made, failure },
		Failed: func(error) { failed++ },
	})
	generation := uint64(0)
	ask := func(takesGzip bool) *Answer {
		t.Helper()
		tag := set(t, f, v(generation+1), snapshot(fmt.Sprint(generation+1)))
		generation += 2
		set(t, f, v(generation), snapshot(fmt.Sprint(generation)))
		a, err := f.Await(t.Context(), &Request{After: v(generation - 1), Has: []string{tag}, Delta: true, Gzip: takesGzip})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	noise := make([]byte, 7000*3/4+100)
	for i := range noise {
		noise[i] = byte(i*i>>3 ^ i*7)
	}
	if made = noise; ask(false).Base != "" {
		t.Error("one that is about as long as the whole")
	}
	if made = noise[:1000]; ask(false).Base == "" {
		t.Error("a short one was not sent")
	}
	if made = noise[:200]; ask(true).Base == "" { // a 35th of the whole
		t.Error("a very short one waits for nothing")
	}
	if made = noise[:1000]; ask(true).Base != "" {
		t.Error("one longer than the compressed whole")
	}
	if made, failure = noise[:200], errors.New("no"); ask(false).Base != "" || failed != 1 {
		t.Errorf("none; %d failures", failed)
	}
}

func TestTheWholeIsCompressed(t *testing.T) {
	f := New(Options{})
	b := snapshot("1")
	set(t, f, v(1), b)
	a, err := f.Await(t.Context(), &Request{Gzip: true})
	if err != nil || !a.Gzip || len(a.Body) >= len(b) {
		t.Fatalf("%+v, %v", a, err)
	}
	again, _ := f.Await(t.Context(), &Request{Gzip: true})
	if &a.Body[0] != &again.Body[0] {
		t.Error("compressed twice")
	}
	r, err := gzip.NewReader(bytes.NewReader(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := io.ReadAll(r); err != nil || !bytes.Equal(out, b) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	f := New(Options{})
	for i := range 3 * MaxBases {
		set(t, f, v(uint64(i)+1), snapshot(fmt.Sprint(i)))
	}
	set(t, f, v(3*MaxBases), snapshot(fmt.Sprint(3*MaxBases-1))) // the same once more
	if len(f.files) != MaxBases+1 || f.files[MaxBases].version != v(3*MaxBases) || f.files[0].version != v(2*MaxBases) {
		t.Errorf("%d files, from %v", len(f.files), f.files[0].version)
	}
	f = New(Options{})
	for i := range 4 {
		set(t, f, v(uint64(i)+1), framed(MaxBaseBytes/2+1, fmt.Sprint(i)))
	}
	if len(f.files) != 2 {
		t.Errorf("%d large files", len(f.files))
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	for name, tt := range map[string]struct {
		query  string
		header map[string]string
		want   string // of the error
		q      Request
	}{
		"nothing":           {},
		"all":               {query: "after=1.4&refused=1.5&wait=30s", q: Request{After: v(4), Refused: v(5), Wait: 30 * time.Second}},
		"a long wait":       {query: "wait=5m", q: Request{Wait: pushapi.MaxWait}},
		"a negative wait":   {query: "wait=-1s", want: "parameter wait: want a time such as 30s"},
		"a bare number":     {query: "wait=30", want: "parameter wait"},
		"half a version":    {query: "after=4", want: "parameter after: want <epoch>.<generation>"},
		"a padded version":  {query: "refused=1.05", want: "parameter refused"},
		"twice":             {query: "after=1.4&after=1.4", want: "parameter after: want it once"},
		"another parameter": {query: "since=1.4", want: `unknown parameter "since"`},
		"a malformed query": {query: "after=%zz", want: "the query is malformed"},
		"tags":              {header: map[string]string{"If-None-Match": `"a", W/"b", *, "c"`}, q: Request{Has: []string{`"a"`, `"c"`}}},
		"many tags":         {header: map[string]string{"If-None-Match": `"a","b","c","d","e"`}, want: "at most 4 entity tags"},
		"manipulations":     {header: map[string]string{"A-IM": "vcdiff, Sallyport;q=0.5"}, q: Request{Delta: true}},
		"none of ours":      {header: map[string]string{"A-IM": "sallyport;q=0, gzip"}},
		"codings":           {header: map[string]string{"Accept-Encoding": "br;q=1, gzip; q=0.1"}, q: Request{Gzip: true}},
		"no gzip":           {header: map[string]string{"Accept-Encoding": "gzip;q=0"}},
		"a broken weight":   {header: map[string]string{"Accept-Encoding": "gzip;q=x"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, pushapi.SnapshotPath+"?"+tt.query, nil)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			q, err := Parse(r)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || fmt.Sprint(q) != fmt.Sprint(tt.q) {
				t.Errorf("%+v, %v; want %+v", q, err, tt.q)
			}
		})
	}
}

// Hammer: pollers come at random while snapshots are published; in the end all
// have the last one.
func TestAllPollersEndAtTheLastVersion(t *testing.T) {
	const pollers, last = 16, 200
	f := New(Options{Delta: small})
	var wg sync.WaitGroup
	for i := range pollers {
		wg.Go(func() {
			q := Request{Wait: time.Minute, Delta: i%2 == 0, Gzip: i%3 == 0}
			for q.After != v(last) {
				a, err := f.Await(t.Context(), &q)
				if err != nil {
					t.Error(err)
					return
				}
				text, _, _ := strings.Cut(strings.Trim(a.ETag, `"`), "-")
				next, ok := pushapi.ParseVersion(text)
				if !ok || next.Compare(q.After) <= 0 {
					t.Errorf("%s after %v", a.ETag, q.After)
					return
				}
				q.After, q.Has = next, []string{a.ETag}
			}
		})
	}
	for i := range last {
		set(t, f, v(uint64(i)+1), snapshot(fmt.Sprint(i)))
	}
	wg.Wait()
}
