package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/policydata"
	"sallyport/policydata/decidetest"
	"sallyport/policydata/delta"
)

func acceptAll(_, _ []byte) error { return nil }

// seal completes a body without a key.
func seal(body []byte) []byte {
	return policydata.AppendSignature(body, "k1", []byte("not a signature.."))
}

func build(t testing.TB, src policydata.Source) []byte {
	t.Helper()
	body, err := policydata.Build(src)
	if err != nil {
		t.Fatal(err)
	}
	return seal(body)
}

// edited returns a source with some entities as another one has them, and some
// gone. Both are of decidetest.Random, so that names and references fit.
func edited(r decidetest.Random, src, other policydata.Source) policydata.Source {
	src.Generation++
	src.Policies = slices.Clone(src.Policies)
	for i := range src.Policies {
		if r.IntN(4) == 0 {
			src.Policies[i] = other.Policies[i]
		}
	}
	for range r.IntN(3) {
		p := decidetest.Pick(r, other.Policies...)
		p.Name += "-new"
		src.Policies = append(slices.DeleteFunc(src.Policies, func(x policydata.Policy) bool { return x.Name == p.Name }), p)
	}
	src.Users = slices.Clone(src.Users)
	for i := range src.Users {
		if r.IntN(4) == 0 {
			src.Users[i].Disabled = !src.Users[i].Disabled
			src.Users[i].Policies = []string{"p0", "p7"}
		}
	}
	if r.IntN(2) == 0 {
		src.Users = append(src.Users, policydata.User{Name: decidetest.Pick(r, "a", "u00", "z"), Policies: []string{"p3"}})
	}
	if r.IntN(2) == 0 {
		src.Issuers, src.Revoked = other.Issuers, other.Revoked
	}
	if r.IntN(2) == 0 {
		src.Services = other.Services
	}
	return src
}

// What Make makes of two snapshots, Apply makes the second of the first, byte for
// byte.
func TestRandomEdits(t *testing.T) {
	smaller := 0
	const rounds = 300
	for seed := range uint64(rounds) {
		r := decidetest.NewRandom(seed, 5)
		src, other := r.Source(), r.Source()
		base := build(t, src)
		for name, to := range map[string]policydata.Source{"edited": edited(r, src, other), "other": other, "empty": {}} {
			target := build(t, to)
			body, err := delta.Make(base, target)
			if err != nil {
				t.Fatalf("seed %d, %s: %v", seed, name, err)
			}
			got, err := delta.Apply(base, seal(body), acceptAll)
			if err != nil || !bytes.Equal(got, target) {
				t.Fatalf("seed %d, %s: %d bytes of %d, %v", seed, name, len(got), len(target), err)
			}
			if len(body) > len(target) {
				t.Errorf("seed %d, %s: the delta has %d bytes, the target %d", seed, name, len(body), len(target))
			}
			if len(body) < len(target)/2 && name == "edited" {
				smaller++
			}
		}
	}
	if smaller < rounds*9/10 {
		t.Errorf("only %d deltas of edits are less than half of their target", smaller)
	}
}

// pair returns a base and a target, signed, and the signed delta between them.
func pair(t testing.TB, s signer) (base, target, signed []byte) {
	t.Helper()
	r := decidetest.NewRandom(3, 5)
	src := r.Source()
	src.Epoch, src.Generation = 2, 7
	base, target = s.build(t, src), s.build(t, edited(r, src, r.Source()))
	body, err := delta.Make(base, target)
	if err != nil {
		t.Fatal(err)
	}
	return base, target, s.sign(t, body)
}

func TestInfo(t *testing.T) {
	s := newSigner(t)
	base, target, signed := pair(t, s)
	got, err := delta.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	baseMark, _ := policydata.Mark(base)
	targetMark, _ := policydata.Mark(target)
	want := delta.Info{
		Base:        delta.Version{Epoch: 2, Generation: 7, Mark: baseMark},
		Target:      delta.Version{Epoch: 2, Generation: 8, Mark: targetMark},
		TargetBytes: len(target), KeyID: "key-1",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if tag := got.Target.String(); tag != "2.8-"+targetMark || len(targetMark) != 32 {
		t.Errorf("the target is %q", tag)
	}
}

// A changed byte is refused by the signature, but for the key's id, which says
// nothing.
func TestFlippedBytesAreRefused(t *testing.T) {
	s := newSigner(t)
	base, target, signed := pair(t, s)
	keyID := bytes.LastIndex(signed, []byte("key-1"))
	for i := range signed {
		bad := slices.Clone(signed)
		bad[i] ^= 0x10
		got, err := delta.Apply(base, bad, s.verify)
		if i >= keyID && i < keyID+len("key-1") {
			if err != nil || !bytes.Equal(got, target) {
				t.Errorf("byte %d, of the key's id: %v", i, err)
			}
			continue
		}
		if err == nil || got != nil {
			t.Errorf("byte %d: %d bytes, %v", i, len(got), err)
		}
	}
}

// Without the help of a signature, too, nothing but the target ever comes out.
func TestFlippedBitsNeverGiveAnotherResult(t *testing.T) {
	s := newSigner(t)
	base, target, signed := pair(t, s)
	for i := range binary.LittleEndian.Uint32(signed[12:]) {
		for bit := range 8 {
			bad := slices.Clone(signed)
			bad[i] ^= 1 << bit
			if got, err := delta.Apply(base, bad, acceptAll); err == nil && !bytes.Equal(got, target) {
				t.Fatalf("bit %d of byte %d gives another result", bit, i)
			}
		}
	}
}

func TestTruncatedDeltasAreRefused(t *testing.T) {
	s := newSigner(t)
	base, _, signed := pair(t, s)
	for n := range signed {
		if _, err := delta.Apply(base, signed[:n], acceptAll); err == nil {
			t.Errorf("the first %d of %d bytes are applied", n, len(signed))
		}
	}
	if _, err := delta.Apply(base, append(slices.Clone(signed), 0), acceptAll); err == nil {
		t.Error("a byte behind the signature is not noticed")
	}
}

func TestRefusals(t *testing.T) {
	s := newSigner(t)
	base, target, signed := pair(t, s)
	var again []byte // the same generation, signed once more: by another host, say
	frame, err := policydata.ParseFrame(base)
	if err != nil {
		t.Fatal(err)
	}
	again = s.sign(t, slices.Clone(base[:len(base)-len(frame.Signature)]))
	damaged := slices.Clone(base)
	damaged[len(damaged)/2] ^= 1
	renumbered := func(field int) []byte { // with the mark of the base
		b := slices.Clone(base)
		b[field]++
		return b
	}
	body := slices.Clone(signed[:binary.LittleEndian.Uint32(signed[12:])])
	edit := func(at int, value uint32) []byte {
		b := slices.Clone(body)
		binary.LittleEndian.PutUint32(b[at:], value)
		return seal(b)
	}
	resized := seal(append(slices.Clone(body), 0))
	binary.LittleEndian.PutUint32(resized[12:], uint32(len(body)+1))
	tests := []struct {
		name        string
		base, delta []byte
		verify      policydata.VerifyFunc
		want        error
		text        string
	}{
		{"no_verifier", base, signed, nil, policydata.ErrSignature, ""},
		{"another_key", base, signed, newSigner(t).verify, policydata.ErrSignature, ""},
		{"the_target_as_base", target, signed, s.verify, delta.ErrBase, "for another base"},
		{"the_base_signed_again", again, signed, s.verify, delta.ErrBase, "for another base"},
		{"the_base_of_another_epoch", renumbered(policydata.HeaderEpoch), signed, s.verify, delta.ErrBase, "for another base"},
		{"the_base_of_another_generation", renumbered(policydata.HeaderGeneration), signed, s.verify, delta.ErrBase, "for another base"},
		{"a_damaged_base", damaged, signed, s.verify, delta.ErrResult, ""},
		{"no_base", nil, signed, s.verify, nil, "base: policydata: bad snapshot"},
		{"a_snapshot_for_a_delta", base, target, s.verify, nil, "not a delta"},
		{"another_version", base, edit(8, 2), acceptAll, nil, "needs a newer reader"},
		{"a_target_beyond_the_limit", base, edit(56, policydata.MaxSnapshotBytes+1), acceptAll, nil, "size of the target out of range"},
		{"a_target_without_room", base, edit(56, 100), acceptAll, nil, "size of the target out of range"},
		{"a_larger_target", base, edit(56, uint32(len(target)+8)), acceptAll, nil, "the target has another size"},
		{"a_smaller_target", base, edit(56, uint32(len(target)-8)), acceptAll, nil, "larger than the target"},
		{"a_block_too_large", base, edit(60, 1<<31), acceptAll, nil, "out of range"},
		{"a_block_without_a_mark", base, edit(60, 3), acceptAll, nil, "signature block out of range"},
		{"bytes_behind_the_operations", base, resized, acceptAll, nil, "the target has another size"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := delta.Apply(tt.base, tt.delta, tt.verify)
			if got != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%d bytes, %v; want %v %q", len(got), err, tt.want, tt.text)
			}
		})
	}
}

// Whatever the last operations say, which a host has signed, the target is the
// target or there is none: no operation writes behind it.
func TestOperationsStayWithinTheTarget(t *testing.T) {
	issuers := []policydata.Issuer{{
		Name: "i", Issuer: "https://i", Audiences: []string{"a"}, Algorithms: []string{"RS256"},
		UsernameClaims: [][]string{{"sub"}}, MaxTokenLifetime: 60,
	}}
	src := policydata.Source{Epoch: 1, Generation: 1, Issuers: issuers}
	for i := range 100 {
		src.Revoked = append(src.Revoked, policydata.RevokedToken{Issuer: "i", ID: fmt.Sprint(1000 + i), Expires: 1})
	}
	base := build(t, src)
	src.Generation, src.Revoked = 2, src.Revoked[:1]
	target := build(t, src)
	whole, err := delta.Make(base, target)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for at := len(whole) - 24; at < len(whole); at++ {
		for value := range 256 {
			body := slices.Clone(whole)
			body[at] = byte(value)
			got, err := delta.Apply(base, seal(body), acceptAll)
			if err != nil {
				refused++
			} else if !bytes.Equal(got, target) {
				t.Fatalf("byte %d as %d gives another target", at, value)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused: the test shows nothing")
	}
}

// The signature is verified before anything but the frame is looked at.
func TestTheSignatureIsFirst(t *testing.T) {
	s := newSigner(t)
	base, _, signed := pair(t, s)
	var format *delta.FormatError
	if _, err := delta.Apply(base, signed[:len(signed)-1], acceptAll); !errors.As(err, &format) {
		t.Errorf("a cut signature block: %v", err)
	}
	for i := 200; i < len(signed)-100; i++ {
		bad := slices.Clone(signed)
		bad[i] = 0xFF
		if bytes.Equal(bad, signed) {
			continue
		}
		if _, err := delta.Apply(nil, bad, s.verify); !errors.Is(err, policydata.ErrSignature) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

func TestMakeRefusesWhatIsNoSnapshot(t *testing.T) {
	good := build(t, policydata.Source{})
	other := slices.Clone(good)
	other[8] = 2
	for name, tt := range map[string]struct {
		base, target []byte
		want         string
	}{
		"no_base":          {nil, good, "base: policydata: bad snapshot"},
		"no_target":        {good, good[:100], "target: policydata: bad snapshot"},
		"another_version":  {other, good, "needs a newer reader"},
		"a_short_mark":     {good, policydata.AppendSignature(good[:len(good)-27], "", []byte("fifteen bytes..")), "too short"},
		"target_not_whole": {good, good[:len(good)-1], "signature block of a wrong length"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := delta.Make(tt.base, tt.target)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// Sections of every kind change as a whole: nothing of one is left, or all of
// another comes.
func TestFromAndToNothing(t *testing.T) {
	for seed := range uint64(20) {
		r := decidetest.NewRandom(seed, 6)
		for _, tt := range [][2]policydata.Source{{r.Source(), {}}, {{}, r.Source()}, {{}, {}}} {
			base, target := build(t, tt[0]), build(t, tt[1])
			body, err := delta.Make(base, target)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := delta.Apply(base, seal(body), acceptAll); err != nil || !bytes.Equal(got, target) {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

// A hash table that grows is made anew, and nothing else is.
func TestTablesThatGrow(t *testing.T) {
	users := func(n int) (src policydata.Source) {
		for i := range n {
			src.Users = append(src.Users, policydata.User{Name: user(i)})
		}
		return src
	}
	base, target := build(t, users(1024)), build(t, users(1025))
	body, err := delta.Make(base, target)
	if err != nil {
		t.Fatal(err)
	}
	got, err := delta.Apply(base, seal(body), acceptAll)
	if err != nil || !bytes.Equal(got, target) {
		t.Fatal(err)
	}
	if table := 4 * 4096; len(body) < table || len(body) > table+1000 {
		t.Errorf("%d bytes for a table of %d", len(body), table)
	}
}

func ExampleApply() {
	src := policydata.Source{Epoch: 1, Generation: 7, Users: []policydata.User{{Name: "eric"}}}
	sign := func(body []byte) []byte {
		return policydata.AppendSignature(body, "key", []byte("this is a signature"))
	}
	verify := func(signed, sig []byte) error { return nil } // a real one verifies ES256

	base, _ := policydata.Build(src)
	src.Generation, src.Users = 8, append(src.Users, policydata.User{Name: "sean"})
	target, _ := policydata.Build(src)

	body, err := delta.Make(sign(base), sign(target))
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := delta.Apply(sign(base), sign(body), verify)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := policydata.Load(got, verify)
	fmt.Println(s.Generation(), s.Counts().Users, err)
	// Output: 8 2 <nil>
}
