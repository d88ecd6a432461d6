package httpparse

import (
	"bufio"
	"bytes"
	"math/rand"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func addHeads(f *testing.F) {
	for i, c := range validHeads {
		f.Add(append([]byte{byte(i), byte(i)}, c.in...))
	}
	for i, c := range malformedHeads {
		f.Add(append([]byte{byte(i), byte(i)}, c.in...))
	}
}

// The first byte chooses the sizes of the pieces, the second the limits. The
// result of the pieces is that of the whole.
func FuzzParse(f *testing.F) {
	addHeads(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 2 {
			compareWithPieces(t, data[0], data[1], data[2:])
		}
	})
}

func compareWithPieces(t *testing.T, sizes, bounds byte, in []byte) {
	limits := Limits{}
	if bounds&1 != 0 {
		limits = Limits{RequestLine: 8 + int(bounds), HeaderBytes: 2 * int(bounds), HeaderCount: int(bounds) / 32}
	}
	var whole, parts Request
	n, err := Parse(in, &whole, limits)
	switch err {
	case nil:
		require.Equal(t, n, HeadEnd(in, 0), "%q", in)
		require.LessOrEqual(t, n, limits.Head())
	case ErrIncomplete:
		require.Equal(t, -1, HeadEnd(in, 0), "%q", in)
		require.LessOrEqual(t, len(in), limits.Head())
		fallthrough
	default:
		require.Zero(t, n)
	}

	// Both ways of a caller: parse at every piece, or wait for the end.
	end, got, gotErr, waitEnd := 0, 0, ErrIncomplete, -1
	for _, piece := range split(sizes, in) {
		seen := end
		end += len(piece)
		if waitEnd < 0 {
			waitEnd = HeadEnd(in[:end], seen)
		}
		if gotErr == ErrIncomplete {
			got, gotErr = Parse(in[:end], &parts, limits)
		}
	}
	require.Equal(t, err, gotErr, "%q", in)
	require.Equal(t, n, got, "%q", in)
	require.Equal(t, HeadEnd(in, 0), waitEnd, "%q", in)
	if err == nil {
		require.Equal(t, describe(&whole), describe(&parts), "%q", in)
		_, err = Parse(in[:n-1], &parts, limits)
		require.Equal(t, ErrIncomplete, err, "%q", in)
	}
}

// What we refuse and net/http takes, one example each: the list of the places
// where we are stricter. (Its server refuses some of them later.) Limits, which
// it keeps elsewhere, are the other difference.
func TestStricterThanNetHTTP(t *testing.T) {
	for _, c := range []struct{ name, in string }{
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n"},
		{"folded field", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"},
		{"other versions", "GET / HTTP/3.7\r\nHost: a\r\n\r\n"},
		{"non-ASCII target", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"other schemes", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"absolute-form without a host", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"userinfo", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"path for CONNECT", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n"},
		{"malformed Host", "GET / HTTP/1.1\r\nHost: a/b c\r\n\r\n"},
		{"equal lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n"},
		{"length of 19 digits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000000000\r\n\r\n"},
		{"coding and length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"expectations", "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n"},
	} {
		var fault *Error
		_, err := Parse([]byte(c.in), new(Request), Limits{})
		require.ErrorAs(t, err, &fault, c.name)
		_, err = http.ReadRequest(bufio.NewReader(strings.NewReader(c.in)))
		require.NoError(t, err, c.name)
	}
}

// Whatever we accept, net/http accepts, and understands alike; where we are
// stricter says TestStricterThanNetHTTP. It refuses, and we take, because it is
// not ours to judge: some names in a Trailer field, and brackets around what is
// not an IPv6 address. The one empty line before the request line, RFC 9112,
// 2.2, its server has no room for.
func FuzzParseAgainstNetHTTP(f *testing.F) {
	addHeads(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 2 {
			compareWithNetHTTP(t, data[2:])
		}
	})
}

func compareWithNetHTTP(t *testing.T, in []byte) (accepted bool) {
	var r Request
	n, err := Parse(in, &r, Limits{})
	if err != nil || r.Header("Trailer") != nil || bytes.IndexByte(r.Target, '[') >= 0 {
		return false
	}
	head := bytes.TrimPrefix(in[:n], []byte("\r\n"))
	theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	require.NoError(t, err, "%q", head)

	require.Equal(t, theirs.Method, string(r.Method))
	require.Equal(t, theirs.RequestURI, string(r.Target))
	require.Equal(t, min(theirs.ProtoMinor, 1), r.Minor)
	require.Equal(t, 1, theirs.ProtoMajor)
	require.Equal(t, theirs.Close, !r.KeepAlive, "%q", head)
	require.Equal(t, theirs.TransferEncoding != nil, r.Chunked, "%q", head)
	if !r.Chunked {
		require.Equal(t, theirs.ContentLength, max(r.ContentLength, 0), "%q", head)
	}
	if r.Path != nil {
		path, err := url.PathUnescape(string(r.Path))
		require.NoError(t, err, "%q", head)
		if theirs.URL.Path == "" {
			theirs.URL.Path = "/"
		}
		require.Equal(t, theirs.URL.Path, path, "%q", head)
		require.Equal(t, theirs.URL.RawQuery, string(r.Query), "%q", head)
	}
	if theirs.URL.Host == "" {
		require.Equal(t, theirs.Host, string(r.Header("Host")), "%q", head)
	}
	require.Equal(t, theirHeader(theirs), ourHeader(&r), "%q", head)
	return true
}

// Heads put together from likely and unlikely parts go further than flipped
// bytes do.
func TestRandomHeads(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	pick := func(from ...string) string { return from[random.Intn(len(from))] }
	usually := func(usual string, from ...string) string {
		if random.Intn(8) > 0 {
			return usual
		}
		return pick(from...)
	}
	accepted := 0
	for range 30000 {
		var b strings.Builder
		end := func() { b.WriteString(usually("\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", " \r\n", "\r\n ")) }
		b.WriteString(usually("", "\r\n", "\n"))
		b.WriteString(usually(pick("GET", "POST", "OPTIONS", "CONNECT"), "get", "P!", "G(", "") + usually(" ", "  ", "\t"))
		b.WriteString(pick("/", "/a/b", "*", "http://", "HTTPS://", "h:9", "//", "", "/%41", "/;") + pick("", "a", "a.b:80", "%zz", "%2F", "~!$&'()", "\"<>", ":", "@") +
			pick("", "", "/", "/a", "/%e2%82", "/..") + pick("", "?", "?a=b&c", "?%zz", "#", "??"))
		b.WriteString(usually(" ", "  ") + usually("HTTP/1.1", "HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "http/1.1", ""))
		end()
		if random.Intn(8) > 0 {
			b.WriteString("Host: " + usually("a", "", "a:80", "a b", "[::1]:80", "a/"))
			end()
		}
		for range random.Intn(5) {
			b.WriteString(pick("A", "connection", "Connection", "CONTENT-LENGTH", "Content-Length", "Transfer-Encoding", "transfer-encoding", "Upgrade", "Expect", "Host", "Pragma", "Cache-Control", "Trailer", "x_y", "1", "~"))
			b.WriteString(usually(":", ": ", ":\t", " :", ": \t ", ""))
			b.WriteString(usually(pick("close", "keep-alive", "Upgrade", "chunked", "5", "100-continue"), "", "no-cache", "CHUNKED", "chunked, chunked", "a,,Close", "keep-alive , close", "0", "00", "-1", "+5", "5, 5", "\xff", "\x00", "a\tb", "\"a,close\""))
			end()
		}
		end()
		in := []byte(b.String())
		if compareWithNetHTTP(t, in) {
			accepted++
		}
		compareWithPieces(t, byte(random.Int()), byte(random.Int()), in)
	}
	require.Greater(t, accepted, 1000, "too few to mean anything")
	t.Log(accepted, "accepted")
}

func ourHeader(r *Request) http.Header {
	header := http.Header{}
	for _, h := range r.Headers {
		header[textproto.CanonicalMIMEHeaderKey(string(h.Name))] = append(header[textproto.CanonicalMIMEHeaderKey(string(h.Name))], string(h.Value))
	}
	// net/http takes these out of the map.
	header.Del("Host")
	header.Del("Transfer-Encoding")
	return header
}

// theirHeader undoes what net/http adds: Pragma: no-cache brings a Cache-Control.
func theirHeader(r *http.Request) http.Header {
	pragma, control := r.Header["Pragma"], r.Header["Cache-Control"]
	if len(pragma) > 0 && pragma[0] == "no-cache" && len(control) == 1 && strings.EqualFold(control[0], "no-cache") {
		r.Header.Del("Cache-Control")
	}
	return r.Header
}
