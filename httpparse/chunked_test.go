package httpparse

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand"
	"net/http/httputil"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// decode feeds pieces as a connection would and returns what came out.
func decode(c *Chunked, pieces ...[]byte) (body, rest []byte, done bool, err error) {
	for i, p := range pieces {
		for len(p) > 0 && !done {
			var piece []byte
			piece, p, done, err = c.Decode(p, math.MaxUint64)
			if err != nil {
				return body, nil, false, err
			}
			body = append(body, piece...)
		}
		if done {
			rest = append(rest, p...)
			for _, p := range pieces[i+1:] {
				rest = append(rest, p...)
			}
			return body, rest, true, nil
		}
	}
	return body, nil, false, nil
}

var validChunked = []struct{ name, in, want string }{
	{"empty", "0\r\n\r\n", ""},
	{"empty with zeros", "0000000000000000\r\n\r\n", ""},
	{"one", "5\r\nhello\r\n0\r\n\r\n", "hello"},
	{"two", "5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n", "hello, world"},
	{"hex", "a\r\n0123456789\r\nB\r\n0123456789a\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n", "01234567890123456789a0123456789abcdef"},
	{"zeros in front", "0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"},
	{"line ends in data", "8\r\n\r\n0\r\n\r\n\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n\n"},
	{"extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello"},
	{"extension with quotes", "5;a=\"b; c\xff\t\"\r\nhello\r\n0\r\n\r\n", "hello"},
	{"extensions with whitespace", "5; a = b ;\tc ; d=\"\\\"\" \t;e\r\nhello\r\n0\r\n\r\n", "hello"},
	{"longest extension", "5;" + strings.Repeat("a", 256) + "\r\nhello\r\n0;" + strings.Repeat("a", 256) + "\r\n\r\n", "hello"},
	{"trailer", "5\r\nhello\r\n0\r\nA: b\r\n\r\n", "hello"},
	{"trailers", "0\r\nA: b\tc\xff\r\nEmpty:\r\nContent-Length: 7\r\n\r\n", ""},
	{"longest trailer", "0\r\nA:" + strings.Repeat("b", 8188) + "\r\n\r\n", ""},
}

func TestChunkedValid(t *testing.T) {
	for _, c := range validChunked {
		t.Run(c.name, func(t *testing.T) {
			in := []byte(c.in)
			const next = "GET / HTTP/1.1"
			check := func(pieces ...[]byte) {
				var d Chunked
				body, rest, done, err := decode(&d, append(pieces, []byte(next))...)
				require.NoError(t, err, "%q", pieces)
				require.True(t, done)
				require.Equal(t, c.want, string(body), "%q", pieces)
				require.Equal(t, next, string(rest))

				body, rest, done, err = d.Decode([]byte(next), math.MaxUint64)
				require.NoError(t, err)
				require.True(t, done)
				require.Empty(t, body)
				require.Equal(t, next, string(rest))
			}
			check(in)
			for cut := 0; cut < len(in); cut += 1 + len(in)/500 { // the long ones are quadratic here
				check(in[:cut], in[cut:])
				var d Chunked
				_, _, done, err := decode(&d, in[:cut])
				require.NoError(t, err)
				require.False(t, done, "%q", in[:cut])
			}
			var single [][]byte
			for i := range in {
				single = append(single, in[i:i+1])
			}
			check(single...)
		})
	}
}

var malformedChunked = []struct {
	name, in string
	want     *Error
}{
	{"no size", "\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"no size before extension", ";a\r\n\r\n", errChunkSize},
	{"space before size", " 5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"LF behind size", "5\nhello\r\n0\r\n\r\n", errChunkSize},
	{"CR without LF", "5\rhello\r\n0\r\n\r\n", errChunkLine},
	{"CR CR", "5\r\r\nhello", errChunkLine},
	{"space behind size", "5 \r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"letters behind space", "5 a\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"size in two parts", "5 5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"space before extension", "5 ;a\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"tab before extension", "5\t;a\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"negative", "-5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"plus", "+5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"0x", "0x5\r\nhello\r\n0\r\n\r\n", errChunkSize},
	{"not hex", "5g\r\nhello", errChunkSize},
	{"underscore", "1_0\r\nhello", errChunkSize},
	{"NUL", "5\x00\r\nhello", errChunkSize},
	{"vertical tab", "5\x0b\r\nhello", errChunkSize},
	{"non-ASCII", "5\xa0\r\nhello", errChunkSize},
	{"17 digits", "10000000000000000\r\n", errChunkSize},
	{"17 zeros", "00000000000000000\r\n\r\n", errChunkSize},
	{"17 digits, small", "00000000000000005\r\nhello", errChunkSize},
	{"many digits", strings.Repeat("f", 5000), errChunkSize},
	{"LF in extension", "5;a\nhello\r\n0\r\n\r\n", errChunkLine},
	{"NUL in extension", "5;a\x00\r\nhello", errChunkLine},
	{"DEL in extension", "5;a\x7f\r\nhello", errChunkLine},
	{"CR in extension", "5;a\rb\r\nhello", errChunkLine},
	{"long extension", "5;" + strings.Repeat("a", 257) + "\r\nhello", errChunkLine},
	{"endless space", "5" + strings.Repeat(" ", 5000), errChunkSize},
	{"data too long", "5\r\nhello!\r\n0\r\n\r\n", errChunkEnd},
	{"data too short", "5\r\nhell\r\n0\r\n\r\n", errChunkEnd},
	{"LF behind data", "5\r\nhello\n0\r\n\r\n", errChunkEnd},
	{"CR behind data", "5\r\nhello\r0\r\n\r\n", errChunkEnd},
	{"nothing behind data", "5\r\nhello0\r\n\r\n", errChunkEnd},
	{"empty line between chunks", "5\r\nhello\r\n\r\n0\r\n\r\n", errChunkSize},
	{"LF for last line", "0\r\n\n", errTrailer},
	{"CR for last line", "0\r\n\rG", errTrailer},
	{"request for trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", errTrailer},
	{"trailer without colon", "0\r\nA\r\n\r\n", errTrailer},
	{"trailer without name", "0\r\n: b\r\n\r\n", errTrailer},
	{"trailer with space before colon", "0\r\nA : b\r\n\r\n", errTrailer},
	{"trailer folded", "0\r\nA: b\r\n c\r\n\r\n", errTrailer},
	{"trailer with LF", "0\r\nA: b\n\r\n", errTrailer},
	{"trailer with CR", "0\r\nA: b\rc\r\n\r\n", errTrailer},
	{"trailer with NUL", "0\r\nA: \x00\r\n\r\n", errTrailer},
	{"long trailer", "0\r\nA:" + strings.Repeat("b", 8189) + "\r\n\r\n", ErrTrailerBytes},
	{"many trailers", "0\r\n" + strings.Repeat("A: b\r\n", 1400) + "\r\n", ErrTrailerBytes},
}

func TestChunkedMalformed(t *testing.T) {
	for _, c := range malformedChunked {
		t.Run(c.name, func(t *testing.T) {
			in := []byte(c.in)
			for cut := 0; cut <= len(in); cut += 1 + len(in)/500 {
				var d Chunked
				_, _, done, err := decode(&d, in[:cut], in[cut:])
				require.False(t, done)
				require.Equal(t, error(c.want), err, "cut at %d", cut)

				_, _, done, err = d.Decode([]byte("0\r\n\r\n"), math.MaxUint64)
				require.False(t, done)
				require.Equal(t, error(c.want), err, "an error repeats")
			}
		})
	}
}

func TestChunkedLargestSize(t *testing.T) {
	var d Chunked
	body, rest, done, err := d.Decode([]byte("ffffffffffffffff\r\nabc"), math.MaxUint64)
	require.NoError(t, err)
	require.False(t, done)
	require.Empty(t, rest)
	require.Equal(t, "abc", string(body))
	require.Equal(t, uint64(1<<64-1-3), d.left)
}

func TestChunkedNothing(t *testing.T) {
	var d Chunked
	for _, p := range [][]byte{nil, {}} {
		body, rest, done, err := d.Decode(p, math.MaxUint64)
		require.Empty(t, body)
		require.Empty(t, rest)
		require.False(t, done)
		require.NoError(t, err)
	}
}

// One sits in each exchange, and there are as many of those as connections.
func TestChunkedSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Chunked{}), uintptr(24))
}

// What the standard library writes is read, in pieces of any size.
func TestChunkedRoundTrip(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 300 {
		var wire, want bytes.Buffer
		w := httputil.NewChunkedWriter(&wire)
		for range random.Intn(6) {
			piece := make([]byte, 1+random.Intn(1<<random.Intn(14)))
			random.Read(piece)
			want.Write(piece)
			_, err := w.Write(piece)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		wire.WriteString("\r\n") // the writer leaves trailers and their end to its user

		var pieces [][]byte
		for p := wire.Bytes(); len(p) > 0; {
			n := min(len(p), 1+random.Intn(1<<random.Intn(14)))
			pieces, p = append(pieces, p[:n]), p[n:]
		}
		var d Chunked
		body, rest, done, err := decode(&d, pieces...)
		require.NoError(t, err)
		require.True(t, done)
		require.Empty(t, rest)
		require.True(t, bytes.Equal(want.Bytes(), body))
	}
}

// The first byte chooses the sizes of the pieces. What is accepted means the
// same to the standard library.
func FuzzChunked(f *testing.F) {
	for i, c := range validChunked {
		f.Add(append([]byte{byte(i)}, c.in...))
	}
	for i, c := range malformedChunked {
		f.Add(append([]byte{byte(i)}, c.in...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		in := data[1:]
		render := func(body, rest []byte, done bool, err error) string {
			return fmt.Sprintf("%q %q %v %v", body, rest, done, err)
		}
		var whole, parts Chunked
		body, rest, done, err := decode(&whole, in)
		require.Equal(t, render(body, rest, done, err), render(decode(&parts, split(data[0], in)...)), "%q", in)

		if !done {
			return
		}
		used := in[:len(in)-len(rest)]
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(used)))
		// It has a bound on overhead that a caller of ours sets in another way.
		if err == nil || !strings.Contains(err.Error(), "too much non-data") {
			require.NoError(t, err, "%q", in)
			require.True(t, bytes.Equal(theirs, body), "%q", in)
		}
	})
}

// split cuts p into pieces whose sizes follow from seed: from single bytes to
// the whole.
func split(seed byte, p []byte) (pieces [][]byte) {
	random := rand.New(rand.NewSource(int64(seed)))
	longest := 1 << (seed % 8)
	for len(p) > 0 {
		n := min(len(p), 1+random.Intn(longest))
		pieces, p = append(pieces, p[:n]), p[n:]
	}
	return pieces
}

// However the bytes are cut, a chunk above the room is refused by its size, and one that
// fills the room is taken.
func TestChunkedRoom(t *testing.T) {
	const room = 10
	for body, want := range map[string]string{
		"a\r\n0123456789\r\n0\r\n\r\n":               "",
		"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n":      "",
		"0\r\n\r\n":                                  "",
		"b\r\n":                                      "",
		"4\r\n0123\r\n7\r\n":                         "0123",
		"4\r\n0123\r\n7;x=y\r\n":                     "0123",
		"a\r\n0123456789\r\n1\r\n":                   "0123456789",
		"4\r\n0123\r\nffffffffffffffff\r\n":          "0123",
		"4\r\n0123\r\n6\r\n456789\r\n0000000001\r\n": "0123456789",
	} {
		for cut := 1; cut <= len(body); cut++ {
			var c Chunked
			var got []byte
			var done bool
			var err error
			for p := []byte(body); len(p) > 0 && err == nil && !done; {
				rest := p[:min(cut, len(p))]
				p = p[len(rest):]
				for len(rest) > 0 && err == nil && !done {
					var piece []byte
					piece, rest, done, err = c.Decode(rest, uint64(room-len(got)))
					got = append(got, piece...)
				}
			}
			if done {
				require.NoError(t, err, body)
				continue
			}
			require.Equal(t, ErrBodyBytes, err, "%q by %d", body, cut)
			require.Equal(t, want, string(got), "%q by %d", body, cut)
			_, _, done, err = c.Decode([]byte("0\r\n\r\n"), room)
			require.False(t, done)
			require.Equal(t, ErrBodyBytes, err)
		}
	}
}
