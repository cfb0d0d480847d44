package policydata

import "encoding/hex"

// MarkBytes is how many bytes of a signature are the mark.
const MarkBytes = 16

// Mark returns what tells the snapshot b from any other that the key signed, of
// its version or not, without a hash over all of it: the last bytes of its
// signature, as 32 hexadecimal digits. It is not ok where b has not the frame of a
// snapshot, or too short a signature. Nothing is verified.
func Mark(b []byte) (mark string, ok bool) {
	_, sig, err := open(b)
	if err != nil {
		return "", false
	}
	mark = markOf(sig)
	return mark, mark != ""
}

// Mark returns the snapshot's mark, as the function Mark does.
func (s *Snapshot) Mark() string { return s.mark }

func markOf(sig []byte) string {
	if len(sig) < MarkBytes {
		return ""
	}
	return hex.EncodeToString(sig[len(sig)-MarkBytes:])
}
