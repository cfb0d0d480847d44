// Package tlsfiles serves TLS by certificates that lie in files, and that are read
// again when the files change: what renews certificates need not restart the host.
//
// A change that can't be used, such as a certificate whose key was not written
// yet, is no reason to stop: what was good stays in force, and the next handshake
// looks again.
package tlsfiles
