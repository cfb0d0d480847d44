package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	extensionv3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sallyport/host/internal/directory"
	"sallyport/host/internal/model"
	"sallyport/host/internal/publish"
	"sallyport/host/internal/xds"
	"sallyport/policydata"
	"sallyport/policydata/pushapi"
)

// takers is how many proxies take what a benchmark publishes.
const takers = 1000

// manyPolicies is 10,000 policies, and a user for each.
func manyPolicies() []model.Entity {
	var all []model.Entity
	for i := range baseUsers {
		name := fmt.Sprintf("policy-%05d", i)
		all = append(all, &model.Policy{
			Metadata: model.Metadata{Name: name},
			Rules:    []model.Rule{{Effect: model.Allow, Methods: []string{"*"}, Paths: []string{"/workspaces/" + name + "/**"}}},
		}, &model.User{Metadata: model.Metadata{Name: userName(i)}, Policies: []string{name}})
	}
	return all
}

// BenchmarkPollers measures how long it takes from before a commit until 1,000
// proxies have what it makes, with 10,000 policies and users: by long poll with
// whole snapshots and with deltas, and by xDS. The proxies are in the process of
// the host, so that its CPU time is that of both.
func BenchmarkPollers(b *testing.B) {
	for _, way := range []struct {
		name  string
		begin func(*testing.B, *scaled, *fleetArrivals)
	}{
		{"poll-whole", func(b *testing.B, s *scaled, a *fleetArrivals) { beginPolls(b, s, a, false) }},
		{"poll-delta", func(b *testing.B, s *scaled, a *fleetArrivals) { beginPolls(b, s, a, true) }},
		{"xds", beginStreams},
	} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				measurePush(b, way.begin)
			}
		})
	}
}

// fleetArrivals are when proxies have got versions.
type fleetArrivals struct {
	mu    sync.Mutex
	at    map[uint64][]time.Time // guarded by mu; by generation
	bytes map[uint64]int         // guarded by mu; that were sent
	news  chan struct{}          // has room for one
}

func (a *fleetArrivals) add(generation uint64, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[generation] = append(a.at[generation], time.Now())
	a.bytes[generation] += n
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// await waits until all proxies have got a generation.
func (a *fleetArrivals) await(generation uint64) []time.Time {
	for {
		a.mu.Lock()
		at := a.at[generation]
		a.mu.Unlock()
		if len(at) >= takers {
			return at
		}
		<-a.news
	}
}

func measurePush(b *testing.B, begin func(*testing.B, *scaled, *fleetArrivals)) {
	const rounds = 5
	s := startScaled(b)
	result, err := s.Directory().Apply(b.Context(), manyPolicies(), directory.Options{})
	if err != nil {
		b.Fatal(err)
	}
	published, err := s.Publisher().Wait(b.Context(), result.Generation)
	if err != nil {
		b.Fatal(err)
	}
	a := &fleetArrivals{at: map[uint64][]time.Time{}, bytes: map[uint64]int{}, news: make(chan struct{}, 1)}
	idle := heap()
	begin(b, s, a)
	a.await(result.Generation)
	b.ReportMetric(float64(heap()-idle)/takers/1024, "KiB/proxy")
	b.ReportMetric(float64(len(published.Bytes))/1024, "KiB-snapshot")
	var half, all, publish samples
	cpu := cpuTime(b)
	for i := range rounds {
		begun := time.Now()
		user := &model.User{Metadata: model.Metadata{Name: userName(i), Description: "changed"}}
		result, err := s.Directory().Apply(b.Context(), []model.Entity{user}, directory.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Publisher().Wait(b.Context(), result.Generation); err != nil {
			b.Fatal(err)
		}
		publish.add(time.Since(begun))
		at := a.await(result.Generation)
		half.add(at[len(at)/2].Sub(begun))
		all.add(slices.MaxFunc(at, time.Time.Compare).Sub(begun))
		b.ReportMetric(float64(a.bytes[result.Generation])/takers/1024, "KiB-sent/proxy")
	}
	b.ReportMetric(float64((cpuTime(b)-cpu)/rounds)/float64(time.Millisecond), "ms-cpu")
	for name, s := range map[string]*samples{"publish": &publish, "half": &half, "all": &all} {
		slices.Sort(s.list)
		b.ReportMetric(float64(s.list[len(s.list)/2])/float64(time.Millisecond), "ms-"+name)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// untilEnd returns a context that ends with a benchmark, before its host does.
func untilEnd(b *testing.B) (context.Context, *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return ctx, &running
}

func beginPolls(b *testing.B, s *scaled, a *fleetArrivals, deltas bool) {
	ctx, running := untilEnd(b)
	transport := &http.Transport{MaxIdleConnsPerHost: takers}
	b.Cleanup(transport.CloseIdleConnections)
	current, _ := s.Publisher().Current()
	have := versionOf(current)
	for range takers {
		running.Go(func() {
			p := &poller{client: &http.Client{Transport: transport}, have: have, deltas: deltas}
			p.mark, _ = policydata.Mark(current.Bytes)
			a.add(have.Generation, 0)
			for ctx.Err() == nil {
				n, err := p.poll(ctx, "http://"+s.HTTPAddr())
				if err != nil && ctx.Err() == nil {
					b.Error(err)
					return
				}
				if n > 0 {
					a.add(p.have.Generation, n)
				}
			}
		})
	}
	for s.pollers(b) != takers {
		time.Sleep(10 * time.Millisecond)
	}
}

func versionOf(p *publish.Published) pushapi.Version {
	return pushapi.Version{Epoch: p.Version.Epoch, Generation: p.Version.Generation}
}

// pollers asks the metrics how many poll.
func (s *scaled) pollers(b *testing.B) (n int) {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.HTTPAddr()+"/metrics", nil)
	if err != nil {
		b.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "sallyport_pollers %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// poller polls as a filter does, and reads what comes without looking at it.
type poller struct {
	client *http.Client
	have   pushapi.Version
	mark   string
	deltas bool
}

// poll polls once, and returns how many bytes came.
func (p *poller) poll(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+pushapi.SnapshotPath+"?wait=60s&after="+p.have.String(), nil)
	if err != nil {
		return 0, err
	}
	req.Header = http.Header{"If-None-Match": {p.have.ETag(p.mark)}, "Accept-Encoding": {"gzip"}}
	if p.deltas {
		req.Header.Set("A-IM", pushapi.DeltaManipulation)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode == http.StatusNotModified {
		return 0, err
	}
	if got := resp.StatusCode == http.StatusIMUsed; got != p.deltas {
		return 0, fmt.Errorf("status %s", resp.Status)
	}
	_, err = fmt.Sscanf(resp.Header.Get("ETag"), `"%d.%d-%32s"`, &p.have.Epoch, &p.have.Generation, &p.mark)
	return int(n), err
}

func beginStreams(b *testing.B, s *scaled, a *fleetArrivals) {
	conns := make([]*grpc.ClientConn, takers)
	for i := range conns {
		conn, err := grpc.NewClient(s.XDSAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(xds.MaxConfigurationBytes)))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		conns[i] = conn
	}
	ctx, running := untilEnd(b)
	for i, conn := range conns {
		running.Go(func() {
			if err := takeStream(ctx, conn, fmt.Sprint("edge-", i), a); err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
}

// takeStream takes configurations as Envoy does.
func takeStream(ctx context.Context, conn *grpc.ClientConn, node string, a *fleetArrivals) error {
	g, err := extensionv3.NewExtensionConfigDiscoveryServiceClient(conn).StreamExtensionConfigs(ctx)
	if err != nil {
		return err
	}
	answer := &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: node}, TypeUrl: xds.TypeURL, ResourceNames: []string{xds.ResourceName}}
	for {
		if err := g.Send(answer); err != nil {
			return err
		}
		r, err := g.Recv()
		if err != nil {
			return err
		}
		v, ok := pushapi.ParseVersion(r.GetVersionInfo())
		if !ok {
			return fmt.Errorf("version %q", r.GetVersionInfo())
		}
		a.add(v.Generation, len(r.GetResources()[0].GetValue()))
		answer.VersionInfo, answer.ResponseNonce = r.GetVersionInfo(), r.GetNonce()
	}
}
