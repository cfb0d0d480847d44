package policydata

import "encoding/hex"

// markBytes of a signature tell one signed file from another.
const markBytes = 16

// Mark returns what tells a signed file from others of its version: the last 16
// bytes of its signature, in hexadecimal.
func Mark(file []byte) (string, bool) {
	if len(file) < markBytes {
		return "", false
	}
	return hex.EncodeToString(file[len(file)-markBytes:]), true
}
