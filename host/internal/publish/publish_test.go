package publish_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/e2e/logtest"
	"sallyport/host/internal/condition"
	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/signing"
	"sallyport/host/internal/store/mem"
	"sallyport/policydata"
)

// timeout bounds what a test waits for; it passes long before.
const timeout = time.Minute

type fixture struct {
	directory *directory.Directory
	publisher *publish.Publisher
	key       *signing.Key
	observed  chan error
	pushed    chan *publish.Published
	log       *logtest.Buffer
}

// newFixture returns a publisher over an empty store that accepts every
// condition, so that a test can commit what can't be compiled.
func newFixture(t *testing.T, sinks ...publish.Sink) *fixture {
	t.Helper()
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	accept := model.Checks{
		Condition: func(string, []string, []string) error { return nil },
		Keys:      func([]byte) error { return nil },
	}
	f := &fixture{
		directory: directory.New(mem.New(), accept, time.Now),
		key:       key,
		observed:  make(chan error, 100),
		pushed:    make(chan *publish.Published, 100),
		log:       &logtest.Buffer{},
	}
	take := func(_ context.Context, p *publish.Published) error {
		f.pushed <- p
		return nil
	}
	f.publisher = publish.New(publish.Options{
		Directory: f.directory, Key: key, Logger: slog.New(slog.NewTextHandler(f.log, nil)),
		Sinks:   append(sinks, take),
		Observe: func(_ time.Duration, err error) { f.observed <- err },
	})
	return f
}

// run runs the publisher until the test ends.
func (f *fixture) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.publisher.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (f *fixture) apply(t *testing.T, when string) uint64 {
	t.Helper()
	result, err := f.directory.Apply(t.Context(), []model.Entity{&model.Policy{
		Metadata: model.Metadata{Name: "p"},
		Rules:    []model.Rule{{Effect: model.Allow, Methods: []string{"GET"}, Paths: []string{"/{a}"}, When: when}},
	}}, directory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return result.Generation
}

func (f *fixture) wait(t *testing.T, generation uint64) *publish.Published {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	p, err := f.publisher.Wait(ctx, generation)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatWasCommittedBeforeTheStartIsPublished(t *testing.T) {
	f := newFixture(t)
	last := f.apply(t, "")
	last = max(last, f.apply(t, `path.a == "x"`))
	if current, _ := f.publisher.Current(); current != nil {
		t.Error("something is published before Run")
	}
	f.run(t)
	p := f.wait(t, last)
	if p.Version.Generation != last || p.Version.Epoch != 1 || p.Loaded.Generation() != last {
		t.Errorf("published %v", p.Version)
	}
	verify, err := signing.Verifier(f.key.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policydata.Load(p.Bytes, verify); err != nil {
		t.Errorf("a proxy would not take it: %v", err)
	}
	if first := <-f.pushed; first != p {
		t.Errorf("pushed %v, published %v", first.Version, p.Version)
	}
}

func TestEachCommitIsPublishedAfterItWasPushed(t *testing.T) {
	f := newFixture(t)
	f.run(t)
	f.wait(t, 0)
	if p := <-f.pushed; p.Version.Generation != 0 {
		t.Errorf("first pushed %v, want the empty store", p.Version)
	}
	_, changed := f.publisher.Current()
	generation := f.apply(t, "")
	p := f.wait(t, generation)
	select {
	case pushed := <-f.pushed:
		if pushed != p {
			t.Errorf("pushed %v, published %v", pushed.Version, p.Version)
		}
	default:
		t.Error("it is published and was not pushed")
	}
	<-changed
}

func TestManyCommitsEndWithTheLast(t *testing.T) {
	f := newFixture(t)
	f.run(t)
	var last uint64
	for i := range 50 {
		last = f.apply(t, `path.a == "`+strings.Repeat("x", i+1)+`"`)
	}
	if p := f.wait(t, last); p.Version.Generation != last {
		t.Errorf("published %v, want generation %d", p.Version, last)
	}
	generation := uint64(0)
	for len(f.pushed) > 0 {
		p := <-f.pushed
		if p.Version.Generation < generation {
			t.Errorf("pushed %d after %d", p.Version.Generation, generation)
		}
		generation = p.Version.Generation
	}
	if generation != last {
		t.Errorf("last pushed %d, want %d", generation, last)
	}
}

func TestWhatCannotBeCompiledKeepsTheLast(t *testing.T) {
	f := newFixture(t)
	f.run(t)
	good := f.apply(t, "")
	before := f.wait(t, good)
	if _, err := condition.Compile("path.b", []string{"a"}, nil); err == nil {
		t.Fatal("the condition of this test compiles")
	}
	for len(f.observed) > 0 {
		<-f.observed
	}
	f.apply(t, "path.b")
	if err := <-f.observed; err == nil || !strings.Contains(err.Error(), `policy "p": rule 0: when: `) {
		t.Errorf("observed %v", err)
	}
	if current, _ := f.publisher.Current(); current != before {
		t.Errorf("published %v, want %v still", current.Version, before.Version)
	}
	mended := f.apply(t, `path.a == "x"`) // and the next good commit counts at once
	if p := f.wait(t, mended); p.Version.Generation != mended {
		t.Errorf("published %v, want generation %d", p.Version, mended)
	}
	if text := f.log.String(); !strings.Contains(text, "what was published before stays in force") {
		t.Errorf("the log does not say it: %s", text)
	}
}

func TestASinkThatFailsStopsNothing(t *testing.T) {
	broken := func(context.Context, *publish.Published) error { return errors.New("nobody listens") }
	f := newFixture(t, broken)
	f.run(t)
	f.wait(t, f.apply(t, ""))
	if len(f.pushed) == 0 {
		t.Error("the second sink got nothing")
	}
	if text := f.log.String(); !strings.Contains(text, "nobody listens") {
		t.Errorf("the log does not say it: %s", text)
	}
}

func TestACommitDuringAPublicationIsPublished(t *testing.T) {
	var f *fixture
	var committed sync.Once
	f = newFixture(t, func(context.Context, *publish.Published) error {
		committed.Do(func() { f.apply(t, "") })
		return nil
	})
	f.run(t)
	f.wait(t, 1)
}

func TestWhatIsBeingPushedIsNotPublishedYet(t *testing.T) {
	var f *fixture
	f = newFixture(t, func(_ context.Context, p *publish.Published) error {
		if current, _ := f.publisher.Current(); current == p {
			t.Error("who waits for it finds a proxy without it")
		}
		return nil
	})
	f.run(t)
	f.wait(t, f.apply(t, ""))
}

func TestWaitEndsWithItsContext(t *testing.T) {
	f := newFixture(t)
	f.run(t)
	f.wait(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := f.publisher.Wait(ctx, 99)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}
