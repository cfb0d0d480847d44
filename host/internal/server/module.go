package server

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"sallyport/host/internal/api"
	"sallyport/host/internal/atomicfile"
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
	if err := atomicfile.Write(path, module, 0o644); err != nil {
		return "", fmt.Errorf("write the filter: %w", err)
	}
	return path, nil
}
