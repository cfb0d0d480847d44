// Package inflate decompresses gzip (RFC 1952) in the filter.
//
// It knows from the member's end how much comes out, and decodes straight into a
// buffer of that size. compress/gzip copies all by way of a window of its own;
// in wasm that takes much longer, and it adds 130 kB to the module, of which
// this is a tenth. It agrees with compress/gzip on every input of one member.
package inflate
