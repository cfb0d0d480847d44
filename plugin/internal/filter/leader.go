package filter

const (
	// A lease is short, so that another worker soon leads where the VM of one
	// that led is gone, and is renewed when half of it is over.
	leaseMillis = 2000

	// How often at most a leader writes again what others have changed, and how
	// often it looks whether a worker wants the snapshot's bytes again.
	repairMillis = 500
	wantedMillis = 1000
)

// leader is a worker's part in leading.
type leader struct {
	headKey, snapshotKey, wantedKey string // in shared data

	leads     bool
	published head  // what was last announced from here; only what it announces counts
	repaired  int64 // when it was
	looked    int64 // when wanted was read
	wanted    uint32
}

// followOrLead reads the head. It takes a snapshot that is newer, and the lease
// where nobody has it.
func (f *feed) followOrLead(now int64) {
	value, number, ok := sharedData(f.leader.headKey)
	if !ok {
		f.lead(false)
		return
	}
	h, valid := parseHead(value, now)
	if valid {
		f.follow(&h, now)
	}
	switch {
	case valid && h.leader == f.vm.self.id:
		f.keepLease(h, number, now)
	case valid && h.until > now:
		f.lead(false)
	default:
		// What is announced stays for now; it is nothing if h is not valid.
		f.leader.published = h
		f.write(h, number, now)
	}
}

// keepLease renews the lease of this worker, and makes the head announce what is
// in force here.
func (f *feed) keepLease(h head, number uint32, now int64) {
	l, current := &f.leader, &f.driver().enforcer.loaded
	f.lead(true)
	switch {
	case h.is(current):
		if f.isWanted(now) {
			setSharedData(l.snapshotKey, current.raw, whatever)
		}
	case h.version.Compare(current.version()) > 0 && h.announces(&l.published) && f.follower.failures < patience:
		// Whoever led before had it, and perhaps it can still be taken.
	case !l.published.is(current) || now >= l.repaired+repairMillis:
		if !setSharedData(l.snapshotKey, current.raw, whatever) {
			return
		}
		h.announce(current)
		l.published, l.repaired = h, now
		f.write(h, number, now)
		return
	}
	if h.until-now < leaseMillis/2 {
		f.write(h, number, now)
	}
}

// isWanted reports whether a worker could not use the bytes in shared data since
// this was last asked.
func (f *feed) isWanted(now int64) bool {
	l := &f.leader
	if now < l.looked+wantedMillis {
		return false
	}
	l.looked = now
	_, number, ok := sharedData(l.wantedKey)
	if !ok || number == absent || number == l.wanted {
		return false
	}
	l.wanted = number
	return true
}

// write writes the head with a lease of this worker.
func (f *feed) write(h head, number uint32, now int64) {
	h.leader, h.until = f.vm.self.id, now+leaseMillis
	// Where the entry has changed meanwhile, another was faster.
	f.lead(setSharedData(f.leader.headKey, h.append(nil), number))
}

// lead notes whether this worker leads.
func (f *feed) lead(leads bool) {
	if leads && !f.leader.leads {
		f.driver().enforcer.metrics.pushed(pushLeads)
	}
	f.leader.leads = leads
}

// A worker that can't take a snapshot from shared data makes pauses, and says
// after some attempts that it wants the bytes again.
const (
	minRetryMillis = 100
	maxRetryMillis = 5000
	patience       = 3
)

// follower is a worker's part in taking snapshots from shared data.
type follower struct {
	failures int    // since a snapshot was last taken
	retry    int64  // not before
	bad      uint32 // the number of the entry that did not verify
	differs  bool   // the leader enforces the same version with another mark
}

// follow takes the snapshot that a head announces, if that is newer. One of the
// same version, which differs in how it was made, might be one of before: only
// the host can say.
func (f *feed) follow(h *head, now int64) {
	w, current := &f.follower, &f.driver().enforcer.loaded
	order := h.version.Compare(current.version())
	w.differs = order == 0 && !h.is(current) && h.leader != f.vm.self.id
	if order <= 0 || now < w.retry {
		return
	}
	s, number, err := readShared(f.leader.snapshotKey, h, f.driver().enforcer.keys, w.bad)
	if err == nil {
		err = f.take(s, "from shared data")
	}
	if err == nil {
		*w = follower{}
		f.driver().enforcer.metrics.pushed(pushShared)
		return
	}
	w.bad = number
	w.retry = now + min(int64(minRetryMillis)<<min(w.failures, 16), maxRetryMillis)
	if w.failures++; w.failures >= patience {
		setSharedData(f.leader.wantedKey, f.vm.self.id[:], whatever)
	}
}

// readShared reads the snapshot that a head announces. Of the entry with the
// number bad it is known that it does not verify. The number is that of the
// entry, if it is another such.
func readShared(key string, h *head, keys trustedKeys, bad uint32) (s loaded, number uint32, err error) {
	collect()
	raw, number, ok := sharedData(key)
	if !ok || number == absent || number == bad || len(raw) != int(h.size) {
		return loaded{}, bad, errNotShared
	}
	if s, err = load(raw, keys); err != nil {
		return loaded{}, number, err
	}
	if !h.is(&s) {
		return loaded{}, bad, errNotShared
	}
	return s, bad, nil
}

// takeShared puts the snapshot of the other workers in the place of an older
// one, or none: a worker that begins anew enforces at once what they do.
func (e *enforcer) takeShared(name string, now int64) {
	key := feedKey(name, &e.config)
	value, _, ok := sharedData(key + headSuffix)
	h, valid := parseHead(value, now)
	if !ok || !valid || h.version.Compare(e.version()) <= 0 {
		return
	}
	if s, _, err := readShared(key+snapshotSuffix, &h, e.keys, 0); err == nil {
		e.loaded = s
	}
}
