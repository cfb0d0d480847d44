// Package keyfile keeps secret key material in files of its own: made once,
// readable by the owner alone, and never replaced.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxBytes bounds a key file.
const maxBytes = 16 << 10

// ReadOrCreate returns the content of the file at path, which generate makes
// first if there is none. Processes that create it at the same time end up with
// the same content. A file that others than its owner may read is an error.
func ReadOrCreate(path string, generate func() ([]byte, error)) ([]byte, error) {
	content, err := Read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return content, err
	}
	if err := create(path, generate); err != nil {
		return nil, fmt.Errorf("create key file %s: %w", path, err)
	}
	return Read(path)
}

// Read returns the content of the file at path, an error that wraps
// fs.ErrNotExist if there is none.
func Read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s: not a regular file", path)
	}
	// Windows has no such permissions.
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("key file %s: others may read or write it (mode %04o): chmod 600, if nobody did", path, mode)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(content) > maxBytes {
		err = fmt.Errorf("key file %s: larger than %d bytes", path, maxBytes)
	}
	return content, err
}

// create writes the file, unless there is one by then: another process may do
// the same, and then the first one's content is what counts.
func create(path string, generate func() ([]byte, error)) (err error) {
	content, err := generate()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link does not replace a file that is there.
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
