package cluster

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

const (
	minKey = 32       // bytes: as many as SHA-256 has, so that the key is not the weakest part
	maxKey = 64 << 10 // bytes of a key file: whatever is longer was named by mistake
)

// ReadKey reads the key of a cluster from a file, for Options.Key. The file has at least
// 32 bytes, all of which count, except that line ends at its end are dropped: an editor
// adds one where a copy by hand does not. It is refused if others may read it, or if a
// group may write it: mode 0600, or 0640 where the server reads it as a group. Windows has
// no such modes, and there the file's access list is the operator's business.
//
//	head -c 32 /dev/urandom | base64 > cluster.key && chmod 600 cluster.key
func ReadKey(path string) ([]byte, error) {
	f, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, fmt.Errorf("cluster: key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("cluster: key file: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("cluster: key file %s is not a regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o037 != 0:
		return nil, fmt.Errorf("cluster: key file %s has mode %04o, so others than its owner may use it: chmod 600 it", path, info.Mode().Perm())
	}
	key, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, fmt.Errorf("cluster: key file: %w", err)
	}
	if len(key) > maxKey {
		return nil, fmt.Errorf("cluster: key file %s has more than %d bytes, so it is probably not a key", path, maxKey)
	}
	key = bytes.TrimRight(key, "\r\n")
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("%w (file %s)", err, path)
	}
	return key, nil
}

var errShortKey = errors.New("cluster: the key has fewer than 32 bytes: make one with `head -c 32 /dev/urandom | base64`")

func checkKey(key []byte) error {
	if len(key) < minKey {
		return errShortKey
	}
	return nil
}

// keys are what the nodes of a cluster know each other by. All are derived from its one
// key and its name, so that none says anything about another, and two clusters that share
// a key by mistake stay apart.
type keys struct {
	link   []byte // of the proof on links
	route  string // the password between embedded NATS servers
	client string // the password of this process at its embedded NATS server
}

// deriveKeys is HKDF-SHA256 (RFC 5869). An empty secret gives keys that everybody knows:
// New accepts it for loopback addresses alone.
func deriveKeys(secret []byte, cluster string) (keys, error) {
	derive := func(purpose string) (string, error) {
		key, err := hkdf.Key(sha256.New, secret, []byte(cluster), "turbine cluster "+purpose, sha256.Size)
		return string(key), err
	}
	link, err := derive("link")
	if err != nil {
		return keys{}, err
	}
	route, err := derive("nats route")
	if err != nil {
		return keys{}, err
	}
	client, err := derive("nats client")
	if err != nil {
		return keys{}, err
	}
	text := base64.RawURLEncoding
	return keys{[]byte(link), text.EncodeToString([]byte(route)), text.EncodeToString([]byte(client))}, nil
}
