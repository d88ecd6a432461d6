package ops

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// What a file of keys may hold.
const (
	minKey  = 16
	maxKey  = 256
	maxName = 64
	maxKeys = 1000
	maxFile = 1 << 20
)

// noKey stands in the place of the key where a name is for client certificates alone.
const noKey = "-"

// Keys are who may do what. They do not change, and hold hashes of the keys only.
type Keys struct{ all []key }

type key struct {
	name   string
	scopes scopes
	sum    [sha256.Size]byte
	secret bool // it has a key, and is not for certificates alone
}

// ParseKeys reads a file of keys. Each line is a name, its scopes and its key, with
// blanks between them:
//
//	# who         may            with
//	prometheus    metrics,health 2c1d...
//	ann           read,drain     9f00...
//	ci.example    health         -
//
// A key has 16 to 256 visible ASCII characters; "-" in its place is for a name that
// only certificates have. A name may have several lines, so that its key can be
// changed without a gap. Empty lines, and lines that begin with "#", are passed over.
// The error names the line and what to write there, and never shows a key.
func ParseKeys(file []byte) (*Keys, error) {
	if len(file) > maxFile {
		return nil, fmt.Errorf("the file has %d bytes; at most %d are read", len(file), maxFile)
	}
	keys := &Keys{}
	number := 0
	for line := range strings.Lines(string(file)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := parseKey(line)
		if err == nil {
			err = keys.add(k)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if len(keys.all) == 0 {
		return nil, errors.New("there is no key in the file; a line is: name scope,scope key")
	}
	return keys, nil
}

func parseKey(line string) (k key, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return k, fmt.Errorf("%d words; want three: name scope,scope key", len(fields))
	}
	k.name = fields[0]
	if len(k.name) > maxName || !visible(k.name) {
		return k, fmt.Errorf("the name is not 1 to %d visible ASCII characters", maxName)
	}
	if k.scopes, err = parseScopes(fields[1]); err != nil {
		return k, err
	}
	text := fields[2]
	if text == noKey {
		return k, nil
	}
	if len(text) < minKey || len(text) > maxKey || !visible(text) {
		return k, fmt.Errorf("the key is not %d to %d visible ASCII characters; `openssl rand -hex 32` makes one", minKey, maxKey)
	}
	k.sum, k.secret = sha256.Sum256([]byte(text)), true
	return k, nil
}

// visible reports whether text has only what can be written in a header field
// without quotes.
func visible(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

func (k *Keys) add(one key) error {
	if len(k.all) == maxKeys {
		return fmt.Errorf("more than %d keys", maxKeys)
	}
	for _, other := range k.all {
		if one.secret && other.secret && other.sum == one.sum {
			return fmt.Errorf("the key is already that of %s; give each line a key of its own", other.name)
		}
	}
	k.all = append(k.all, one)
	return nil
}

// find is the line with that key. It takes the same time whichever key it is.
func (k *Keys) find(text string) (name string, may scopes, ok bool) {
	sum := sha256.Sum256([]byte(text))
	found := -1
	for i := range k.all {
		same := subtle.ConstantTimeCompare(sum[:], k.all[i].sum[:])
		if k.all[i].secret {
			found = subtle.ConstantTimeSelect(same, i, found)
		}
	}
	if found < 0 {
		return "", 0, false
	}
	return k.all[found].name, k.all[found].scopes, true
}

// named is what all lines with that name may do, for a certificate.
func (k *Keys) named(name string) (may scopes, ok bool) {
	for _, one := range k.all {
		if one.name == name {
			may, ok = may|one.scopes, true
		}
	}
	return may, ok
}
