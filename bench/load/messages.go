package load

import (
	"bytes"
	"encoding/binary"

	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// maskKey masks all frames. Clients must mask (RFC 6455, 5.1) and should do so
// with a fresh key each, against proxies that a script in a page could fool.
// Here is neither, and with one key, frames can be made once for a run: to send
// one costs its stamp. The server unmasks all the same.
var maskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

const (
	stampSize = 16      // bytes: 8 letters of the sequence number, 8 of the session
	batchSize = 1 << 20 // bytes of frames that are made in advance, at most
)

// messages makes the messages of one size and recognizes them. Each starts
// with its sequence number and the number of its session, four bits a letter,
// the lowest first; the rest is filler. A size below 16 cuts that off, and
// tells only so many messages apart.
type messages struct {
	binary bool
	stamp  int    // bytes of the stamp in a message
	want   []byte // the message that is expected

	// frames are count frames in a row, whole and masked, except their stamps.
	frames []byte
	count  int
	frame  int    // bytes of one
	first  int    // offset of the stamp in a frame
	mask   uint64 // of the stamp's words
}

// newMessages returns messages of size bytes, of which batch are sent at once.
func newMessages(size, batch int, binary bool, d Dialect) *messages {
	m := &messages{binary: binary, stamp: min(size, stampSize), want: make([]byte, size)}
	for i := range m.want {
		m.want[i] = "the quick brown fox jumps over the lazy dog. "[i%45]
	}
	op, payload := ws.OpText, m.want
	switch {
	case binary:
		op = ws.OpBinary
	case d == EngineIO:
		payload = append([]byte{'4'}, m.want...)
	}
	frame := wsframe.AppendMaskedFrame(nil, op, true, maskKey, payload)
	m.frame = len(frame)
	m.first = m.frame - size
	m.count = max(1, min(batch, batchSize/m.frame))
	m.frames = bytes.Repeat(frame, m.count)
	var mask [8]byte
	wsframe.Mask(mask[:], maskKey, len(payload)-size)
	m.mask = le.Uint64(mask[:])
	return m
}

var le = binary.LittleEndian

// letters spells n in the letters a to p, the lowest four bits first.
func letters(n uint32) uint64 {
	x := uint64(n)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	return x + 0x6161616161616161
}

// number undoes letters. ok is false for other letters.
func number(x uint64) (n uint32, ok bool) {
	for shift := 28; shift >= 0; shift -= 4 {
		c := byte(x>>(2*shift)) - 'a'
		if c > 15 {
			return 0, false
		}
		n = n<<4 | uint32(c)
	}
	return n, true
}

// put writes a stamp, as far as dst reaches.
func put(dst []byte, a, b uint64) {
	if len(dst) == stampSize {
		le.PutUint64(dst, a)
		le.PutUint64(dst[8:], b)
		return
	}
	var p [stampSize]byte
	le.PutUint64(p[:], a)
	le.PutUint64(p[8:], b)
	copy(dst, p[:])
}

// batch returns frames of the messages seq, seq+1, ... of session: n of them,
// or as many as there are in advance. They are valid until the next call.
func (m *messages) batch(session, seq uint32, n int) (frames []byte, count int) {
	count = min(n, m.count)
	b := letters(session) ^ m.mask
	for i := range count {
		at := i*m.frame + m.first
		put(m.frames[at:at+m.stamp], letters(seq+uint32(i))^m.mask, b)
	}
	return m.frames[:count*m.frame], count
}

// message returns message seq of session, valid until the next call.
func (m *messages) message(session, seq uint32) []byte {
	put(m.want[:m.stamp], letters(seq), letters(session))
	return m.want
}

// appendPayload appends the polling body that carries message seq of session.
func (m *messages) appendPayload(dst []byte, session, seq uint32) []byte {
	p := [1]packet.Packet{{Type: packet.Message, Binary: m.binary, Data: m.message(session, seq)}}
	return packet.Revision4.AppendPayload(dst, p[:], false)
}

// is reports whether data is message seq of session, every byte.
func (m *messages) is(data []byte, binary bool, session, seq uint32) bool {
	return binary == m.binary && bytes.Equal(data, m.message(session, seq))
}

// find tells which message of session data is, if it is one.
func (m *messages) find(data []byte, binary bool, session uint32) (seq uint32, ok bool) {
	if len(data) < stampSize {
		return 0, false
	}
	seq, ok = number(le.Uint64(data))
	return seq, ok && m.is(data, binary, session, seq)
}
