package demo

import (
	"encoding/json"
	"fmt"
	"path/filepath"

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

// ReadCredentials returns the credentials of a demo's data directory.
func ReadCredentials(dataDir string) (Credentials, error) {
	var c Credentials
	b, err := keyfile.Read(filepath.Join(dataDir, credentialsFile))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%s: %w", credentialsFile, err)
	}
	return c, nil
}

func writeCredentials(dataDir string, c Credentials) error {
	_, err := keyfile.ReadOrCreate(filepath.Join(dataDir, credentialsFile), func() ([]byte, error) {
		return json.Marshal(c)
	})
	return err
}
