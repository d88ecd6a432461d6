package engine

import (
	"bytes"
	"strings"
	"testing"
	"unsafe"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// The bytes that nodes of different versions have to agree on.
func TestAwayBytes(t *testing.T) {
	a := arrival{
		method: methodPOST, revision: Revision3, transport: Polling, encoding: encodingGzip,
		octets: true, jsonp: true, whole: true, binding: binding{1, 2, 3, 4, 5, 6, 7, 8}, id: []byte("id"),
	}
	require.Equal(t, "\x02\x03\x01\x01\x15\x01\x02\x03\x04\x05\x06\x07\x08id", string(appendArrival(nil, &a)))
	m := homeAnswer{status: 503, contentType: typeHTML, farewell: true, okay: []byte("A: b\r\n"), headers: []byte("Retry-After: 1\r\n")}
	require.Equal(t, "\x01\x01\xf7\x01\x04\x06\x00\x10\x00A: b\r\nRetry-After: 1\r\n", string(appendResponse(nil, &m)))
	r := homeAnswer{refused: refusedRequest, name: "TRANSPORT_MISMATCH", detail: "polling", previous: "websocket"}
	require.Equal(t, "\x02\x03\x12\x00\x07\x00\x09\x00TRANSPORT_MISMATCHpollingwebsocket", string(appendRefusal(nil, &r)))
	require.Equal(t, "\x01id", string(append(appendNote(nil, noteGone), "id"...)))
}

// What makes no sense is refused.
func TestAwayMalformed(t *testing.T) {
	arrival := func(change func(p []byte)) []byte {
		p := []byte("\x01\x04\x01\x00\x0012345678id")
		change(p)
		return p
	}
	for name, p := range map[string][]byte{
		"empty": nil, "cut": arrival(func([]byte) {})[:arrivalSize], "id too long": append(arrival(func([]byte) {}), make([]byte, maxChosenID-1)...),
		"method": arrival(func(p []byte) { p[0] = 4 }), "revision": arrival(func(p []byte) { p[1] = 2 }), "transport": arrival(func(p []byte) { p[2] = 0 }),
		"encoding": arrival(func(p []byte) { p[3] = 3 }), "flags": arrival(func(p []byte) { p[4] = 0x20 }),
	} {
		_, err := parseArrival(p)
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	_, err := parseArrival(append(arrival(func([]byte) {}), make([]byte, maxChosenID-2)...))
	require.NoError(t, err)
	for name, p := range map[string]string{
		"empty": "", "kind": "\x03\x00\xc8\x00\x00\x00\x00\x00\x00", "cut": "\x01\x00\xc8\x00\x00\x00\x00\x00", "flags": "\x01\x02\xc8\x00\x00\x00\x00\x00\x00",
		"status 199": "\x01\x00\xc7\x00\x00\x00\x00\x00\x00", "status 600": "\x01\x00\x58\x02\x00\x00\x00\x00\x00", "type": "\x01\x00\xc8\x00\x05\x00\x00\x00\x00",
		"okay past the end": "\x01\x00\xc8\x00\x00\x05\x00\x00\x00A: b", "headers past the end": "\x01\x00\xc8\x00\x00\x00\x00\xff\xffA: b\r\n",
		"okay without its end": "\x01\x00\xc8\x00\x00\x04\x00\x00\x00A: b", "headers that end the head": "\x01\x00\xc8\x00\x00\x00\x00\x08\x00A: b\r\n\r\n",
		"no refusal": "\x02\x06\x00\x00\x00\x00\x00\x00", "name past the end": "\x02\x03\x02\x00\x00\x00\x00\x00a", "more behind": "\x02\x03\x00\x00\x00\x00\x00\x00a",
		"detail too long": "\x02\x03\x00\x00\x65\x00\x00\x00" + strings.Repeat("a", 101),
	} {
		_, err := parseAnswer([]byte(p))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	for lines, ok := range map[string]bool{
		"": true, "A: b\r\n": true, "A: b\r\nSet-Cookie: c=d; e\r\n": true, "A:\tb\r\n": true, "A: é\r\n": true,
		"A: b": false, "A: b\r": false, "A: b\n": false, "A: b\rC: d\r\n": false, "A: b\nC: d\r\n": false, "\r\n": false, "A b\r\n": false, ": b\r\n": false,
		" A: b\r\n": false, "\tA: b\r\n": false, "A: \x00\r\n": false, "A: \x7f\r\n": false, "A: b\r\n\r\n": false, "A: b\r\n C: d\r\n": false,
	} {
		require.Equal(t, ok, areHeaderLines([]byte(lines)), "%q", lines)
	}
	for _, note := range []string{"", "\x01", "\x01" + strings.Repeat("x", maxChosenID+1)} {
		_, _, err := parseNote([]byte(note))
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// Each reader takes what its maker makes, and nothing that its maker would make in another
// way.
func FuzzAwayWire(f *testing.F) {
	for _, seed := range []string{
		"\x02\x03\x01\x01\x15\x01\x02\x03\x04\x05\x06\x07\x08id", "\x01\x04\x02\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00AAAA",
		"\x01\x01\xf7\x01\x04\x06\x00\x10\x00A: b\r\nRetry-After: 1\r\n", "\x01\x00\xc8\x00\x01\x00\x00\x00\x004hi",
		"\x02\x03\x12\x00\x07\x00\x09\x00TRANSPORT_MISMATCHpollingwebsocket", "\x01id", "\x02id", "\x09later",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if a, err := parseArrival(p); err == nil {
			require.Equal(t, p, appendArrival(nil, &a))
			require.NotEmpty(t, a.id)
		}
		if m, err := parseAnswer(p); err == nil {
			if m.refused != nil {
				require.Equal(t, p, appendRefusal(nil, &m))
			} else {
				require.Equal(t, p, append(appendResponse(nil, &m), m.body...))
				require.NotContains(t, "\r\n"+string(m.headers), "\r\n\r\n", "the end of a head")
				require.NotContains(t, "\r\n"+string(m.okay), "\r\n\r\n", "the end of a head")
			}
		}
		if kind, id, err := parseNote(p); err == nil {
			require.Equal(t, p, append(appendNote(nil, kind), id...))
		}
	})
}

// A refusal's texts are the application's to read: what is long is cut.
func TestAwayRefusalIsShort(t *testing.T) {
	m := homeAnswer{refused: refusedForbidden, name: strings.Repeat("n", 1000), detail: strings.Repeat("d", 1<<17), previous: "p"}
	got, err := parseAnswer(appendRefusal(nil, &m))
	require.NoError(t, err)
	require.Equal(t, []int{maxRefusedText, maxRefusedText, 1}, []int{len(got.name), len(got.detail), len(got.previous)})
}

// An answer has room in front for the frame of a link, and is written once.
func TestAwayAnswerHeadroom(t *testing.T) {
	m := homeAnswer{status: 200, contentType: typeText, okay: []byte("A: b\r\n")}
	b := newAnswer(&m, 5)
	room := b.Room()
	b.SetTail(append(b.Tail(), "4body"...))
	require.Equal(t, room-5, b.Room(), "it did not grow")
	require.GreaterOrEqual(t, pool.Headroom, 12, "of the header of a frame")
	got, err := parseAnswer(bytes.Clone(b.Bytes()))
	require.NoError(t, err)
	require.Equal(t, "4body", string(got.body))
	b.Release()
}

// Each request of another node has a Guest while it lasts, a waiting poll for long.
func TestGuestSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Guest{}), uintptr(208), "the allocator's class")
}
