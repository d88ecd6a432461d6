package link

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// Versions of the protocol that this program speaks. A version speaks with the one
// before it too.
const (
	OldestVersion = 1
	NewestVersion = 1
)

const (
	nonceLen = 32
	proofLen = sha256.Size
	// helloLen is the length of a hello without its cluster's name: versions, purpose,
	// length of the name, node, boot, options, nonce.
	helloLen = 4 + 4 + 16 + 8 + nonceLen
	// maxCluster is the longest name of a cluster in bytes.
	maxCluster = 255
	// maxGreeting is how much is read, in bytes, before the proof.
	maxGreeting = 1 << 10
	// keyLen is the least length of a key in bytes.
	keyLen = 32
)

// Purpose is what a connection is for.
type Purpose uint8

// The purposes.
const (
	Requests Purpose = iota + 1
	Relays
)

// Self is this node, as it introduces itself.
type Self struct {
	Cluster string   // the name, at most 255 bytes: nodes of another cluster are refused
	Node    uint32   // not 0
	Boot    [16]byte // drawn at random for each start
	Options [8]byte  // a hash of the options that all nodes should have in common
	Key     []byte   // what all nodes know and nobody else: 32 bytes or more
	// Versions that are spoken. Zero means OldestVersion and NewestVersion.
	Oldest, Newest uint8
}

func (s *Self) versions() (oldest, newest uint8) {
	oldest, newest = s.Oldest, s.Newest
	if oldest == 0 {
		oldest = OldestVersion
	}
	if newest == 0 {
		newest = NewestVersion
	}
	return oldest, newest
}

// Check says what cannot be used of s.
func (s *Self) Check() error {
	oldest, newest := s.versions()
	switch {
	case len(s.Cluster) > maxCluster:
		return errors.New("link: the cluster's name is longer than 255 bytes")
	case s.Node == 0:
		return errors.New("link: a node needs a number")
	case len(s.Key) < keyLen:
		return errors.New("link: the key is shorter than 32 bytes")
	case oldest > newest:
		return errors.New("link: the oldest version is above the newest")
	}
	return nil
}

// Peer is the node at the other end, once it has proven that it has the key.
type Peer struct {
	Node    uint32
	Boot    [16]byte
	Options [8]byte
	Version uint8 // that both speak
	Purpose Purpose
}

// Errors that a greeting ends with, in addition to those of the connection.
var (
	ErrProof    = errors.New("link: the nodes have different keys")
	ErrVersion  = errors.New("link: no common version")
	ErrCluster  = errors.New("link: node of another cluster")
	ErrSelf     = errors.New("link: the node is this one")
	ErrSlow     = errors.New("link: greeting too slow")
	ErrGreeting = errors.New("link: no greeting of a node")
)

// hello is the body of a Hello frame.
//
//	oldest u8 | newest u8 | purpose u8 | length u8 of cluster | node u32 | boot 16 | options 8 | nonce 32 | cluster
//
// What is behind that is of later versions, and is ignored. The proof is over all of it.
type hello struct {
	oldest, newest uint8
	purpose        Purpose
	node           uint32
	boot           [16]byte
	options        [8]byte
	nonce          [nonceLen]byte
	cluster        []byte // points into what was parsed
}

func parseHello(p []byte) (h hello, err error) {
	if len(p) < helloLen || len(p) < helloLen+int(p[3]) {
		return h, ErrGreeting
	}
	h.oldest, h.newest, h.purpose = p[0], p[1], Purpose(p[2])
	h.node = binary.LittleEndian.Uint32(p[4:])
	copy(h.boot[:], p[8:])
	copy(h.options[:], p[24:])
	copy(h.nonce[:], p[32:])
	h.cluster = p[helloLen : helloLen+int(p[3])]
	if h.node == 0 || h.oldest == 0 || h.oldest > h.newest {
		return h, ErrGreeting
	}
	return h, nil
}

// appendHello appends h, whose cluster is 255 bytes long at most.
func appendHello(dst []byte, h hello) []byte {
	dst = append(dst, h.oldest, h.newest, byte(h.purpose), byte(len(h.cluster))) // #nosec G115 -- maxCluster
	dst = binary.LittleEndian.AppendUint32(dst, h.node)
	dst = append(dst, h.boot[:]...)
	dst = append(dst, h.options[:]...)
	dst = append(dst, h.nonce[:]...)
	return append(dst, h.cluster...)
}

// The roles of the ends of a connection. A proof holds for one role, so that it cannot be
// sent back.
const (
	roleDialer   = "turbine link: the node that dials"
	roleAcceptor = "turbine link: the node that accepts"
)

// proof is what the end of that role says to prove that it has key. It is over both
// greetings, and so over nonces, nodes, purpose and versions: it cannot be used on another
// connection. exported is what binds it to the TLS of this one, nil without.
func proof(key []byte, role string, dialer, acceptor, exported []byte) (sum [proofLen]byte) {
	mac := hmac.New(sha256.New, key)
	var length [4]byte
	for _, part := range [...][]byte{[]byte(role), dialer, acceptor, exported} {
		binary.LittleEndian.PutUint32(length[:], uint32(len(part))) // #nosec G115 -- greetings
		mac.Write(length[:])
		mac.Write(part)
	}
	mac.Sum(sum[:0])
	return sum
}
