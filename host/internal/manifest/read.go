package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// MaxTotalBytes is how large a set of files may be.
const MaxTotalBytes = 4 * MaxFileBytes

// File is a file with documents. Its name stands in errors; one that ends in
// ".json" must hold JSON.
type File struct {
	Name string
	Data []byte
}

// Read reads the documents of files and directories: ReadFiles, then ParseFiles.
func Read(stdin io.Reader, paths ...string) ([]Document, error) {
	files, err := ReadFiles(stdin, paths...)
	if err != nil {
		return nil, err
	}
	return ParseFiles(files)
}

// ReadFiles reads files and directories; "-" is stdin. Of a directory and those
// below it, it reads the files *.yaml, *.yml and *.json in the order of their
// names, without those that begin with a dot.
func ReadFiles(stdin io.Reader, paths ...string) ([]File, error) {
	var files []File
	total := 0
	for _, path := range paths {
		names, err := expand(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := readFile(stdin, name)
			if err != nil {
				return nil, err
			}
			if total += len(data); total > MaxTotalBytes {
				return nil, fmt.Errorf("read %s: the files together are larger than %d bytes", name, MaxTotalBytes)
			}
			files = append(files, File{name, data})
		}
	}
	return files, nil
}

// ParseFiles reads the documents of a set of files. A set without any document
// is an error: it is never what was meant, and pruning by it would delete all.
// Errors about what is in the files are of type Errors.
func ParseFiles(files []File) ([]Document, error) {
	var docs []Document
	var errs Errors
	for _, f := range files {
		d, e := parse(f.Name, f.Data)
		docs, errs = append(docs, d...), append(errs, e...)
	}
	docs, err := checked(docs, errs)
	if err == nil && len(docs) == 0 {
		names := make([]string, len(files))
		for i, f := range files {
			names[i] = f.Name
		}
		return nil, fmt.Errorf("no documents in %s", strings.Join(names, ", "))
	}
	return docs, err
}

// expand returns path, or the files of the directory path. Names that begin
// with a dot are skipped: editors leave such files, and Kubernetes mounts a
// directory of files as links to the same files in "..data".
func expand(path string) ([]string, error) {
	if path == Stdin {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != path && strings.HasPrefix(entry.Name(), "."):
			if entry.IsDir() {
				return fs.SkipDir
			}
		case !entry.IsDir() && isManifest(entry.Name()):
			files = append(files, p)
		}
		return nil
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no *.yaml, *.yml or *.json in %s", path)
	}
	return files, err
}

func isManifest(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func readFile(stdin io.Reader, path string) (data []byte, err error) {
	r := stdin
	if path != Stdin {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		r = f
	}
	// One byte more than allowed, so that parse sees the excess and says so.
	data, err = io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}
