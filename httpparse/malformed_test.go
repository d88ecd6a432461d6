package httpparse

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const g = "GET / HTTP/1.1\r\n" // for heads whose Host is the matter

var malformedHeads = []struct {
	name, in string
	want     *Error
}{
	// line ends
	{"LF after request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", errBareLF},
	{"LF after field", g + "Host: a\n\r\n", errBareLF},
	{"LF for empty line", g + "Host: a\r\n\n", errBareLF},
	{"LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", errBareLF},
	{"LF before request line", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errBareLF},
	{"CR before request line", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"CR in method", "G\rET / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"CR in target", "GET /\rb" + h11 + "\r\n", errRequestLine},
	{"CR before target", "GET \r/" + h11 + "\r\n", errRequestLine},
	{"CR behind version", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", errRequestLine},
	{"CR for CRLF", "GET / HTTP/1.1\rHost: a\r\r", errRequestLine},
	{"CR in field name", "GET /" + h11 + "A\rB: c\r\n\r\n", errFieldName},
	{"CR in value", "GET /" + h11 + "A: b\rc\r\n\r\n", errFieldValue},
	{"CR before colon", "GET /" + h11 + "A\r: c\r\n\r\n", errFieldName},
	{"CR at end of value", "GET /" + h11 + "A: b\r\r\n\r\n", errFieldValue},
	{"CR at start of value", "GET /" + h11 + "A:\rb\r\n\r\n", errFieldValue},
	{"CR on the empty line", "GET /" + h11 + "\r\r\n", errFieldName},
	{"LF in value", "GET /" + h11 + "A: b\nC: d\r\n\r\n", errBareLF},
	{"CR and then LF", "\r00\n", errRequestLine},
	{"LF CR", "GET / HTTP/1.1\n\rHost: a\n\r\n\r", errBareLF},
	{"two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"only empty lines", "\r\n\r\n\r\n", errRequestLine},
	{"space before request line", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"space line before", " \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},

	// request line
	{"method only", "GET\r\n\r\n", errRequestLine},
	{"method and space", "GET \r\n\r\n", errRequestLine},
	{"no version", "GET /\r\n\r\n", errRequestLine},
	{"no version but space", "GET / \r\n\r\n", errRequestLine},
	{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"two spaces before target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"two spaces behind target", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"space behind version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", errRequestLine},
	{"four words", "GET / b HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"tab for space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"tab for second space", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"empty method", " / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", errTarget},
	{"colon in method", "GET: / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"parenthesis in method", "G(E)T / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"slash in method", "GET/ / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"at in method", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"quote in method", "\"GET\" / HTTP/1.1\r\nHost: a\r\n\r\n", errMethod},
	{"NUL in method", "G\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"non-ASCII method", "G\xc3\x84T / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"a response", "HTTP/1.1 200 OK\r\nHost: a\r\n\r\n", errMethod},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", errRequestLine},
	{"UTF-8 mark", "\xef\xbb\xbfGET / HTTP/1.1\r\nHost: a\r\n\r\n", errRequestLine},

	// version
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", errVersion},
	{"version 1.2 without a Host", "GET / HTTP/1.2\r\n\r\n", errHostMissing},
	{"version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", errVersion},
	{"version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", errVersion},
	{"version 9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", errVersion},
	{"version 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", errRequestLine},
	{"version 01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"version 1", "GET / HTTP/1\r\nHost: a\r\n\r\n", errRequestLine},
	{"version 1.", "GET / HTTP/1.\r\nHost: a\r\n\r\n", errRequestLine},
	{"version .1", "GET / HTTP/.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"version 1,1", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", errRequestLine},
	{"version 1.x", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", errRequestLine},
	{"version -1.1", "GET / HTTP/-1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"other protocol", "GET / HTTQ/1.1\r\nHost: a\r\n\r\n", errRequestLine},
	{"RTSP", "DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n", errRequestLine},
	{"ICY", "GET / ICY/1.10\r\nHost: a\r\n\r\n", errRequestLine},

	// target
	{"NUL in target", "GET /\x00" + h11 + "\r\n", errRequestLine},
	{"DEL in target", "GET /\x7f" + h11 + "\r\n", errRequestLine},
	{"escape in target", "GET /\x1b[0m" + h11 + "\r\n", errRequestLine},
	{"non-ASCII target", "GET /\xc3\xa4" + h11 + "\r\n", errRequestLine},
	{"non-ASCII query", "GET /?\xff" + h11 + "\r\n", errRequestLine},
	{"fragment", "GET /#a" + h11 + "\r\n", errTarget},
	{"fragment in query", "GET /?a#b" + h11 + "\r\n", errTarget},
	{"fragment in absolute", "GET http://a#b" + h11 + "\r\n", errTarget},
	{"relative path", "GET a/b" + h11 + "\r\n", errTargetForm},
	{"query only", "GET ?a=b" + h11 + "\r\n", errTargetForm},
	{"dot", "GET ." + h11 + "\r\n", errTargetForm},
	{"backslash", "GET \\a" + h11 + "\r\n", errTargetForm},
	{"asterisk for GET", "GET *" + h11 + "\r\n", errTargetForm},
	{"asterisk for lower-case options", "options *" + h11 + "\r\n", errTargetForm},
	{"asterisk and more", "OPTIONS *a" + h11 + "\r\n", errTargetForm},
	{"asterisk and query", "OPTIONS *?a" + h11 + "\r\n", errTargetForm},
	{"authority for GET", "GET b:443" + h11 + "\r\n", errTargetForm},
	{"path for CONNECT", "CONNECT /" + h11 + "\r\n", errTargetForm},
	{"absolute for CONNECT", "CONNECT http://b:443/" + h11 + "\r\n", errTargetForm},
	{"no port for CONNECT", "CONNECT b" + h11 + "\r\n", errTargetForm},
	{"empty port for CONNECT", "CONNECT b:" + h11 + "\r\n", errTargetForm},
	{"empty host for CONNECT", "CONNECT :443" + h11 + "\r\n", errTargetForm},
	{"odd port for CONNECT", "CONNECT b:4x3" + h11 + "\r\n", errTargetForm},
	{"userinfo for CONNECT", "CONNECT u@b:443" + h11 + "\r\n", errTargetForm},
	{"path behind CONNECT", "CONNECT b:443/" + h11 + "\r\n", errTargetForm},
	{"absolute, other scheme", "GET ftp://b/" + h11 + "\r\n", errTargetForm},
	{"absolute, ws", "GET ws://b/" + h11 + "\r\n", errTargetForm},
	{"absolute, no scheme", "GET ://b/" + h11 + "\r\n", errTargetForm},
	{"absolute, one slash", "GET http:/b" + h11 + "\r\n", errTargetForm},
	{"absolute, no slash", "GET http:" + h11 + "\r\n", errTargetForm},
	{"absolute, backslashes", "GET http:\\\\b" + h11 + "\r\n", errTargetForm},
	{"absolute, no host", "GET http:///a" + h11 + "\r\n", errTargetForm},
	{"absolute, nothing behind slashes", "GET http://" + h11 + "\r\n", errTargetForm},
	{"absolute, port only", "GET http://:80/" + h11 + "\r\n", errTargetForm},
	{"absolute, userinfo", "GET http://u:p@b/" + h11 + "\r\n", errTargetForm},
	{"absolute, odd port", "GET http://b:80a/" + h11 + "\r\n", errTargetForm},
	{"absolute, two ports", "GET http://b:80:80/" + h11 + "\r\n", errTargetForm},
	{"absolute, open bracket", "GET http://[::1/" + h11 + "\r\n", errTargetForm},
	{"absolute, empty brackets", "GET http://[]/" + h11 + "\r\n", errTargetForm},
	{"absolute, behind bracket", "GET http://[::1]a/" + h11 + "\r\n", errTargetForm},
	{"absolute, empty zone", "GET http://[fe80::1%]/" + h11 + "\r\n", errTargetForm},
	{"absolute, escaped host", "GET http://%62/" + h11 + "\r\n", errTargetForm},
	{"bad escape in path", "GET /%zz" + h11 + "\r\n", errTarget},
	{"half escape in path", "GET /a%4" + h11 + "\r\n", errTarget},
	{"lone percent", "GET /%" + h11 + "\r\n", errTarget},
	{"bad escape behind a good one", "GET /%41%4g?x" + h11 + "\r\n", errTarget},
	{"escape cut by query", "GET /%4?1" + h11 + "\r\n", errTarget},

	// fields
	{"space before colon", "GET /" + h11 + "A : b\r\n\r\n", errFieldName},
	{"tab before colon", "GET /" + h11 + "A\t: b\r\n\r\n", errFieldName},
	{"space before colon of length", "POST /" + h11 + "Content-Length : 5\r\n\r\n", errFieldName},
	{"space before colon of coding", "POST /" + h11 + "Transfer-Encoding : chunked\r\n\r\n", errFieldName},
	{"empty name", "GET /" + h11 + ": b\r\n\r\n", errFieldName},
	{"no colon", "GET /" + h11 + "A\r\n\r\n", errFieldName},
	{"no colon but value", "GET /" + h11 + "A b\r\n\r\n", errFieldName},
	{"space in name", "GET /" + h11 + "A B: c\r\n\r\n", errFieldName},
	{"folded with space", "GET /" + h11 + "A: b\r\n c\r\n\r\n", errFieldName},
	{"folded with tab", "GET /" + h11 + "A: b\r\n\tc\r\n\r\n", errFieldName},
	{"folded, looks like a field", "GET /" + h11 + "A: b\r\n Content-Length: 5\r\n\r\n", errFieldName},
	{"first line folded", g + " Host: a\r\n\r\n", errFieldName},
	{"line of space", "GET /" + h11 + " \r\n\r\n", errFieldName},
	{"NUL in name", "GET /" + h11 + "A\x00B: c\r\n\r\n", errFieldName},
	{"DEL in name", "GET /" + h11 + "A\x7f: c\r\n\r\n", errFieldName},
	{"non-ASCII name", "GET /" + h11 + "\xc3\x84: c\r\n\r\n", errFieldName},
	{"quote in name", "GET /" + h11 + "\"A\": c\r\n\r\n", errFieldName},
	{"slash in name", "GET /" + h11 + "A/B: c\r\n\r\n", errFieldName},
	{"bracket in name", "GET /" + h11 + "A[0]: c\r\n\r\n", errFieldName},
	{"brace in name", "GET /" + h11 + "{A}: c\r\n\r\n", errFieldName},
	{"at in name", "GET /" + h11 + "@A: c\r\n\r\n", errFieldName},
	{"semicolon in name", "GET /" + h11 + "A;B: c\r\n\r\n", errFieldName},
	{"NUL in value", "GET /" + h11 + "A: b\x00c\r\n\r\n", errFieldValue},
	{"NUL alone", "GET /" + h11 + "A: \x00\r\n\r\n", errFieldValue},
	{"DEL in value", "GET /" + h11 + "A: b\x7f\r\n\r\n", errFieldValue},
	{"vertical tab in value", "GET /" + h11 + "A: \x0bb\r\n\r\n", errFieldValue},
	{"form feed in value", "GET /" + h11 + "A: b\x0c\r\n\r\n", errFieldValue},
	{"escape in long value", "GET /" + h11 + "A: 0123456789abcdef\x1b[0m 0123456789\r\n\r\n", errFieldValue},

	// Host
	{"no Host", g + "\r\n", errHostMissing},
	{"no Host but others", g + "Hos: a\r\nHosts: b\r\n\r\n", errHostMissing},
	{"two Hosts", g + "Host: a\r\nHost: b\r\n\r\n", errHostRepeated},
	{"two Hosts alike", g + "Host: a\r\nhOST: a\r\n\r\n", errHostRepeated},
	{"two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", errHostRepeated},
	{"two Hosts with absolute", "GET http://c/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", errHostRepeated},
	{"no Host with absolute", "GET http://c/ HTTP/1.1\r\n\r\n", errHostMissing},
	{"space in Host", g + "Host: a b\r\n\r\n", errHost},
	{"tab in Host", g + "Host: a\tb\r\n\r\n", errHost},
	{"NUL in Host", g + "Host: a\x00\r\n\r\n", errFieldValue},
	{"path in Host", g + "Host: a/b\r\n\r\n", errHost},
	{"userinfo in Host", g + "Host: u@a\r\n\r\n", errHost},
	{"scheme in Host", g + "Host: http://a\r\n\r\n", errHost},
	{"query in Host", g + "Host: a?b\r\n\r\n", errHost},
	{"fragment in Host", g + "Host: a#b\r\n\r\n", errHost},
	{"backslash in Host", g + "Host: a\\b\r\n\r\n", errHost},
	{"odd port in Host", g + "Host: a:b\r\n\r\n", errHost},
	{"two ports in Host", g + "Host: a:1:2\r\n\r\n", errHost},
	{"address without brackets", g + "Host: ::1\r\n\r\n", errHost},
	{"open bracket in Host", g + "Host: [::1\r\n\r\n", errHost},
	{"zone without an address", g + "Host: [%25eth0]\r\n\r\n", errHost},
	{"empty zone", g + "Host: [fe80::1%]\r\n\r\n", errHost},
	{"space in a zone", g + "Host: [fe80::1%a b]\r\n\r\n", errHost},
	{"slash in a zone", g + "Host: [fe80::1%a/b]\r\n\r\n", errHost},
	{"comma in a zone", g + "Host: [fe80::1%a,b]\r\n\r\n", errHost},
	{"at in a zone", g + "Host: [fe80::1%a@b]\r\n\r\n", errHost},
	{"bracket in a zone", g + "Host: [fe80::1%a[b]\r\n\r\n", errHost},
	{"cut escape in a zone", g + "Host: [fe80::1%a%2]\r\n\r\n", errHost},
	{"zone without brackets", g + "Host: fe80::1%25eth0\r\n\r\n", errHost},
	{"name in brackets", g + "Host: [a.host]\r\n\r\n", errHost},
	{"non-ASCII Host", g + "Host: \xc3\xa4\r\n\r\n", errHost},
	{"bad Host in 1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n", errHost},

	// Content-Length
	{"length twice", "POST /" + h11 + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", errLengthTwice},
	{"length twice alike", "POST /" + h11 + "Content-Length: 5\r\ncontent-length: 5\r\n\r\n", errLengthTwice},
	{"length as list", "POST /" + h11 + "Content-Length: 5, 5\r\n\r\n", errLength},
	{"length with comma", "POST /" + h11 + "Content-Length: 5,\r\n\r\n", errLength},
	{"length empty", "POST /" + h11 + "Content-Length:\r\n\r\n", errLength},
	{"length negative", "POST /" + h11 + "Content-Length: -1\r\n\r\n", errLength},
	{"length with plus", "POST /" + h11 + "Content-Length: +5\r\n\r\n", errLength},
	{"length hexadecimal", "POST /" + h11 + "Content-Length: 0x5\r\n\r\n", errLength},
	{"length with hex digit", "POST /" + h11 + "Content-Length: a\r\n\r\n", errLength},
	{"length with underscore", "POST /" + h11 + "Content-Length: 1_0\r\n\r\n", errLength},
	{"length decimal", "POST /" + h11 + "Content-Length: 5.0\r\n\r\n", errLength},
	{"length with exponent", "POST /" + h11 + "Content-Length: 1e3\r\n\r\n", errLength},
	{"length of two words", "POST /" + h11 + "Content-Length: 5 5\r\n\r\n", errLength},
	{"length of 19 digits", "POST /" + h11 + "Content-Length: 1000000000000000000\r\n\r\n", errLength},
	{"length over 64 bits", "POST /" + h11 + "Content-Length: 18446744073709551621\r\n\r\n", errLength},
	{"length of 19 zeros", "POST /" + h11 + "Content-Length: 0000000000000000000\r\n\r\n", errLength},
	{"length in quotes", "POST /" + h11 + "Content-Length: \"5\"\r\n\r\n", errLength},
	{"length in other digits", "POST /" + h11 + "Content-Length: \xd9\xa5\r\n\r\n", errLength},

	// Transfer-Encoding
	{"coding and length", "POST /" + h11 + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", errCodingLength},
	{"length and coding", "POST /" + h11 + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", errCodingLength},
	{"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", errCodingVersion},
	{"coding twice", "POST /" + h11 + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", errCodingTwice},
	{"coding twice, second odd", "POST /" + h11 + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n", errCodingTwice},
	{"chunked, chunked", "POST /" + h11 + "Transfer-Encoding: chunked, chunked\r\n\r\n", errCoding},
	{"chunked,gzip,chunked", "POST /" + h11 + "Transfer-Encoding: chunked,gzip,Chunked\r\n\r\n", errCoding},
	{"chunked and comma", "POST /" + h11 + "Transfer-Encoding: chunked,\r\n\r\n", errCoding},
	{"comma and chunked", "POST /" + h11 + "Transfer-Encoding: , chunked\r\n\r\n", errCoding},
	{"coding empty", "POST /" + h11 + "Transfer-Encoding:\r\n\r\n", errCoding},
	{"coding of commas", "POST /" + h11 + "Transfer-Encoding: ,,\r\n\r\n", errCoding},
	{"gzip", "POST /" + h11 + "Transfer-Encoding: gzip\r\n\r\n", errCodingKind},
	{"gzip, chunked", "POST /" + h11 + "Transfer-Encoding: gzip, chunked\r\n\r\n", errCodingKind},
	{"chunked, gzip", "POST /" + h11 + "Transfer-Encoding: chunked, gzip\r\n\r\n", errCoding},
	{"identity", "POST /" + h11 + "Transfer-Encoding: identity\r\n\r\n", errCodingKind},
	{"chunked with parameter", "POST /" + h11 + "Transfer-Encoding: chunked;a=b\r\n\r\n", errCodingKind},
	{"chunked in quotes", "POST /" + h11 + "Transfer-Encoding: \"chunked\"\r\n\r\n", errCodingKind},
	{"xchunked", "POST /" + h11 + "Transfer-Encoding: xchunked\r\n\r\n", errCodingKind},
	{"chunked and space inside", "POST /" + h11 + "Transfer-Encoding: chunk ed\r\n\r\n", errCodingKind},
	{"vertical tab and chunked", "POST /" + h11 + "Transfer-Encoding: \x0bchunked\r\n\r\n", errFieldValue},

	// Expect
	{"other expectation", "POST /" + h11 + "Expect: 200-ok\r\n\r\n", errExpectation},
	{"one good expectation", "POST /" + h11 + "Expect: 100-continue, x\r\n\r\n", errExpectation},
	{"expectation in second field", "POST /" + h11 + "Expect: 100-continue\r\nExpect: x\r\n\r\n", errExpectation},
	{"expectation with parameter", "POST /" + h11 + "Expect: 100-continue;a\r\n\r\n", errExpectation},

	// default limits
	{"long request line", "GET /" + strings.Repeat("a", 8192) + h11 + "\r\n", ErrRequestLine},
	{"long method", strings.Repeat("A", 9000) + " /" + h11 + "\r\n", ErrRequestLine},
	{"long noise", strings.Repeat("A", 9000), ErrRequestLine},
	{"long value", "GET /" + h11 + "A: " + strings.Repeat("a", 16384) + "\r\n\r\n", ErrHeaderBytes},
	{"long name", "GET /" + h11 + strings.Repeat("a", 16385), ErrHeaderBytes},
	{"many bytes", "GET /" + h11 + strings.Repeat("A: "+strings.Repeat("b", 300)+"\r\n", 60) + "\r\n", ErrHeaderBytes},
	{"many fields", "GET /" + h11 + strings.Repeat("A: b\r\n", 100) + "\r\n", ErrHeaderCount},
}

func TestParseMalformed(t *testing.T) {
	require.GreaterOrEqual(t, len(malformedHeads), 120)
	for _, c := range malformedHeads {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			n, err := Parse([]byte(c.in), &r, Limits{})
			require.Equal(t, error(c.want), err, "%q", c.in)
			require.Zero(t, n)

			step := 1 + len(c.in)/4000 // the long ones are quadratic here
			refused := false
			for cut := 0; cut < len(c.in); cut += step {
				_, err := Parse([]byte(c.in[:cut]), &r, Limits{})
				if err == ErrIncomplete {
					require.False(t, refused, "part after an error: %q", c.in[:cut])
					require.Equal(t, -1, HeadEnd([]byte(c.in[:cut]), 0), "HeadEnd found what Parse did not: %q", c.in[:cut])
					continue
				}
				refused = true
				require.Equal(t, error(c.want), err, "%q", c.in[:cut])
			}
		})
	}
}

// Each control byte is refused in each place, and HTAB passes in values only: T033.
func TestParseControlBytes(t *testing.T) {
	places := []string{
		"G?T / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n", "GET /? HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n", "GET / HTTP/1.1?\r\nHost: a\r\nA: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a?\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA?: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n?A: b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nA:?b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA: b?c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA: 12345678?12345678\r\n\r\n",
	}
	for _, place := range places {
		before, after, _ := strings.Cut(place, "?")
		for c := range 33 {
			if c == 32 {
				c = 0x7f
			}
			in := before + string(rune(c)) + after
			_, err := Parse([]byte(in), new(Request), Limits{})
			if c == '\t' && (strings.Contains(place, "A:?") || strings.Contains(place, "b?c") || strings.Contains(place, "8?1") || strings.Contains(place, "a?\r")) {
				require.NoError(t, err, "%q", in)
				continue
			}
			var fault *Error
			require.ErrorAs(t, err, &fault, "%q", in)
			require.Equal(t, 400, fault.Status, "%q", in)
		}
	}
}
