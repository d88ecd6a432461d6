package httpparse

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// describe renders all that Parse found, so that two results can be compared.
func describe(r *Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s target %s path %s query %s 1.%d length %d", r.Method, r.Target, r.Path, r.Query, r.Minor, r.ContentLength)
	for _, f := range []struct {
		set  bool
		name string
	}{{r.Chunked, "chunked"}, {r.KeepAlive, "keep"}, {r.ExpectContinue, "expect"}, {r.WebSocket, "websocket"}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "\n%s=%s", h.Name, h.Value)
	}
	return b.String()
}

const h11 = " HTTP/1.1\r\nHost: a\r\n"

var validHeads = []struct{ name, in, want string }{
	{"plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a"},
	{"query", "GET /engine.io/?EIO=4&t=x" + h11 + "\r\n", "GET target /engine.io/?EIO=4&t=x path /engine.io/ query EIO=4&t=x 1.1 length -1 keep\nHost=a"},
	{"empty query", "GET /?" + h11 + "\r\n", "GET target /? path / query  1.1 length -1 keep\nHost=a"},
	{"two marks", "GET /a?b?c" + h11 + "\r\n", "GET target /a?b?c path /a query b?c 1.1 length -1 keep\nHost=a"},
	{"two slashes", "GET //a/b" + h11 + "\r\n", "GET target //a/b path //a/b query  1.1 length -1 keep\nHost=a"},
	{"escapes stay", "GET /%41%2f?%zz" + h11 + "\r\n", "GET target /%41%2f?%zz path /%41%2f query %zz 1.1 length -1 keep\nHost=a"},
	{"untidy bytes in target", "GET /\"<>\\^`{|}?\"<>\\^`{|}" + h11 + "\r\n", "GET target /\"<>\\^`{|}?\"<>\\^`{|} path /\"<>\\^`{|} query \"<>\\^`{|} 1.1 length -1 keep\nHost=a"},
	{"empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a"},
	{"odd method", "M-SEARCH!#$%&'*+.^_`|~09az /" + h11 + "\r\n", "M-SEARCH!#$%&'*+.^_`|~09az target / path / query  1.1 length -1 keep\nHost=a"},
	{"lower-case method", "get /" + h11 + "\r\n", "get target / path / query  1.1 length -1 keep\nHost=a"},
	{"1.0 without fields", "GET / HTTP/1.0\r\n\r\n", "GET target / path / query  1.0 length -1"},
	{"1.0 close", "GET / HTTP/1.0\r\nConnection: close\r\n\r\n", "GET target / path / query  1.0 length -1\nConnection=close"},
	{"1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET target / path / query  1.0 length -1 keep\nConnection=Keep-Alive"},
	{"1.0 keep-alive and close", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "GET target / path / query  1.0 length -1\nConnection=keep-alive, close"},
	{"1.0 upgrade ignored", "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "GET target / path / query  1.0 length -1\nConnection=upgrade\nUpgrade=websocket"},
	{"1.0 expectation ignored", "POST / HTTP/1.0\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", "POST target / path / query  1.0 length -1\nExpect=100-continue\nExpect=x"},
	{"close", "GET /" + h11 + "Connection: close\r\n\r\n", "GET target / path / query  1.1 length -1\nHost=a\nConnection=close"},
	{"close in list", "GET /" + h11 + "Connection: x , ClOsE\r\n\r\n", "GET target / path / query  1.1 length -1\nHost=a\nConnection=x , ClOsE"},
	{"close in second field", "GET /" + h11 + "Connection: keep-alive\r\nConnection: close\r\n\r\n", "GET target / path / query  1.1 length -1\nHost=a\nConnection=keep-alive\nConnection=close"},
	{"close is a word", "GET /" + h11 + "Connection: closed, not-close\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nConnection=closed, not-close"},
	{"upgrade", "GET /" + h11 + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET target / path / query  1.1 length -1 keep websocket\nHost=a\nConnection=keep-alive, Upgrade\nUpgrade=websocket"},
	{"upgrade before connection", "GET /" + h11 + "upgrade: WebSocket\r\nconnection: upgrade\r\n\r\n", "GET target / path / query  1.1 length -1 keep websocket\nHost=a\nupgrade=WebSocket\nconnection=upgrade"},
	{"upgrade among others", "GET /" + h11 + "Connection: Upgrade\r\nUpgrade: h2c,,WebSocket\r\n\r\n", "GET target / path / query  1.1 length -1 keep websocket\nHost=a\nConnection=Upgrade\nUpgrade=h2c,,WebSocket"},
	{"upgrade in a second field", "GET /" + h11 + "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n", "GET target / path / query  1.1 length -1 keep websocket\nHost=a\nConnection=Upgrade\nUpgrade=h2c\nUpgrade=websocket"},
	{"another upgrade", "GET /" + h11 + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nConnection=Upgrade, HTTP2-Settings\nUpgrade=h2c\nHTTP2-Settings=AAMA"},
	{"upgrade to nothing", "GET /" + h11 + "Connection: Upgrade\r\nUpgrade:\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nConnection=Upgrade\nUpgrade="},
	{"upgrade of a similar name", "GET /" + h11 + "Connection: Upgrade\r\nUpgrade: websockets, web socket, websocket/13\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nConnection=Upgrade\nUpgrade=websockets, web socket, websocket/13"},
	{"upgrade without connection", "GET /" + h11 + "Upgrade: websocket\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nUpgrade=websocket"},
	{"connection without upgrade", "GET /" + h11 + "Connection: upgrade\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nConnection=upgrade"},
	{"length", "POST /" + h11 + "Content-Length: 5\r\n\r\n", "POST target / path / query  1.1 length 5 keep\nHost=a\nContent-Length=5"},
	{"length zero", "POST /" + h11 + "Content-Length:0\r\n\r\n", "POST target / path / query  1.1 length 0 keep\nHost=a\nContent-Length=0"},
	{"length of 18 digits", "POST /" + h11 + "content-length: 999999999999999999\r\n\r\n", "POST target / path / query  1.1 length 999999999999999999 keep\nHost=a\ncontent-length=999999999999999999"},
	{"length with zeros", "POST /" + h11 + "CONTENT-LENGTH: 0012\r\n\r\n", "POST target / path / query  1.1 length 12 keep\nHost=a\nCONTENT-LENGTH=0012"},
	{"chunked", "POST /" + h11 + "Transfer-Encoding: chunked\r\n\r\n", "POST target / path / query  1.1 length -1 chunked keep\nHost=a\nTransfer-Encoding=chunked"},
	{"chunked in capitals", "POST /" + h11 + "transfer-encoding: \tCHUNKED \r\n\r\n", "POST target / path / query  1.1 length -1 chunked keep\nHost=a\ntransfer-encoding=CHUNKED"},
	{"expect", "POST /" + h11 + "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", "POST target / path / query  1.1 length 1 keep expect\nHost=a\nExpect=100-Continue\nContent-Length=1"},
	{"expect twice", "POST /" + h11 + "Expect: 100-continue, 100-continue\r\nExpect:\r\n\r\n", "POST target / path / query  1.1 length -1 keep expect\nHost=a\nExpect=100-continue, 100-continue\nExpect="},
	{"asterisk", "OPTIONS *" + h11 + "\r\n", "OPTIONS target * path * query  1.1 length -1 keep\nHost=a"},
	{"absolute", "GET http://b.c:80/d/e?f" + h11 + "\r\n", "GET target http://b.c:80/d/e?f path /d/e query f 1.1 length -1 keep\nHost=a"},
	{"absolute, other cases", "GET HTTPS://B/" + h11 + "\r\n", "GET target HTTPS://B/ path / query  1.1 length -1 keep\nHost=a"},
	{"absolute without path", "GET http://b" + h11 + "\r\n", "GET target http://b path / query  1.1 length -1 keep\nHost=a"},
	{"absolute with query only", "GET http://b?c=/d" + h11 + "\r\n", "GET target http://b?c=/d path / query c=/d 1.1 length -1 keep\nHost=a"},
	{"absolute with address", "GET http://[::1]:3000/" + h11 + "\r\n", "GET target http://[::1]:3000/ path / query  1.1 length -1 keep\nHost=a"},
	{"absolute with empty port", "GET http://b:/" + h11 + "\r\n", "GET target http://b:/ path / query  1.1 length -1 keep\nHost=a"},
	{"connect", "CONNECT b:443" + h11 + "\r\n", "CONNECT target b:443 path  query  1.1 length -1 keep\nHost=a"},
	{"connect to address", "CONNECT [::1]:443" + h11 + "\r\n", "CONNECT target [::1]:443 path  query  1.1 length -1 keep\nHost=a"},
	{"host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost="},
	{"host with port", "GET / HTTP/1.1\r\nhost: a.b-c_d:3000\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nhost=a.b-c_d:3000"},
	{"host address", "GET / HTTP/1.1\r\nHOST: [fe80::1:127.0.0.1]\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHOST=[fe80::1:127.0.0.1]"},
	{"host with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:3000\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=[fe80::1%25eth0]:3000"},
	{"host with a bare zone", "GET / HTTP/1.1\r\nHost: [fe80::1%en0.1]\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=[fe80::1%en0.1]"},
	{"absolute with a zone", "GET http://[fe80::1%25eth0]/" + h11 + "\r\n", "GET target http://[fe80::1%25eth0]/ path / query  1.1 length -1 keep\nHost=a"},
	{"host address with port", "GET / HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=[::1]:3000"},
	{"whitespace around value", "GET /" + h11 + "A: \t b \t c\t \r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nA=b \t c"},
	{"no whitespace", "GET /" + h11 + "A:b\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nA=b"},
	{"empty value", "GET /" + h11 + "A:\r\nB: \t\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nA=\nB="},
	{"colon in value", "GET /" + h11 + "A: b:c::\r\nB::\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nA=b:c::\nB=:"},
	{"bytes over ASCII in value", "GET /" + h11 + "A: \x80\xff\xc3\xa4\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nA=\x80\xff\xc3\xa4"},
	{"odd field name", "GET /" + h11 + "!#$%&'*+-.^_`|~09: b\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\n!#$%&'*+-.^_`|~09=b"},
	{"field twice", "GET /" + h11 + "A: b\r\nA: c\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nA=b\nA=c"},
	{"names alike but not the same", "GET /" + h11 + "Hosts: b c\r\nXost: d e\r\nContent_Length: x\r\nTransfer_Encoding: y\r\nXonnection: close\r\nExpecT-: z\r\nExpeck: z\r\nUpgrad3: q\r\n\r\n", "GET target / path / query  1.1 length -1 keep\nHost=a\nHosts=b c\nXost=d e\nContent_Length=x\nTransfer_Encoding=y\nXonnection=close\nExpecT-=z\nExpeck=z\nUpgrad3=q"},
	{"poll of a browser", browserPoll, "GET target /engine.io/?EIO=4&transport=polling&t=PXZ1a2b&sid=AAAAAQAAAAEjRWeJq83vASNFZ4mrze8B path /engine.io/ query EIO=4&transport=polling&t=PXZ1a2b&sid=AAAAAQAAAAEjRWeJq83vASNFZ4mrze8B 1.1 length -1 keep\n" +
		"Host=chat.example.com\nConnection=keep-alive\nsec-ch-ua=\"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\nsec-ch-ua-mobile=?0\nUser-Agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\nsec-ch-ua-platform=\"Linux\"\nAccept=*/*\nSec-Fetch-Site=same-origin\nSec-Fetch-Mode=cors\nSec-Fetch-Dest=empty\nReferer=https://chat.example.com/room/17\nAccept-Encoding=gzip, deflate, br, zstd\nAccept-Language=en-US,en;q=0.9\nCookie=session=0123456789abcdef0123456789abcdef"},
}

const (
	browserFields = "Host: chat.example.com\r\nConnection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\nAccept: */*\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n" +
		"Referer: https://chat.example.com/room/17\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef\r\n"
	browserTarget  = "/engine.io/?EIO=4&transport=polling&t=PXZ1a2b&sid=AAAAAQAAAAEjRWeJq83vASNFZ4mrze8B"
	browserPoll    = "GET " + browserTarget + " HTTP/1.1\r\n" + browserFields + "\r\n"
	browserPost    = "POST " + browserTarget + " HTTP/1.1\r\n" + browserFields + "Content-Length: 42\r\nContent-type: text/plain;charset=UTF-8\r\nOrigin: https://chat.example.com\r\n\r\n"
	browserUpgrade = "GET /engine.io/?EIO=4&transport=websocket&sid=AAAAAQAAAAEjRWeJq83vASNFZ4mrze8B HTTP/1.1\r\nHost: chat.example.com\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n" +
		"Origin: https://chat.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)

func TestParseValid(t *testing.T) {
	for _, c := range validHeads {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, describe(mustParse(t, c.in)), "%q", c.in)

			// What follows the head is left alone.
			var r Request
			n, err := Parse([]byte(c.in+"\r\n\x00GET"), &r, Limits{})
			require.NoError(t, err)
			require.Equal(t, len(c.in), n)

			// Any part of it is a part. One Request serves all, so nothing may stay behind.
			for cut := range len(c.in) {
				n, err := Parse([]byte(c.in[:cut]), &r, Limits{})
				require.Equal(t, ErrIncomplete, err, "%q", c.in[:cut])
				require.Zero(t, n)
				require.Equal(t, -1, HeadEnd([]byte(c.in[:cut]), 0), "%q", c.in[:cut])
			}
			for from := range len(c.in) {
				require.Equal(t, len(c.in), HeadEnd([]byte(c.in+"\r\nx"), from), "from %d", from)
			}
		})
	}
}

// The slices of a Request lie inside p.
func TestParseBorrows(t *testing.T) {
	for _, c := range validHeads {
		p := []byte(c.in)
		var r Request
		_, err := Parse(p, &r, Limits{})
		require.NoError(t, err)
		for i := range p {
			p[i] = '#'
		}
		require.Empty(t, strings.Trim(fmt.Sprintf("%s%s%s%s%s", r.Method, r.Target, r.Path, r.Query, r.Headers), "#{}[] "), c.name)
	}
}

func TestHeadEndTakesBareLF(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{"", -1}, {"\n", -1}, {"\r\n", -1}, {"\r\n\r", -1}, {"\r\n\r\n", 4}, {"\n\n", 2}, {"\n\r\n", 3}, {"a\n\rb\n", -1}, {"a\n b\n\nc", 6},
	} {
		require.Equal(t, c.want, HeadEnd([]byte(c.in), 0), "%q", c.in)
	}
	require.Equal(t, -1, HeadEnd([]byte("a"), 99))
	require.Equal(t, -1, HeadEnd(nil, 0))
}

func TestError(t *testing.T) {
	_, err := Parse([]byte("GET / HTTP/2.0\r\n\r\n"), new(Request), Limits{})
	var fault *Error
	require.True(t, errors.As(fmt.Errorf("connection 7: %w", err), &fault))
	require.Equal(t, 505, fault.Status)
	require.Equal(t, "httpparse: 505 only HTTP/1", err.Error())
}
