// Package mem implements store.Store in memory, for tests: it is fast, and a
// second implementation keeps the suite of package storetest honest.
package mem
