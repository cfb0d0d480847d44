package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"sallyport/host/internal/atomicfile"
	"sallyport/host/internal/keyfile"
)

// credentialsFile keeps the first credentials of a demo in its data directory,
// beside the keys that are worth more.
const credentialsFile = "demo-credentials.json"

// Credentials are how the command line finds a demo on the same machine.
type Credentials struct {
	Server      string `json:"server"`
	AccessKeyID string `json:"accessKeyId"`
	Secret      string `json:"secretAccessKey"`
}

// ReadCredentials returns the credentials of a demo's data directory. The error
// wraps fs.ErrNotExist if there are none.
func ReadCredentials(dataDir string) (Credentials, error) {
	var c Credentials
	path := filepath.Join(dataDir, credentialsFile)
	b, err := keyfile.Read(path)
	if err != nil {
		return c, err
	}
	if json.Unmarshal(b, &c) != nil || c.Server == "" || c.AccessKeyID == "" || c.Secret == "" {
		return Credentials{}, fmt.Errorf("%s: damaged", path)
	}
	return c, nil
}

// writeCredentials replaces the file: those of a store that is gone are of no
// use.
func writeCredentials(dataDir string, c Credentials) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dataDir, credentialsFile), b, 0o600)
}

// moveCredentials notes where the demo listens now. It reports whether there are
// credentials at all: there are none where the store was made by serve, which
// prints them instead.
func moveCredentials(dataDir, server string) (bool, error) {
	c, err := ReadCredentials(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || c.Server == server {
		return err == nil, err
	}
	c.Server = server
	return true, writeCredentials(dataDir, c)
}
