package packet

import (
	"math/rand/v2"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestUTF16Len(t *testing.T) {
	for _, c := range []struct {
		in       string
		want     int
		replaced string // what Node.js decodes the bytes to; "" when valid
	}{
		{"", 0, ""},
		{"a", 1, ""},
		{"\x00", 1, ""},
		{"abcdefgh", 8, ""},
		{"abcdefghi", 9, ""},
		{"abcdefg€", 8, ""},
		{"é€", 2, ""},
		{"😀", 2, ""},
		{"a😀b\U0010ffffc", 7, ""},
		{"\uffff\ufffd\ufeff", 3, ""},
		{"\ud7ff\ue000", 2, ""},

		{"\xff", 1, "\ufffd"},
		{"\x80", 1, "\ufffd"},
		{"\xc3", 1, "\ufffd"},
		{"\xe2\x82", 1, "\ufffd"},
		{"\xe2\x82a", 2, "\ufffda"},
		{"\xf0\x9f\x98", 1, "\ufffd"},
		{"\xf0\x9f\x98a", 2, "\ufffda"},
		{"\xc0\x80", 2, "\ufffd\ufffd"},
		{"\xed\xa0\x80", 3, "\ufffd\ufffd\ufffd"},
		{"\xf4\x90\x80\x80", 4, "\ufffd\ufffd\ufffd\ufffd"},
		{"\xf5\x80\x80\x80", 4, "\ufffd\ufffd\ufffd\ufffd"},
		{"\xe0\x80\x80\x80", 4, "\ufffd\ufffd\ufffd\ufffd"},
		{"\xf0\x80\x80\x80", 4, "\ufffd\ufffd\ufffd\ufffd"},
		{"\xf1\xe2\x82A", 3, "\ufffd\ufffdA"},
		{"\xe2\xe2\x82\xac", 2, "\ufffd€"},
		{"abcdefgh\xff12345678", 17, "abcdefgh\ufffd12345678"},
	} {
		require.Equal(t, c.want, utf16Len([]byte(c.in)), "%q", c.in)
		if c.replaced == "" {
			c.replaced = c.in
		}
		require.Equal(t, c.replaced, string(appendReplaced(nil, []byte(c.in))), "%q", c.in)
		require.Equal(t, c.want, utf16Len([]byte(c.replaced)), "%q", c.in)
	}
}

func TestCutUTF16(t *testing.T) {
	for _, c := range []struct {
		in   string
		n    int
		size int // -1: none
	}{
		{"", 0, 0},
		{"", 1, -1},
		{"abc", 0, 0},
		{"abc", 2, 2},
		{"abc", 3, 3},
		{"abc", 4, -1},
		{"€€", 1, 3},
		{"a😀b", 1, 1},
		{"a😀b", 2, -1}, // inside the surrogate pair
		{"a😀b", 3, 5},
		{"a😀b", 4, 6},
		{"a😀b", 5, -1},
		{"\xe2\x82b", 1, 2},
		{"\xf0\x9f\x98", 1, 3},
		{"\xf0\x9f\x98", 2, -1},
		{"0123456789é0123456789", 11, 12},
		{"0123456789é0123456789", 21, 22},
	} {
		size, ok := cutUTF16([]byte(c.in), c.n)
		require.Equal(t, c.size >= 0, ok, "%q %d", c.in, c.n)
		if ok {
			require.Equal(t, c.size, size, "%q %d", c.in, c.n)
		}
	}
}

// Random bytes, rich in lead and continuation bytes, against the standard
// library: what is replaced is valid, of the same length, and counts the same.
func TestUTF16AgainstLibrary(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	leads := []byte{0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf3, 0xf4, 0xf5, 0xff}
	for range 5000 {
		p := make([]byte, random.IntN(24))
		for i := range p {
			p[i] = leads[random.IntN(len(leads))]
		}
		replaced := appendReplaced(nil, p)
		require.True(t, utf8.Valid(replaced), "%x", p)
		units := len(utf16.Encode([]rune(string(replaced))))
		require.Equal(t, units, utf16Len(p), "%x", p)
		size, ok := cutUTF16(p, units)
		require.True(t, ok, "%x", p)
		require.Equal(t, len(p), size, "%x", p)
		if utf8.Valid(p) {
			require.Equal(t, string(p), string(replaced))
		}
	}
}
