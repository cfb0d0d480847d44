// Package oidctest is a small, real OpenID provider for tests: discovery, key
// set and token endpoint over HTTP or TLS, with true signatures. Its keys rotate
// in the ways in which those of real providers do, and it can fail in the ways
// in which real providers fail.
//
// A key is published, or not, and at most one key signs:
//
//	key := p.Publish("ES256") // in the set, does not sign yet
//	p.Activate(key)           // signs from now on; the one before stays published
//	p.Rotate("ES256")         // both at once, as many providers do it
//	p.Withdraw(old)           // no longer in the set; its tokens are still about
package oidctest
