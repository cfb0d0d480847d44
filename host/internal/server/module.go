package server

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"sallyport/host/internal/api"
)

// WriteModule puts the filter into a data directory, for proxies on the same
// machine, and returns its path. The name holds the filter's digest: another
// filter is another file, so a proxy never reads half of each. A file that is
// there stays, unless it is damaged; then it is replaced as a whole, since
// proxies may be reading it.
func WriteModule(dir string, module []byte) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, "filter-"+api.NewModule(module).SHA256[:16]+".wasm"))
	if err != nil {
		return "", err
	}
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, module) {
		return path, nil
	}
	f, err := os.CreateTemp(dir, ".filter-*")
	if err != nil {
		return "", fmt.Errorf("write the filter: %w", err)
	}
	defer os.Remove(f.Name()) // of no effect once it is renamed
	_, err = f.Write(module)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return "", fmt.Errorf("write the filter: %w", err)
	}
	return path, os.Rename(f.Name(), path)
}
