package policydata

const markBytes = 16

// Mark returns what tells the snapshot b from any other, of its version or not:
// the end of its signature, as 32 hex digits. It is not ok where b has not the
// frame of a snapshot. Nothing is verified.
func Mark(b []byte) (mark string, ok bool) {
	_, sig, err := open(b)
	if err != nil || len(sig) < markBytes {
		return "", false
	}
	const digits = "0123456789abcdef"
	var out [2 * markBytes]byte
	for i, c := range sig[len(sig)-markBytes:] {
		out[2*i], out[2*i+1] = digits[c>>4], digits[c&15]
	}
	return string(out[:]), true
}
