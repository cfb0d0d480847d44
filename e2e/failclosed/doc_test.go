// Package failclosed breaks the filter in the real Envoy, in each way that there
// is: its module, its configuration, its VM. Nothing may pass meanwhile.
package failclosed
