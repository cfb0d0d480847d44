package filter

import (
	"fmt"

	"sallyport/plugin/internal/native"
	"sallyport/policydata"
	"sallyport/policydata/authorize"
	"sallyport/policydata/pushapi"
	"sallyport/policydata/token"
)

// loaded is a snapshot that a trusted key has signed. The zero loaded is none.
type loaded struct {
	snapshot *policydata.Snapshot
	raw      []byte // its bytes, in which the snapshot reads
	mark     string // see policydata.Mark
	signer   []byte // the trusted key
}

// load verifies and loads a snapshot, wherever it comes from. raw must not change
// from here on.
func load(raw []byte, keys trustedKeys) (loaded, error) {
	v := verifier{keys: keys}
	s, err := policydata.Load(raw, v.verify)
	if err != nil {
		return loaded{}, err
	}
	return loaded{snapshot: s, raw: raw, mark: s.Mark(), signer: v.signer}, nil
}

func (l *loaded) version() pushapi.Version { return versionOf(l.snapshot) }

// markBytes is the mark in shared data.
func (l *loaded) markBytes() (mark [markBytes]byte) {
	copy(mark[:], l.raw[max(0, len(l.raw)-markBytes):])
	return mark
}

// versionOf returns the version of a snapshot; zero if there is none.
func versionOf(s *policydata.Snapshot) pushapi.Version {
	if s == nil {
		return pushapi.Version{}
	}
	return pushapi.Version{Epoch: s.Epoch(), Generation: s.Generation()}
}

// version is a snapshot's for logs.
func version(s *policydata.Snapshot) string {
	if s == nil {
		return "none"
	}
	return versionOf(s).String()
}

// older reports whether taking next would undo what last enforces. No snapshot
// at all counts as older than any.
func older(next, last *policydata.Snapshot) bool {
	if next == nil || last == nil {
		return last != nil
	}
	return versionOf(next).Compare(versionOf(last)) < 0
}

// begin gives an enforcer its engine. Of the one that it replaces, which may be
// nil, it takes over the verified tokens.
func (e *enforcer) begin(replaced *enforcer) error {
	source := authorize.TokenSource{Header: e.config.TokenHeader, Cookie: e.config.TokenCookie}
	var err error
	if e.engine, err = authorize.New(e.snapshot, source, token.WithSignatureFunc(native.VerifyToken)); err != nil {
		return err
	}
	if replaced == nil {
		replaced = &nothing
	}
	e.engine.CacheTokens(replaced.engine)
	e.since, _ = monotonic()
	if e.mark == replaced.mark && e.version() == replaced.version() {
		e.since = replaced.since
	}
	return nil
}

// swap puts a snapshot in force without a new configuration. Requests that were
// decided are not touched; those that wait are decided anew in the next tick.
func (p *pluginContext) swap(s loaded) error {
	before := p.enforcer
	if older(s.snapshot, before.snapshot) {
		return fmt.Errorf("%s is older than %s", version(s.snapshot), version(before.snapshot))
	}
	next := &enforcer{config: before.config, keys: before.keys, metrics: before.metrics, loaded: s}
	if err := next.begin(before); err != nil {
		return err
	}
	p.enforcer = next
	// Of plugins with one snapshot the one that was there first stays.
	if last := p.vm.lastGood[p.name]; last == before || !older(s.snapshot, last.snapshot) && s.mark != last.mark {
		p.vm.lastGood[p.name] = next
	}
	protect(func() { next.metrics.generation(s.snapshot) }) // what can't be shown is in force all the same
	return nil
}
