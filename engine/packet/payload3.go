package packet

import (
	"strconv"
	"unicode/utf8"
)

const (
	// emptyPayload3 is the revision 3 payload without packets.
	emptyPayload3 = "0:"

	// maxDigits bounds a length field, leading zeros included. Ten digits are
	// more than every body has, and too few to overflow the sum.
	maxDigits = 10

	stringPacket = 0x00 // what leads a packet in a binary payload
	binaryPacket = 0x01
	lengthEnd    = 0xff // what ends its length
)

// NextBinary returns the first packet of a binary payload, the body of the
// type application/octet-stream in revision 3, and what follows it. It borrows
// payload, and overwrites it where a text packet holds base64. The payload is
// finished when rest is nil.
//
// Each packet is 00 for text or 01 for binary, its length in bytes as at most
// ten decimal digits of one byte 0..9 each, ff, and the packet. ErrMalformed,
// which ends the payload, are: an empty payload, any other byte in that head,
// fewer bytes than announced, text that is not valid UTF-8, and any packet
// that Decode refuses. The reference server is laxer with the second and third.
//
// Revision 4 has no binary payloads: every one is ErrMalformed.
func (r Revision) NextBinary(payload []byte) (p Packet, rest []byte, err error) {
	if r != Revision3 || len(payload) == 0 || payload[0] > binaryPacket {
		return Packet{}, nil, ErrMalformed
	}
	n, rest, ok := cutLength(payload[1:], 0, lengthEnd)
	if !ok {
		return Packet{}, nil, ErrMalformed
	}
	body := rest[:n:n]
	if payload[0] == binaryPacket {
		p, err = decodeBinary3(body)
	} else if p, err = r.decodeText(body); err == nil && !p.Binary && !utf8.Valid(p.Data) {
		err = ErrMalformed
	}
	if err != nil {
		return Packet{}, nil, err
	}
	return p, orNil(rest[n:]), nil
}

// BinaryPayload reports whether AppendPayload makes a binary payload of ps, of
// the type application/octet-stream, and not text: in revision 3, for a client
// that takes binary, if at least one packet is binary.
func (r Revision) BinaryPayload(ps []Packet, base64 bool) bool {
	if r != Revision3 || base64 {
		return false
	}
	for i := range ps {
		if ps[i].Binary {
			return true
		}
	}
	return false
}

// cutText3 returns the first packet of a text payload that is not empty, and
// what follows it up to empty packets at the end. A text of nil is malformed.
func cutText3(payload []byte) (text, rest []byte) {
	n, rest, ok := cutLength(skipEmpty3(payload), '0', ':')
	if !ok {
		return nil, nil
	}
	size, ok := cutUTF16(rest, n)
	if !ok {
		return nil, nil
	}
	return rest[:size:size], orNil(skipEmpty3(rest[size:]))
}

// skipEmpty3 drops the empty packets in front of a text payload.
func skipEmpty3(payload []byte) []byte {
	for {
		n, rest, ok := cutLength(payload, '0', ':')
		if !ok || n > 0 {
			return payload
		}
		payload = rest
	}
}

// cutLength parses the decimal length in front of p, whose digits count from
// zero, and the byte that ends it. ok is false when there is none, when it is
// longer than maxDigits, and when fewer than n bytes follow: a packet of n
// code units also has at least n bytes.
func cutLength(p []byte, zero, end byte) (n int, rest []byte, ok bool) {
	sum := uint64(0) // ten digits do not fit an int of 32 bits
	for i := 0; i < len(p) && i <= maxDigits; i++ {
		if p[i] == end {
			rest = p[i+1:]
			return int(sum), rest, i > 0 && sum <= uint64(len(rest))
		}
		d := p[i] - zero // what is below zero wraps around
		if d > 9 {
			break
		}
		sum = sum*10 + uint64(d)
	}
	return 0, nil, false
}

func (r Revision) appendPayload3(dst []byte, ps []Packet) []byte {
	if len(ps) == 0 {
		return append(dst, emptyPayload3...)
	}
	for i := range ps {
		dst = strconv.AppendInt(dst, int64(r.textUnits(ps[i])), 10)
		dst = r.appendText(append(dst, ':'), ps[i])
	}
	return dst
}

func appendBinaryPayload3(dst []byte, ps []Packet) []byte {
	for i := range ps {
		lead, id := byte(stringPacket), digit(ps[i].Type)
		if ps[i].Binary {
			lead, id = binaryPacket, byte(ps[i].Type)
		}
		dst = append(dst, lead)
		start := len(dst)
		dst = strconv.AppendInt(dst, int64(1+len(ps[i].Data)), 10)
		for j := start; j < len(dst); j++ {
			dst[j] -= '0'
		}
		dst = append(append(dst, lengthEnd, id), ps[i].Data...)
	}
	return dst
}

// textSize3 is the number of bytes of p in a text payload.
func (r Revision) textSize3(p Packet) int {
	return decimalLen(r.textUnits(p)) + 1 + r.textLen(p)
}

// binarySize3 is the number of bytes of p in a binary payload.
func binarySize3(p Packet) int {
	n := 1 + len(p.Data)
	return 1 + decimalLen(n) + 1 + n
}

// textUnits is the length of the text form of p in UTF-16 code units.
func (r Revision) textUnits(p Packet) int {
	if p.Binary {
		return r.textLen(p)
	}
	return 1 + utf16Len(p.Data)
}

func decimalLen(n int) int {
	digits := 1
	for ; n >= 10; n /= 10 {
		digits++
	}
	return digits
}

// orNil turns an empty rest into the nil that says finished.
func orNil(rest []byte) []byte {
	if len(rest) == 0 {
		return nil
	}
	return rest
}
