package filter

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"sallyport/policydata"
)

// metrics are Envoy's counters and gauges of the filter, summed over workers.
type metrics struct {
	decisions [policydata.NumReasons]proxywasm.MetricCounter
	waits     [numWaitEvents]proxywasm.MetricCounter
	pushes    [numPushEvents]proxywasm.MetricCounter
	refusals  proxywasm.MetricCounter
	enforced  proxywasm.MetricGauge
}

// defineMetrics defines them; a host answers a name that is defined already with
// the same metric.
func defineMetrics() *metrics {
	m := &metrics{
		refusals: proxywasm.DefineCounterMetric("sallyport_snapshots_refused"),
		enforced: proxywasm.DefineGaugeMetric("sallyport_generation"),
	}
	for r := range policydata.NumReasons {
		m.decisions[r] = proxywasm.DefineCounterMetric("sallyport_decisions_" + r.String())
	}
	for e, name := range waitEventNames {
		m.waits[e] = proxywasm.DefineCounterMetric("sallyport_" + name)
	}
	for e, name := range pushEventNames {
		m.pushes[e] = proxywasm.DefineCounterMetric("sallyport_" + name)
	}
	return m
}

// waitEvent is what happens to requests that wait for a key.
type waitEvent int

const (
	waitAsked    waitEvent = iota // the host was asked for a key
	waitBegan                     // a request waits
	waitFull                      // a request could not wait: too many do
	waitAllowed                   // one that had waited goes on
	waitDenied                    // was denied: the host has no such key, or for another reason
	waitTimedOut                  // was denied: nothing came in time
	waitGone                      // its client went away
	numWaitEvents
)

var waitEventNames = [numWaitEvents]string{
	waitAsked: "keys_asked", waitBegan: "waits", waitFull: "waits_full", waitAllowed: "waits_allowed",
	waitDenied: "waits_denied", waitTimedOut: "waits_timed_out", waitGone: "waits_gone",
}

// waited counts. That it can't, for which the SDK panics, changes nothing: only
// decisions must be counted.
func (m *metrics) waited(e waitEvent) {
	if m != nil {
		protect(func() { m.waits[e].Increment(1) })
	}
}

// pushEvent is what happens in getting snapshots from the host.
type pushEvent int

const (
	pushPolls       pushEvent = iota // the host was asked
	pushErrors                       // it gave no answer, or none that could be used
	pushPolled                       // a snapshot of the host's was put in force
	pushShared                       // one of another worker's was
	pushDeltas                       // a delta led to a snapshot
	pushDeltaErrors                  // a delta did not
	pushLeads                        // a worker began to lead
	numPushEvents
)

var pushEventNames = [numPushEvents]string{
	pushPolls: "polls", pushErrors: "poll_errors", pushPolled: "snapshots_polled", pushShared: "snapshots_shared",
	pushDeltas: "deltas_applied", pushDeltaErrors: "deltas_failed", pushLeads: "leads",
}

// pushed counts; that it can't changes nothing.
func (m *metrics) pushed(e pushEvent) { protect(func() { m.pushes[e].Increment(1) }) }

func (m *metrics) decided(r policydata.Reason) {
	if m != nil {
		m.decisions[r].Increment(1)
	}
}

// refused counts; that it can't changes nothing.
func (m *metrics) refused() { protect(func() { m.refusals.Increment(1) }) }

// generation sets the gauge to the generation that was last taken by a worker.
// The SDK can only add to a gauge, which races with the other workers; the ABI
// has one call to record a value of any metric, which the SDK calls for
// histograms.
func (m *metrics) generation(s *policydata.Snapshot) {
	if s != nil {
		proxywasm.MetricHistogram(m.enforced).Record(s.Generation())
	}
}
