package wsframe

import (
	"encoding/binary"
	"errors"

	"turbine/pool"

	"github.com/gobwas/ws"
)

// RFC 6455, 5.2: the first two bytes of a frame.
const (
	finBit  = 0x80
	maskBit = 0x80
	rsv1Bit = 0x40 // of the first byte

	rsv1 = 4 // in ws.Header.Rsv

	lengthShort = 125 // the last length that stands in the second byte itself
	length16    = 126 // the length follows in 2 bytes
	length64    = 127 // the length follows in 8 bytes

	maxHeader = 14 // bytes: 2, 8 of length, 4 of mask
)

// ErrIncomplete says that the bytes so far are a good beginning and more are
// needed.
var ErrIncomplete = errors.New("wsframe: incomplete")

// ParseHeader decodes the frame header at the front of p and returns its length
// in bytes, 2 to 14 (RFC 6455, 5.2). It borrows p. It judges only the length
// field and leaves the rest to CheckHeader.
//
// It returns ErrIncomplete when p holds only part of a header, and a
// *CloseError with code 1002 for a length with its top bit set or one that is
// not in its shortest form.
func ParseHeader(p []byte) (h ws.Header, n int, err error) {
	if len(p) < 2 {
		return h, 0, ErrIncomplete
	}
	h.Fin = p[0]&finBit != 0
	h.Rsv = p[0] >> 4 & 7
	h.OpCode = ws.OpCode(p[0] & 0x0f)
	h.Masked = p[1]&maskBit != 0

	n = 2
	switch p[1] &^ maskBit {
	case length16:
		n = 4
	case length64:
		n = 10
	}
	length := n
	if h.Masked {
		n += 4
	}
	if len(p) < n {
		return h, 0, ErrIncomplete
	}
	if h.Masked {
		h.Mask = [4]byte(p[length:])
	}

	// RFC 6455, 5.2: the minimal number of bytes MUST be used, and the most
	// significant bit of 64 MUST be 0. The sign is looked at before anybody
	// adds to the length.
	switch length {
	case 2:
		h.Length = int64(p[1] &^ maskBit)
	case 4:
		h.Length = int64(binary.BigEndian.Uint16(p[2:]))
		if h.Length <= lengthShort {
			return h, 0, errLengthForm
		}
	default:
		h.Length = int64(binary.BigEndian.Uint64(p[2:])) // #nosec G115 -- the sign is looked at next
		if h.Length < 0 {
			return h, 0, errLengthSign
		}
		if h.Length <= 0xffff {
			return h, 0, errLengthForm
		}
	}
	return h, n, nil
}

// CheckHeader applies the rules for a frame that a server receives: known
// opcode, no RSV bits, masked, control frames final and at most 125 bytes, and
// a continuation exactly where one is due (RFC 6455, 5.1 to 5.5). fragmented
// says that a message has begun and not ended. The error is a *CloseError with
// code 1002.
func CheckHeader(h ws.Header, fragmented bool) error {
	state := ws.StateServerSide
	if fragmented {
		state = state.Set(ws.StateFragmented)
	}
	err := ws.CheckHeader(h, state)
	if err == nil {
		return nil
	}
	// ws boxes its error, 16 bytes once in the life of a connection; what goes
	// up from here is preallocated.
	if fault := headerFaults[err]; fault != nil {
		return fault
	}
	return errProtocol // a rule that a newer ws has and headerFaults has not
}

// headerFaults gives the answers of ws.CheckHeader the words for the peer.
var headerFaults = map[error]*CloseError{
	ws.ErrProtocolOpCodeReserved:         {ws.StatusProtocolError, "reserved opcode"},
	ws.ErrProtocolControlPayloadOverflow: {ws.StatusProtocolError, "control frame too long"},
	ws.ErrProtocolControlNotFinal:        {ws.StatusProtocolError, "fragmented control frame"},
	ws.ErrProtocolNonZeroRsv:             {ws.StatusProtocolError, "RSV bit without extension"},
	ws.ErrProtocolMaskRequired:           {ws.StatusProtocolError, "frame not masked"},
	ws.ErrProtocolContinuationExpected:   {ws.StatusProtocolError, "continuation expected"},
	ws.ErrProtocolContinuationUnexpected: {ws.StatusProtocolError, "unexpected continuation"},
}

// HeaderSize is the number of bytes in front of an unmasked payload of length
// bytes: 2, 4 or 10 (RFC 6455, 5.2).
func HeaderSize(length int) int {
	switch {
	case length <= lengthShort:
		return 2
	case length <= 0xffff:
		return 4
	}
	return 10
}

// PutHeader makes the whole content of b the payload of one final, unmasked
// frame: it writes the header into the headroom of b (RFC 6455, 5.2). It
// borrows b, whose caller is the only holder and left HeaderSize(b.Len())
// bytes of headroom; less panics.
func PutHeader(b *pool.Buf, op ws.OpCode) {
	n := b.Len()
	AppendHeader(b.Prepend(HeaderSize(n))[:0], op, n)
}

// PutCompressedHeader is PutHeader for a message that Compress made: RSV1 says
// so (RFC 7692, 6.1).
func PutCompressedHeader(b *pool.Buf, op ws.OpCode) {
	PutHeader(b, op)
	b.Bytes()[0] |= rsv1Bit
}

// AppendHeader appends the header of a final, unmasked frame with a payload of
// length bytes (RFC 6455, 5.2). The caller appends the payload.
func AppendHeader(dst []byte, op ws.OpCode, length int) []byte {
	return appendLength(append(dst, finBit|byte(op)), 0, length)
}

// AppendFrame appends a final, unmasked frame, as a server sends it (RFC 6455,
// 5.2). It borrows payload. A control frame holds at most 125 bytes; the caller
// sees to it.
func AppendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendMaskedFrame appends a frame as a client sends it, masked with key (RFC
// 6455, 5.2 and 5.3). fin is false for all but the last fragment of a message.
// It borrows payload and leaves it unchanged.
func AppendMaskedFrame(dst []byte, op ws.OpCode, fin bool, key [4]byte, payload []byte) []byte {
	first := byte(op)
	if fin {
		first |= finBit
	}
	dst = appendLength(append(dst, first), maskBit, len(payload))
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	Mask(dst[start:], key, 0)
	return dst
}

// appendLength appends the second byte, with bit mask, and what follows it of
// the length.
func appendLength(dst []byte, mask byte, length int) []byte {
	switch {
	case length <= lengthShort:
		return append(dst, mask|byte(length)) // #nosec G115 -- at most 125
	case length <= 0xffff:
		return append(dst, mask|length16, byte(length>>8), byte(length)) // #nosec G115 -- the two bytes of it
	}
	return binary.BigEndian.AppendUint64(append(dst, mask|length64), uint64(length))
}
