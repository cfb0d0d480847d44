package inflate_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/plugin/internal/inflate"
)

const limit = 1 << 20

// reference is what compress/gzip makes of one member.
func reference(b []byte) ([]byte, error) {
	rest := bytes.NewReader(b)
	r, err := gzip.NewReader(rest)
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	out, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && (rest.Len() != 0 || len(out) > limit) {
		err = errors.New("more")
	}
	return out, err
}

func compress(t testing.TB, level int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// samples are of all kinds: nothing, one symbol, text, noise, and far repeats.
func samples() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	skewed := make([]byte, 200_000)
	for i := range skewed {
		skewed[i] = byte(random.ExpFloat64() * 8)
	}
	return map[string][]byte{
		"nothing": {}, "one": {7}, "zeroes": make([]byte, 500_000), "noise": noise, "skewed": skewed,
		"text": []byte(strings.Repeat("the quick brown fox ", 3000)), "far": append(bytes.Clone(noise[:32_000]), noise[:32_000]...),
	}
}

func TestRoundTrip(t *testing.T) {
	for name, data := range samples() {
		for level := gzip.HuffmanOnly; level <= gzip.BestCompression; level++ {
			got, err := inflate.Gzip(compress(t, level, data), limit)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s at level %d: %d bytes, %v", name, level, len(got), err)
			}
		}
	}
}

// Whatever is cut or changed, there is an answer, and it is that of compress/gzip.
func TestSpoilt(t *testing.T) {
	for name, data := range samples() {
		good := compress(t, gzip.DefaultCompression, data[:min(len(data), 3000)])
		for i := range good {
			if _, err := inflate.Gzip(good[:i], limit); err == nil {
				t.Errorf("%s: %d of %d bytes are taken for the whole", name, i, len(good))
			}
			spoilt := bytes.Clone(good)
			spoilt[i] ^= 1 << (i % 8)
			agree(t, spoilt)
		}
		agree(t, append(bytes.Clone(good), 0))
		agree(t, append(bytes.Clone(good), good...))
	}
}

func TestLimits(t *testing.T) {
	bomb := compress(t, gzip.BestCompression, make([]byte, limit+1))
	if _, err := inflate.Gzip(bomb, limit); !errors.Is(err, inflate.ErrTooLarge) {
		t.Errorf("more than the limit: %v", err)
	}
	for name, size := range map[string]uint32{"much": limit, "little": 17} {
		liar := compress(t, gzip.BestCompression, make([]byte, 1000))
		binary.LittleEndian.PutUint32(liar[len(liar)-4:], size)
		if _, err := inflate.Gzip(liar, limit); !errors.Is(err, inflate.ErrFormat) {
			t.Errorf("says that it holds %s: %v", name, err)
		}
	}
}

func agree(t *testing.T, b []byte) {
	t.Helper()
	got, err := inflate.Gzip(b, limit)
	want, wantErr := reference(b)
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Errorf("%x: %v, want %v", b, err, wantErr)
	}
}

func FuzzGzip(f *testing.F) {
	for _, data := range samples() {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, gzip.BestSpeed, gzip.BestCompression} {
			f.Add(compress(f, level, data[:min(len(data), 500)]))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, b) })
}

func BenchmarkGzip(b *testing.B) {
	data := samples()["skewed"]
	packed := compress(b, gzip.DefaultCompression, data)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := inflate.Gzip(packed, limit); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReference(b *testing.B) {
	packed := compress(b, gzip.DefaultCompression, samples()["skewed"])
	b.SetBytes(200_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reference(packed); err != nil {
			b.Fatal(err)
		}
	}
}
