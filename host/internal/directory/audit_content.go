package directory

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sallyport/host/internal/store"
)

// What of a record may be too large for it, and is kept below a key of its own,
// compressed: listing records does not read it.
const (
	beforeContent = "before"
	afterContent  = "after"
)

// maxContentBytes bounds what is unpacked: more than a document can have.
const maxContentBytes = 256 << 20

func contentKey(sequence uint64, part string) string {
	return fmt.Sprintf("%s%020d/%s", contentPrefix, sequence, part)
}

func packed(content []byte) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(content)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// content returns a part of a record, whole. The error is store.ErrNotFound,
// wrapped, where it was left out and not kept.
func content(r store.Reader, sequence uint64, part string, inRecord json.RawMessage) (json.RawMessage, error) {
	if !bytes.HasPrefix(inRecord, []byte(`{"omittedBytes":`)) {
		return inRecord, nil
	}
	value, err := r.Get(contentKey(sequence, part))
	if err != nil {
		return nil, err
	}
	in, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(in, maxContentBytes))
	return out, errors.Join(err, in.Close())
}
