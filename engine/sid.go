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
// lives, and 128 bits that cannot be guessed. A server with Options.Node has 4 bytes
// more, in front, and 32 characters.
//
//	node (4) | loop (1) | slot (3) | secret (16)
//
// A lookup is two table accesses and a comparison in constant time: no map, no
// lock, and nothing for the garbage collector to follow in hash order.
const (
	sidBytes      = 20
	sidLength     = 27
	nodeBytes     = 4
	nodeSIDLength = 32
	secretSize    = 16
	maxSlot       = 1<<24 - 1
)

// An id that an application has chosen has this behind it on a server with Options.Node:
// a sign that is not in base64, and the node, in base64url.
const (
	nodeSign         = '~'
	nodeSuffixLength = 1 + 6
)

// sidEncoding is strict: the last character of 27 has two bits too many, and an id
// has one spelling.
var sidEncoding = base64.RawURLEncoding.Strict()

type secret [secretSize]byte

// sid is a session id, decoded. Every connection that polls has one.
type sid struct {
	slot   loop.Slot
	node   NodeID // 0 on a server alone
	secret secret
	loop   uint8
	chosen bool // by an application of another node, so that only the node is known
}

// home is the index of the session's loop.
func (id sid) home() int { return int(id.loop) }

func appendSID(dst []byte, id sid) []byte {
	var raw [nodeBytes + sidBytes]byte
	binary.BigEndian.PutUint32(raw[:], uint32(id.node))
	binary.BigEndian.PutUint32(raw[nodeBytes:], uint32(id.loop)<<24|uint32(id.slot))
	copy(raw[nodeBytes+4:], id.secret[:])
	if id.node == 0 {
		return sidEncoding.AppendEncode(dst, raw[nodeBytes:])
	}
	return sidEncoding.AppendEncode(dst, raw[:])
}

// parseSID reports false for what appendSID cannot have made. named says that the id is
// to have a node, as those of a server with Options.Node have: a server takes one form.
func parseSID(p []byte, named bool) (id sid, ok bool) {
	length, skipped := sidLength, nodeBytes
	if named {
		length, skipped = nodeSIDLength, 0
	}
	if len(p) != length {
		return sid{}, false
	}
	var raw [nodeBytes + sidBytes]byte
	if n, err := sidEncoding.Decode(raw[skipped:], p); err != nil || n != len(raw)-skipped {
		return sid{}, false
	}
	id.node = NodeID(binary.BigEndian.Uint32(raw[:]))
	if named && id.node == 0 {
		return sid{}, false
	}
	place := binary.BigEndian.Uint32(raw[nodeBytes:])
	id.loop, id.slot = uint8(place>>24), loop.Slot(place&maxSlot)
	copy(id.secret[:], raw[nodeBytes+4:])
	return id, true
}

// appendNode appends what an id of the application's own has behind it, where a server
// has a node.
func appendNode(dst []byte, node NodeID) []byte {
	var raw [nodeBytes]byte
	binary.BigEndian.PutUint32(raw[:], uint32(node))
	return sidEncoding.AppendEncode(append(dst, nodeSign), raw[:])
}

// nodeOf is the node behind an id that an application has chosen.
func nodeOf(id []byte) (node NodeID, ok bool) {
	at := len(id) - nodeSuffixLength
	if at <= 0 || len(id) > maxChosenID || id[at] != nodeSign {
		return 0, false
	}
	var raw [nodeBytes]byte
	if _, err := sidEncoding.Decode(raw[:], id[at+1:]); err != nil {
		return 0, false
	}
	node = NodeID(binary.BigEndian.Uint32(raw[:]))
	return node, node != 0
}

// node is the server's own, 0 where it is alone.
func (s *Server) node() NodeID {
	if n := s.options.Node; n != nil {
		return n.ID
	}
	return 0
}

// named is an id that the application has chosen as the session has it: with the node
// behind it, if there is one.
func (s *Server) named(id string) string {
	if node := s.node(); node != 0 {
		return string(appendNode([]byte(id), node))
	}
	return id
}

// homeOf tells where a session with that id lives, if it can live anywhere: on a loop of
// this server, or, for nil, on the node in the id.
func (s *Server) homeOf(id *sid) (home *loop.Loop, ok bool) {
	if id.node != s.node() {
		peers := s.options.Node.Peers
		return nil, peers != nil && peers.Knows(id.node)
	}
	if id.home() >= len(s.shards) {
		return nil, false
	}
	return s.shards[id.home()].loop, true
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

var errLongID = errors.New("engine: an id of the application is too long for other nodes")

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
