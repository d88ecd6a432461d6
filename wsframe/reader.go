package wsframe

import (
	"encoding/binary"
	"sync"

	"turbine/internal/invariants"
	"turbine/pool"

	"github.com/gobwas/ws"
)

// The limits for a Limits field that is zero.
const (
	DefaultMessage   = 1_000_000 // bytes, the reference server's maxHttpBufferSize
	DefaultFragments = 16_384    // frames
)

// Limits bounds what one message may cost. A program that serves larger messages
// raises Message; Fragments needs a change only for peers that send a byte a frame.
type Limits struct {
	Message   int // payload bytes of a message; zero means DefaultMessage
	Fragments int // frames of a message, empty ones too; zero means DefaultFragments

	// Compressed says that permessage-deflate was negotiated, so that RSV1 may
	// mark a message (RFC 7692, 6). Message then bounds the compressed payload;
	// the inflated one is up to Decompress.
	Compressed bool
}

// Message is a complete text or binary message, or one control frame: OpText,
// OpBinary, OpPing, OpPong or OpClose (RFC 6455, 5.5 and 5.6). Payload is
// unmasked and borrowed. In OpText it is valid UTF-8, and that of OpClose has
// passed ParseClose.
//
// A text or binary message that is Compressed is for Decompress, and its text
// is not checked for UTF-8.
type Message struct {
	OpCode     ws.OpCode
	Compressed bool
	Payload    []byte
}

// Reader puts the messages of one connection together. The zero value is ready.
//
// It is one pointer, nil while the connection is between two messages: a
// million idle connections each hold one.
type Reader struct {
	held *partial
}

// Next takes one message or control frame from the front of p and returns the
// bytes behind it, which the caller passes to the next call. Control frames
// come out between the fragments of a message (RFC 6455, 5.4).
//
// It borrows p and unmasks in it. A message that lies in p whole and in one
// frame is a slice of p. Any other payload is borrowed from the reader and is
// valid until the next call of Next or Release.
//
// It returns ErrIncomplete when p is used up: the reader has copied what it
// needs of p, and a reader between two messages holds nothing, not even the
// buffer of the message before. The caller therefore continues until ErrIncomplete. What
// the reader holds grows with the bytes received, never with a length declared.
//
// Any other error is a *CloseError. The reader has then given back what it
// held, and must not be fed again: the place in the stream is lost. The codes:
// 1002 for a broken rule, 1007 as soon as a text cannot become valid UTF-8,
// 1009 for a message over limits.Message, judged by the header before any
// payload, and 1008 for one of more than limits.Fragments frames.
func (r *Reader) Next(p []byte, limits Limits) (m Message, rest []byte, err error) {
	s := r.held
	if s != nil && s.idle() {
		r.Release() // the payload lent by the call before
		s = nil
	}
	if s == nil {
		if len(p) == 0 {
			return Message{}, nil, ErrIncomplete // mostly what ends a read
		}
		if m, n := plainMessage(p, limits.Message); n > 0 {
			if err = m.check(); err != nil {
				return r.fail(err)
			}
			return m, p[n:], nil
		}
	}
	for {
		if s == nil || !s.inFrame {
			var h ws.Header
			var n int
			if s == nil || s.headLen == 0 {
				h, n, err = ParseHeader(p)
			} else {
				h, n, err = s.parseHeader(p)
			}
			if err == ErrIncomplete {
				if len(p) > 0 {
					r.hold().keepHeader(p)
				}
				return Message{}, nil, ErrIncomplete
			}
			if err == nil {
				err = s.check(h, limits)
			}
			if err != nil {
				return r.fail(err)
			}
			p = p[n:]
			if h.Length <= int64(len(p)) && (h.OpCode.IsControl() || h.Fin && !s.open()) {
				return r.whole(h, p)
			}
			s = r.hold()
			s.begin(h)
		}

		p, err = s.take(p)
		if err != nil {
			return r.fail(err)
		}
		if s.inFrame {
			return Message{}, nil, ErrIncomplete
		}
		switch {
		case s.frame.OpCode.IsControl():
			m = Message{OpCode: s.frame.OpCode, Payload: s.control[:s.got]}
			if err = m.check(); err != nil {
				return r.fail(err)
			}
			return m, p, nil
		case s.frame.Fin:
			m.OpCode, s.opcode = s.opcode, 0
			m.Compressed = s.compressed
			if s.payload != nil {
				m.Payload = s.payload.Bytes()
			}
			return m, p, nil
		}
	}
}

// Held is how many bytes of payload the reader holds: those that have come of a
// message which is not complete, or of one that is lent.
func (r *Reader) Held() int {
	if r.held == nil || r.held.payload == nil {
		return 0
	}
	return r.held.payload.Len()
}

// Begun reports whether a part of a message or of a frame has come, and not the
// whole of it.
func (r *Reader) Begun() bool { return r.held != nil && !r.held.idle() }

// Release gives back what the reader holds, when its connection has ended.
// What Next lent is no longer valid. A second call does nothing.
func (r *Reader) Release() {
	s := r.held
	if s == nil {
		return
	}
	r.held = nil
	if s.payload != nil {
		s.payload.Release()
	}
	*s = partial{}
	partials.Put(s)
}

// plainMessage takes from the front of p what most messages are: one masked,
// final frame of at most 64 KiB without extensions, all of it there. n is 0 for
// anything else, which Next then judges by all rules.
func plainMessage(p []byte, limit int) (m Message, n int) {
	if len(p) < 6 || p[0] != finBit|byte(ws.OpText) && p[0] != finBit|byte(ws.OpBinary) || p[1]&maskBit == 0 {
		return m, 0
	}
	head, length := 6, int(p[1]&^maskBit)
	switch {
	case length < length16:
	case length == length16 && len(p) >= 8:
		head, length = 8, int(binary.BigEndian.Uint16(p[2:]))
		if length <= lengthShort {
			return m, 0
		}
	default:
		return m, 0
	}
	n = head + length
	if length > limit || n > len(p) {
		return m, 0
	}
	// The capacity ends with the message: an append to it must not reach rest.
	m = Message{OpCode: ws.OpCode(p[0] &^ finBit), Payload: p[head:n:n]}
	Mask(m.Payload, [4]byte(p[head-4:]), 0)
	return m, n
}

// whole makes a message of a frame that lies in p whole. In the middle of a
// fragmented message this is a control frame, and the reader keeps what it has.
func (r *Reader) whole(h ws.Header, p []byte) (Message, []byte, error) {
	n := int(h.Length)
	// The capacity ends with the message: an append to it must not reach rest.
	m := Message{OpCode: h.OpCode, Compressed: h.Rsv != 0, Payload: p[:n:n]}
	Mask(m.Payload, h.Mask, 0)
	if err := m.check(); err != nil {
		return r.fail(err)
	}
	if s := r.held; s != nil {
		s.headLen = 0
		if s.idle() {
			r.Release()
		}
	}
	return m, p[n:], nil
}

func (r *Reader) fail(err error) (Message, []byte, error) {
	r.Release()
	return Message{}, nil, err
}

// hold returns the state between two calls, lent by partials until Release.
func (r *Reader) hold() *partial {
	if r.held == nil {
		r.held = partials.Get().(*partial)
	}
	return r.held
}

// check judges the payload of a message that was not collected.
func (m Message) check() error {
	switch m.OpCode {
	case ws.OpText:
		if !m.Compressed {
			return CheckText(m.Payload)
		}
	case ws.OpClose:
		_, _, err := ParseClose(m.Payload)
		return err
	}
	return nil
}

var partials = sync.Pool{New: func() any { return new(partial) }}

// partial is what a Reader remembers inside a message or a frame. Its methods
// that only look take nil for "nothing remembered".
type partial struct {
	payload   *pool.Buf // the open message, unmasked; nil before its first byte
	valid     int       // bytes of payload known to be whole code points, in a text
	fragments int       // frames of the open message so far
	opcode    ws.OpCode // of the open message; 0 when none is open

	compressed bool // the open message

	inFrame bool      // frame.OpCode has begun and got < frame.Length
	headLen uint8     // bytes in head
	frame   ws.Header // the frame under way, or the last one
	got     int64     // bytes of its payload so far

	head    [maxHeader]byte                     // a header that is cut
	control [ws.MaxControlFramePayloadSize]byte // a control frame that is cut; apart from payload, because it may interrupt a message
}

func (s *partial) open() bool { return s != nil && s.opcode != 0 }

// idle reports that nothing is remembered for a later call.
func (s *partial) idle() bool { return s.opcode == 0 && !s.inFrame && s.headLen == 0 }

// keepHeader borrows p, which ends within a header.
func (s *partial) keepHeader(p []byte) {
	invariants.Check(int(s.headLen)+len(p) < maxHeader, "a whole header kept as part of one")
	s.headLen += uint8(copy(s.head[s.headLen:], p)) // #nosec G115 -- at most maxHeader
}

// parseHeader is ParseHeader with the bytes kept before in front of p; n counts
// only those of p.
func (s *partial) parseHeader(p []byte) (h ws.Header, n int, err error) {
	kept := int(s.headLen)
	end := kept + copy(s.head[kept:], p)
	h, n, err = ParseHeader(s.head[:end])
	return h, n - kept, err
}

// check judges a header against the message it arrives in, before any payload.
func (s *partial) check(h ws.Header, limits Limits) error {
	// RFC 7692, 6: RSV1 stands on the first frame of a message; anywhere else
	// it remains the fault that CheckHeader finds.
	if limits.Compressed && h.Rsv == rsv1 && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary) {
		h.Rsv = 0
	}
	if err := CheckHeader(h, s.open()); err != nil {
		return err
	}
	if h.OpCode.IsControl() {
		return nil
	}
	if limits.Message <= 0 {
		limits.Message = DefaultMessage
	}
	if limits.Fragments <= 0 {
		limits.Fragments = DefaultFragments
	}
	collected, fragments := 0, 0
	if s.open() {
		fragments = s.fragments
		if s.payload != nil {
			collected = s.payload.Len()
		}
	}
	// By subtraction: the sum may not fit into 64 bits.
	if h.Length > int64(limits.Message-collected) {
		return ErrTooBig
	}
	if fragments >= limits.Fragments {
		return ErrManyFragments
	}
	return nil
}

// begin enters the frame of header h.
func (s *partial) begin(h ws.Header) {
	s.frame, s.got, s.headLen, s.inFrame = h, 0, 0, true
	if h.OpCode.IsControl() {
		return
	}
	s.fragments++
	if h.OpCode != ws.OpContinuation {
		s.opcode, s.compressed = h.OpCode, h.Rsv != 0 // check has let RSV1 pass, if any
	}
}

// take borrows p and copies what belongs to the frame. It leaves the frame when
// that was all of it, and returns the rest of p.
func (s *partial) take(p []byte) (rest []byte, err error) {
	n := int(min(int64(len(p)), s.frame.Length-s.got))
	part, rest := p[:n], p[n:]
	Mask(part, s.frame.Mask, int(s.got&3))
	if s.frame.OpCode.IsControl() {
		copy(s.control[s.got:], part)
	} else if n > 0 {
		if s.payload == nil {
			s.payload = pool.Spills.Get(n)
		}
		s.payload.Append(part)
	}
	s.got += int64(n)
	s.inFrame = s.got < s.frame.Length
	if s.frame.OpCode.IsControl() || s.opcode != ws.OpText || s.compressed {
		return rest, nil
	}
	return rest, s.checkText()
}

// checkText looks at the bytes of the open text message that it has not seen.
func (s *partial) checkText() error {
	if s.payload == nil {
		return nil
	}
	fresh := s.payload.Bytes()[s.valid:]
	n, ok := completeRunes(fresh)
	if !ok {
		return errText
	}
	s.valid += n
	if n < len(fresh) && s.frame.Fin && !s.inFrame {
		return errText // the message ends within a code point
	}
	return nil
}
