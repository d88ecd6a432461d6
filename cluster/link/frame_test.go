package link

import (
	"bytes"
	"encoding/hex"
	"testing"

	"turbine/internal/invariants"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// What each kind of frame looks like, for good: a later version reads these bytes.
var frames = []struct {
	kind   Kind
	flags  uint8
	stream uint32
	body   string
	hex    string
}{
	{Arrive, 0, 1, "\x01\x00ab", "04000000030000000100000001006162"},
	{Arrive, FlagMore, 0x02000003, "\x00\x00", "020000000301000003000002" + "0000"},
	{Body, FlagMore, 5, "piece", "050000000401000005000000" + "7069656365"},
	{Cancel, 0, 5, "\x9d\x01", "020000000500000005000000" + "9d01"},
	{Lost, FlagOverBudget, 5, "", "000000000602000005000000"},
	{Answer, 0, 5, "x", "010000000700000005000000" + "78"},
	{Abort, 0, 5, "", "000000000800000005000000"},
	{Release, 0, 0xff010000, "", "0000000009000000000001ff"},
	{Note, 0, 0, "n", "010000000a00000000000000" + "6e"},
	{Ping, 0, 0, "12345678", "080000000b00000000000000" + "3132333435363738"},
	{Pong, 0, 0, "12345678", "080000000c00000000000000" + "3132333435363738"},
}

func TestFramesAreThoseOfTheVersion(t *testing.T) {
	for _, f := range frames {
		p := Append(nil, f.kind, f.flags, f.stream, []byte(f.body))
		require.Equal(t, f.hex, hex.EncodeToString(p), "%v", f.kind)
		h, body, n, err := Parse(append(p, "behind"...))
		require.NoError(t, err)
		require.Equal(t, Header{uint32(len(f.body)), f.kind, f.flags, f.stream}, h)
		require.Equal(t, f.body, string(body))
		require.Len(t, p, n)
		for cut := range p {
			_, _, _, err := Parse(p[:cut])
			require.Equal(t, ErrIncomplete, err)
		}
	}
}

func TestBadHeadersAreRefusedBeforeTheirBody(t *testing.T) {
	for _, c := range []struct {
		name string
		hex  string
		want error
	}{
		{"longer than 64 KiB", "010001000400000001000000", ErrTooLong},
		{"as long as can be", "ffffffff0400000001000000", ErrTooLong},
		{"HTTP", hex.EncodeToString([]byte("GET / HTTP/1")), ErrTooLong},
		{"TLS", "160301020001000100000000", ErrTooLong},
		{"reserved", "000000000800010001000000", ErrMalformed},
		{"reserved, high", "000000000800000101000000", ErrMalformed},
		{"kind 0", "000000000000000000000000", ErrMalformed},
		{"flag that the kind has not", "000000000801000001000000", ErrMalformed},
		{"flag that nobody has", "000000000480000001000000", ErrMalformed},
		{"arrive without a length", "010000000300000001000000", ErrMalformed},
		{"ping of 9 bytes", "090000000b00000000000000", ErrMalformed},
		{"body without stream", "000000000400000000000000", errStream},
		{"generation without place", "000000000400000000000001", errStream},
		{"place out of range", "000000000400000001000100", errStream},
		{"ping of a stream", "080000000b00000001000000", errStream},
	} {
		p, err := hex.DecodeString(c.hex)
		require.NoError(t, err)
		_, _, _, err = Parse(p)
		require.Equal(t, c.want, err, c.name)
		var r reader
		for i := range p {
			_, _, _, err = r.next(p[i : i+1])
		}
		require.Equal(t, c.want, err, c.name)
	}
	h, err := ParseHeader([]byte{1, 2, 0, 0, byte(kinds), 0xff, 0, 0, 9, 9, 9, 9})
	require.NoError(t, err, "a kind of a later version")
	require.Equal(t, kinds, h.Kind)
}

// A stream of frames is read alike, however its bytes come.
func TestReaderReadsFramesCutAnywhere(t *testing.T) {
	var stream []byte
	for _, f := range frames {
		stream = Append(stream, f.kind, f.flags, f.stream, []byte(f.body))
	}
	for first := range stream {
		for _, second := range []int{first, first + 1, first + 12, len(stream)} {
			second = min(second, len(stream))
			readAll(t, stream[:first], stream[first:second], stream[second:])
		}
	}
	bytewise := make([][]byte, len(stream))
	for i := range stream {
		bytewise[i] = stream[i : i+1]
	}
	readAll(t, bytewise...)
}

func readAll(t *testing.T, pieces ...[]byte) {
	t.Helper()
	before := pool.Outstanding()
	var r reader
	n := 0
	for _, p := range pieces {
		p = append([]byte(nil), p...)
		lent := p
		for {
			h, body, rest, err := r.next(p)
			if err == ErrIncomplete {
				break
			}
			require.NoError(t, err)
			require.Equal(t, frames[n].kind, h.Kind)
			require.Equal(t, frames[n].body, string(body))
			n++
			p = rest
		}
		clear(lent) // the caller has it back
	}
	require.Equal(t, len(frames), n)
	require.Equal(t, before, pool.Outstanding(), "nothing waits between two frames")
}

func FuzzReader(f *testing.F) {
	var all []byte
	for _, c := range frames {
		p := Append(nil, c.kind, c.flags, c.stream, []byte(c.body))
		f.Add(p, byte(3))
		all = append(all, p...)
	}
	f.Add(all, byte(1))
	f.Add(all, byte(200))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		before := pool.Outstanding()
		type frame struct {
			h    Header
			body []byte
		}
		var want []frame
		var fault error
		for rest := p; fault == nil; {
			h, body, n, err := Parse(rest)
			if fault = err; err == nil {
				require.LessOrEqual(t, len(body), MaxBody)
				require.True(t, bytes.Equal(rest[:n], Append(nil, h.Kind, h.Flags, h.Stream, body)))
				want = append(want, frame{h, body})
				rest = rest[n:]
			}
		}
		var r reader
		var got error
		n := 0
		for at := 0; at < len(p) && (got == nil || got == ErrIncomplete); {
			piece := p[at:min(len(p), at+1+int(step))]
			at += len(piece)
			for {
				var h Header
				var body []byte
				if h, body, piece, got = r.next(piece); got != nil {
					break
				}
				require.Less(t, n, len(want))
				require.Equal(t, want[n].h, h)
				require.True(t, bytes.Equal(want[n].body, body))
				n++
			}
		}
		require.Len(t, want, n)
		if fault != ErrIncomplete {
			require.Equal(t, fault, got)
		}
		r.reset()
		if invariants.Enabled {
			require.Equal(t, before, pool.Outstanding())
		}
	})
}
