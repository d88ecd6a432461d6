package packet

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecode(t *testing.T) {
	binaryOf := func(t Type, data string) Packet { return Packet{Type: t, Binary: true, Data: []byte(data)} }
	const bad = 0 // no revision takes it
	for _, c := range []struct {
		in     string
		binary bool
		rev    int // 3, 4, 34 for both
		want   Packet
	}{
		{"", false, bad, Packet{}},
		{"7", false, bad, Packet{}},
		{"9hello", false, bad, Packet{}},
		{"/x", false, bad, Packet{}},
		{"a", false, bad, Packet{}},
		{"B", false, bad, Packet{}},
		{"c4", false, bad, Packet{}},
		{" 4", false, bad, Packet{}},
		{"\x04hi", false, bad, Packet{}},
		{"\x1e", false, bad, Packet{}},
		{"\x00", false, bad, Packet{}},
		{"\xff", false, bad, Packet{}},
		{"é", false, bad, Packet{}},
		{"𝟒", false, bad, Packet{}},

		{"4", false, 34, message("")},
		{"4hi", false, 34, message("hi")},
		{"4\x1e5", false, 34, message("\x1e5")},
		{"44", false, 34, message("4")},
		{"4b", false, 34, message("b")},
		{"0{}", false, 34, text(Open, "{}")},
		{"2probe", false, 34, text(Ping, "probe")},
		{"6x", false, 34, text(Noop, "x")},

		{"b", false, 4, bytesOf()},
		{"b4", false, 4, bytesOf()}, // a lone sextet is dropped
		{"bAQID", false, 4, bytesOf(1, 2, 3)},
		{"b9QID", false, 4, bytesOf(0xf5, 2, 3)},
		{"b4", false, 3, bytesOf()},
		{"b", false, 3 + 100, Packet{}},
		{"bAQID", false, 3 + 100, Packet{}},
		{"b7AQID", false, 3 + 100, Packet{}},
		{"b4AQID", false, 3, bytesOf(1, 2, 3)},
		{"b0AQID", false, 3, binaryOf(Open, "\x01\x02\x03")},
		{"b6", false, 3, binaryOf(Noop, "")},

		{"", true, 4, bytesOf()},
		{"\x04", true, 4, bytesOf(4)},
		{"\x09\xff", true, 4, bytesOf(9, 0xff)},
		{"", true, 3 + 100, Packet{}},
		{"\x07", true, 3 + 100, Packet{}},
		{"4hi", true, 3 + 100, Packet{}}, // the id is no ASCII digit
		{"\xff\x04", true, 3 + 100, Packet{}},
		{"\x04", true, 3, bytesOf()},
		{"\x04\x01\x02\x03", true, 3, bytesOf(1, 2, 3)},
		{"\x02probe", true, 3, binaryOf(Ping, "probe")},
	} {
		for _, r := range []Revision{Revision3, Revision4} {
			malformed := c.rev == bad || c.rev == int(r)+100
			if !malformed && c.rev != int(r) && c.rev != 34 {
				continue
			}
			t.Run(fmt.Sprintf("rev%d %q binary=%v", r, c.in, c.binary), func(t *testing.T) {
				got, err := r.Decode([]byte(c.in), c.binary)
				if malformed {
					require.ErrorIs(t, err, ErrMalformed)
					require.Equal(t, Packet{}, got)
					return
				}
				require.NoError(t, err)
				require.Equal(t, show([]Packet{c.want}), show([]Packet{got}))
			})
		}
	}
}

func TestEveryFirstByte(t *testing.T) {
	for i := range 256 {
		_, err := Revision4.Decode([]byte{byte(i)}, false)
		require.Equal(t, i >= '0' && i <= '6' || i == 'b', err == nil, "text %02x", i)
		_, err = Revision3.Decode([]byte{byte(i)}, false)
		require.Equal(t, i >= '0' && i <= '6', err == nil, "text %02x", i)
		_, err = Revision3.Decode([]byte{byte(i)}, true)
		require.Equal(t, i <= 6, err == nil, "binary %02x", i)
	}
}

func TestAbsentData(t *testing.T) {
	for _, r := range []Revision{Revision3, Revision4} {
		p, err := r.Decode([]byte("4"), false)
		require.NoError(t, err)
		require.Nil(t, p.Data)
	}
}

func TestDecodeBorrows(t *testing.T) {
	frame := []byte("4hello")
	p, err := Revision4.Decode(frame, false)
	require.NoError(t, err)
	require.Same(t, &frame[1], &p.Data[0])
	require.Equal(t, "4hello", string(frame))

	frame = []byte("bAQID")
	p, err = Revision4.Decode(frame, false)
	require.NoError(t, err)
	require.Same(t, &frame[1], &p.Data[0])
}

func TestFramePrefix(t *testing.T) {
	for id := Open; id <= Noop; id++ {
		for _, r := range []Revision{Revision3, Revision4} {
			prefix, ok := r.FramePrefix(Packet{Type: id})
			require.True(t, ok)
			require.Equal(t, '0'+byte(id), prefix)
		}
		prefix, ok := Revision3.FramePrefix(Packet{Type: id, Binary: true})
		require.True(t, ok)
		require.Equal(t, byte(id), prefix)
	}
	_, ok := Revision4.FramePrefix(Packet{Type: Message, Binary: true})
	require.False(t, ok)
}

// A prefix and the data are the frame: what the engine relies on when it
// writes a message for many receivers once.
func TestFramePrefixIsFrame(t *testing.T) {
	for _, r := range []Revision{Revision3, Revision4} {
		for _, p := range []Packet{message("hi"), message(""), bytesOf(1, 2), bytesOf(), text(Pong, "probe")} {
			want, _ := r.AppendFrame(nil, p, false)
			var got []byte
			if prefix, ok := r.FramePrefix(p); ok {
				got = append(got, prefix)
			}
			require.Equal(t, string(want), string(append(got, p.Data...)))
		}
	}
}

func TestRevision4WritesBinaryAsMessage(t *testing.T) {
	p := Packet{Type: Ping, Binary: true, Data: []byte{1, 2, 3}}
	out, binary := Revision4.AppendFrame(nil, p, false)
	require.True(t, binary)
	require.Equal(t, []byte{1, 2, 3}, out)
	require.Equal(t, "bAQID", string(Revision4.AppendPayload(nil, []Packet{p}, false)))
}
