// Package load tests and measures what pushes do to requests: a real host pushes
// again and again to a real Envoy with two workers, while clients ask for what
// each push changes. Every answer names the generation that decided it, and must
// be right for that one.
package load
