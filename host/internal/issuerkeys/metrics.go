package issuerkeys

import "github.com/prometheus/client_golang/prometheus"

// Results of fetches.
const (
	resultChanged   = "changed"
	resultUnchanged = "unchanged"
	resultFailed    = "failed"
)

// Results of asking for an unknown "kid".
const (
	findKnown   = "known"   // it was there already
	findFetched = "fetched" // a fetch brought it
	findAbsent  = "absent"  // the issuer has no such key
	findIssuer  = "unknown_issuer"
	findLimited = "limited"
	findFailed  = "failed"
)

type metrics struct {
	fetches *prometheus.CounterVec
	finds   *prometheus.CounterVec
}

var (
	keysDesc = prometheus.NewDesc("sallyport_issuer_keys",
		"Keys in force of issuers whose keys are fetched.", []string{"issuer"}, nil)
	successDesc = prometheus.NewDesc("sallyport_issuer_last_success_timestamp_seconds",
		"When an issuer's keys were fetched last; 0: not since the host started.", []string{"issuer"}, nil)
)

func newMetrics() *metrics {
	return &metrics{
		fetches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_fetches_total", Help: "Fetches of issuers' keys by result.",
		}, []string{"issuer", "result"}),
		finds: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_unknown_kid_requests_total", Help: "Proxies' questions for unknown kids by result.",
		}, []string{"result"}),
	}
}

// Describe implements prometheus.Collector.
func (k *Keeper) Describe(ch chan<- *prometheus.Desc) {
	ch <- keysDesc
	ch <- successDesc
	k.metrics.fetches.Describe(ch)
	k.metrics.finds.Describe(ch)
}

// Collect implements prometheus.Collector.
func (k *Keeper) Collect(ch chan<- prometheus.Metric) {
	for name, i := range k.snapshot() {
		s := i.report()
		last := 0.0
		if !s.LastSuccess.IsZero() {
			last = float64(s.LastSuccess.Unix())
		}
		ch <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, float64(len(s.Keys)), name)
		ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, last, name)
	}
	k.metrics.fetches.Collect(ch)
	k.metrics.finds.Collect(ch)
}
