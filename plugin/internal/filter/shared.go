package filter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"sallyport/policydata"
	"sallyport/policydata/pluginconfig"
	"sallyport/policydata/pushapi"
)

// What the VMs of a proxy's workers share. Any plugin with the same vm_id may
// write there, so nothing of it is believed: a snapshot counts by its signature
// and its version, and all else can only be late. A plugin's entries are
//
//	<feed>/head      who leads until when, and which snapshot is there
//	<feed>/snapshot  that snapshot's bytes
//	<feed>/wanted    changes where a worker can't use these bytes
//
// and sallyport/process names the process in reports.
const (
	sharedPrefix   = "sallyport/"
	processKey     = sharedPrefix + "process"
	headSuffix     = "/head"
	snapshotSuffix = "/snapshot"
	wantedSuffix   = "/wanted"
)

// feedKey names what plugins share: those of one name that get the same
// snapshots from the same place, and trust the same keys. Plugins of one name on
// several listeners do, and so does the plugin of a configuration that replaces
// another.
func feedKey(name string, c *pluginconfig.Config) string {
	h := sha256.New()
	add := func(text []byte) {
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(text))))
		h.Write(text)
	}
	add([]byte(name))
	add([]byte(c.HostCluster))
	add([]byte(c.HostAuthority))
	for _, key := range c.TrustedKeys {
		add(key)
	}
	return sharedPrefix + hex.EncodeToString(h.Sum(nil)[:pushapi.IDBytes])
}

const (
	headMagic = "SPH1"
	markBytes = policydata.MarkBytes
	headBytes = len(headMagic) + pushapi.IDBytes + 8 + 8 + 8 + markBytes + 4
)

// head is the entry that all workers read in each tick.
type head struct {
	leader  workerID
	until   int64 // the end of its lease, in milliseconds of the monotonic clock
	version pushapi.Version
	mark    [markBytes]byte
	size    uint32 // of the snapshot; 0: there is none
}

// workerID tells workers apart.
type workerID [pushapi.IDBytes]byte

func (h *head) append(out []byte) []byte {
	out = append(append(out, headMagic...), h.leader[:]...)
	out = binary.LittleEndian.AppendUint64(out, uint64(h.until))
	out = binary.LittleEndian.AppendUint64(out, h.version.Epoch)
	out = binary.LittleEndian.AppendUint64(out, h.version.Generation)
	out = append(out, h.mark[:]...)
	return binary.LittleEndian.AppendUint32(out, h.size)
}

// parseHead reads a head. One whose lease ends later than any lease can is
// somebody's garbage.
func parseHead(b []byte, now int64) (h head, ok bool) {
	if len(b) != headBytes || string(b[:len(headMagic)]) != headMagic {
		return head{}, false
	}
	b = b[len(headMagic):]
	b = b[copy(h.leader[:], b):]
	h.until = int64(binary.LittleEndian.Uint64(b))
	h.version.Epoch = binary.LittleEndian.Uint64(b[8:])
	h.version.Generation = binary.LittleEndian.Uint64(b[16:])
	b = b[24:]
	b = b[copy(h.mark[:], b):]
	h.size = binary.LittleEndian.Uint32(b)
	if h.until > now+leaseMillis || h.size > policydata.MaxSnapshotBytes {
		return head{}, false
	}
	return h, true
}

// is reports whether the head announces a snapshot.
func (h *head) is(s *loaded) bool {
	return h.version == s.version() && h.mark == s.markBytes() && int(h.size) == len(s.raw)
}

// announces reports whether two heads announce the same.
func (h *head) announces(other *head) bool {
	return h.version == other.version && h.mark == other.mark && h.size == other.size
}

// announce makes the head announce a snapshot, or that there is none.
func (h *head) announce(s *loaded) {
	h.version, h.mark, h.size = s.version(), s.markBytes(), uint32(len(s.raw))
}
