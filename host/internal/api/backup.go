package api

import (
	"net/http"
	"strconv"
	"time"

	"sallyport/host/internal/backup"
)

// BackupType is the media type of a backup.
const BackupType = "application/gzip"

// backupTimeout bounds how long a backup may take to be sent: it may be large, and
// there is no other meanwhile.
const backupTimeout = 30 * time.Minute

// backup answers what the store holds now, as package backup has it. One at a
// time: each is in memory.
func (a *api) backup(w http.ResponseWriter, r *http.Request) {
	if _, err := readQuery(r); err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	if !a.backingUp.TryLock() {
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, "another backup is under way")
		return
	}
	defer a.backingUp.Unlock()
	content, err := backup.Take(r.Context(), a.Store)
	if err != nil {
		a.failRead(w, err)
		return
	}
	w.Header().Set("Content-Type", BackupType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(backupTimeout)) // not all writers have one
	_, _ = w.Write(content)                                                           // a client that went away is no error of ours
}
