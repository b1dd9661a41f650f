// file-store keeps Velero's backups in a folder: the tests need no object store. Velero starts it as a plugin.
package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"
	"github.com/vmware-tanzu/velero/pkg/plugin/framework"
)

func main() {
	framework.NewServer().
		BindFlags(pflag.CommandLine).
		RegisterObjectStore("clouddc.dev/file-store", func(logrus.FieldLogger) (any, error) { return &store{}, nil }).
		Serve()
}

// store keeps each object in a file: its key is the path below the folder of its bucket.
type store struct{ root string }

// Init takes the folder from the location's config.
func (s *store) Init(config map[string]string) error {
	s.root = config["root"]
	if s.root == "" {
		return errors.New("spec.config.root of the BackupStorageLocation names no folder")
	}
	return nil
}

func (s *store) path(bucket, key string) string {
	return filepath.Join(s.root, bucket, filepath.FromSlash(key))
}

func (s *store) PutObject(bucket, key string, body io.Reader) error {
	path := s.path(bucket, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, body)
	return errors.Join(err, file.Close())
}

func (s *store) ObjectExists(bucket, key string) (bool, error) {
	_, err := os.Stat(s.path(bucket, key))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (s *store) GetObject(bucket, key string) (io.ReadCloser, error) {
	return os.Open(s.path(bucket, key))
}

// keys lists all keys of a bucket that begin with the prefix.
func (s *store) keys(bucket, prefix string) ([]string, error) {
	root := filepath.Join(s.root, bucket)
	var keys []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		key, err := filepath.Rel(root, path)
		if key = filepath.ToSlash(key); err == nil && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return err
	})
	return keys, err
}

func (s *store) ListCommonPrefixes(bucket, prefix, delimiter string) ([]string, error) {
	keys, err := s.keys(bucket, prefix)
	var prefixes []string
	for _, key := range keys {
		part, _, more := strings.Cut(key[len(prefix):], delimiter)
		common := prefix + part + delimiter
		// Keys come in order, so the same prefixes stand together.
		if more && (len(prefixes) == 0 || prefixes[len(prefixes)-1] != common) {
			prefixes = append(prefixes, common)
		}
	}
	return prefixes, err
}

func (s *store) ListObjects(bucket, prefix string) ([]string, error) {
	return s.keys(bucket, prefix)
}

func (s *store) DeleteObject(bucket, key string) error {
	return os.Remove(s.path(bucket, key))
}

func (s *store) CreateSignedURL(_, _ string, _ time.Duration) (string, error) {
	return "", errors.New("a folder has no addresses")
}
