package engine

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"turbine/loop"
)

// A session id is base64url of 20 bytes, 27 characters: where the session
// lives, and 128 bits that cannot be guessed.
//
//	loop (1) | slot (3) | secret (16)
//
// A lookup is two table accesses and a comparison in constant time: no map, no
// lock, and nothing for the garbage collector to follow in hash order.
const (
	sidBytes   = 20
	sidLength  = 27
	secretSize = 16
	maxSlot    = 1<<24 - 1
)

// sidEncoding is strict: the last character has two bits too many, and an id
// has one spelling.
var sidEncoding = base64.RawURLEncoding.Strict()

type secret [secretSize]byte

// sid is a session id, decoded. Every connection that polls has one.
type sid struct {
	slot   loop.Slot
	secret secret
	loop   uint8
}

// home is the index of the session's loop.
func (id sid) home() int { return int(id.loop) }

func appendSID(dst []byte, id sid) []byte {
	raw := [sidBytes]byte{id.loop, byte(id.slot >> 16), byte(id.slot >> 8), byte(id.slot)}
	copy(raw[4:], id.secret[:])
	return sidEncoding.AppendEncode(dst, raw[:])
}

// parseSID reports false for what appendSID cannot have made.
func parseSID(p []byte) (id sid, ok bool) {
	if len(p) != sidLength {
		return sid{}, false
	}
	var raw [sidBytes]byte
	if n, err := sidEncoding.Decode(raw[:], p); err != nil || n != sidBytes {
		return sid{}, false
	}
	id.loop = raw[0]
	id.slot = loop.Slot(raw[1])<<16 | loop.Slot(raw[2])<<8 | loop.Slot(raw[3])
	copy(id.secret[:], raw[4:])
	return id, true
}

// entropy hands out random bytes that it fetches in bulk. It belongs to a loop.
type entropy struct {
	bytes [64 * secretSize]byte
	left  int
}

func (e *entropy) secret() (s secret) {
	if e.left == 0 {
		_, _ = rand.Read(e.bytes[:]) // never fails; it would end the process
		e.left = len(e.bytes)
	}
	at := len(e.bytes) - e.left
	copy(s[:], e.bytes[at:])
	clear(e.bytes[at : at+secretSize])
	e.left -= secretSize
	return s
}

// equal compares in constant time: it looks at all bytes before it decides. (What
// subtle.ConstantTimeCompare does byte by byte, for each request.)
func (s *secret) equal(other *secret) bool {
	a, b := s[:], other[:]
	return (binary.NativeEndian.Uint64(a)^binary.NativeEndian.Uint64(b))|
		(binary.NativeEndian.Uint64(a[8:])^binary.NativeEndian.Uint64(b[8:])) == 0
}

var errEmptyID = errors.New("engine: GenerateID returned an empty id")

var errUnusableID = errors.New("engine: an id of the application is not UTF-8")

// usableID reports whether a client can say id again unchanged: bytes that are not
// UTF-8 become other ones in JSON, and the session could never be reached.
func usableID(id string) bool {
	return utf8.ValidString(id)
}

// ownIDs finds sessions whose ids the application has chosen, which do not say
// where they live. It is empty, and costs nothing, without such ids.
type ownIDs struct {
	inUse atomic.Bool
	mu    sync.RWMutex
	homes map[string]sid // guarded by mu
}

func (o *ownIDs) find(id string) (home sid, ok bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	home, ok = o.homes[id]
	return home, ok
}

func (o *ownIDs) taken(id string) bool {
	_, ok := o.find(id)
	return ok
}

// add reports false when the id is taken: two sessions with one id would close
// each other.
func (o *ownIDs) add(id string, home sid) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.homes[id]; ok {
		return false
	}
	if o.homes == nil {
		o.homes = map[string]sid{}
	}
	o.homes[id] = home
	o.inUse.Store(true)
	return true
}

func (o *ownIDs) remove(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.homes, id)
}
