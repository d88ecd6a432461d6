package packet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a payload yields before it ends, and whether it ends well.
func TestNext(t *testing.T) {
	hi := []Packet{message("hi")}
	none := []Packet{text(Noop, "")}
	for _, c := range []struct {
		r    Revision
		in   string
		want []Packet
		ok   bool
	}{
		{4, "", nil, false},
		{4, "\x1e", nil, false},
		{4, "\x1e4hi", nil, false},
		{4, "4hi", hi, true},
		{4, "4hi\x1e", hi, false},
		{4, "4hi\x1e\x1e4hi", hi, false},
		{4, "4hi\x1e7\x1e4hi", hi, false},
		{4, "4hi\x1ehi", hi, false},
		{4, "4\x1e4hi", []Packet{message(""), message("hi")}, true},
		{4, "2:4hi", []Packet{text(Ping, ":4hi")}, true},
		{4, "0:", []Packet{text(Open, ":")}, true},
		{4, "b\x1eb\x1e4hi", []Packet{bytesOf(), bytesOf(), message("hi")}, true},
		{4, "bAQID=\x1e4hi", []Packet{bytesOf(1, 2, 3), message("hi")}, true},
		{4, "bAQ\n ID\x1ebBA", []Packet{bytesOf(1, 2, 3), bytesOf(4)}, true},
		{4, "b-_-_", []Packet{bytesOf(0xfb, 0xff, 0xbf)}, true},
		{4, "\xef\xbb\xbf4hi", nil, false}, // a byte order mark is no packet type

		{4, "4a\xff\xfeb", []Packet{message("a\ufffd\ufffdb")}, true},
		{4, "4\xe2\x82\x1e4\xf0\x9f\x98\x80", []Packet{message("\ufffd"), message("😀")}, true},
		{4, "\xff4a", nil, false},
		{4, "bAQ\xffID", []Packet{bytesOf(1, 2, 3)}, true},

		{3, "", nil, false},
		{3, "3:4hi", hi, true},
		{3, "03:4hi", hi, true},
		{3, "0000000003:4hi", hi, true},
		{3, "00000000003:4hi", nil, false}, // eleven digits
		{3, "9999999999:4hi", nil, false},
		{3, "4294967299:4hi", nil, false}, // 3 modulo 2 to the 32
		{3, "18446744073709551619:4hi", nil, false},
		{3, "5:4abc", nil, false},
		{3, "4:4hi", nil, false},
		{3, "x:4", nil, false},
		{3, "3", nil, false},
		{3, "34hi", nil, false},
		{3, ":", nil, false},
		{3, ":4hi", nil, false},
		{3, " 3:4hi", nil, false},
		{3, "+3:4hi", nil, false},
		{3, "-3:4hi", nil, false},
		{3, "3.0:4hi", nil, false},
		{3, "3e0:4hi", nil, false},
		{3, "0x3:4hi", nil, false},
		{3, "３:4hi", nil, false},
		{3, "3 :4hi", nil, false},
		{3, "3:hi4", nil, false},
		{3, "1:7", nil, false},
		{3, "1:b", nil, false},
		{3, "2:b7", nil, false},
		{3, "2:b4", []Packet{bytesOf()}, true},
		{3, "2:4hi", []Packet{message("h")}, false},
		{3, "3:4hi3", hi, false},
		{3, "3:4hi:", hi, false},
		{3, "3:4hi3:4h", hi, false},
		{3, "3:4hi1:93:4hi", hi, false},
		{3, "3:4hi\n", hi, false},
		{3, "0:", none, true},
		{3, "0:0:00:", none, true},
		{3, "0:3:4hi", hi, true},
		{3, "0:3:4hi0:", hi, true},
		{3, "3:4hi0:0:3:4hi", []Packet{message("hi"), message("hi")}, true},
		{3, "0:x", nil, false},
		{3, "3:4hi0:x", hi, false},
		{3, "3:4:::", []Packet{message("::")}, false},
		{3, "3:4::", []Packet{message("::")}, true},
		{3, "2:4\x1e", []Packet{message("\x1e")}, true},

		{3, "3:4😀", []Packet{message("😀")}, true},
		{3, "2:4😀", nil, false}, // ends inside the surrogate pair
		{3, "5:4😀", nil, false}, // its bytes, not its code units
		{3, "4:4hi\xff", []Packet{message("hi\ufffd")}, true},
		{3, "2:4\xe2\x821:4", []Packet{message("\ufffd"), message("")}, true},
		{3, "3:4\xc0\x801:4", []Packet{message("\ufffd\ufffd"), message("")}, true},
	} {
		t.Run(fmt.Sprintf("rev%d %q", c.r, c.in), func(t *testing.T) {
			got, err := readAll(c.r.Next, []byte(c.in))
			require.Equal(t, show(c.want), show(got))
			if c.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrMalformed)
			}
		})
	}
}

func TestNextBinary(t *testing.T) {
	hi := []Packet{message("hi")}
	one := []Packet{bytesOf(1)}
	for _, c := range []struct {
		in   string
		want []Packet
		ok   bool
	}{
		{"00 03 ff 34 68 69", hi, true},
		{"01 02 ff 04 01", one, true},
		{"01 00 00 02 ff 04 01", one, true},
		{"01 00 00 00 00 00 00 00 00 00 02 ff 04 01", one, true},
		{"01 00 00 00 00 00 00 00 00 00 00 02 ff 04 01", nil, false}, // eleven digits
		{"01 09 09 09 09 09 09 09 09 09 09 ff 04 01", nil, false},
		{"01 04 02 09 04 09 06 07 02 09 08 ff 04 01", nil, false}, // 2 modulo 2 to the 32
		{"", nil, false},
		{"00", nil, false},
		{"00 03", nil, false},
		{"00 03 34 68 69", nil, false}, // no terminator
		{"00 ff 34 68 69", nil, false},
		{"00 00 ff", nil, false},
		{"01 00 ff", nil, false},
		{"02 03 ff 34 68 69", nil, false},
		{"ff 03 ff 34 68 69", nil, false},
		{"00 33 ff 34 68 69", nil, false}, // an ASCII digit
		{"00 0a ff 34 68 69", nil, false},
		{"00 fe ff 34 68 69", nil, false},
		{"00 04 ff 34 68 69", nil, false}, // more than there is
		{"01 02 ff 07 01", nil, false},
		{"01 02 ff 34 01", nil, false},
		{"00 02 ff 04 01", nil, false},
		{"00 01 ff 37", nil, false},
		{"00 04 ff 34 68 69 80", nil, false}, // not UTF-8
		{"00 04 ff 34 ed a0 80", nil, false},
		{"00 04 ff 34 e2 82 ac", []Packet{message("€")}, true},
		{"00 04 ff 34 ef bf bd", []Packet{message("\ufffd")}, true},
		{"00 06 ff 62 34 41 51 49 44", []Packet{bytesOf(1, 2, 3)}, true}, // base64 in text
		{"00 06 ff 62 34 41 51 49 ff", []Packet{bytesOf(1, 2)}, true},
		{"01 01 ff 02", []Packet{{Type: Ping, Binary: true}}, true},
		{"01 02 ff 04 01 00", one, false},
		{"01 02 ff 04 01 34", one, false},
		{"01 02 ff 04 01 00 03 ff 34 68 69", append(one, hi...), true},
		{"01 02 ff 04 01 00 04 ff 34 68 69", one, false},
		{"01 02 ff 04 ff 01 02 ff 04 00", []Packet{bytesOf(0xff), bytesOf(0)}, true},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := readAll(Revision3.NextBinary, unhex(c.in))
			require.Equal(t, show(c.want), show(got))
			if c.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrMalformed)
			}
			_, _, err = Revision4.NextBinary(unhex(c.in))
			require.ErrorIs(t, err, ErrMalformed)
		})
	}
}

// The rest says whether a payload goes on.
func TestRest(t *testing.T) {
	_, rest, err := Revision4.Next([]byte("4a"))
	require.NoError(t, err)
	require.Nil(t, rest)

	_, rest, err = Revision4.Next([]byte("4a\x1e"))
	require.NoError(t, err)
	require.NotNil(t, rest)
	require.Empty(t, rest)
	_, rest, err = Revision4.Next(rest)
	require.ErrorIs(t, err, ErrMalformed)
	require.Nil(t, rest)

	_, rest, err = Revision3.Next([]byte("2:4a0:"))
	require.NoError(t, err)
	require.Nil(t, rest)

	for _, r := range []Revision{Revision3, Revision4} {
		_, _, err = r.Next(nil)
		require.ErrorIs(t, err, ErrMalformed)
		_, _, err = r.NextBinary(nil)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

// Whoever appends to the data of one packet must not reach the next.
func TestDataIsClipped(t *testing.T) {
	for _, c := range []struct {
		next step
		in   string
	}{
		{Revision4.Next, "4a\x1e4b"},
		{Revision3.Next, "2:4a2:4b"},
		{Revision4.Next, "bAQ\x1e4b"},
		{Revision3.NextBinary, "\x01\x02\xff\x04\x01\x00\x02\xff4b"},
	} {
		first, rest, err := c.next([]byte(c.in))
		require.NoError(t, err)
		_ = append(first.Data, "xxxxxxxx"...)
		second, _, err := c.next(rest)
		require.NoError(t, err)
		require.Equal(t, "b", string(second.Data), "%q", c.in)
	}
}

// T259: a payload of text and bytes is binary where the client takes that.
func TestBinaryPayload(t *testing.T) {
	mixed := []Packet{message("a"), bytesOf(1)}
	require.True(t, Revision3.BinaryPayload(mixed, false))
	require.False(t, Revision3.BinaryPayload(mixed, true))
	require.False(t, Revision3.BinaryPayload(mixed[:1], false))
	require.False(t, Revision3.BinaryPayload(nil, false))
	require.False(t, Revision4.BinaryPayload(mixed, false))
	require.False(t, Revision4.BinaryPayload(mixed, true))
}

func TestEmptyPayload(t *testing.T) {
	for _, base64 := range []bool{false, true} {
		require.Equal(t, "0:", string(Revision3.AppendPayload(nil, nil, base64)))
		require.Equal(t, 2, Revision3.PayloadSize(nil, base64))
		require.Empty(t, Revision4.AppendPayload(nil, nil, base64))
		require.Equal(t, 0, Revision4.PayloadSize(nil, base64))
	}
}

// Lengths around each new digit, where a size that is off by one would show.
func TestPayloadSizeAtDigits(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 9, 10, 97, 98, 99, 100, 998, 999, 1000, 9998, 9999} {
		for _, unit := range []string{"a", "é", "€", "😀", "\xff"} {
			data := []byte(strings.Repeat(unit, n))
			for _, p := range []Packet{{Type: Message, Data: data}, {Type: Message, Binary: true, Data: data}} {
				for _, r := range []Revision{Revision3, Revision4} {
					for _, base64 := range []bool{false, true} {
						ps := []Packet{p, message("x"), p}
						got := len(r.AppendPayload(nil, ps, base64))
						require.Equal(t, got, r.PayloadSize(ps, base64), "rev %d, %d of %q", r, n, unit)
						cost := r.PayloadCost(p, base64)*2 + r.PayloadCost(ps[1], base64)
						require.GreaterOrEqual(t, cost, got, "rev %d, %d of %q", r, n, unit)
						require.LessOrEqual(t, cost-got, 9, "rev %d, %d of %q", r, n, unit)
					}
				}
			}
		}
	}
}
