package server_test

import (
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sallyport/host/internal/xds"
)

// arrivals are when generations, or later ones, came somewhere.
type arrivals struct {
	mu      sync.Mutex
	at      map[uint64]time.Time // guarded by mu
	last    uint64               // guarded by mu
	changed chan struct{}        // guarded by mu; closed and replaced by each
}

func newArrivals() *arrivals {
	return &arrivals{at: map[uint64]time.Time{}, changed: make(chan struct{})}
}

func (a *arrivals) add(generation uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.last < generation {
		a.last++
		a.at[a.last] = time.Now()
	}
	close(a.changed)
	a.changed = make(chan struct{})
}

// await returns when a generation came.
func (a *arrivals) await(generation uint64) time.Time {
	for {
		a.mu.Lock()
		at, came, changed := a.at[generation], a.last >= generation, a.changed
		a.mu.Unlock()
		if came {
			return at
		}
		<-changed
	}
}

// connectProxy makes a proxy that takes each push by xDS, and notes when it has
// all of it.
func (s *scaled) connectProxy(b *testing.B) {
	conn, err := grpc.NewClient(s.XDSAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(xds.MaxConfigurationBytes)))
	if err != nil {
		b.Fatal(err)
	}
	stream, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(conn).StreamExtensionConfigs(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	request := &discoveryv3.DiscoveryRequest{
		Node: &corev3.Node{Id: "scale"}, ResourceNames: []string{xds.ResourceName}, TypeUrl: xds.TypeURL,
	}
	if err := stream.Send(request); err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			r, err := stream.Recv()
			if err != nil {
				return // the benchmark has ended
			}
			_, generation, _ := strings.Cut(r.VersionInfo, ".")
			if n, err := strconv.ParseUint(generation, 10, 64); err == nil {
				s.received.add(n)
			}
			request.VersionInfo, request.ResponseNonce = r.VersionInfo, r.Nonce
			if stream.Send(request) != nil {
				return
			}
		}
	}()
	b.Cleanup(func() {
		if err := conn.Close(); err != nil {
			b.Error(err)
		}
		<-done
	})
}

// cpuTime returns what the process has taken of the machine's processors, which
// tells more than a clock where others share them.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
