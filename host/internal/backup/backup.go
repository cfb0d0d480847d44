package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"sallyport/host/internal/store"
)

const (
	header = "sallyport-backup 1\n"

	maxKeyBytes   = 4 << 10
	maxValueBytes = 64 << 20
)

// ErrMalformed is returned when a backup is damaged, cut short, or none.
var ErrMalformed = errors.New("this is no whole backup")

// Take returns a backup of what s holds now. It is in memory, so that a reader
// that is slow does not keep the store from growing.
func Take(ctx context.Context, s store.Store) ([]byte, error) {
	var out bytes.Buffer
	err := s.View(ctx, func(r store.Reader) error {
		out.Reset()
		pairs, err := r.Scan("", "", 0)
		if err != nil {
			return err
		}
		return write(&out, pairs)
	})
	return out.Bytes(), err
}

func write(out io.Writer, pairs []store.Pair) error {
	compressed, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	digest := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(compressed, digest)) // keeps its first error for Flush
	_, _ = w.WriteString(header)
	for _, p := range pairs {
		_, _ = w.Write(binary.AppendUvarint(nil, uint64(len(p.Key))))
		_, _ = w.WriteString(p.Key)
		_, _ = w.Write(binary.AppendUvarint(nil, uint64(len(p.Value))))
		_, _ = w.Write(p.Value)
	}
	_ = w.WriteByte(0)
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = compressed.Write(digest.Sum(nil))
	return errors.Join(err, compressed.Close())
}

// Read calls put with each pair of a backup, in the order of keys. What it has
// put counts only if it returns nil: the digest is at the end. The error is or
// wraps ErrMalformed if the backup is at fault.
func Read(in io.Reader, put func(store.Pair) error) error {
	compressed, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r := &reader{in: bufio.NewReader(compressed), digest: sha256.New()}
	if string(r.bytes(uint64(len(header)), uint64(len(header)))) != header {
		return fmt.Errorf("%w: it does not begin as one of this version", ErrMalformed)
	}
	for last := ""; ; {
		n := r.length()
		if r.err != nil || n == 0 {
			break
		}
		p := store.Pair{Key: string(r.bytes(n, maxKeyBytes))}
		p.Value = r.bytes(r.length(), maxValueBytes)
		if r.err == nil && p.Key <= last {
			r.err = fmt.Errorf("key %q behind key %q", p.Key, last)
		}
		if r.err != nil {
			break
		}
		if err := put(p); err != nil {
			return err
		}
		last = p.Key
	}
	return r.end()
}

// reader reads until an error.
type reader struct {
	in     *bufio.Reader
	digest hash.Hash
	err    error
}

func (r *reader) bytes(n, limit uint64) []byte {
	if r.err == nil && n > limit {
		r.err = fmt.Errorf("a length of %d", n)
	}
	if r.err != nil {
		return nil
	}
	// Grown as it is read: a length alone takes no memory.
	var b bytes.Buffer
	_, r.err = io.CopyN(io.MultiWriter(&b, r.digest), r.in, int64(n))
	return b.Bytes()
}

func (r *reader) length() uint64 {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(r)
	r.err = err
	return n
}

// ReadByte is for binary.ReadUvarint.
func (r *reader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		r.digest.Write([]byte{b})
	}
	return b, err
}

// end compares the digest, behind which nothing may come.
func (r *reader) end() error {
	if r.err == nil {
		want := r.digest.Sum(nil)
		got, err := io.ReadAll(io.LimitReader(r.in, int64(len(want))+1))
		if err != nil {
			r.err = err
		} else if !bytes.Equal(got, want) {
			r.err = errors.New("the digest at its end is of something else")
		}
	}
	if r.err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, r.err)
	}
	return nil
}
