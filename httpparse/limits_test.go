package httpparse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLimits(t *testing.T) {
	small := Limits{RequestLine: 20, HeaderBytes: 30, HeaderCount: 3}
	const line = "GET /123456 HTTP/1.1\r\n" // 20 bytes
	cases := []struct {
		name, in string
		want     error
	}{
		{"line at limit", line + "Host: a\r\n\r\n", nil},
		{"line at limit, with empty line", "\r\n" + line + "Host: a\r\n\r\n", nil},
		{"line at limit, part", line[:20], ErrIncomplete},
		{"line at limit, CR", line[:21], ErrIncomplete},
		{"line over limit", "GET /1234567 HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"line over limit, part", "GET /1234567 HTTP/1.1", ErrRequestLine},
		{"line over limit by a CR", line[:20] + "\r\r", ErrRequestLine},
		{"line over limit, bare LF", "GET /1234567 HTTP/1.1\n", ErrRequestLine},
		{"line over limit behind empty line", "\r\nGET /1234567 HTTP/1.1", ErrRequestLine},
		{"bad byte before limit", "GET /\x00234567 HTTP/1.1", errRequestLine},
		{"bad byte behind limit", line[:20] + "1\x00", ErrRequestLine},

		{"header at limit", line + "Host: a\r\nA: 4567890123456789\r\n\r\n", nil}, // 9 + 21
		{"header at limit, part", line + "Host: a\r\nA: 4567890123456789", ErrIncomplete},
		{"header at limit, CR", line + "Host: a\r\nA: 4567890123456789\r", ErrIncomplete},
		{"header at limit, empty line", line + "Host: a\r\nA: 4567890123456789\r\n\r", ErrIncomplete},
		{"header over limit", line + "Host: a\r\nA: 45678901234567890\r\n\r\n", ErrHeaderBytes},
		{"header over limit, part", line + "Host: a\r\nA: 45678901234567890", ErrHeaderBytes},
		{"header over limit, second line", line + "Host: a\r\nA: 4567890123456789\r\nB", ErrHeaderBytes},

		{"count at limit", line + "Host: a\r\nA:\r\nB:\r\n\r\n", nil},
		{"count over limit", line + "Host: a\r\nA:\r\nB:\r\nC:\r\n\r\n", ErrHeaderCount},
		{"count over limit, part", line + "Host: a\r\nA:\r\nB:\r\nC:\r\n", ErrHeaderCount},
		{"count over limit, no LF yet", line + "Host: a\r\nA:\r\nB:\r\nC:", ErrIncomplete},
	}
	for _, c := range cases {
		_, err := Parse([]byte(c.in), new(Request), small)
		require.Equal(t, c.want, err, "%s: %q", c.name, c.in)
	}
}

func TestLimitsDefaults(t *testing.T) {
	want := Limits{RequestLine: 8192, HeaderBytes: 16384, HeaderCount: 100}
	require.Equal(t, want, Limits{}.filled())
	require.Equal(t, want, Limits{RequestLine: -1, HeaderBytes: -1, HeaderCount: -1}.filled())
	require.Equal(t, Limits{1, 2, 3}, Limits{1, 2, 3}.filled())
}

// No slice longer than Head is ever called incomplete, and one of that length
// can be a head.
func TestLimitsHead(t *testing.T) {
	limits := Limits{RequestLine: 20, HeaderBytes: 30, HeaderCount: 3}
	head := "\r\nGET /123456 HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("b", 16) + "\r\n\r\n"
	require.Len(t, head, limits.Head())
	n, err := Parse([]byte(head), new(Request), limits)
	require.NoError(t, err)
	require.Equal(t, limits.Head(), n)

	for _, in := range []string{
		strings.Repeat("a", limits.Head()+1),
		"\r\nGET / HTTP/1.1\r\n" + strings.Repeat("a", limits.Head()),
		"\r\nGET /123456 HTTP/1.1\r\n" + strings.Repeat("A:\r\n", 20),
		strings.Repeat("\r", limits.Head()+1),
		strings.Repeat("\r\n", limits.Head()),
	} {
		_, err := Parse([]byte(in)[:limits.Head()+1], new(Request), limits)
		var fault *Error
		require.ErrorAs(t, err, &fault, "%q", in)
	}
}
