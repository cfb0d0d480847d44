// Package filtertest is what the filter must do, as one table for every way to
// run it: natively against the SDK's emulated host, and as the built module in
// a proxy-wasm host. It only uses the filter's outside: configurations go in,
// requests go in, answers and headers come out.
package filtertest
