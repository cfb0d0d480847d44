package issuerkeys

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
)

func TestRotation(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		w.apply("idp", "{discovery: true}")
		w.want("idp", "a")
		generation := w.generation()

		w.set("https://idp", keySet("b", "a"))
		w.sleep(10 * time.Minute)
		w.want("idp", "a b")
		w.set("https://idp", keySet("b"))
		w.sleep(10 * time.Minute)
		w.want("idp", "-a b")
		if got := w.generation(); got != generation+2 {
			t.Errorf("%d commits for two changes", got-generation)
		}

		removed := w.status("idp").Keys[0].Removed
		w.sleep(time.Until(removed.Add(10*time.Minute - time.Second)))
		w.want("idp", "-a b")
		w.sleep(time.Second)
		w.want("idp", "b")
		if got := w.generation(); got != generation+3 {
			t.Errorf("%d commits for two changes and an end", got-generation)
		}
		for _, want := range []string{"added=[a]", "added=[b]", "unlisted=[a]", "dropped=[a]"} {
			if strings.Count(w.log.String(), want) != 1 {
				t.Errorf("the log has not once %s: %s", want, w.log)
			}
		}
	})
}

func TestAnUnchangedSetCommitsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp/keys", keySet("a", "b"))
		w.apply("idp", `{uri: "https://idp/keys"}`)
		generation := w.generation()
		w.set("https://idp/keys", keySet("b", "a"))
		w.sleep(24 * time.Hour)
		if got := w.generation(); got != generation {
			t.Errorf("%d commits", got-generation)
		}
		// Ahead of the 10 minutes that an answer is good for, and not often.
		if n := w.count("https://idp/keys"); n < 24*6 || n > 24*8 {
			t.Errorf("%d fetches in a day", n)
		}
	})
}

func TestKeepRemoved(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://now", keySet("a"))
		w.set("https://late", keySet("a"))
		w.apply("now", "{discovery: true, keepRemoved: 0s}", "late", "{discovery: true, keepRemoved: 24h}")
		w.set("https://now", keySet("b"))
		w.set("https://late", keySet("b"))
		w.sleep(10 * time.Minute)
		w.want("now", "b")
		w.want("late", "-a b")
		w.sleep(23 * time.Hour)
		w.want("late", "-a b")
		w.apply("late", "{discovery: true, keepRemoved: 1h}") // counts for what is removed already
		w.want("late", "b")
	})
}

// TestFailuresKeepTheKeys has all that an issuer can do wrong.
func TestFailuresKeepTheKeys(t *testing.T) {
	private := strings.Replace(keySet("b"), `"kty"`, `"d":"AA","kty"`, 1)
	tests := []struct{ name, answer, want string }{
		{"down", "connection refused", "connection refused"},
		{"truncated", keySet("b")[:40], "invalid JSON"},
		{"no set", `{"error":"x"}`, `no array "keys"`},
		{"no keys", `{"keys":[]}`, "none of its 0 keys can be used"},
		{"only keys for encryption", strings.Replace(keySet("b"), `"sig"`, `"enc"`, 1), "none of its 1 keys can be used"},
		{"only keys of other algorithms", strings.Replace(keySet("b"), `"ES256"`, `"ES384"`, 1), "none of its 1 keys can be used"},
		{"a private key", private, `private parameter "d"`},
		{"a symmetric key", `{"keys":[{"kty":"oct","k":"AA"}]}`, "a symmetric key"},
		{"one kid twice", keySet("b", "b"), `the kid "b"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.set("https://idp", keySet("a"))
				w.apply("idp", "{discovery: true}")
				generation := w.generation()
				w.set("https://idp", test.answer)
				w.sleep(time.Hour)
				w.want("idp", "a")
				s := w.status("idp")
				if !strings.Contains(s.LastError, test.want) || s.LastSuccess.IsZero() || !s.LastAttempt.After(s.LastSuccess) || s.NextRefresh.Before(time.Now().Truncate(time.Second)) {
					t.Errorf("got %+v, want an error with %q", s, test.want)
				}
				if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings: %s", n, w.log)
				}
				if w.generation() != generation {
					t.Error("something was committed")
				}
				w.set("https://idp", keySet("a", "c"))
				w.sleep(2 * lastRetry)
				w.want("idp", "a c")
				if s := w.status("idp"); s.LastError != "" || !strings.Contains(w.log.String(), "fetched again") {
					t.Errorf("after the recovery: %+v; %s", s, w.log)
				}
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", "down")
		w.apply("idp", "{discovery: true}")
		w.sleep(time.Hour)
		// 5, 10, 20, ... 300 seconds, more or less: 7 until the 6th minute, then
		// one each 5 minutes.
		if n := w.count("https://idp"); n < 14 || n > 22 {
			t.Errorf("%d tries in an hour", n)
		}
		if s := w.status("idp"); len(s.Keys) != 0 || s.LastError == "" || !s.LastSuccess.IsZero() {
			t.Errorf("got %+v", s)
		}
	})
}

func TestSkippedKeysAreInTheStatus(t *testing.T) {
	inWorld(t, func(w *world) {
		set := strings.Replace(keySet("a", "e", "w"), `"alg":"ES256","crv":"P-256","kid":"e","kty":"EC","use":"sig"`, `"kid":"e","kty":"EC","use":"enc"`, 1)
		set = strings.Replace(set, `"crv":"P-256","kid":"w"`, `"crv":"P-384","kid":"w"`, 1)
		w.set("https://idp", set)
		w.apply("idp", "{discovery: true}")
		w.want("idp", "a")
		s := w.status("idp").Skipped
		if s.Count != 2 || !strings.Contains(s.Reasons[0], `kid "e": use "enc"`) || !strings.Contains(s.Reasons[1], `kid "w": "x" has 32 bytes`) {
			t.Errorf("skipped: %+v", s)
		}
		if !strings.Contains(w.log.String(), "a key of an issuer is not used") || strings.Contains(w.log.String(), `use \"enc`) {
			t.Errorf("the log warns of what is flawed alone: %s", w.log)
		}
		if k := w.status("idp").Keys[0]; k.Type != "EC" || k.Algorithm != "ES256" || k.Since.IsZero() {
			t.Errorf("key %+v", k)
		}
	})
}

// TestOneHangs has one issuer that never answers, beside one that does.
func TestOneHangs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hang("https://dead", 10*time.Hour)
		w.set("https://idp", keySet("a"))
		w.apply("dead", "{discovery: true}", "idp", "{discovery: true}")
		w.want("idp", "a")
		w.set("https://idp", keySet("b"))
		w.sleep(time.Millisecond)
		if _, err := w.keeper.Find(w.Context(), "https://idp", "b"); err != nil {
			t.Error(err)
		}
		w.want("idp", "-a b")
	})
}

func TestRestartWithoutTheIssuer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		w.apply("idp", "{discovery: true}")
		w.set("https://idp", keySet("b"))
		w.sleep(9 * time.Minute)
		w.want("idp", "-a b")
		w.stop()
		w.set("https://idp", "down")
		time.Sleep(time.Hour)
		w.start()
		w.sleep(time.Second)
		w.want("idp", "b") // a's time is over, whether the issuer is there or not
		w.sleep(30 * 24 * time.Hour)
		w.want("idp", "b")
	})
}

func TestAnotherIssuerOfTheName(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp/keys", keySet("a"))
		w.apply("idp", `{uri: "https://idp/keys"}`)
		w.want("idp", "a")
		if _, err := w.dir.Delete(w.Context(), model.Key{Kind: model.KindIssuer, Name: "idp"}, directory.Options{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, ok := w.keeper.Status("idp"); ok {
			t.Error("a deleted issuer has a status")
		}
		fetches := w.count("https://idp/keys")
		w.sleep(time.Hour)
		if n := w.count("https://idp/keys"); n != fetches {
			t.Errorf("%d fetches for a deleted issuer", n-fetches)
		}

		w.set("https://idp/keys", "down")
		w.apply("idp", `{uri: "https://idp/keys"}`)
		w.want("idp", "")
		w.set("https://idp/keys", keySet("a"))
		w.sleep(time.Minute)
		w.want("idp", "a")

		w.set("https://idp/other", "down")
		w.apply("idp", `{uri: "https://idp/other"}`)
		w.want("idp", "")
		if s := w.status("idp"); s.Source != "https://idp/other" || s.LastError == "" {
			t.Errorf("got %+v", s)
		}
		w.apply("idp", `{inline: {keys: []}}`)
		if _, ok := w.keeper.Status("idp"); ok {
			t.Error("an issuer with inline keys has a status")
		}
	})
}

// TestALateAnswer has a fetch under way when its issuer becomes another one.
func TestALateAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp/keys", keySet("a"))
		w.hang("https://idp/keys", 5*time.Second)
		w.set("https://idp/other", keySet("b"))
		w.apply("idp", `{uri: "https://idp/keys"}`)
		w.apply("idp", `{uri: "https://idp/other"}`)
		w.sleep(time.Minute)
		w.want("idp", "b")
	})
}

func TestFind(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		w.apply("idp", "{discovery: true}", "own", "{inline: {keys: []}}")
		before := w.generation()
		w.sleep(time.Minute)
		if g, err := w.keeper.Find(w.Context(), "https://idp", "a"); g != before || err != nil {
			t.Errorf("a known kid: %d, %v", g, err)
		}
		if n := w.count("https://idp"); n != 1 {
			t.Errorf("%d fetches for a known kid", n-1)
		}

		w.set("https://idp", keySet("a", "b"))
		if g, err := w.keeper.Find(w.Context(), "https://idp", "b"); g != before+1 || err != nil {
			t.Errorf("a new kid: %d, %v", g, err)
		}
		// The answer serves for other kids that are asked for at this moment.
		if _, err := w.keeper.Find(w.Context(), "https://idp", "x"); !errors.Is(err, ErrNoKey) || w.count("https://idp") != 2 {
			t.Errorf("a kid that there is not: %v, %d fetches", err, w.count("https://idp"))
		}
		w.sleep(time.Minute)
		if _, err := w.keeper.Find(w.Context(), "https://idp", "x"); !errors.Is(err, ErrNoKey) || w.count("https://idp") != 3 {
			t.Errorf("a kid that there is not, later: %v, %d fetches", err, w.count("https://idp"))
		}
		for _, iss := range []string{"https://own", "https://none", "idp", ""} {
			if _, err := w.keeper.Find(w.Context(), iss, "a"); !errors.Is(err, ErrNoIssuer) {
				t.Errorf("issuer %q: %v", iss, err)
			}
		}
		w.sleep(time.Minute)
		w.set("https://idp", "down")
		if _, err := w.keeper.Find(w.Context(), "https://idp", "y"); err == nil || !strings.Contains(err.Error(), "down") {
			t.Errorf("a fetch that fails: %v", err)
		}
	})
}

func TestHundredAskAtOnce(t *testing.T) {
	for kid, want := range map[string]error{"b": nil, "x": ErrNoKey} {
		t.Run(kid, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.set("https://idp", keySet("a"))
				w.apply("idp", "{discovery: true}")
				w.sleep(time.Minute)
				w.set("https://idp", keySet("a", "b"))
				w.hang("https://idp", time.Second)
				var all sync.WaitGroup
				for range 100 {
					all.Go(func() {
						if _, err := w.keeper.Find(w.Context(), "https://idp", kid); !errors.Is(err, want) {
							t.Errorf("got %v, want %v", err, want)
						}
					})
				}
				all.Wait()
				if n := w.count("https://idp"); n != 2 {
					t.Errorf("%d fetches for 100 questions", n-1)
				}
			})
		})
	}
}

// TestAFetchThatBeganEarlier may have missed what is asked for while it lasts.
func TestAFetchThatBeganEarlier(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		w.hang("https://idp", 8*time.Second)
		w.apply("idp", "{discovery: true}") // fetches
		w.sleep(4 * time.Second)
		w.set("https://idp", keySet("a", "b"))
		if _, err := w.keeper.Find(w.Context(), "https://idp", "b"); err != nil || w.count("https://idp") != 2 {
			t.Errorf("got %v after %d fetches", err, w.count("https://idp"))
		}
	})
}

func TestLimits(t *testing.T) {
	inWorld(t, func(w *world) {
		var docs []string
		for i := range 20 {
			w.set(fmt.Sprint("https://idp", i), keySet("a"))
			docs = append(docs, fmt.Sprint("idp", i), "{discovery: true}")
		}
		w.apply(docs...)
		w.sleep(time.Minute)
		before := w.count("https://idp0")
		var all sync.WaitGroup
		for i := range 300 { // 30 seconds
			all.Go(func() {
				asked := time.Now()
				if _, err := w.keeper.Find(w.Context(), "https://idp0", fmt.Sprint("x", i)); !errors.Is(err, ErrNoKey) {
					t.Error(err)
				}
				if held := time.Since(asked); held > maxHold {
					t.Errorf("held for %v", held)
				}
			})
			w.sleep(100 * time.Millisecond)
		}
		// A new key is found in this flood.
		w.set("https://idp0", keySet("a", "b"))
		if _, err := w.keeper.Find(w.Context(), "https://idp0", "b"); err != nil {
			t.Error(err)
		}
		all.Wait()
		if n := w.count("https://idp0") - before; n < 10 || n > 30/2+issuerBurst+1 {
			t.Errorf("%d fetches in 30 s", n)
		}
		// Others are not concerned.
		if _, err := w.keeper.Find(w.Context(), "https://idp1", "x"); !errors.Is(err, ErrNoKey) {
			t.Error(err)
		}

		w.sleep(time.Hour)
		limited := atomic.Int32{}
		for range 5 {
			for i := range 20 {
				all.Go(func() {
					_, err := w.keeper.Find(w.Context(), fmt.Sprint("https://idp", i), "x")
					if l := (*LimitedError)(nil); errors.As(err, &l) {
						limited.Add(1)
						if l.After <= 0 {
							t.Errorf("after %v", l.After)
						}
					}
				})
			}
			w.sleep(2 * time.Second)
		}
		all.Wait()
		if limited.Load() == 0 {
			t.Error("all issuers together are not limited")
		}
	})
}

func TestRefresh(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		w.apply("idp", "{discovery: true}", "own", "{inline: {keys: []}}")
		w.set("https://idp", keySet("b"))
		s, err := w.keeper.Refresh(w.Context(), "idp")
		if err != nil || len(s.Keys) != 2 || s.LastError != "" {
			t.Errorf("got %+v, %v", s, err)
		}
		w.set("https://idp", "down")
		s, err = w.keeper.Refresh(w.Context(), "idp")
		if err != nil || len(s.Keys) != 2 || s.LastError != "down" {
			t.Errorf("got %+v, %v", s, err)
		}
		for _, name := range []string{"own", "none"} {
			if _, err := w.keeper.Refresh(w.Context(), name); !errors.Is(err, ErrNoIssuer) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestAtOnceAfterApply asks before the keeper can have seen the new issuer.
func TestAtOnceAfterApply(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		var all sync.WaitGroup
		all.Go(func() {
			for {
				s, err := w.keeper.Refresh(w.Context(), "idp")
				if errors.Is(err, ErrNoIssuer) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil || len(s.Keys) != 1 {
					t.Errorf("got %+v, %v", s, err)
				}
				return
			}
		})
		w.apply("idp", "{discovery: true}")
		all.Wait()
	})
}

// TestAskersAreToldOfTheEnd has questions open when the host stops.
func TestAskersAreToldOfTheEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hang("https://idp", time.Hour)
		w.apply("idp", "{discovery: true}")
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := w.keeper.Find(w.Context(), "https://idp", "b"); !errors.Is(err, errStopped) {
				t.Error(err)
			}
		})
		all.Go(func() {
			if _, err := w.keeper.Refresh(w.Context(), "idp"); !errors.Is(err, errStopped) {
				t.Error(err)
			}
		})
		synctest.Wait()
		w.stop()
		all.Wait()
	})
}

// TestTwoHostsOnOneStore commit each change once.
func TestTwoHostsOnOneStore(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set("https://idp", keySet("a"))
		w.apply("idp", "{discovery: true}")
		other := *w
		other.start()
		defer other.stop()
		w.sleep(time.Hour)
		before := w.generation()
		w.set("https://idp", keySet("b"))
		w.sleep(30 * time.Minute)
		w.want("idp", "b")
		other.want("idp", "b")
		if n := w.generation() - before; n != 2 { // b is there and a no longer listed; a is gone
			t.Errorf("%d commits", n)
		}
	})
}

// A document that was another for a moment, which nobody looked at, is the same
// as before: its keys are fetched on.
func TestADocumentThatComesBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stop() // nobody looks, but who asks
		w.set("https://idp/keys", keySet("a"))
		w.apply("idp", `{uri: "https://idp/keys"}`)
		r, err := w.dir.Load(w.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := w.keeper.newIssuer(r.State.Issuers[0])
		i.observe(r)
		ctx, cancel := context.WithCancel(w.Context())
		defer func() {
			cancel()
			<-i.ended
		}()
		w.hang("https://idp/keys", time.Second)
		go i.run(ctx)
		synctest.Wait()
		w.apply("idp", `{uri: "https://elsewhere/keys"}`)
		w.sleep(2 * time.Second) // the fetch ends, of a document that is not there
		w.apply("idp", `{uri: "https://idp/keys"}`)
		if r, err = w.dir.Load(w.Context()); err != nil {
			t.Fatal(err)
		}
		if doc := r.State.Issuers[0]; !i.serves(doc) {
			t.Fatal("it is another document")
		}
		i.observe(r)
		w.sleep(2 * time.Second)
		if _, ok := i.has("a"); !ok {
			t.Error("its keys are fetched no more")
		}
	})
}
