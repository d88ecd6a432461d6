package cluster

import (
	"encoding/binary"
	"errors"

	"turbine/engine"
)

// What travels on the subjects of the bus is a body:
//
//	version u8 | kind u8 | flags u8 | node u32 | seq u64 | groups | except | payload
//
// little endian. groups and except are lists of names: how many, then each with its
// length before it. The payload of kind messages is a list of messages, each with a byte
// that says whether it is binary and its length before it; that of the others is opaque.
// Counts and lengths are unsigned varints. A later version begins with another byte, and
// is ignored by this one.
const (
	bodyVersion = 1
	bodyHead    = 1 + 1 + 1 + 4 + 8
)

type bodyKind uint8

const (
	bodyMessages bodyKind = 1 // for sessions
	bodyTold     bodyKind = 2 // for what stands on top: Tell
)

const flagNoCompress = 1

// body is what one publish says. What Parse returns shares the bytes that it was given.
type body struct {
	kind       bodyKind
	noCompress bool
	node       engine.NodeID
	seq        uint64
	groups     []string
	except     []string
	messages   []engine.Message // of kind messages
	told       []byte           // of the other kind
}

// appendBody appends the body.
func appendBody(dst []byte, b *body) []byte {
	flags := byte(0)
	if b.noCompress {
		flags |= flagNoCompress
	}
	dst = append(dst, bodyVersion, byte(b.kind), flags)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(b.node))
	dst = binary.LittleEndian.AppendUint64(dst, b.seq)
	dst = appendNames(dst, b.groups)
	dst = appendNames(dst, b.except)
	if b.kind != bodyMessages {
		return append(dst, b.told...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.messages)))
	for i := range b.messages {
		m := &b.messages[i]
		kind := byte(0)
		if m.Binary {
			kind = 1
		}
		dst = append(dst, kind)
		dst = binary.AppendUvarint(dst, uint64(len(m.Data)))
		dst = append(dst, m.Data...)
	}
	return dst
}

func appendNames(dst []byte, names []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(names)))
	for _, name := range names {
		dst = binary.AppendUvarint(dst, uint64(len(name)))
		dst = append(dst, name...)
	}
	return dst
}

var (
	errBody    = errors.New("cluster: a body that no node of this version publishes")
	errVersion = errors.New("cluster: a body of another version")
)

// parseBody reads what appendBody wrote. It takes memory in proportion to p.
func parseBody(p []byte) (b body, err error) {
	if len(p) == 0 || p[0] != bodyVersion {
		return b, errVersion
	}
	if len(p) < bodyHead {
		return b, errBody
	}
	b.kind, b.noCompress = bodyKind(p[1]), p[2]&flagNoCompress != 0
	if b.kind != bodyMessages && b.kind != bodyTold {
		return b, errVersion
	}
	b.node = engine.NodeID(binary.LittleEndian.Uint32(p[3:]))
	b.seq = binary.LittleEndian.Uint64(p[7:])
	r := reader{rest: p[bodyHead:]}
	b.groups, b.except = r.names(), r.names()
	switch {
	case r.failed || b.node == 0 || b.seq == 0:
		return b, errBody
	case b.kind == bodyTold:
		b.told = r.rest
		return b, nil
	}
	n := r.count(2)
	b.messages = make([]engine.Message, 0, n)
	for range n {
		isBinary := r.byte()
		b.messages = append(b.messages, engine.Message{Data: r.bytes(), Binary: isBinary == 1})
		r.failed = r.failed || isBinary > 1
	}
	if r.failed || len(r.rest) > 0 || n == 0 {
		return b, errBody
	}
	return b, nil
}

// reader takes one thing after the other from the rest. Once it has failed it returns
// zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() {
	r.rest, r.failed = nil, true
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count is how many things follow, each of at least so many bytes.
func (r *reader) count(least int) int {
	n := r.number()
	if n > uint64(len(r.rest)/least) { // #nosec G115 -- a length
		r.fail()
		return 0
	}
	return int(n) // #nosec G115 -- at most len
}

func (r *reader) bytes() []byte {
	n := r.count(1)
	p := r.rest[:n:n]
	r.rest = r.rest[n:]
	return p
}

func (r *reader) names() (names []string) {
	n := r.count(1)
	if n == 0 {
		return nil
	}
	names = make([]string, 0, n)
	for range n {
		names = append(names, string(r.bytes()))
	}
	return names
}
