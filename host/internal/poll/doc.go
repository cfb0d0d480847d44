// Package poll serves snapshots to proxies that ask for them, as package pushapi
// says: at once, or as soon as there is one.
//
// # A publication
//
// All who wait are woken at once, and all are sent the same bytes: a snapshot is
// compressed once, and a delta made once for each snapshot that somebody has,
// whoever asks first. Nothing is copied for a poller. The last few snapshots are
// kept for deltas to begin from, see [MaxBases] and [MaxBaseBytes]; who has an
// older one is sent the whole.
//
// A delta is sent where it is clearly smaller than the whole would be, compressed
// as the poller takes it.
//
// Who may poll, and how many, is for whoever serves this to say.
package poll
