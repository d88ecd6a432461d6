package link

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// HeaderLen is the length in bytes of what is in front of a frame's body:
	// length u32, kind u8, flags u8, 0 u16, stream u32, little endian.
	HeaderLen = 12
	// MaxBody is the longest body of a frame in bytes. What is longer is cut: a frame
	// is how long one stream keeps others waiting.
	MaxBody = 64 << 10
)

// Kind is what a frame says.
type Kind uint8

// The kinds. Those above Pong are for later versions, and are ignored.
const (
	Hello   Kind = iota + 1 // both ways, first
	Proof                   // both ways, second; empty: the proof of the other end was wrong
	Arrive                  // to the home: a request; its head has its length, u16, in front
	Body                    // to the home: a piece of its body
	Cancel                  // to the home: the client sends nothing more; the status, u16
	Lost                    // to the home: the client's connection is gone
	Answer                  // to the edge: a piece of the answer
	Abort                   // to the edge: the client's connection is to be destroyed
	Release                 // to the home: a request that only waits is to be answered
	Note                    // to the home: without an answer
	Ping                    // both ways: a number, u64
	Pong                    // both ways: the same number
	kinds
)

func (k Kind) String() string {
	names := [...]string{"none", "hello", "proof", "arrive", "body", "cancel", "lost", "answer", "abort", "release", "note", "ping", "pong"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Flags of a frame.
const (
	FlagMore       uint8 = 1 << iota // Arrive, Body, Answer: another piece follows
	FlagOverBudget                   // Lost: the edge ended the connection for want of memory
)

// Header is what is in front of a frame's body.
type Header struct {
	Length uint32
	Kind   Kind
	Flags  uint8
	Stream uint32
}

// Errors of frames. A link whose peer causes one ends.
var (
	ErrIncomplete = errors.New("link: frame not complete")
	ErrTooLong    = errors.New("link: frame too long")
	ErrMalformed  = errors.New("link: malformed frame")
	errDirection  = errors.New("link: frame of a kind that this end sends")
	errStream     = errors.New("link: frame of a stream that cannot be")
)

// ParseHeader reads the header at the front of p. It returns ErrIncomplete if p is
// shorter than a header, and ErrTooLong for a length above MaxBody, before anybody makes
// room for it.
func ParseHeader(p []byte) (h Header, err error) {
	if len(p) < HeaderLen {
		return h, ErrIncomplete
	}
	h = Header{
		Length: binary.LittleEndian.Uint32(p),
		Kind:   Kind(p[4]),
		Flags:  p[5],
		Stream: binary.LittleEndian.Uint32(p[8:]),
	}
	switch {
	case h.Length > MaxBody:
		return h, ErrTooLong
	case p[6] != 0 || p[7] != 0:
		return h, ErrMalformed
	}
	return h, h.Check()
}

// AppendHeader appends h.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, h.Length)
	dst = append(dst, byte(h.Kind), h.Flags, 0, 0)
	return binary.LittleEndian.AppendUint32(dst, h.Stream)
}

// Parse reads one frame from the front of p and returns its length. body points into p.
func Parse(p []byte) (h Header, body []byte, n int, err error) {
	if h, err = ParseHeader(p); err != nil {
		return h, nil, 0, err
	}
	n = HeaderLen + int(h.Length)
	if len(p) < n {
		return h, nil, 0, ErrIncomplete
	}
	return h, p[HeaderLen:n], n, nil
}

// Append appends a frame. body is MaxBody bytes long at most.
func Append(dst []byte, kind Kind, flags uint8, stream uint32, body []byte) []byte {
	dst = AppendHeader(dst, Header{Length: uint32(len(body)), Kind: kind, Flags: flags, Stream: stream}) // #nosec G115 -- MaxBody
	return append(dst, body...)
}

// rule is what a kind of frame looks like.
type rule struct {
	flags      uint8 // those it may have
	stream     bool  // it is of a stream
	least, max uint32
}

var rules = [kinds]rule{
	Hello:   {least: helloLen, max: maxGreeting},
	Proof:   {max: proofLen},
	Arrive:  {flags: FlagMore, stream: true, least: 2, max: MaxBody},
	Body:    {flags: FlagMore, stream: true, max: MaxBody},
	Cancel:  {stream: true, least: 2, max: 2},
	Lost:    {flags: FlagOverBudget, stream: true},
	Answer:  {flags: FlagMore, stream: true, max: MaxBody},
	Abort:   {stream: true},
	Release: {stream: true},
	Note:    {max: MaxBody},
	Ping:    {least: 8, max: 8},
	Pong:    {least: 8, max: 8},
}

// Check applies what each kind asks for. Kinds that this version does not know pass: they
// are ignored.
func (h Header) Check() error {
	if h.Kind >= kinds {
		return nil
	}
	r := rules[h.Kind]
	switch {
	case h.Kind == 0, h.Flags&^r.flags != 0, h.Length < r.least, h.Length > r.max:
		return ErrMalformed
	case r.stream != (h.Stream != 0):
		return errStream
	case r.stream && placeOf(h.Stream) == 0, r.stream && placeOf(h.Stream) > MaxStreams:
		return errStream
	}
	return nil
}
