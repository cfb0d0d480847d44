package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"sallyport/host/internal/publish"
	"sallyport/host/internal/xds"
)

// metrics are the host's Prometheus metrics.
type metrics struct {
	generation prometheus.Gauge
	bytes      prometheus.Gauge
	expires    prometheus.Gauge
	renewals   *prometheus.CounterVec
	compiles   prometheus.Histogram
	failures   prometheus.Counter
	pushes     prometheus.Counter
	acks       prometheus.Counter
	nacks      prometheus.Counter
	streams    prometheus.Gauge
}

func newMetrics() (*prometheus.Registry, *metrics) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		generation: gauge("sallyport_generation", "The generation that was published last."),
		bytes:      gauge("sallyport_snapshot_bytes", "The size of the snapshot that was published last."),
		expires: gauge("sallyport_snapshot_expires_timestamp_seconds",
			"When the snapshot that was published last becomes stale; 0: never."),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_snapshot_renewals_total",
			Help: "Commits that keep the snapshot from becoming stale, by result: renewed, or failed.",
		}, []string{"result"}),
		compiles: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sallyport_compile_seconds", Help: "How long a snapshot took to compile, sign and load.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		failures: counter("sallyport_compile_failures_total", "Failed tries to compile a commit to a snapshot."),
		pushes:   counter("sallyport_xds_pushes_total", "Configurations sent to proxies."),
		acks:     counter("sallyport_xds_acks_total", "Configurations that proxies took."),
		nacks:    counter("sallyport_xds_nacks_total", "Configurations that proxies refused."),
		streams:  gauge("sallyport_xds_streams", "Open streams of proxies."),
	}
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.generation, m.bytes, m.expires, m.renewals, m.compiles, m.failures, m.pushes, m.acks, m.nacks, m.streams,
	)
	return r, m
}

func (m *metrics) hooks() xds.Hooks {
	return xds.Hooks{
		Pushed:  func(int) { m.pushes.Inc() },
		Acked:   m.acks.Inc,
		Nacked:  m.nacks.Inc,
		Streams: func(change int) { m.streams.Add(float64(change)) },
	}
}

func (m *metrics) compiled(took time.Duration, err error) {
	if err != nil {
		m.failures.Inc()
		return
	}
	m.compiles.Observe(took.Seconds())
}

func (m *metrics) published(p *publish.Published) {
	m.generation.Set(float64(p.Version.Generation))
	m.bytes.Set(float64(len(p.Bytes)))
	expires := 0.0
	if at := p.Version.Expires; !at.IsZero() {
		expires = float64(at.Unix())
	}
	m.expires.Set(expires)
}
