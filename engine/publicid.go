package engine

import (
	"crypto/sha256"
	"encoding/binary"

	"turbine/loop"
)

// A public id is base64url of 16 bytes, 22 characters: where the session lives, and
// what tells it from all others that live there.
//
//	node (4) | loop (1) | slot (3) | tag (8)
//
// The node is that of Options.Node, 0 on a server alone. The tag is the beginning of a SHA-256 of the session's secret: from it
// nobody has the secret, and with it the session id, and the next session in the same
// slot has another tag. An id that the application chose is no part of it. Such an id may
// be short, and whoever guesses ids could tell by a hash which guess is right.
const (
	publicIDBytes  = 16
	publicIDLength = 22

	publicIDTag = "turbine public" // in front of the secret: no other hash of it is the same
)

// publicID is a public id, decoded.
type publicID struct {
	node uint32
	loop uint8
	slot loop.Slot
	tag  uint64
}

// tag is what a public id has of the secret.
func (s *secret) tag() uint64 {
	var text [len(publicIDTag) + secretSize]byte
	copy(text[copy(text[:], publicIDTag):], s[:])
	sum := sha256.Sum256(text[:])
	return binary.BigEndian.Uint64(sum[:])
}

func (id publicID) String() string {
	var raw [publicIDBytes]byte
	binary.BigEndian.PutUint32(raw[:], id.node)
	binary.BigEndian.PutUint32(raw[4:], uint32(id.loop)<<24|uint32(id.slot))
	binary.BigEndian.PutUint64(raw[8:], id.tag)
	var text [publicIDLength]byte
	sidEncoding.Encode(text[:], raw[:])
	return string(text[:])
}

// parsePublicID reports false for what String cannot have made.
func parsePublicID(text string) (id publicID, ok bool) {
	if len(text) != publicIDLength {
		return publicID{}, false
	}
	var raw [publicIDBytes]byte
	if n, err := sidEncoding.Decode(raw[:], []byte(text)); err != nil || n != publicIDBytes {
		return publicID{}, false
	}
	place := binary.BigEndian.Uint32(raw[4:])
	return publicID{
		node: binary.BigEndian.Uint32(raw[:]), loop: uint8(place >> 24), slot: loop.Slot(place & maxSlot), tag: binary.BigEndian.Uint64(raw[8:]),
	}, true
}

// PublicID names the session in logs, lists and commands, and opens nothing: the session's
// ID, with which a client polls, cannot be had from it. It has 22 characters, letters,
// digits, '-' and '_', stays the same for the session's life and after it, and is never
// another session's. It takes no memory in the session: each call computes it, in about
// a microsecond, and allocates the string. Safe from any goroutine.
func (s *Session) PublicID() string {
	return publicID{node: uint32(s.server.node()), loop: uint8(s.loop.Index()), slot: s.slot, tag: s.secret.tag()}.String()
}

// FindPublic returns the session with that PublicID. ok is false where there is none, or
// it has ended. It finds the sessions that Find does, in a time that does not depend on
// their number, and allocates nothing. Safe from any goroutine.
func (s *Server) FindPublic(id string) (session *Session, ok bool) {
	where, ok := parsePublicID(id)
	shards := s.allShards()
	if !ok || where.node != uint32(s.node()) || int(where.loop) >= len(shards) {
		return nil, false
	}
	session = shards[where.loop].visibleAt(where.slot)
	if session == nil || session.secret.tag() != where.tag {
		return nil, false
	}
	return session, true
}
