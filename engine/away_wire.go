package engine

import (
	"encoding/binary"
	"errors"

	"turbine/pool"
)

// What nodes tell each other about a request, its answer and a session is here as bytes,
// each with the function that makes them and the one that reads them. Numbers are little
// endian. A reader takes exactly what its maker makes, and borrows.

// ErrMalformed is about bytes of another node that this one cannot have understood.
var ErrMalformed = errors.New("engine: malformed bytes of another node")

// maxChosenID is the most bytes of an id that an application chooses, on a server with
// Options.Node, with the node behind it.
const maxChosenID = 4096

// An arrival is a request as its session's node is told it: the head of Peers.Arrive.
//
//	method u8 | revision u8 | transport u8 | encoding u8 | flags u8 | binding (8) | id, as text
type arrival struct {
	method    method
	revision  Revision // 0 when EIO is neither 3 nor 4
	transport Transport
	encoding  contentEncoding
	octets    bool
	base64    bool
	jsonp     bool
	secure    bool
	whole     bool // the body comes with the head
	binding   binding
	id        []byte
}

const arrivalSize = 5 + len(binding{}) // and the id

// The flags of an arrival.
const (
	arrivalOctets = 1 << iota
	arrivalBase64
	arrivalJSONP
	arrivalSecure
	arrivalWhole

	arrivalFlags = 1<<iota - 1
)

func appendArrival(dst []byte, a *arrival) []byte {
	flags := byte(0)
	for i, on := range [...]bool{a.octets, a.base64, a.jsonp, a.secure, a.whole} {
		if on {
			flags |= 1 << i
		}
	}
	dst = append(dst, byte(a.method), byte(a.revision), byte(a.transport), byte(a.encoding), flags)
	dst = append(dst, a.binding[:]...)
	return append(dst, a.id...)
}

func parseArrival(p []byte) (a arrival, err error) {
	if len(p) <= arrivalSize || len(p) > arrivalSize+maxChosenID {
		return arrival{}, ErrMalformed
	}
	flags := p[4]
	a = arrival{
		method: method(p[0]), revision: Revision(p[1]), transport: Transport(p[2]), encoding: contentEncoding(p[3]),
		octets: flags&arrivalOctets != 0, base64: flags&arrivalBase64 != 0, jsonp: flags&arrivalJSONP != 0,
		secure: flags&arrivalSecure != 0, whole: flags&arrivalWhole != 0,
		id: p[arrivalSize:],
	}
	copy(a.binding[:], p[5:])
	switch {
	case a.method > methodHEAD, a.encoding > encodingDeflate, flags&^arrivalFlags != 0:
		return arrival{}, ErrMalformed
	case a.revision != 0 && a.revision != Revision3 && a.revision != Revision4:
		return arrival{}, ErrMalformed
	case a.transport != Polling && a.transport != WebSocket:
		return arrival{}, ErrMalformed
	}
	return a, nil
}

// What an answer begins with.
const (
	answerResponse byte = iota + 1
	answerRefusal
)

// A homeAnswer is what the node of a session gives to Back.Answer, for Reply.Answer: what
// the response has of the session, or why there is none.
//
//	1 u8 | flags u8 | status u16 | content type u8 | lengths of okay, headers u16 | okay | headers | body
//	2 u8 | number of the refusal u8 | lengths of name, detail, previous u16 | these
//
// The node of the connection puts the rest of the HTTP head in front.
type homeAnswer struct {
	status      int
	contentType string
	farewell    bool
	okay        []byte // header lines for status 200
	headers     []byte // header lines
	body        []byte

	refused                *refusal // nil for a response
	name, detail, previous string
}

const (
	responseSize = 9
	refusalSize  = 8

	answerFarewell = 1 // the flag
)

// contentTypes are those of responses, by number.
var contentTypes = [...]string{"", typeText, typeOctets, typeJSON, typeHTML}

// appendResponse appends the beginning of a response, behind which the body comes.
// okay and headers are below 64 KiB.
func appendResponse(dst []byte, m *homeAnswer) []byte {
	number, flags := byte(0), byte(0)
	for i, name := range contentTypes {
		if name == m.contentType {
			number = byte(i)
		}
	}
	if m.farewell {
		flags = answerFarewell
	}
	dst = append(dst, answerResponse, flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(m.status)) // #nosec G115 -- three digits
	dst = append(dst, number)
	dst = appendLengths(dst, len(m.okay), len(m.headers))
	return append(append(dst, m.okay...), m.headers...)
}

// appendRefusal appends all of a refusal. What is longer than maxRefusedText is cut.
func appendRefusal(dst []byte, m *homeAnswer) []byte {
	parts := [...]string{m.name, m.detail, m.previous}
	for i, part := range parts {
		parts[i] = part[:min(len(part), maxRefusedText)]
	}
	dst = append(dst, answerRefusal, byte(m.refused.code)) // #nosec G115 -- one digit
	dst = appendLengths(dst, len(parts[0]), len(parts[1]), len(parts[2]))
	for _, part := range parts {
		dst = append(dst, part...)
	}
	return dst
}

func appendLengths(dst []byte, lengths ...int) []byte {
	for _, n := range lengths {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n)) // #nosec G115 -- see the callers
	}
	return dst
}

func parseAnswer(p []byte) (m homeAnswer, err error) {
	switch {
	case len(p) >= responseSize && p[0] == answerResponse:
		return parseResponse(p)
	case len(p) >= refusalSize && p[0] == answerRefusal:
		return parseRefusal(p)
	}
	return homeAnswer{}, ErrMalformed
}

func parseResponse(p []byte) (m homeAnswer, err error) {
	status, number := int(binary.LittleEndian.Uint16(p[2:])), int(p[4])
	okay, headers := int(binary.LittleEndian.Uint16(p[5:])), int(binary.LittleEndian.Uint16(p[7:]))
	rest := p[responseSize:]
	if p[1]&^answerFarewell != 0 || status < 200 || status > 599 || number >= len(contentTypes) || len(rest) < okay+headers {
		return homeAnswer{}, ErrMalformed
	}
	m = homeAnswer{
		status: status, contentType: contentTypes[number], farewell: p[1] == answerFarewell,
		okay: rest[:okay], headers: rest[okay : okay+headers], body: rest[okay+headers:],
	}
	if !areHeaderLines(m.okay) || !areHeaderLines(m.headers) {
		return homeAnswer{}, ErrMalformed
	}
	return m, nil
}

func parseRefusal(p []byte) (m homeAnswer, err error) {
	number, rest := int(p[1]), p[refusalSize:]
	if number >= len(refusals) {
		return homeAnswer{}, ErrMalformed
	}
	m = homeAnswer{refused: refusals[number]}
	for i, part := range [...]*string{&m.name, &m.detail, &m.previous} {
		n := int(binary.LittleEndian.Uint16(p[2+2*i:]))
		if n > maxRefusedText || n > len(rest) {
			return homeAnswer{}, ErrMalformed
		}
		*part, rest = string(rest[:n]), rest[n:]
	}
	if len(rest) > 0 {
		return homeAnswer{}, ErrMalformed
	}
	return m, nil
}

// areHeaderLines reports whether p is whole header lines, or nothing: what stands in a
// response must not end its head.
func areHeaderLines(p []byte) bool {
	for len(p) > 0 {
		end, named := 0, false
		for end < len(p) && p[end] != '\r' {
			switch c := p[end]; {
			case c == ':':
				named = named || end > 0
			case c < ' ' && c != '\t', c == 0x7f:
				return false
			}
			end++
		}
		if !named || p[0] == ' ' || p[0] == '\t' || p[0] == ':' || end+1 >= len(p) || p[end+1] != '\n' {
			return false
		}
		p = p[end+2:]
	}
	return true
}

// A noteKind is what one node tells another of a session, without an answer.
type noteKind byte

const (
	// noteGone says that a client was answered in the session's place, or may have lost
	// an answer: the session cannot go on.
	noteGone noteKind = iota + 1
	// noteRetire says that the client's node drains, and ends what it does for the session.
	noteRetire
)

// appendNote appends the beginning of a note, behind which the session's id comes, as
// text.
func appendNote(dst []byte, kind noteKind) []byte { return append(dst, byte(kind)) }

// parseNote takes notes of any kind: those that this version does not know are for the
// caller to ignore.
func parseNote(p []byte) (kind noteKind, id []byte, err error) {
	if len(p) < 2 || len(p) > 1+maxChosenID {
		return 0, nil, ErrMalformed
	}
	return noteKind(p[0]), p[1:], nil
}

// newAnswer lends a Buf for an answer with m, a response with a body of length bytes to be
// appended to its Tail, or a refusal. The Buf has headroom for the frame of a link.
func newAnswer(m *homeAnswer, length int) *pool.Buf {
	if m.refused != nil {
		b := pool.Payloads.Get(refusalSize + 3*maxRefusedText)
		b.SetTail(appendRefusal(b.Tail(), m))
		return b
	}
	b := pool.Payloads.Get(responseSize + len(m.okay) + len(m.headers) + length)
	b.SetTail(appendResponse(b.Tail(), m))
	return b
}
