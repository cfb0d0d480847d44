package keyfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/host/internal/keyfile"
)

func TestReadOrCreateMakesTheFileOnceForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "key")
	first, err := keyfile.ReadOrCreate(path, func() ([]byte, error) { return []byte("one"), nil })
	if err != nil || string(first) != "one" {
		t.Fatalf("got %q, %v", first, err)
	}
	second, err := keyfile.ReadOrCreate(path, func() ([]byte, error) {
		t.Error("a key was generated though there is one")
		return []byte("two"), nil
	})
	if err != nil || string(second) != "one" {
		t.Fatalf("got %q, %v", second, err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		info, err := os.Stat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("files are left over: %v, %v", entries, err)
	}
}

func TestReadOrCreateAtTheSameTimeGivesAllTheSameKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wg sync.WaitGroup
	got := make([][]byte, 16)
	for i := range got {
		wg.Go(func() {
			var err error
			got[i], err = keyfile.ReadOrCreate(path, func() ([]byte, error) { return fmt.Append(nil, "key ", i), nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range got {
		if !bytes.Equal(got[i], got[0]) {
			t.Errorf("got %q and %q", got[0], got[i])
		}
	}
}

func TestReadRefuses(t *testing.T) {
	write := func(t *testing.T, content string, mode fs.FileMode) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"what the group may read":  {func(t *testing.T) string { return write(t, "secret", 0o640) }, "mode 0640): chmod 600"},
		"what others may write":    {func(t *testing.T) string { return write(t, "secret", 0o602) }, "mode 0602): chmod 600"},
		"what is too large":        {func(t *testing.T) string { return write(t, strings.Repeat("secret", 4000), 0o600) }, "larger than 16384 bytes"},
		"a directory":              {func(t *testing.T) string { return t.TempDir() }, "not a regular file"},
		"what is not there at all": {func(t *testing.T) string { return filepath.Join(t.TempDir(), "key") }, "no such file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := keyfile.Read(tt.path(t))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestGenerateFailingLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	broken := errors.New("no randomness")
	_, err := keyfile.ReadOrCreate(filepath.Join(dir, "key"), func() ([]byte, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("files are left over: %v, %v", entries, err)
	}
}
