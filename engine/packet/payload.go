package packet

import (
	"bytes"
	"unicode/utf8"
)

// separator stands between the packets of a revision 4 payload. Data that
// contains it is not escaped: the receiver takes it for the end of the packet.
const separator = 0x1e

// Next returns the first packet of a text payload and what follows it. It
// borrows payload, and overwrites it where it holds base64. The payload is
// finished when rest is nil; a rest that is empty but not nil is one more,
// malformed packet. An empty payload and any packet that Decode refuses are
// ErrMalformed, which ends the payload; packets before it count.
//
// Revision 4: packets with the byte 1e between them.
//
// Revision 3: each packet behind its length in UTF-16 code units, at most ten
// decimal digits, and a colon. Empty packets ("0:") are skipped; a payload of
// nothing else, the form of "no packets", reads as one Noop without data. A
// length that would end inside a surrogate pair is ErrMalformed.
//
// Text that is not valid UTF-8 reads as the reference server reads it, with
// U+FFFD for each invalid part. Only then Data is a copy, of up to three times
// the length.
func (r Revision) Next(payload []byte) (p Packet, rest []byte, err error) {
	var text []byte
	if r == Revision3 {
		if len(payload) > 0 && len(skipEmpty3(payload)) == 0 {
			return Packet{Type: Noop}, nil, nil
		}
		text, rest = cutText3(payload)
	} else {
		text, rest = cutText4(payload)
	}
	if p, err = r.decodeText(text); err != nil {
		return Packet{}, nil, err
	}
	if !p.Binary && !utf8.Valid(p.Data) {
		p.Data = appendReplaced(make([]byte, 0, len(p.Data)+16), p.Data)
	}
	return p, rest, nil
}

// AppendPayload appends the polling body that carries ps. It borrows them.
//
// Revision 4 is always text, with binary packets in base64; no packets are no
// bytes, which no receiver accepts. Revision 3 is binary when BinaryPayload
// says so, else text, and no packets are "0:".
//
// base64 says that the client cannot take binary; it matters in revision 3.
func (r Revision) AppendPayload(dst []byte, ps []Packet, base64 bool) []byte {
	switch {
	case r != Revision3:
		return r.appendPayload4(dst, ps)
	case r.BinaryPayload(ps, base64):
		return appendBinaryPayload3(dst, ps)
	}
	return r.appendPayload3(dst, ps)
}

// PayloadSize is the number of bytes that AppendPayload appends, for the
// Content-Length in front of the body. It reads all text in revision 3 and
// only lengths in revision 4.
func (r Revision) PayloadSize(ps []Packet, base64 bool) int {
	if r != Revision3 {
		size := max(len(ps)-1, 0)
		for i := range ps {
			size += r.textLen(ps[i])
		}
		return size
	}
	if len(ps) == 0 {
		return len(emptyPayload3)
	}
	binary, size := r.BinaryPayload(ps, base64), 0
	for i := range ps {
		if binary {
			size += binarySize3(ps[i])
		} else {
			size += r.textSize3(ps[i])
		}
	}
	return size
}

// PayloadCost is an upper bound, in bytes, of what p takes in a payload, with
// what separates it from its neighbours. The costs of packets add up to at
// least the PayloadSize of them all. It does not read p.Data.
func (r Revision) PayloadCost(p Packet, base64 bool) int {
	switch {
	case r != Revision3:
		return 1 + r.textLen(p)
	case p.Binary && !base64:
		return binarySize3(p)
	}
	// A text packet takes one byte more in a binary payload: 00 in front.
	// Its length in code units is never more than that in bytes.
	n := r.textLen(p)
	return 2 + decimalLen(n) + n
}

// cutText4 splits payload at the first separator. rest is nil without one.
func cutText4(payload []byte) (text, rest []byte) {
	if i := bytes.IndexByte(payload, separator); i >= 0 {
		return payload[:i:i], payload[i+1:]
	}
	return payload, nil
}

func (r Revision) appendPayload4(dst []byte, ps []Packet) []byte {
	for i := range ps {
		if i > 0 {
			dst = append(dst, separator)
		}
		dst = r.appendText(dst, ps[i])
	}
	return dst
}
