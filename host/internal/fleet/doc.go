// Package fleet knows what the workers of all proxies enforce, by what they say
// of themselves: a worker reports when it begins, when something changes, and
// every pushapi.ReportEvery, and is forgotten when it was silent for
// pushapi.Lease, by the monotonic clock.
//
// A worker is one by the identity that its proxy proved, and by the instance,
// process, worker and plugin that it names. So what is reported under one
// identity is never taken for what another one has reported.
//
// How often a worker and an identity report is limited, see [Registry.Admit] and
// [Registry.Report], so that none can keep the host busy.
//
// What is known is in memory. For a lease after the host's start it is not
// known whether all have reported; nor is it after a report was refused: see
// [Registry.Incomplete].
package fleet
