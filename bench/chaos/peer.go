//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"turbine/wsframe"

	"github.com/gobwas/ws"
)

const (
	path = "/engine.io/?EIO=4&transport="
	// patience bounds a wait for anything that the server owes a client, far
	// beyond its timeouts.
	patience = 30 * time.Second
	// smallWindow is the receive buffer, in bytes, of a client that does not read. The
	// kernel raises it to its own least.
	smallWindow = 4096
)

// target is where clients connect to.
type target string

// peer is a client's connection.
type peer struct {
	*net.TCPConn
	in *bufio.Reader
}

// dial connects client n. Over loopback each comes from an address of its own,
// as strangers do, so that ports last. A window above 0 is the receive buffer.
func (t target) dial(n, window int) (*peer, error) {
	host, _, err := net.SplitHostPort(string(t))
	if err != nil {
		return nil, err
	}
	if !net.ParseIP(host).IsLoopback() {
		return t.dialFrom(nil, window)
	}
	return t.dialFrom(&net.TCPAddr{IP: net.IPv4(127, 1, byte(n/250%250), byte(n%250+1))}, window)
}

// dialFrom connects from an address, nil for any.
func (t target) dialFrom(local *net.TCPAddr, window int) (*peer, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	if local != nil {
		d.LocalAddr = local
	}
	if window > 0 {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			var set error
			err := c.Control(func(fd uintptr) {
				set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window)
			})
			return errors.Join(err, set)
		}
	}
	c, err := d.Dial("tcp4", string(t))
	if err != nil {
		return nil, err
	}
	p := &peer{TCPConn: c.(*net.TCPConn), in: bufio.NewReaderSize(c, 512)}
	return p, p.SetDeadline(time.Now().Add(patience))
}

// shut closes the connection by a reset, which leaves no port in TIME_WAIT.
func (p *peer) shut() {
	_ = p.SetLinger(0)
	_ = p.Close()
}

func (p *peer) write(text string) error {
	_, err := io.WriteString(p.TCPConn, text)
	return err
}

// head is the head of a request, without its empty line.
func head(method, query string) string {
	return method + " " + path + query + " HTTP/1.1\r\nHost: chaos\r\n"
}

func post(sid, body string) string {
	return head("POST", "polling&sid="+sid) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

// answer reads one response.
func (p *peer) answer() (status int, body []byte, err error) {
	r, err := http.ReadResponse(p.in, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("no answer: %w", err)
	}
	body, err = io.ReadAll(r.Body)
	return r.StatusCode, body, errors.Join(err, r.Body.Close())
}

// expect reads one response, which has to have the status.
func (p *peer) expect(status int) (body []byte, err error) {
	got, body, err := p.answer()
	if err == nil && got != status {
		err = fmt.Errorf("status %d instead of %d: %.80q", got, status, body)
	}
	return body, err
}

// openPolling makes a session, and returns its id.
func (p *peer) openPolling() (sid string, err error) {
	if err := p.write(head("GET", "polling") + "\r\n"); err != nil {
		return "", err
	}
	body, err := p.expect(http.StatusOK)
	if err != nil {
		return "", err
	}
	return readOpen(body)
}

// openWebSocket makes the connection a WebSocket: of a new session, or the
// candidate of the one with the sid.
func (p *peer) openWebSocket(sid string) error { return p.openWebSocketWith(sid, "") }

// openWebSocketWith does so with further header fields, each with its line end.
func (p *peer) openWebSocketWith(sid, fields string) error {
	query := "websocket"
	if sid != "" {
		query += "&sid=" + sid
	}
	err := p.write(head("GET", query) + "Connection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + fields + "\r\n")
	if err != nil {
		return err
	}
	if _, err := p.expect(http.StatusSwitchingProtocols); err != nil || sid != "" {
		return err
	}
	f, err := p.readFrame()
	if err != nil {
		return err
	}
	_, err = readOpen(f.Payload)
	return err
}

// readOpen takes the sid out of an open packet.
func readOpen(packet []byte) (sid string, err error) {
	var open struct{ Sid string }
	if len(packet) == 0 || packet[0] != '0' {
		return "", fmt.Errorf("no open packet: %.80q", packet)
	}
	if err := json.Unmarshal(packet[1:], &open); err != nil {
		return "", fmt.Errorf("open packet %.80q: %w", packet, err)
	}
	return open.Sid, nil
}

// frame is a whole text frame. Masks hide nothing from a server of ours, so the
// key is zero.
func frame(text string) string { return fragment(ws.OpText, true, text) }

func fragment(op ws.OpCode, fin bool, text string) string {
	return string(wsframe.AppendMaskedFrame(nil, op, fin, [4]byte{}, []byte(text)))
}

// readFrame reads one frame, of a server that is ours.
func (p *peer) readFrame() (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(p.in); err == nil {
		f.Payload = make([]byte, f.Header.Length)
		_, err = io.ReadFull(p.in, f.Payload)
	}
	return f, err
}

// expectText reads one frame, which has to be this text.
func (p *peer) expectText(want string) error {
	f, err := p.readFrame()
	if err == nil && string(f.Payload) != want {
		err = fmt.Errorf("frame %.80q instead of %q", f.Payload, want)
	}
	return err
}

// ended waits for the end of the stream, and drops what comes before. A reset is also
// an end.
func (p *peer) ended() error {
	_, err := io.Copy(io.Discard, p.in)
	if errors.Is(err, syscall.ECONNRESET) {
		err = nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server does not end the connection")
	}
	return err
}

// unread waits until the kernel holds bytes that were not read.
func (p *peer) unread() error {
	raw, err := p.SyscallConn()
	if err != nil {
		return err
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		return !errors.Is(peeked, syscall.EAGAIN)
	})
	return errors.Join(err, peeked)
}

// broken reports whether a write failed because the server has closed.
func broken(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
