package wsframe

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// Small, so that a fuzzer finds their borders.
var fuzzLimits = Limits{Message: 300, Fragments: 6}

// bothLimits are for connections without and with permessage-deflate.
var bothLimits = []Limits{fuzzLimits, {fuzzLimits.Message, fuzzLimits.Fragments, true}}

// streams are the seeds of both fuzzers, and the input of the random streams.
var streams = []string{
	frame(ws.OpText, true, "hello") + frame(ws.OpBinary, true, "\xff"),
	frame(ws.OpText, false, "he\xe2\x82") + frame(ws.OpPing, true, "ping") + frame(ws.OpContinuation, true, "\xac"),
	frame(ws.OpBinary, false, "") + frame(ws.OpContinuation, false, "") + frame(ws.OpContinuation, true, ""),
	frame(ws.OpClose, true, "\x03\xe8bye"),
	frame(ws.OpPong, true, strings.Repeat("p", 125)),
	frame(ws.OpBinary, true, strings.Repeat("b", 300)),
	frame(ws.OpBinary, true, strings.Repeat("b", 301)),
	frame(ws.OpText, false, "") + strings.Repeat(frame(ws.OpContinuation, false, "x"), 6),
	frame(ws.OpText, true, "\xed\xa0\x80"),
	"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd",
	"\x81\xfe\x00\x05abcdhello", "\x81\x05hello", "\xc1\x80abcd",
	marked(ws.OpText, true, "\xff") + frame(ws.OpText, true, "x"),
	marked(ws.OpText, false, "\xff") + frame(ws.OpPing, true, "p") + frame(ws.OpContinuation, true, "\xfe") + frame(ws.OpText, true, "\xff"),
	marked(ws.OpBinary, false, "x") + marked(ws.OpContinuation, true, "y"),
	marked(ws.OpPing, true, "x"), "\xe1\x80abcd", "\xd1\x80abcd",
}

// reference reads the stream with gobwas/ws: frame by frame, each payload
// whole, one rule after the other.
func reference(in []byte, limits Limits) (got []string, err error) {
	r := bytes.NewReader(in)
	var message []byte
	var opcode ws.OpCode
	var fragments int
	var compressed bool
	for {
		before := r.Len()
		h, err := ws.ReadHeader(r)
		marked := limits.Compressed && h.Rsv1() && !h.Rsv2() && !h.Rsv3() && h.OpCode.IsData() && h.OpCode != ws.OpContinuation
		if marked {
			h.Rsv = 0
		}
		state := ws.StateServerSide
		if opcode != 0 {
			state = state.Set(ws.StateFragmented)
		}
		switch {
		case err == ws.ErrHeaderLengthMSB:
			return got, &CloseError{Code: 1002}
		case err != nil:
			return got, ErrIncomplete
		case before-r.Len() != ws.HeaderSize(h): // the longer form of a length
			return got, &CloseError{Code: 1002}
		case ws.CheckHeader(h, state) != nil:
			return got, &CloseError{Code: 1002}
		case !h.OpCode.IsControl() && uint64(h.Length)+uint64(len(message)) > uint64(limits.Message):
			return got, &CloseError{Code: 1009}
		case !h.OpCode.IsControl() && fragments == limits.Fragments:
			return got, &CloseError{Code: 1008}
		}
		whole := int64(r.Len()) >= h.Length
		payload := make([]byte, min(int64(r.Len()), h.Length))
		io.ReadFull(r, payload)
		ws.Cipher(payload, h.Mask, 0)

		if h.OpCode.IsControl() {
			if !whole {
				return got, ErrIncomplete
			}
			if h.OpCode == ws.OpClose && len(payload) > 0 {
				code, reason := ws.ParseCloseFrameData(payload)
				switch err := ws.CheckCloseFrameData(registered(code), reason); {
				case err == ws.ErrProtocolInvalidUTF8 && code < 5000:
					return got, &CloseError{Code: 1007}
				case err != nil || code >= 5000:
					return got, &CloseError{Code: 1002}
				}
			}
			got = append(got, fmt.Sprintf("%d %s", h.OpCode, payload))
			continue
		}

		fragments++
		if h.OpCode != ws.OpContinuation {
			opcode, compressed = h.OpCode, marked
		}
		message = append(message, payload...)
		if opcode == ws.OpText && !compressed && !begunUTF8(message, whole && h.Fin) {
			return got, &CloseError{Code: 1007}
		}
		if !whole {
			return got, ErrIncomplete
		}
		if h.Fin {
			got = append(got, describe(Message{opcode, compressed, message}))
			message, opcode, fragments = nil, 0, 0
		}
	}
}

// begunUTF8 reads code point by code point from the start.
func begunUTF8(p []byte, whole bool) bool {
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			return !whole && !utf8.FullRune(p)
		}
		p = p[n:]
	}
	return true
}

func requireSame(t *testing.T, want []string, wantErr error, got []string, err error) {
	t.Helper()
	require.Equal(t, want, got)
	if fault, ok := wantErr.(*CloseError); ok {
		require.IsType(t, fault, err)
		require.Equal(t, fault.Code, err.(*CloseError).Code)
		return
	}
	require.Equal(t, wantErr, err)
}

func FuzzAgainstGobwas(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		givesBack(t)
		for _, limits := range bothLimits {
			want, wantErr := reference(in, limits)
			got, err := feed([][]byte{in}, limits)
			requireSame(t, want, wantErr, got, err)
		}
	})
}

// split cuts in into chunks of the sizes given, over and over; 0 makes an empty
// chunk. Where the sizes do not get on, the rest follows whole.
func split(sizes, in []byte) (chunks [][]byte) {
	for i := 0; len(in) > 0; i++ {
		if i >= 4*(len(sizes)+len(in)+1) {
			break
		}
		n := len(in)
		if len(sizes) > 0 {
			n = min(n, int(sizes[i%len(sizes)]))
		}
		chunks = append(chunks, in[:n])
		in = in[n:]
	}
	return append(chunks, in)
}

func FuzzReader(f *testing.F) {
	for i, s := range streams {
		f.Add([]byte{byte(i + 1), 0, 3, 7}, []byte(s))
	}
	f.Fuzz(func(t *testing.T, sizes, in []byte) {
		givesBack(t)
		if len(sizes) > 8 {
			sizes = sizes[:8]
		}
		for _, limits := range bothLimits {
			want, wantErr := feed([][]byte{in}, limits)
			got, err := feed(split(sizes, in), limits)
			requireSame(t, want, wantErr, got, err)
		}
	})
}

// Random streams of frames that are mostly right, in random chunks. The seed is
// fixed: a failure comes again.
func TestReaderAgainstGobwas(t *testing.T) {
	givesBack(t)
	random := rand.New(rand.NewPCG(1, 2))
	payloads := []string{"", "a", "€", "\xe2", "\x82", "\xac", "\xff", strings.Repeat("x", 126), strings.Repeat("ä", 62)}
	faults := 0
	for range 20_000 {
		var in []byte
		open := false
		for range 1 + random.IntN(8) {
			op, fin := []ws.OpCode{ws.OpText, ws.OpBinary}[random.IntN(2)], random.IntN(3) > 0
			if open {
				op = ws.OpContinuation
			}
			switch random.IntN(12) {
			case 0, 1:
				op, fin = ws.OpPing+ws.OpCode(random.IntN(2)), true
			case 2:
				op = ws.OpCode(random.IntN(16)) // mostly a fault
			}
			if op.IsData() {
				open = !fin
			}
			start := len(in)
			in = AppendMaskedFrame(in, op, fin, [4]byte{byte(random.Uint32()), 1, 2, 3}, []byte(payloads[random.IntN(len(payloads))]))
			if n := random.IntN(30); n == 0 || n < 10 && op.IsData() && op != ws.OpContinuation {
				in[start] |= rsv1Bit // where it belongs, mostly
			}
		}
		in = in[:len(in)-random.IntN(4)]
		limits := bothLimits[1-random.IntN(8)/7] // mostly with compression
		want, wantErr := reference(in, limits)
		got, err := feed(split([]byte{byte(1 + random.IntN(40)), byte(random.IntN(9)), byte(random.IntN(200))}, in), limits)
		requireSame(t, want, wantErr, got, err)
		if wantErr != ErrIncomplete {
			faults++
		}
	}
	require.Greater(t, faults, 2_000)
	require.Less(t, faults, 18_000)
}

// The other direction: what a server appends, a client of gobwas/ws reads.
func TestFramesAgainstGobwas(t *testing.T) {
	var stream []byte
	var want []wsutil.Message
	for _, length := range lengths {
		payload := bytes.Repeat([]byte("z"), length)
		stream = AppendFrame(stream, ws.OpBinary, payload)
		want = append(want, wsutil.Message{OpCode: ws.OpBinary, Payload: payload})
	}
	r := bytes.NewReader(stream)
	for _, m := range want {
		got, err := wsutil.ReadMessage(r, ws.StateClientSide, nil)
		require.NoError(t, err)
		require.Equal(t, []wsutil.Message{m}, got)
	}
	require.Zero(t, r.Len())
}
