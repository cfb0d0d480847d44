// Package poll tests how the filter gets snapshots from a host by long poll, and
// what it reports: with several VMs in wazero, then in the real Envoy. The host
// is one that says whatever a test wants.
package poll
