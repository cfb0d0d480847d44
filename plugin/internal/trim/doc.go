// Package trim removes from the built filter what no proxy needs of it.
//
// The SDK exports every callback of the ABI. A proxy calls each callback that is
// exported, on every request, and entering Go costs about a microsecond even
// where there is nothing to do: response headers and bodies, the log, the end of
// the stream. A callback that is not exported counts as one that lets things
// pass. So [Module] keeps the exports that the filter implements or the SDK
// needs, and drops the others; custom sections, which nothing reads, go too.
//
// The lists below name every export of the SDK. One that is in neither is an
// error, so that a new version of the SDK can't change what is called unseen.
package trim
