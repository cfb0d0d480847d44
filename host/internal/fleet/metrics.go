package fleet

import (
	"github.com/prometheus/client_golang/prometheus"

	"sallyport/policydata/pushapi"
)

// Metrics are a Registry's. No label is what a proxy says: those could grow
// without bound.
type Metrics struct {
	Registry  *Registry
	Published func() pushapi.Version // against which workers lag
}

var (
	workersDesc = prometheus.NewDesc("sallyport_workers", "Workers of proxies that report what they enforce.", nil, nil)
	laggingDesc = prometheus.NewDesc("sallyport_workers_lagging", "Of these, the ones that enforce less than what is published.", nil, nil)
	refusesDesc = prometheus.NewDesc("sallyport_workers_refusing", "Of the lagging, the ones that could not take a snapshot.", nil, nil)
	reportsDesc = prometheus.NewDesc("sallyport_reports_total", "Reports of workers.", nil, nil)
	refusedDesc = prometheus.NewDesc("sallyport_reports_refused_total", "Of these, the ones that were refused: too many workers report, or one too often, or what they say is not understood.", nil, nil)
)

// Describe implements prometheus.Collector.
func (Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{workersDesc, laggingDesc, refusesDesc, reportsDesc, refusedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m Metrics) Collect(ch chan<- prometheus.Metric) {
	published := m.Published()
	live := m.Registry.Live()
	lagging, refusing := 0, 0
	for _, w := range live {
		switch stateOf(w, published) {
		case Enforcing:
			continue
		case Refusing:
			refusing++
		}
		lagging++
	}
	reports, refused := m.Registry.counts()
	gauge := func(d *prometheus.Desc, v int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	gauge(workersDesc, len(live))
	gauge(laggingDesc, lagging)
	gauge(refusesDesc, refusing)
	ch <- prometheus.MustNewConstMetric(reportsDesc, prometheus.CounterValue, float64(reports))
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(refused))
}
