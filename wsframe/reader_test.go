package wsframe

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"turbine/internal/invariants"
	"turbine/pool"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// A million idle connections each hold a Reader.
func TestReaderSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Reader{}), uintptr(8))
	require.LessOrEqual(t, unsafe.Sizeof(partial{}), uintptr(256)) // one a connection inside a message
}

// feed gives the chunks to a Reader and lists what comes out as "opcode
// payload", with the error that ended it. It copies the chunks.
func feed(chunks [][]byte, limits Limits) (got []string, err error) {
	var r Reader
	defer r.Release()
	err = ErrIncomplete
	for _, chunk := range chunks {
		lent := append([]byte(nil), chunk...)
		p := lent
		for {
			var m Message
			m, p, err = r.Next(p, limits)
			if err == ErrIncomplete {
				if p != nil {
					panic("rest with ErrIncomplete")
				}
				break
			}
			if err != nil {
				if r.held != nil {
					panic("held after a CloseError")
				}
				return got, err
			}
			got = append(got, describe(m))
		}
		if r.held != nil && r.held.idle() {
			panic("held between two messages")
		}
		for i := range lent {
			lent[i] = 0xee // what the reader kept of the chunk, it has copied
		}
	}
	return got, err
}

// describe is "opcode payload", with a z between them when it is compressed.
func describe(m Message) string {
	if m.Compressed {
		return fmt.Sprintf("%d z %s", m.OpCode, m.Payload)
	}
	return fmt.Sprintf("%d %s", m.OpCode, m.Payload)
}

func bytewise(in string) (chunks [][]byte) {
	for i := range len(in) {
		chunks = append(chunks, []byte(in[i:i+1]))
	}
	return chunks
}

// everyCut feeds in whole, byte by byte and cut at every position.
func everyCut(t *testing.T, in string, want []string, end error) {
	t.Helper()
	check := func(how string, chunks ...[]byte) {
		t.Helper()
		got, err := feed(chunks, Limits{})
		require.Equal(t, want, got, "%s: %x", how, in)
		require.Equal(t, end, err, "%s: %x", how, in)
	}
	check("whole", []byte(in))
	check("byte by byte", bytewise(in)...)
	for i := range len(in) {
		check(fmt.Sprint("cut at ", i), []byte(in[:i]), []byte(in[i:]))
	}
}

func TestReaderStreams(t *testing.T) {
	givesBack(t)
	const cont = ws.OpContinuation
	ping125 := strings.Repeat("p", 125)
	b126, b300 := strings.Repeat("b", 126), strings.Repeat("0123456789", 30)
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"nothing", "", nil},
		{"text", frame(ws.OpText, true, "hello"), []string{"1 hello"}},
		{"empty text", frame(ws.OpText, true, ""), []string{"1 "}},
		{"empty binary", frame(ws.OpBinary, true, ""), []string{"2 "}},
		{"binary is not text", frame(ws.OpBinary, true, "\xff\xfe"), []string{"2 \xff\xfe"}},
		{"16-bit length", frame(ws.OpText, true, b126) + frame(ws.OpBinary, true, b300), []string{"1 " + b126, "2 " + b300}},
		{"three in a row", frame(ws.OpText, true, "a") + frame(ws.OpBinary, true, "b") + frame(ws.OpText, true, ""), []string{"1 a", "2 b", "1 "}},
		{"two fragments", frame(ws.OpText, false, "hel") + frame(cont, true, "lo"), []string{"1 hello"}},
		{"empty fragments", frame(ws.OpBinary, false, "") + frame(cont, false, "") + frame(cont, true, ""), []string{"2 "}},
		{"empty last fragment", frame(ws.OpText, false, "x") + frame(cont, true, ""), []string{"1 x"}},
		{"empty first fragment", frame(ws.OpText, false, "") + frame(cont, true, "x"), []string{"1 x"}},
		{"fragmented twice", frame(ws.OpText, false, "ä") + frame(cont, true, "b") + frame(ws.OpBinary, false, "\xff") + frame(cont, false, "d") + frame(cont, true, "e"), []string{"1 äb", "2 \xffde"}},
		{"ping, pong", frame(ws.OpPing, true, "") + frame(ws.OpPong, true, ping125), []string{"9 ", "10 " + ping125}},
		{"control between fragments", frame(ws.OpText, false, "he") + frame(ws.OpPing, true, ping125) + frame(cont, false, "l") + frame(ws.OpPong, true, "") + frame(ws.OpPing, true, "q") + frame(cont, true, "lo"), []string{"9 " + ping125, "10 ", "9 q", "1 hello"}},
		{"ping within a code point", frame(ws.OpText, false, "\xe2\x82") + frame(ws.OpPing, true, "\x80\xff") + frame(cont, true, "\xac"), []string{"9 \x80\xff", "1 €"}},
		{"ping in an empty message", frame(ws.OpText, false, "") + frame(ws.OpPing, true, "p") + frame(cont, true, ""), []string{"9 p", "1 "}},
		{"close", frame(ws.OpClose, true, ""), []string{"8 "}},
		{"close with code", frame(ws.OpText, true, "x") + frame(ws.OpClose, true, "\x03\xe8bye"), []string{"1 x", "8 \x03\xe8bye"}},
		{"close between fragments", frame(ws.OpText, false, "x") + frame(ws.OpClose, true, "\x03\xe8"), []string{"8 \x03\xe8"}},
	} {
		t.Run(c.name, func(t *testing.T) { everyCut(t, c.in, c.want, ErrIncomplete) })
	}
}

func TestReaderFaults(t *testing.T) {
	givesBack(t)
	protocol := func(reason string) error { return &CloseError{ws.StatusProtocolError, reason} }
	hello := frame(ws.OpText, true, "hello")
	for _, c := range []struct {
		name, in string
		want     []string
		err      error
	}{
		{"unmasked", hello + "\x81\x05hello", []string{"1 hello"}, protocol("frame not masked")},
		{"rsv", "\xc1\x80abcd", nil, protocol("RSV bit without extension")},
		{"reserved opcode", "\x83\x80abcd", nil, protocol("reserved opcode")},
		{"fragmented ping", frame(ws.OpPing, false, "x"), nil, protocol("fragmented control frame")},
		{"ping of 126", frame(ws.OpPing, true, strings.Repeat("x", 126)), nil, protocol("control frame too long")},
		{"continuation of nothing", hello + frame(ws.OpContinuation, true, "x"), []string{"1 hello"}, protocol("unexpected continuation")},
		{"text in a message", frame(ws.OpBinary, false, "x") + hello, nil, protocol("continuation expected")},
		{"continuation after the last", frame(ws.OpText, false, "x") + frame(ws.OpContinuation, true, "y") + frame(ws.OpContinuation, true, "z"), []string{"1 xy"}, protocol("unexpected continuation")},
		{"long form", "\x81\xfe\x00\x05abcdhello", nil, errLengthForm},
		{"0x8000...", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd", nil, errLengthSign},
		{"0xffff...", frame(ws.OpBinary, false, "x") + "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xffabcd", nil, errLengthSign},
		{"0x7fff...", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", nil, ErrTooBig},
		{"0x7fff... more", frame(ws.OpBinary, false, "x") + "\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", nil, ErrTooBig},
		{"text", hello + frame(ws.OpText, true, "\xff"), []string{"1 hello"}, errText},
		{"text after a ping", frame(ws.OpText, false, "\xe2") + frame(ws.OpPing, true, "") + frame(ws.OpContinuation, false, "\x28"), []string{"9 "}, errText},
		{"text ends in a code point", frame(ws.OpText, false, "\xe2\x82") + frame(ws.OpContinuation, true, ""), nil, errText},
		{"close of 1 byte", frame(ws.OpClose, true, "\x03"), nil, errCloseLength},
		{"close with 1005", frame(ws.OpClose, true, "\x03\xed"), nil, errCloseCode},
		{"close reason", frame(ws.OpText, false, "x") + frame(ws.OpClose, true, "\x03\xe8\xff"), nil, errCloseReason},
	} {
		t.Run(c.name, func(t *testing.T) { everyCut(t, c.in, c.want, c.err) })
	}
}

func TestReaderLimits(t *testing.T) {
	givesBack(t)
	const cont = ws.OpContinuation
	// header is the header alone of a frame that declares n bytes.
	header := func(op ws.OpCode, fin bool, n int) string {
		whole := frame(op, fin, strings.Repeat("x", n))
		return whole[:len(whole)-n]
	}
	empty := strings.Repeat(frame(cont, false, ""), 3)
	for _, c := range []struct {
		name, in string
		limits   Limits
		want     error
	}{
		{"exact", frame(ws.OpText, true, "0123456789"), Limits{Message: 10}, ErrIncomplete},
		{"one over, header only", header(ws.OpText, true, 11), Limits{Message: 10}, ErrTooBig},
		{"exact in fragments", frame(ws.OpText, false, "01234") + frame(cont, true, "56789"), Limits{Message: 10}, ErrIncomplete},
		{"one over in fragments", frame(ws.OpText, false, "01234") + header(cont, true, 6), Limits{Message: 10}, ErrTooBig},
		{"full, an empty one more", frame(ws.OpText, false, "0123456789") + frame(cont, true, ""), Limits{Message: 10}, ErrIncomplete},
		{"full, a ping", frame(ws.OpText, false, "0123456789") + frame(ws.OpPing, true, "a ping of 16 B."), Limits{Message: 10}, ErrIncomplete},
		{"a ping is not a message", frame(ws.OpPing, true, "ping"), Limits{Message: 1}, ErrIncomplete},
		{"default exact", header(ws.OpBinary, true, DefaultMessage), Limits{}, ErrIncomplete},
		{"default over", header(ws.OpBinary, true, DefaultMessage+1), Limits{}, ErrTooBig},
		{"fragments exact", frame(ws.OpText, false, "") + empty + frame(cont, true, ""), Limits{Fragments: 5}, ErrIncomplete},
		{"fragments over", frame(ws.OpText, false, "") + empty + frame(cont, true, ""), Limits{Fragments: 4}, ErrManyFragments},
		{"pings are not fragments", frame(ws.OpText, false, "") + strings.Repeat(frame(ws.OpPing, true, ""), 9) + frame(cont, true, ""), Limits{Fragments: 2}, ErrIncomplete},
		{"each message counts anew", strings.Repeat(frame(ws.OpText, false, "0")+frame(cont, true, "1"), 9), Limits{Message: 2, Fragments: 2}, ErrIncomplete},
		{"one frame a message", frame(ws.OpText, true, "") + frame(ws.OpText, true, ""), Limits{Fragments: 1}, ErrIncomplete},
		{"default fragments exact", frame(ws.OpText, false, "") + strings.Repeat(frame(cont, false, ""), DefaultFragments-1), Limits{}, ErrIncomplete},
		{"default fragments over", frame(ws.OpText, false, "") + strings.Repeat(frame(cont, false, ""), DefaultFragments), Limits{}, ErrManyFragments},
	} {
		_, err := feed([][]byte{[]byte(c.in)}, c.limits)
		require.Equal(t, c.want, err, c.name)
		_, err = feed(bytewise(c.in), c.limits)
		require.Equal(t, c.want, err, "%s, byte by byte", c.name)
	}
	require.Equal(t, ws.StatusMessageTooBig, ErrTooBig.Code)
	require.Equal(t, ws.StatusPolicyViolation, ErrManyFragments.Code)
}

// Where the payload lies, and what the reader holds, step by step.
func TestReaderHolds(t *testing.T) {
	givesBack(t)
	var r Reader
	one, two := frame(ws.OpText, true, "one"), frame(ws.OpText, true, "two")

	p := []byte(one + two)
	m, rest, err := r.Next(p, Limits{})
	require.NoError(t, err)
	require.Nil(t, r.held)
	require.Same(t, &p[6], &m.Payload[0], "a whole message is a slice of p")
	require.Equal(t, 3, cap(m.Payload), "and an append to it does not reach the rest")
	require.Same(t, &p[9], &rest[0])

	// A header cut off is all that is held; the message is a slice of p again.
	_, _, err = r.Next([]byte(one[:5]), Limits{})
	require.Equal(t, ErrIncomplete, err)
	require.NotNil(t, r.held)
	require.Zero(t, pool.Outstanding())
	p = []byte(one[5:])
	m, _, err = r.Next(p, Limits{})
	require.NoError(t, err)
	require.Same(t, &p[1], &m.Payload[0])
	require.Nil(t, r.held)

	// A payload cut off is collected, lent, and given back at ErrIncomplete.
	require.Zero(t, r.Held())
	_, _, err = r.Next([]byte(one[:7]), Limits{})
	require.Equal(t, ErrIncomplete, err)
	require.Equal(t, 1, r.Held())
	if invariants.Enabled {
		require.EqualValues(t, 1, pool.Outstanding())
	}
	m, rest, err = r.Next([]byte(one[7:]), Limits{})
	require.NoError(t, err)
	require.Equal(t, "one", string(m.Payload))
	require.Empty(t, rest)
	require.Equal(t, 3, r.Held())
	_, rest, err = r.Next(rest, Limits{})
	require.Equal(t, ErrIncomplete, err)
	require.Nil(t, rest)
	require.Nil(t, r.held)
	require.Zero(t, pool.Outstanding())

	// The same with a control frame.
	ping := frame(ws.OpPing, true, "ping")
	_, _, err = r.Next([]byte(ping[:8]), Limits{})
	require.Equal(t, ErrIncomplete, err)
	m, _, err = r.Next([]byte(ping[8:]), Limits{})
	require.NoError(t, err)
	require.Equal(t, Message{OpCode: ws.OpPing, Payload: []byte("ping")}, m)
	_, _, err = r.Next(nil, Limits{})
	require.Equal(t, ErrIncomplete, err)
	require.Nil(t, r.held)

	// A connection that ends inside a message.
	_, _, err = r.Next([]byte(frame(ws.OpBinary, false, "x")), Limits{})
	require.Equal(t, ErrIncomplete, err)
	r.Release()
	r.Release()
	require.Nil(t, r.held)
}

// A peer that declares much and sends little holds little.
func TestReaderGrowsByBytesReceived(t *testing.T) {
	givesBack(t)
	var r Reader
	defer r.Release()
	in := client(nil, ws.OpBinary, true, strings.Repeat("x", 900_000))[:14+100]
	_, _, err := r.Next(in, Limits{})
	require.Equal(t, ErrIncomplete, err)
	require.Less(t, r.held.payload.Len()+r.held.payload.Room(), 64<<10)
}

func TestReaderDoesNotAllocate(t *testing.T) {
	var r Reader
	// Masked by the client with a zero key, so that unmasking in place leaves
	// the input as it was for the next run.
	small := AppendMaskedFrame(nil, ws.OpText, true, [4]byte{}, make([]byte, 100))
	noAllocs(t, "whole", false, func() {
		if _, _, err := r.Next(small, Limits{}); err != nil {
			panic(err)
		}
	})
	noAllocs(t, "cut", true, func() {
		r.Next(small[:50], Limits{})
		if _, _, err := r.Next(small[50:], Limits{}); err != nil {
			panic(err)
		}
		r.Next(nil, Limits{})
	})
}

func BenchmarkNext(b *testing.B) {
	zero := [4]byte{}
	frames := func(n, size int) (p []byte) {
		for range n {
			p = AppendMaskedFrame(p, ws.OpText, true, zero, []byte(strings.Repeat("x", size)))
		}
		return p
	}
	for _, c := range []struct {
		name    string
		n, size int
	}{{"16B", 1, 16}, {"128B", 1, 128}, {"16KB", 1, 16 << 10}, {"16x128B", 16, 128}} {
		b.Run(c.name, func(b *testing.B) {
			in := frames(c.n, c.size)
			b.ReportAllocs()
			b.SetBytes(int64(c.n * c.size))
			var r Reader
			for b.Loop() {
				for p := in; len(p) > 0; {
					var err error
					if _, p, err = r.Next(p, Limits{}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	for _, size := range []int{128, 16 << 10} {
		b.Run(fmt.Sprintf("split/%dB", size), func(b *testing.B) {
			in := frames(1, size)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			var r Reader
			for b.Loop() {
				r.Next(in[:len(in)/2], Limits{})
				if _, _, err := r.Next(in[len(in)/2:], Limits{}); err != nil {
					b.Fatal(err)
				}
				r.Next(nil, Limits{})
			}
		})
	}
}
