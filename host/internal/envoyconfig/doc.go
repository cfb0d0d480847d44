// Package envoyconfig writes bootstrap configurations of Envoy that people can
// copy: one proxy in front of one upstream, with the filter in between.
//
// The texts are YAML with comments that say why a value is as it is. Printed
// with the default options they are the files envoy/ecds.yaml, envoy/poll.yaml and
// envoy/static.yaml of this repository.
package envoyconfig
