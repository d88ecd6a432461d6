package wsframe

import (
	"bytes"
	"strings"
	"testing"

	"turbine/pool"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     ws.Header
		n        int
		err      error
	}{
		{"text", "\x81\x05", ws.Header{Fin: true, OpCode: ws.OpText, Length: 5}, 2, nil},
		{"rest is not looked at", "\x81\x05hello", ws.Header{Fin: true, OpCode: ws.OpText, Length: 5}, 2, nil},
		{"masked", "\x82\x85abcd", ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Mask: [4]byte{'a', 'b', 'c', 'd'}, Length: 5}, 6, nil},
		{"not final", "\x01\x00", ws.Header{OpCode: ws.OpText}, 2, nil},
		{"rsv and reserved opcode", "\xff\x00", ws.Header{Fin: true, Rsv: 7, OpCode: 15}, 2, nil},
		{"125", "\x82\x7d", ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 125}, 2, nil},
		{"126", "\x82\x7e\x00\x7e", ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 126}, 4, nil},
		{"65535 masked", "\x82\xfe\xff\xffabcd", ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Mask: [4]byte{'a', 'b', 'c', 'd'}, Length: 65535}, 8, nil},
		{"65536", "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", ws.Header{Fin: true, OpCode: ws.OpBinary, Length: 65536}, 10, nil},
		{"0x7fff... masked", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", ws.Header{Fin: true, OpCode: ws.OpBinary, Masked: true, Mask: [4]byte{'a', 'b', 'c', 'd'}, Length: 1<<63 - 1}, 14, nil},

		{"125 in 2 bytes", "\x82\x7e\x00\x7d", ws.Header{}, 0, errLengthForm},
		{"0 in 2 bytes", "\x82\xfe\x00\x00abcd", ws.Header{}, 0, errLengthForm},
		{"65535 in 8 bytes", "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", ws.Header{}, 0, errLengthForm},
		{"0 in 8 bytes", "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00", ws.Header{}, 0, errLengthForm},
		{"0x8000...", "\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", ws.Header{}, 0, errLengthSign},
		{"0xffff...", "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffabcd", ws.Header{}, 0, errLengthSign},
	} {
		h, n, err := ParseHeader([]byte(c.in))
		require.Equal(t, c.err, err, "%s: %x", c.name, c.in)
		require.Equal(t, c.n, n, "%s: %x", c.name, c.in)
		if err != nil {
			require.Equal(t, ws.StatusProtocolError, err.(*CloseError).Code)
			continue
		}
		require.Equal(t, c.want, h, "%s: %x", c.name, c.in)
		for i := range n {
			_, used, err := ParseHeader([]byte(c.in[:i]))
			require.Equal(t, ErrIncomplete, err, "%s cut at %d", c.name, i)
			require.Zero(t, used)
		}
	}
}

func TestCheckHeader(t *testing.T) {
	for _, c := range []struct {
		name       string
		h          ws.Header
		fragmented bool
		want       string
	}{
		{"text", ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: 1 << 40}, false, ""},
		{"first fragment", ws.Header{OpCode: ws.OpBinary, Masked: true}, false, ""},
		{"continuation", ws.Header{OpCode: ws.OpContinuation, Masked: true}, true, ""},
		{"ping between fragments", ws.Header{Fin: true, OpCode: ws.OpPing, Masked: true, Length: 125}, true, ""},
		{"close", ws.Header{Fin: true, OpCode: ws.OpClose, Masked: true}, false, ""},
		{"unmasked", ws.Header{Fin: true, OpCode: ws.OpText}, false, "frame not masked"},
		{"rsv1", ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText, Masked: true}, false, "RSV bit without extension"},
		{"rsv3", ws.Header{Fin: true, Rsv: 1, OpCode: ws.OpPing, Masked: true}, false, "RSV bit without extension"},
		{"opcode 3", ws.Header{Fin: true, OpCode: 3, Masked: true}, false, "reserved opcode"},
		{"opcode 7", ws.Header{Fin: true, OpCode: 7, Masked: true}, true, "reserved opcode"},
		{"opcode 11", ws.Header{Fin: true, OpCode: 11, Masked: true}, false, "reserved opcode"},
		{"opcode 15", ws.Header{Fin: true, OpCode: 15, Masked: true}, false, "reserved opcode"},
		{"ping of 126", ws.Header{Fin: true, OpCode: ws.OpPing, Masked: true, Length: 126}, false, "control frame too long"},
		{"fragmented pong", ws.Header{OpCode: ws.OpPong, Masked: true}, false, "fragmented control frame"},
		{"text inside a message", ws.Header{Fin: true, OpCode: ws.OpText, Masked: true}, true, "continuation expected"},
		{"continuation of nothing", ws.Header{Fin: true, OpCode: ws.OpContinuation, Masked: true}, false, "unexpected continuation"},
	} {
		err := CheckHeader(c.h, c.fragmented)
		if c.want == "" {
			require.NoError(t, err, c.name)
			continue
		}
		require.Equal(t, &CloseError{ws.StatusProtocolError, c.want}, err, c.name)
	}
}

// lengths are the borders of the three forms.
var lengths = []int{0, 1, 2, 124, 125, 126, 127, 255, 256, 65534, 65535, 65536, 65537, 1 << 20}

func TestHeaderRoundTrip(t *testing.T) {
	for _, length := range lengths {
		p := AppendHeader([]byte("before"), ws.OpBinary, length)[len("before"):]
		require.Len(t, p, HeaderSize(length))
		h, n, err := ParseHeader(p)
		require.NoError(t, err, length)
		require.Equal(t, len(p), n)
		require.Equal(t, ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(length)}, h)

		var want bytes.Buffer
		require.NoError(t, ws.WriteHeader(&want, h))
		require.Equal(t, want.Bytes(), p)
	}
}

func TestPutHeader(t *testing.T) {
	givesBack(t)
	for _, length := range lengths {
		payload := []byte(strings.Repeat("x", length))
		b := pool.Frames.Get(length)
		b.Append(payload)
		PutHeader(b, ws.OpText)
		require.Equal(t, AppendFrame(nil, ws.OpText, payload), b.Bytes(), length)
		b.Release()

		b = pool.Frames.Get(length)
		b.Append(payload)
		PutCompressedHeader(b, ws.OpText)
		h, n, err := ParseHeader(b.Bytes())
		require.NoError(t, err)
		require.Equal(t, ws.Header{Fin: true, Rsv: ws.Rsv(true, false, false), OpCode: ws.OpText, Length: int64(length)}, h)
		require.Equal(t, payload, b.Bytes()[n:])
		b.Release()
	}
}

func TestFrameRoundTrip(t *testing.T) {
	for _, length := range lengths {
		for _, fin := range []bool{true, false} {
			payload := bytes.Repeat([]byte("abc"), length/3+1)[:length]
			p := AppendMaskedFrame([]byte("before"), ws.OpBinary, fin, key, payload)[len("before"):]
			require.Equal(t, bytes.Repeat([]byte("abc"), length/3+1)[:length], payload, "payload written to")

			h, n, err := ParseHeader(p)
			require.NoError(t, err, length)
			require.Equal(t, ws.Header{Fin: fin, OpCode: ws.OpBinary, Masked: true, Mask: key, Length: int64(length)}, h)
			Mask(p[n:], key, 0)
			require.Equal(t, payload, p[n:])
		}
	}
}

func TestEncodersDoNotAllocate(t *testing.T) {
	payload := make([]byte, 200)
	dst := make([]byte, 0, 512)
	noAllocs(t, "AppendFrame", false, func() { AppendFrame(dst, ws.OpText, payload) })
	noAllocs(t, "AppendMaskedFrame", false, func() { AppendMaskedFrame(dst, ws.OpText, true, key, payload) })
	noAllocs(t, "AppendClose", false, func() { AppendClose(dst, ws.StatusGoingAway, "bye") })
	noAllocs(t, "PutHeader", true, func() {
		b := pool.Frames.Get(len(payload))
		b.Append(payload)
		PutHeader(b, ws.OpText)
		b.Release()
	})
}

func BenchmarkPutHeader(b *testing.B) {
	b.ReportAllocs()
	buf := pool.Frames.Get(200)
	defer buf.Release()
	buf.Append(make([]byte, 200))
	for b.Loop() {
		PutHeader(buf, ws.OpText)
		buf.Drop(4)
	}
}
