package poll

import (
	"encoding/binary"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"sallyport/policydata"
)

// Parts of the head in shared data.
const (
	headBytes   = 64
	headLeader  = 4
	headUntil   = 20
	headVersion = 28
	headMark    = 44
	headSize    = 60
)

// Another plugin may write the shared data. Whatever it writes, nothing else is
// enforced, and the next snapshot comes.
func TestGarbageInSharedData(t *testing.T) {
	fl := newFleet(t, 3, nil)
	n := uint64(7)
	fl.publish(generation(t, fl.f, 1, n))
	fl.enforce("1.7")
	fl.await("the snapshot in shared data", func() error {
		if !strings.HasSuffix(strings.Join(fl.runtime.SharedKeys(), ""), "/process") {
			return errors.New("no report yet")
		}
		for _, key := range fl.runtime.SharedKeys() {
			if strings.HasSuffix(key, "/snapshot") {
				return nil
			}
		}
		return errors.New("not yet")
	})
	head, snapshot := fl.entry("/head"), fl.entry("/snapshot")
	wanted := head[:len(head)-len("/head")] + "/wanted"
	good, _ := fl.runtime.SharedData(head)
	if len(good) != headBytes {
		t.Fatalf("the head has %d bytes", len(good))
	}
	with := func(change func(b []byte)) []byte {
		good, _ := fl.runtime.SharedData(head)
		change(good)
		return good
	}
	foreign := fl.f.ForeignConfig(t, false, at(9, 9)).Snapshot
	announce := func(b, s []byte) {
		mark, _ := policydata.Mark(s)
		copy(b[headMark:], unhex(mark))
		binary.LittleEndian.PutUint64(b[headVersion:], 9)
		binary.LittleEndian.PutUint64(b[headVersion+8:], 9)
		binary.LittleEndian.PutUint32(b[headSize:], uint32(len(s)))
	}
	tests := map[string]func(){
		"a lease for ever": func() {
			fl.runtime.SetSharedData(head, with(func(b []byte) {
				copy(b[headLeader:], "somebody else...")
				binary.LittleEndian.PutUint64(b[headUntil:], math.MaxInt64)
			}))
		},
		"a lease of another": func() {
			fl.runtime.SetSharedData(head, with(func(b []byte) { copy(b[headLeader:], "somebody else...") }))
		},
		"a lease of long ago": func() {
			fl.runtime.SetSharedData(head, with(func(b []byte) { binary.LittleEndian.PutUint64(b[headUntil:], 1<<63) }))
		},
		"another version": func() {
			fl.runtime.SetSharedData(head, with(func(b []byte) { binary.LittleEndian.PutUint64(b[headVersion:], 9) }))
		},
		"another mark": func() {
			fl.runtime.SetSharedData(head, with(func(b []byte) { b[headMark] ^= 1 }))
		},
		"another size": func() {
			fl.runtime.SetSharedData(head, with(func(b []byte) { binary.LittleEndian.PutUint32(b[headSize:], math.MaxUint32) }))
		},
		"a snapshot of a stranger": func() {
			fl.runtime.SetSharedData(snapshot, foreign)
			fl.runtime.SetSharedData(head, with(func(b []byte) { announce(b, foreign) }))
		},
		"a snapshot of before": func() {
			fl.runtime.SetSharedData(snapshot, generation(t, fl.f, 1, 3))
		},
		"a snapshot of before, announced as new": func() {
			old := generation(t, fl.f, 1, 3)
			fl.runtime.SetSharedData(snapshot, old)
			fl.runtime.SetSharedData(head, with(func(b []byte) { announce(b, old) }))
		},
		"no snapshot":    func() { fl.runtime.SetSharedData(snapshot, nil) },
		"wanted garbage": func() { fl.runtime.SetSharedData(wanted, make([]byte, 1000)) },
		"all empty": func() {
			for _, key := range fl.runtime.SharedKeys() {
				fl.runtime.SetSharedData(key, nil)
			}
		},
		"all garbage": func() {
			for _, key := range fl.runtime.SharedKeys() {
				fl.runtime.SetSharedData(key, []byte("garbage \x00\xff"))
			}
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			spoil()
			fl.keep(version(1, n), 300*time.Millisecond)
			spoil()
			n++
			fl.publish(generation(t, fl.f, 1, n))
			t.Logf("the next after %v", fl.enforce(version(1, n)))
			// Who begins anew finds it soon, with the host or without it.
			fl.stop()
			in := fl.start(nil)
			fl.await("a new worker", func() error { return fl.is(in, version(1, n)) })
			fl.kill(0)
			fl.restart()
		})
	}
}

func TestHeadsOfAllLengths(t *testing.T) {
	fl := newFleet(t, 2, nil)
	fl.publish(generation(t, fl.f, 1, 7))
	fl.enforce("1.7")
	head := fl.entry("/head")
	for length := range 2 * headBytes {
		good, _ := fl.runtime.SharedData(head)
		fl.runtime.SetSharedData(head, append(good, make([]byte, headBytes)...)[:length])
		fl.keep("1.7", time.Millisecond)
		time.Sleep(10 * time.Millisecond)
	}
	fl.publish(generation(t, fl.f, 1, 8))
	fl.enforce("1.8")
}

// A lease that is somebody's for ever, renewed again and again, makes snapshots
// late, by a minute at most.
func TestLeaseThatIsStolen(t *testing.T) {
	fl := newFleet(t, 2, nil)
	fl.publish(generation(t, fl.f, 1, 7))
	fl.enforce("1.7")
	head := fl.entry("/head")
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			b, _ := fl.runtime.SharedData(head)
			if len(b) == headBytes {
				copy(b[headLeader:], "somebody else...")
				now := time.Since(start) + time.Duration(fl.ahead.Load())
				binary.LittleEndian.PutUint64(b[headUntil:], uint64(now.Milliseconds()+1500))
				fl.runtime.SetSharedData(head, b)
			}
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	fl.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }) // ends the poll that is open
	fl.keep("1.7", 300*time.Millisecond)
	fl.answers(nil)
	fl.publish(generation(t, fl.f, 1, 8))
	fl.keep("1.7", time.Second)
	fl.ahead.Add(int64(time.Minute))
	fl.enforce("1.8")
	close(done)
	<-stopped
	fl.publish(generation(t, fl.f, 1, 9))
	fl.enforce("1.9")
}
