package wasmhost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolReplacesWhatTrapped(t *testing.T) {
	p := newPool(t, Options{}, "hello", 1)
	for range 2 {
		if _, err := p.Request(t.Context(), request("panic"), true); !errors.Is(err, ErrTrap) {
			t.Fatalf("got %v, want a trap", err)
		}
		if got := ask(t, p, "config"); got != "hello" {
			t.Errorf("the new instance has %q, want hello", got)
		}
	}
}

func TestPoolWaitsForAnInstance(t *testing.T) {
	p := newPool(t, Options{}, "", 1)
	in, err := p.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := p.Request(ctx, request("pass"), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	p.release(in)
	ask(t, p, "config")
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Request(t.Context(), request("pass"), true); !errors.Is(err, ErrPoolClosed) {
		t.Errorf("after Close: %v, want ErrPoolClosed", err)
	}
}

func TestNewPoolRefuses(t *testing.T) {
	m := compileProbe(t, Options{})
	if _, err := NewPool(t.Context(), m, []byte("bad"), 1); !errors.Is(err, ErrConfigRejected) {
		t.Errorf("got %v, want a rejection", err)
	}
	if _, err := NewPool(t.Context(), m, nil, 0); err == nil {
		t.Error("a pool of nothing")
	}
}

func TestPoolConfigure(t *testing.T) {
	p := newPool(t, Options{}, "floor 5", 2)
	// Both instances are started.
	a, errA := p.acquire(t.Context())
	b, errB := p.acquire(t.Context())
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	p.release(a)
	p.release(b)
	if err := p.Configure(t.Context(), []byte("floor 6")); err != nil {
		t.Fatal(err)
	}
	a, errA = p.acquire(t.Context())
	b, errB = p.acquire(t.Context())
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	for _, in := range []*Instance{a, b} {
		if got := ask(t, in, "config"); got != "floor 6" {
			t.Errorf("an instance has %q, want floor 6", got)
		}
	}
	p.release(a)
	p.release(b)
	tests := []struct {
		name, config, want string
		cause              error
	}{
		{"the canary refuses", "bad", "configuration is bad: bad", ErrConfigRejected},
		{"the canary traps", "trap", "told to trap", ErrTrap},
		{"what a VM without a past takes can be refused by one in use", "floor 4", "older than what is in force", ErrConfigRejected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := p.Configure(t.Context(), []byte(tt.config))
			if !errors.Is(err, tt.cause) {
				t.Fatalf("got %v, want %v", err, tt.cause)
			}
			wantContains(t, err.Error(), tt.want)
			if got := ask(t, p, "config"); got != "floor 6" {
				t.Errorf("then the configuration is %q, want floor 6", got)
			}
		})
	}
}

// While configurations change and VMs trap, a request is never decided by a
// configuration older than the one in force when it began.
func TestPoolUnderConcurrency(t *testing.T) {
	const configs, clients, requests = 20, 4, 40
	p := newPool(t, Options{}, "0", 3)
	var inForce atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range requests {
				if i%10 == 9 {
					if _, err := p.Request(t.Context(), request("panic"), true); !errors.Is(err, ErrTrap) {
						t.Errorf("got %v, want a trap", err)
					}
					continue
				}
				atLeast := inForce.Load()
				result, err := p.Request(t.Context(), request("config"), true)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := strconv.ParseInt(string(result.Local.Body), 10, 64)
				if err != nil || got < atLeast {
					t.Errorf("decided by configuration %d, %v, although %d was in force", got, err, atLeast)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range configs {
			if err := p.Configure(t.Context(), fmt.Append(nil, i+1)); err != nil {
				t.Error(err)
				return
			}
			inForce.Store(int64(i + 1))
		}
	})
	wg.Wait()
	if got := ask(t, p, "config"); got != strconv.Itoa(configs) {
		t.Errorf("in the end the configuration is %s, want %d", got, configs)
	}
}

// Compare and swap is atomic between VMs.
func TestSharedDataUnderConcurrency(t *testing.T) {
	const clients, requests = 4, 50
	p := newPool(t, Options{}, "", clients)
	shared := p.module.rt.shared
	shared.set("n", string(make([]byte, 8)), 0)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range requests {
				result, err := p.Request(t.Context(), request("increment n"), true)
				if err != nil || result.Local.Status != 200 {
					t.Errorf("%+v, %v", result.Local, err)
					return
				}
			}
		})
	}
	wg.Wait()
	v, _ := shared.value("n")
	if got := binary.LittleEndian.Uint64([]byte(v.value)); got != clients*requests {
		t.Errorf("counted %d, want %d", got, clients*requests)
	}
}
