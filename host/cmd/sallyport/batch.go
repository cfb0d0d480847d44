package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sallyport/host/internal/manifest"
)

// maxBatchLine bounds a line of a batch.
const maxBatchLine = 1 << 20

// eachLine prints, as a JSON object a line, what answer makes of each line of a
// file that is not blank. An error names file and line; what was answered before
// it stands.
func eachLine(cmd *cobra.Command, path string, answer func(line []byte) (any, error)) (err error) {
	r, err := openInput(cmd.InOrStdin(), path)
	if err != nil {
		return err
	}
	defer r.Close()
	out := bufio.NewWriter(cmd.OutOrStdout())
	defer func() { err = errors.Join(err, out.Flush()) }()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxBatchLine)
	n := 1
	for ; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		v, err := answer(lines.Bytes())
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if err := encoder.Encode(v); err != nil {
			return err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("%s:%d: the line is longer than %d bytes", path, n, maxBatchLine)
	}
	return lines.Err()
}

// openInput opens a file, or standard input for "-".
func openInput(stdin io.Reader, path string) (io.ReadCloser, error) {
	if path == manifest.Stdin {
		return io.NopCloser(stdin), nil
	}
	return os.Open(path)
}
