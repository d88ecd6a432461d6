package e2e

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// WebSocket opcodes and the FIN bit, as they stand in the first byte of a frame.
const (
	fin          = 0x80
	continuation = 0x0
	text         = 0x1
	bin          = 0x2
	closing      = 0x8
	ping         = 0x9
	pong         = 0xa

	noStatus = -1 // a close frame without a status code
)

// The key and its answer are the example of RFC 6455, 1.3.
const (
	wsHeaders = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	wsAccept  = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// A peer is one TCP connection that sends exactly the bytes a test gives it.
type peer struct {
	t    *testing.T
	s    *server
	conn net.Conn
	r    *bufio.Reader
}

func (s *server) dial(t *testing.T) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", s.addr, patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &peer{t: t, s: s, conn: conn, r: bufio.NewReader(conn)}
}

func (p *peer) write(b string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetWriteDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(p.conn, b)
	require.NoError(p.t, err)
}

// writeAside writes while the caller reads, for what is larger than the socket
// buffers and may be answered, or cut off, before it is all sent.
func (p *peer) writeAside(b string) (done <-chan struct{}) {
	c := make(chan struct{})
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	go func() {
		defer close(c)
		_, _ = io.WriteString(p.conn, b)
	}()
	return c
}

func (p *peer) deadline() {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
}

// ended checks that the server ends the connection and sends nothing more, and
// ends it from this side, too: a server may wait for that.
func (p *peer) ended() {
	p.t.Helper()
	p.deadline()
	rest, err := io.ReadAll(p.r)
	require.Empty(p.t, string(rest))
	if err != nil { // a reset ends it as well
		require.False(p.t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is still open")
	}
	p.conn.Close()
}

// A reply is a whole HTTP response.
type reply struct {
	status int
	header http.Header
	body   string
	close  bool // the server will close the connection
}

func (r reply) String() string { return fmt.Sprintf("%d %q", r.status, r.body) }

func (p *peer) reply(method string) reply {
	p.t.Helper()
	p.deadline()
	resp, err := http.ReadResponse(p.r, &http.Request{Method: method})
	require.NoError(p.t, err, "no response to %s", method)
	body, err := io.ReadAll(resp.Body)
	if resp.ContentLength >= 0 || !errors.Is(err, syscall.ECONNRESET) { // else a reset ends the body as well
		require.NoError(p.t, err, "response %d is cut", resp.StatusCode)
	}
	require.Equal(p.t, 1, resp.ProtoMajor)
	require.Equal(p.t, 1, resp.ProtoMinor)
	return reply{resp.StatusCode, resp.Header, string(body), resp.Close}
}

// head returns a request head for a query, without the empty line at its end.
func (s *server) head(method, query string) string {
	return method + " " + s.path + "?" + query + " HTTP/1.1\r\nHost: " + s.addr + "\r\n"
}

func (s *server) getRequest(query string) string { return s.head("GET", query) + "\r\n" }

func (s *server) postRequest(query, body string) string {
	return s.head("POST", query) + "Content-Type: text/plain;charset=UTF-8\r\n" +
		fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

// chunkedRequest is postRequest with the body in the given chunks.
func (s *server) chunkedRequest(query string, chunks ...string) string {
	var b strings.Builder
	b.WriteString(s.head("POST", query) + "Content-Type: text/plain;charset=UTF-8\r\nTransfer-Encoding: chunked\r\n\r\n")
	for _, c := range chunks {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

func (s *server) upgradeRequest(query string) string {
	return s.head("GET", query) + wsHeaders + "\r\n"
}

func (p *peer) get(query string) reply {
	p.t.Helper()
	p.write(p.s.getRequest(query))
	return p.reply("GET")
}

func (p *peer) post(query, body string) reply {
	p.t.Helper()
	p.write(p.s.postRequest(query, body))
	return p.reply("POST")
}

// isError checks for an Engine.IO error as plain HTTP requests get it.
func (p *peer) isError(r reply, code int) {
	p.t.Helper()
	status := http.StatusBadRequest
	if code == 4 {
		status = http.StatusForbidden
	}
	require.Equal(p.t, status, r.status, "%v", r)
	require.Equal(p.t, "application/json", r.header.Get("Content-Type"))
	require.Equal(p.t, fmt.Sprintf(`{"code":%d,"message":"%s"}`, code, errorMessages[code]), r.body)
}

var errorMessages = map[int]string{
	0: "Transport unknown",
	1: "Session ID unknown",
	2: "Bad handshake method",
	3: "Bad request",
	4: "Forbidden",
	5: "Unsupported protocol version",
}

// The open packet.
type open struct {
	Sid          string
	Upgrades     []string
	PingInterval int
	PingTimeout  int
	MaxPayload   int
}

func parseOpen(t *testing.T, packet string) open {
	t.Helper()
	data, ok := strings.CutPrefix(packet, "0")
	require.True(t, ok, "not an open packet: %q", packet)
	var o open
	d := json.NewDecoder(strings.NewReader(data))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&o), "%q", packet)
	require.NotEmpty(t, o.Sid)
	return o
}

// A session is a polling session and the connection that made it.
type session struct {
	*peer
	open
	eio int
}

// poll4 and poll3 open a polling session of that revision on a connection of its own.
func (s *server) poll4(t *testing.T) *session { t.Helper(); return s.dial(t).handshake(4) }
func (s *server) poll3(t *testing.T) *session { t.Helper(); return s.dial(t).handshake(3) }

func (p *peer) handshake(eio int) *session {
	p.t.Helper()
	r := p.get(fmt.Sprintf("EIO=%d&transport=polling", eio))
	require.Equal(p.t, http.StatusOK, r.status, "%v", r)
	require.Equal(p.t, "text/plain; charset=utf-8", strings.ToLower(r.header.Get("Content-Type")))
	packet := r.body
	if eio == 3 {
		size, rest, ok := strings.Cut(packet, ":")
		require.True(p.t, ok, "%q", packet)
		require.Equal(p.t, fmt.Sprint(len(rest)), size, "%q", packet)
		packet = rest
	}
	return &session{p, parseOpen(p.t, packet), eio}
}

// query is the query of requests to the session.
func (s *session) query() string { return s.with("polling") }

func (s *session) with(transport string) string {
	return fmt.Sprintf("EIO=%d&transport=%s&sid=%s", s.eio, transport, s.Sid)
}

func (s *session) get() reply             { s.t.Helper(); return s.peer.get(s.query()) }
func (s *session) post(body string) reply { s.t.Helper(); return s.peer.post(s.query(), body) }

// ok checks for the answer to a post that was taken.
func (s *session) ok(r reply) {
	s.t.Helper()
	require.Equal(s.t, http.StatusOK, r.status, "%v", r)
	require.Equal(s.t, "ok", r.body)
	require.Equal(s.t, "text/html", r.header.Get("Content-Type"))
}

// polls checks that the next poll gives a payload.
func (s *session) polls(payload string) {
	s.t.Helper()
	r := s.get()
	require.Equal(s.t, http.StatusOK, r.status, "%v", r)
	require.Equal(s.t, payload, r.body)
}

// endsBehindPings is what the next poll gives that gives no ping. Behind a ping there may
// be nothing: a server that was busy pings once more before it ends the session, and has
// ended it by the next poll then, which is refused.
func (s *session) endsBehindPings() string {
	s.t.Helper()
	for pings := 0; ; pings++ {
		r := s.get()
		if pings > 0 && r.status == http.StatusBadRequest {
			s.isError(r, 1)
			return "1"
		}
		require.Equal(s.t, http.StatusOK, r.status, "%v", r)
		if r.body != "2" {
			return r.body
		}
	}
}

// echoes checks that the session works.
func (s *session) echoes() {
	s.t.Helper()
	message := "4still here €"
	if s.eio == 3 {
		message = fmt.Sprintf("%d:%s", len([]rune(message)), message)
	}
	s.ok(s.post(message))
	s.polls(message)
}

// gone checks that the server has closed the session, or does so now. The
// connection of the session must be usable.
func (s *session) gone() {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		r := s.get()
		if r.status == http.StatusOK {
			// The poll came before the server saw the reason to close, and is answered by the close.
			require.Contains(s.t, []string{"1", "1:1"}, r.body)
			continue
		}
		var e struct{ Code int }
		require.NoError(s.t, json.Unmarshal([]byte(r.body), &e), "%v", r)
		if e.Code == 1 {
			s.isError(r, 1)
			return
		}
		s.isError(r, 3) // the session is still there, on another transport
	}
	require.FailNow(s.t, "the session did not end")
}

// goesOn checks that the server serves a new session of each kind.
func (s *server) goesOn(t *testing.T) {
	t.Helper()
	p := s.poll4(t)
	p.echoes()
	p.conn.Close()
	w, _ := s.websocket(t, 4)
	w.echoes()
	w.conn.Close()
}

// websocket opens a session over WebSocket alone.
func (s *server) websocket(t *testing.T, eio int) (*peer, *session) {
	t.Helper()
	p := s.dial(t)
	p.upgrade(fmt.Sprintf("EIO=%d&transport=websocket", eio))
	o := parseOpen(t, p.textFrame())
	require.Empty(t, o.Upgrades)
	return p, &session{s.dial(t), o, eio}
}

// upgrade sends a WebSocket request and checks that it is accepted.
func (p *peer) upgrade(query string) {
	p.t.Helper()
	p.write(p.s.upgradeRequest(query))
	p.switched()
}

func (p *peer) switched() {
	p.t.Helper()
	r := p.reply("GET")
	require.Equal(p.t, http.StatusSwitchingProtocols, r.status, "%v", r)
	require.Equal(p.t, wsAccept, r.header.Get("Sec-WebSocket-Accept"))
	require.Equal(p.t, "websocket", strings.ToLower(r.header.Get("Upgrade")))
	require.Equal(p.t, "upgrade", strings.ToLower(r.header.Get("Connection")))
}

// masked returns a client's frame.
func masked(first byte, payload string) string {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b := append(frameHead(first, 0x80, uint64(len(payload))), key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return string(b)
}

// frameHead returns the header of a frame without its masking key; mask is 0x80 or 0.
func frameHead(first, mask byte, size uint64) []byte {
	b := []byte{first}
	switch {
	case size < 126:
		return append(b, mask|byte(size))
	case size <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, mask|126), uint16(size))
	default:
		return binary.BigEndian.AppendUint64(append(b, mask|127), size)
	}
}

// send sends one whole text message.
func (p *peer) send(packet string) {
	p.t.Helper()
	p.write(masked(fin|text, packet))
}

// frame reads one frame of the server.
func (p *peer) frame() (first byte, payload string) {
	p.t.Helper()
	p.deadline()
	var head [2]byte
	_, err := io.ReadFull(p.r, head[:])
	require.NoError(p.t, err, "no frame")
	require.Zero(p.t, head[1]&0x80, "a server does not mask")
	size := uint64(head[1])
	switch size {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(p.r, b[:])
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(p.r, b[:])
		size = binary.BigEndian.Uint64(b[:])
	}
	require.NoError(p.t, err, "cut frame")
	require.LessOrEqual(p.t, size, uint64(10_000_000))
	data := make([]byte, size)
	_, err = io.ReadFull(p.r, data)
	require.NoError(p.t, err, "cut frame")
	return head[0], string(data)
}

func (p *peer) textFrame() string {
	p.t.Helper()
	first, data := p.frame()
	require.Equal(p.t, byte(fin|text), first, "not a text frame: %#x %q", first, data)
	return data
}

// receives checks that the next frame is this text.
func (p *peer) receives(packet string) {
	p.t.Helper()
	require.Equal(p.t, packet, p.textFrame())
}

func (p *peer) echoes() {
	p.t.Helper()
	p.send("4still here €")
	p.receives("4still here €")
}

// closes checks that the server closes the WebSocket with one of the codes and,
// once the client has answered, the connection.
func (p *peer) closes(codes ...int) {
	p.t.Helper()
	data := p.closeFrame(codes...)
	require.LessOrEqual(p.t, len(data), 2, "a close frame with a reason: %q", data)
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(p.conn, masked(fin|closing, data)) // the server may have ended already
	p.ended()
}

// closesBehindPings is closes, for a WebSocket that may be pinged before.
func (p *peer) closesBehindPings() {
	p.t.Helper()
	first, data := p.frame()
	for first == fin|text && data == "2" {
		first, data = p.frame()
	}
	require.Equal(p.t, byte(fin|closing), first, "not a close frame: %#x %q", first, data)
	require.Empty(p.t, data)
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(p.conn, masked(fin|closing, data)) // the server may have ended already
	p.ended()
}

// close sends a close frame and checks that the server answers with one of the
// codes and ends the connection.
func (p *peer) close(payload string, codes ...int) {
	p.t.Helper()
	p.write(masked(fin|closing, payload))
	p.closeFrame(codes...)
	p.ended()
}

// closeFrame reads a close frame with one of the codes.
func (p *peer) closeFrame(codes ...int) (payload string) {
	p.t.Helper()
	first, data := p.frame()
	require.Equal(p.t, byte(fin|closing), first, "not a close frame: %#x %q", first, data)
	code := noStatus
	if len(data) > 0 {
		require.GreaterOrEqual(p.t, len(data), 2)
		code = int(binary.BigEndian.Uint16([]byte(data[:2])))
	}
	require.Contains(p.t, codes, code)
	return data
}

// status returns the payload of a close frame.
func status(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}
