package main

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/pool"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

const patience = 30 * time.Second // for one answer; far more than a loaded machine needs

// small is a target with limits that tests can reach.
var small = flags{Path: "/engine.io/", MaxMessage: 2 << 20, MaxFragments: 4, MaxBody: 2 << 20, MaxPayload: 1000, Loops: 2}

// start serves f on a free port until the test ends. Then nothing may be left.
func start(t *testing.T, f flags) (address string) {
	t.Helper()
	reactor, err := open(&f)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address = listener.Addr().String()
	require.NoError(t, reactor.Listen(listener, nil))
	served := make(chan error, 1)
	go func() { served <- reactor.Serve() }()
	t.Cleanup(func() {
		reactor.Stop()
		require.NoError(t, <-served)
		// A goroutine of an Executor may be on its way back from a callback.
		require.Eventually(t, func() bool { return pool.Outstanding() == 0 }, patience, time.Millisecond, "buffers not given back")
	})
	return address
}

// A peer is one connection that sends exactly the bytes a test gives it.
type peer struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, address string) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, r: bufio.NewReaderSize(conn, 1<<20)}
	p.wait()
	return p
}

// wait gives the next answer its time.
func (p *peer) wait() {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetDeadline(time.Now().Add(patience)))
}

func (p *peer) write(b string) {
	p.t.Helper()
	_, err := io.WriteString(p.conn, b)
	require.NoError(p.t, err)
}

// A reply is a whole HTTP response.
type reply struct {
	status int
	header http.Header
	body   string
	close  bool
}

func (p *peer) reply(method string) reply {
	p.t.Helper()
	p.wait()
	return readReply(p.t, p.r, method)
}

func readReply(t *testing.T, r *bufio.Reader, method string) reply {
	t.Helper()
	response, err := http.ReadResponse(r, &http.Request{Method: method})
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return reply{response.StatusCode, response.Header, string(body), response.Close}
}

// oneRead returns what one read of the socket gives: all of what a loopback
// peer has written in one system call, if it fits into a segment.
func (p *peer) oneRead() string {
	p.t.Helper()
	require.Zero(p.t, p.r.Buffered())
	b := make([]byte, 64<<10)
	n, err := p.conn.Read(b)
	require.NoError(p.t, err)
	return string(b[:n])
}

// ended checks that the server ends the connection and sends nothing more.
func (p *peer) ended() {
	p.t.Helper()
	rest, err := io.ReadAll(p.r)
	require.NoError(p.t, err)
	require.Empty(p.t, string(rest))
}

const host = "Host: x\r\n"

func request(method, path, headers, body string) string {
	if body != "" {
		headers += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return method + " " + path + " HTTP/1.1\r\n" + host + headers + "\r\n" + body
}

func TestAnswers(t *testing.T) {
	p := dial(t, start(t, small))
	for _, c := range []struct{ name, method, in, want string }{
		{"root", "GET", request("GET", "/", "", ""), ""},
		{"body", "POST", request("POST", "/any?where", "", "hello"), "hello"},
		{"any method", "BREW", request("BREW", "/", "", "tea"), "tea"},
		{"no body said", "POST", request("POST", "/", "Content-Length: 0\r\n", ""), ""},
		{"absolute form", "PUT", request("PUT", "http://x/a", "", "b"), "b"},
		{"asterisk", "OPTIONS", request("OPTIONS", "*", "", ""), ""},
		{"chunked", "POST", request("POST", "/", "Transfer-Encoding: chunked\r\n", "") + "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: v\r\n\r\n", "hello!"},
		{"fields", "GET", request("GET", "/echo", "a-B: c  d \r\nE:\r\n", ""), "Host: x\na-B: c  d\nE: \n"},
		{"fields, body dropped", "POST", request("POST", "/echo?q", "", "zzz"), "Host: x\nContent-Length: 3\n"},
		{"cookies", "GET", request("GET", "/cookie", "Cookie: a=1; b=\"2=3\";;c=\r\ncookie:d=4;nonsense;=5\r\n", ""), "a=1\nb=\"2=3\"\nc=\nd=4\n"},
		{"no cookies", "GET", request("GET", "/cookie", "", ""), ""},
		{"/ws without an upgrade", "POST", request("POST", "/ws", "", "plain"), "plain"},
		{"another protocol", "GET", request("GET", "/ws", "Connection: upgrade\r\nUpgrade: h2c\r\n", ""), ""},
		{"HEAD", "HEAD", request("HEAD", "/echo", "", ""), ""},
	} {
		p.write(c.in)
		raw := p.oneRead()
		r := bufio.NewReader(strings.NewReader(raw))
		got := readReply(t, r, c.method)
		require.Equal(t, 200, got.status, c.name)
		require.Equal(t, c.want, got.body, c.name)
		require.False(t, got.close, c.name)
		require.NotEmpty(t, got.header.Get("Date"), c.name)
		require.Equal(t, "text/plain; charset=UTF-8", got.header.Get("Content-Type"), c.name)
		require.Zero(t, r.Buffered(), "%s: more than one answer in %q", c.name, raw)
		if c.method == "HEAD" {
			require.Equal(t, "8", got.header.Get("Content-Length"))
		}
	}
}

func TestRefusals(t *testing.T) {
	address := start(t, small)
	for _, c := range []struct {
		name   string
		method string
		status int
		in     string
	}{
		{"noise", "GET", 400, "\x16\x03\x01\x02"},
		{"no host", "GET", 400, "GET / HTTP/1.1\r\n\r\n"},
		{"length and chunks", "POST", 400, request("POST", "/", "Transfer-Encoding: chunked\r\n", "x")},
		{"malformed chunk", "POST", 400, request("POST", "/", "Transfer-Encoding: chunked\r\n", "") + "zz\r\n"},
		{"long line", "GET", 414, "GET /" + strings.Repeat("a", 9000)},
		{"expectation", "POST", 417, request("POST", "/", "Expect: tea\r\n", "x")},
		{"large head", "GET", 431, request("GET", "/", "A: "+strings.Repeat("a", 17000)+"\r\n", "")},
		{"declared too large", "POST", 413, request("POST", "/", "Expect: 100-continue\r\nContent-Length: 2097153\r\n", "")},
		{"coding", "POST", 501, request("POST", "/", "Transfer-Encoding: gzip\r\n", "")},
		{"tunnel", "CONNECT", 501, "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"},
		{"version", "GET", 505, "GET / HTTP/2.0\r\n\r\n"},
		{"handshake without key", "GET", 400, request("GET", "/ws", "Connection: upgrade\r\nUpgrade: websocket\r\n", "")},
		{"handshake with POST", "POST", 405, request("POST", "/ws", upgradeHeaders, "")},
		{"behind a good one", "GET", 400, "GET / HTTP/1.1\r\n\r\n"},
	} {
		p := dial(t, address)
		if c.name == "behind a good one" {
			p.write(request("HEAD", "/", "", ""))
			require.Equal(t, 200, p.reply("HEAD").status)
		}
		p.write(c.in)
		got := p.reply(c.method)
		require.Equal(t, c.status, got.status, c.name)
		require.NotEmpty(t, got.body, c.name)
		require.True(t, got.close, c.name)
		p.ended()
	}
}

func TestTooLargeInChunks(t *testing.T) {
	p := dial(t, start(t, small))
	p.write(request("POST", "/", "Transfer-Encoding: chunked\r\n", ""))
	chunk := "100000\r\n" + strings.Repeat("x", 1<<20) + "\r\n"
	p.write(chunk + chunk)
	p.write("1\r\nx")
	require.Equal(t, 413, p.reply("POST").status)
	p.ended()
}

func TestPipelining(t *testing.T) {
	p := dial(t, start(t, small))
	var in strings.Builder
	for i := range 10 {
		in.WriteString(request("POST", "/", "", fmt.Sprint("body ", i)))
	}
	p.write(in.String())
	r := bufio.NewReader(strings.NewReader(p.oneRead()))
	for i := range 10 {
		require.Equal(t, fmt.Sprint("body ", i), readReply(t, r, "POST").body)
	}
	require.Zero(t, r.Buffered())
}

func TestCutAnywhere(t *testing.T) {
	p := dial(t, start(t, small))
	in := request("POST", "/", "Transfer-Encoding: chunked\r\n", "") + "5\r\nhello\r\n0\r\n\r\n" + request("POST", "/", "", "world")
	for at := 1; at < len(in); at += 3 {
		p.write(in[:at])
		time.Sleep(time.Millisecond) // or the kernel puts the parts together again
		p.write(in[at:])
		require.Equal(t, "hello", p.reply("POST").body, "cut at %d", at)
		require.Equal(t, "world", p.reply("POST").body, "cut at %d", at)
	}
	for i := range len(in) {
		p.write(in[i : i+1])
	}
	require.Equal(t, "hello", p.reply("POST").body)
	require.Equal(t, "world", p.reply("POST").body)
}

func TestExpectContinue(t *testing.T) {
	p := dial(t, start(t, small))
	p.write(request("POST", "/", "Expect: 100-continue\r\nContent-Length: 5\r\n", ""))
	require.Equal(t, "HTTP/1.1 100 Continue\r\n\r\n", p.oneRead())
	p.write("hello")
	require.Equal(t, "hello", p.reply("POST").body)
	p.write(request("POST", "/", "Expect: 100-continue\r\n", "no wait"))
	require.Equal(t, "no wait", p.reply("POST").body)
}

func TestKeepAlive(t *testing.T) {
	address := start(t, small)
	for _, c := range []struct {
		in    string
		said  string
		close bool
	}{
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", false},
		{"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "Connection: close\r\n", true},
		{"GET / HTTP/1.0\r\n\r\n", "Connection: close\r\n", true},
		{"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive\r\n", false},
	} {
		p := dial(t, address)
		p.write(c.in)
		got := p.oneRead()
		require.Contains(t, got, c.said, "%q", c.in)
		require.Equal(t, c.said != "", strings.Contains(got, "Connection:"), "%q", c.in)
		if c.close {
			p.ended()
			continue
		}
		p.write(c.in)
		require.Equal(t, 200, p.reply("GET").status, "%q", c.in)
	}
}

func TestHalfClose(t *testing.T) {
	p := dial(t, start(t, small))
	p.write(request("POST", "/", "", "last words") + "GET / HT")
	require.NoError(t, p.conn.(*net.TCPConn).CloseWrite())
	require.Equal(t, "last words", p.reply("POST").body)
	p.ended()
}

// TestSlowReader sends more than the target and the kernel hold, and reads
// afterwards: the target must stop reading instead of growing, and lose nothing.
func TestSlowReader(t *testing.T) {
	const requests, size = 40, 1 << 20
	body := strings.Repeat("x", size)
	t.Run("http", func(t *testing.T) {
		p := dial(t, start(t, small))
		go func() {
			for range requests {
				_, _ = io.WriteString(p.conn, request("POST", "/", "", body)) // the reader notices
			}
		}()
		time.Sleep(50 * time.Millisecond)
		for range requests {
			require.Len(t, p.reply("POST").body, size)
		}
	})
	t.Run("websocket", func(t *testing.T) {
		p := dialWebSocket(t, start(t, small))
		frame := masked(ws.OpBinary, true, body) + masked(ws.OpPing, true, "p")
		go func() {
			for range requests {
				_, _ = io.WriteString(p.conn, frame)
			}
		}()
		time.Sleep(50 * time.Millisecond)
		for range requests {
			op, payload := p.frame()
			require.Equal(t, ws.OpBinary, op)
			require.Len(t, payload, size)
			op, payload = p.frame()
			require.Equal(t, ws.OpPong, op)
			require.Equal(t, "p", payload)
		}
	})
}

// The key and its answer are the example of RFC 6455, 1.3.
const (
	upgradeHeaders = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	acceptKey      = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func dialWebSocket(t *testing.T, address string) *peer {
	t.Helper()
	p := dial(t, address)
	p.upgrade("/ws", "")
	return p
}

// upgrade opens a WebSocket, with more behind the handshake.
func (p *peer) upgrade(path, more string) {
	p.t.Helper()
	p.write(request("GET", path, upgradeHeaders, "") + more)
	response, err := http.ReadResponse(p.r, nil)
	require.NoError(p.t, err)
	require.Equal(p.t, 101, response.StatusCode)
	require.Equal(p.t, acceptKey, response.Header.Get("Sec-WebSocket-Accept"))
}

func masked(op ws.OpCode, fin bool, payload string) string {
	return string(wsframe.AppendMaskedFrame(nil, op, fin, [4]byte{0x37, 0xfa, 0x21, 0x3d}, []byte(payload)))
}

func (p *peer) frame() (ws.OpCode, string) {
	p.t.Helper()
	p.wait()
	h, err := ws.ReadHeader(p.r)
	require.NoError(p.t, err)
	require.True(p.t, h.Fin)
	require.False(p.t, h.Masked)
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(p.r, payload)
	require.NoError(p.t, err)
	return h.OpCode, string(payload)
}

func closePayload(code ws.StatusCode, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, uint16(code))) + reason
}

func TestWebSocketEcho(t *testing.T) {
	p := dial(t, start(t, small))
	p.write(request("POST", "/", "", "first HTTP"))
	require.Equal(t, "first HTTP", p.reply("POST").body)
	p.upgrade("/ws?x", masked(ws.OpText, true, "early"))
	large := strings.Repeat("x", 1<<20)
	for i, c := range []struct {
		in   string
		op   ws.OpCode
		want string
	}{
		{"", ws.OpText, "early"},
		{masked(ws.OpText, true, "héllo"), ws.OpText, "héllo"},
		{masked(ws.OpText, true, ""), ws.OpText, ""},
		{masked(ws.OpBinary, true, "\x00\xff"), ws.OpBinary, "\x00\xff"},
		{masked(ws.OpPing, true, "are you there"), ws.OpPong, "are you there"},
		{masked(ws.OpPong, true, "not asked") + masked(ws.OpPing, true, ""), ws.OpPong, ""},
		{masked(ws.OpText, false, "h\xc3") + masked(ws.OpContinuation, false, "") + masked(ws.OpContinuation, true, "\xa9"), ws.OpText, "hé"},
		{masked(ws.OpBinary, true, large), ws.OpBinary, large},
		{masked(ws.OpBinary, false, large) + masked(ws.OpContinuation, true, large), ws.OpBinary, large + large},
	} {
		p.write(c.in)
		op, payload := p.frame()
		require.Equal(t, c.op, op, "case %d", i)
		require.Equal(t, len(c.want), len(payload), "case %d", i)
		require.True(t, c.want == payload, "case %d", i)
	}
	p.write(masked(ws.OpText, false, "a") + masked(ws.OpPing, true, "between") + masked(ws.OpContinuation, true, "b"))
	require.Equal(t, "\x8a\x07between\x81\x02ab", p.oneRead(), "pong and echo leave in one write")
}

func TestWebSocketClose(t *testing.T) {
	address := start(t, small)
	for _, c := range []struct{ name, in, want string }{
		{"code", masked(ws.OpClose, true, closePayload(1000, "bye")), closePayload(1000, "")},
		{"own code", masked(ws.OpClose, true, closePayload(4321, "")), closePayload(4321, "")},
		{"no code", masked(ws.OpClose, true, ""), ""},
		{"nothing behind it", masked(ws.OpClose, true, closePayload(1001, "")) + masked(ws.OpText, true, "late"), closePayload(1001, "")},
		{"code never sent", masked(ws.OpClose, true, closePayload(1005, "")), closePayload(1002, "invalid status code")},
		{"UTF-8", masked(ws.OpText, true, "\xff"), closePayload(1007, "invalid UTF-8 in text message")},
		{"UTF-8, at once", masked(ws.OpText, false, "\xc0"), closePayload(1007, "invalid UTF-8 in text message")},
		{"unmasked", "\x81\x01a", closePayload(1002, "frame not masked")},
		{"reserved bit", "\xc1\x80\x00\x00\x00\x00", closePayload(1002, "RSV bit without extension")},
		{"too big", masked(ws.OpBinary, true, strings.Repeat("x", 2<<20+1))[:14], closePayload(1009, "message too big")},
		{"fragments", masked(ws.OpText, false, "") + strings.Repeat(masked(ws.OpContinuation, false, ""), 4), closePayload(1008, "too many fragments")},
	} {
		p := dialWebSocket(t, address)
		p.write(c.in)
		op, payload := p.frame()
		require.Equal(t, ws.OpClose, op, c.name)
		require.Equal(t, c.want, payload, c.name)
		p.ended()
	}
}

// deflated is a masked frame with RSV1, the payload compressed with w, which
// appends to b.
func deflated(t *testing.T, op ws.OpCode, w *flate.Writer, b *bytes.Buffer, payload string) string {
	t.Helper()
	b.Reset()
	_, err := io.WriteString(w, payload)
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	f := []byte(masked(op, true, strings.TrimSuffix(b.String(), "\x00\x00\xff\xff")))
	f[0] |= 0x40
	return string(f)
}

// Compressed there and back, in each mode; what comes uncompressed is also taken.
func TestWebSocketDeflate(t *testing.T) {
	const offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	for mode, want := range map[string]string{
		"off":      "",
		"on":       "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
		"takeover": "permessage-deflate",
	} {
		t.Run(mode, func(t *testing.T) {
			f := small
			f.Deflate = mode
			address := start(t, f)
			p := dial(t, address)
			p.write(request("GET", "/ws", upgradeHeaders+offer, ""))
			response, err := http.ReadResponse(p.r, nil)
			require.NoError(t, err)
			require.Equal(t, 101, response.StatusCode)
			require.Equal(t, want, response.Header.Get("Sec-WebSocket-Extensions"))

			var b bytes.Buffer
			w, err := flate.NewWriter(&b, 6)
			require.NoError(t, err)
			if mode == "off" {
				p.write(deflated(t, ws.OpText, w, &b, "x"))
				_, payload := p.frame()
				require.Equal(t, closePayload(1002, "RSV bit without extension"), payload)
				p.ended()
				return
			}
			var in bytes.Buffer
			reader := flate.NewReader(&in)
			for i, message := range []string{"héllo", strings.Repeat("so ", 100_000), "", "héllo"} {
				if mode == "on" {
					w.Reset(&b)
					in.Reset()
					require.NoError(t, reader.(flate.Resetter).Reset(&in, nil))
				}
				op := []ws.OpCode{ws.OpText, ws.OpBinary}[i%2]
				p.write(deflated(t, op, w, &b, message))
				h, err := ws.ReadHeader(p.r)
				require.NoError(t, err)
				require.True(t, h.Rsv1())
				require.Equal(t, op, h.OpCode)
				_, err = io.CopyN(&in, p.r, h.Length)
				require.NoError(t, err)
				in.WriteString("\x00\x00\xff\xff")
				got := make([]byte, len(message))
				_, err = io.ReadFull(reader, got)
				require.NoError(t, err)
				require.True(t, message == string(got), "message %d", i)
			}
			p.write(masked(ws.OpPing, true, "plain"))
			op, payload := p.frame()
			require.Equal(t, ws.OpPong, op)
			require.Equal(t, "plain", payload)
			w.Reset(&b)
			p.write(deflated(t, ws.OpText, w, &b, "no UTF-8: \xff"))
			op, payload = p.frame()
			require.Equal(t, ws.OpClose, op)
			require.Equal(t, closePayload(1007, "invalid UTF-8 in text message"), payload)
			p.ended()

			p = dialWebSocket(t, address) // offers nothing
			p.write(masked(ws.OpText, true, "plain"))
			_, payload = p.frame()
			require.Equal(t, "plain", payload)
		})
	}
}

func TestEngine(t *testing.T) {
	onExecutor := small
	onExecutor.Executor = 2
	for name, f := range map[string]flags{"loops": small, "executor": onExecutor} {
		t.Run(name, func(t *testing.T) { testEngine(t, start(t, f)) })
	}
}

func testEngine(t *testing.T, address string) {
	t.Run("websocket", func(t *testing.T) {
		p := dial(t, address)
		p.upgrade("/engine.io/?EIO=4&transport=websocket", masked(ws.OpText, true, "4hello"))
		_, payload := p.frame()
		require.Contains(t, payload, `0{"sid":"`)
		_, payload = p.frame()
		require.Equal(t, "4hello", payload)
	})
	t.Run("polling behind HTTP", func(t *testing.T) {
		p := dial(t, address)
		p.write(request("POST", "/", "", "mine") + request("GET", "/engine.io/?EIO=4&transport=polling", "", ""))
		require.Equal(t, "mine", p.reply("POST").body)
		open := p.reply("GET").body
		require.Contains(t, open, `0{"sid":"`)
		_, rest, _ := strings.Cut(open, `"sid":"`)
		sid, _, _ := strings.Cut(rest, `"`)
		path := "/engine.io/?EIO=4&transport=polling&sid=" + sid
		p.write(request("POST", path, "", "4hello"))
		require.Equal(t, "ok", p.reply("POST").body)
		p.write(request("GET", path, "", ""))
		require.Equal(t, "4hello", p.reply("GET").body)

		p = dial(t, address)
		p.upgrade("/engine.io/?EIO=4&transport=websocket&sid="+sid, masked(ws.OpText, true, "2probe"))
		_, payload := p.frame()
		require.Equal(t, "3probe", payload)
		p.write(masked(ws.OpText, true, "5") + masked(ws.OpBinary, true, "\x01\x02"))
		_, payload = p.frame()
		require.Equal(t, "\x01\x02", payload)
	})
	t.Run("head in pieces", func(t *testing.T) {
		p := dial(t, address)
		in := request("GET", "/engine.io/?EIO=4&transport=polling", "", "")
		p.write(in[:30])
		time.Sleep(10 * time.Millisecond)
		p.write(in[30:])
		require.Contains(t, p.reply("GET").body, `0{"sid":"`)
	})
}

// TestCommandLine runs the program as a shell would.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"--max-body 0", exitUsage, "a limit is below 1"},
		{"--path x", exitUsage, "does not begin with a slash"},
		{"--no-such-flag", exitUsage, "unknown flag"},
		{"--addr 127.0.0.1:no", exitFailed, "listen tcp"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, run(strings.Fields(c.args), &stdout, &stderr), c.args)
		require.Contains(t, stderr.String(), c.want, c.args)
		require.Empty(t, stdout.String(), c.args)
	}
	stdout, out := io.Pipe()
	code := make(chan int, 1)
	go func() { code <- run([]string{"--addr", "127.0.0.1:0"}, out, io.Discard) }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Regexp(t, `^target: listening on 127\.0\.0\.1:\d+\n$`, line)
	process, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, process.Signal(os.Interrupt))
	require.Zero(t, <-code)
}

// With a certificate all is spoken over TLS: HTTP, and Engine.IO.
func TestOverTLS(t *testing.T) {
	authority := certs.New(t)
	f := small
	f.TLSCert, f.TLSKey = authority.Issue(t, "target", nil).Write(t, t.TempDir())
	address := start(t, f)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	r, err := client.Get("https://" + address + "/engine.io/?EIO=4&transport=polling")
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(body), `0{"sid":"`), "%s", body)

	f.TLSKey = f.TLSCert
	_, err = open(&f)
	require.Error(t, err)
}
