package looptest

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// A TLSClient speaks TLS over another Client, and like that blocks nowhere but
// in its handshake, where it lets the machine work instead.
type TLSClient struct {
	inner  Client
	step   func() // lets the machine work
	conn   *tls.Conn
	in     []byte // received and not decrypted
	room   []byte // of in, from its start
	out    []byte // encrypted and not sent
	plain  []byte
	limit  time.Time // of the handshake
	shaken bool
	ending bool // CloseWrite waits for out
	cut    bool // the other side ended
	eof    bool
	err    error
}

// NewTLSClient makes a TLSClient. step lets the machine work a little.
func NewTLSClient(inner Client, config *tls.Config, step func()) *TLSClient {
	c := &TLSClient{inner: inner, step: step}
	c.conn = tls.Client((*clientPipe)(c), config)
	return c
}

// NewTLSServer makes a TLSClient that is TLS's server, for connections on which a loop
// is the client.
func NewTLSServer(inner Client, config *tls.Config, step func()) *TLSClient {
	c := &TLSClient{inner: inner, step: step}
	c.conn = tls.Server((*clientPipe)(c), config)
	return c
}

// handshakePatience is how long the machine under a TLSClient may take for a
// handshake, on the wall clock.
const handshakePatience = 30 * time.Second

// Shake does the handshake. If it fails the client is Broken.
func (c *TLSClient) Shake() {
	c.limit = time.Now().Add(handshakePatience)
	c.err = c.conn.Handshake()
	c.shaken = true
}

// Err is what went wrong.
func (c *TLSClient) Err() error { return c.err }

// State is the state of the client's TLS.
func (c *TLSClient) State() tls.ConnectionState { return c.conn.ConnectionState() }

// Conn is what speaks TLS.
func (c *TLSClient) Conn() *tls.Conn { return c.conn }

// maxClientWrite bounds what a client has encrypted before it is sent.
const maxClientWrite = 64 << 10

// Send borrows p.
func (c *TLSClient) Send(p []byte) int {
	c.Flush()
	if len(p) == 0 || len(c.out) > 0 || c.Broken() {
		return 0
	}
	n, err := c.conn.Write(p[:min(len(p), maxClientWrite)])
	c.note(err)
	c.Flush()
	return n
}

// Flush sends what has been encrypted and was not taken before.
func (c *TLSClient) Flush() {
	if len(c.out) > 0 {
		n := c.inner.Send(c.out)
		c.out = c.out[:copy(c.out, c.out[n:])]
	}
	if len(c.out) == 0 && c.ending {
		c.ending = false
		c.inner.CloseWrite()
	}
}

// Recv takes at most n bytes.
func (c *TLSClient) Recv(n int) []byte {
	c.Flush()
	if n == 0 || c.eof || c.err != nil {
		return nil
	}
	if len(c.plain) < n {
		c.plain = make([]byte, n)
	}
	got, m := 0, 0
	var err error
	for got < n && err == nil {
		m, err = c.conn.Read(c.plain[got:n])
		got += m
	}
	switch {
	case err == io.EOF && !c.cut:
		c.eof = true
	case err == io.EOF: // without close_notify
		c.err = io.ErrUnexpectedEOF
	default:
		c.note(err)
	}
	c.Flush()
	return c.plain[:got]
}

func (c *TLSClient) note(err error) {
	if err != nil && err != error(nothingYet{}) {
		c.err = err
	}
}

// CloseWrite says close_notify and ends the sending direction.
func (c *TLSClient) CloseWrite() {
	c.note(c.conn.CloseWrite())
	c.ending = true
	c.Flush()
}

// Reset makes the client vanish with an error.
func (c *TLSClient) Reset() {
	c.inner.Reset()
	c.err = syscall.ECONNRESET
}

// EOF reports whether the other side said close_notify.
func (c *TLSClient) EOF() bool { return c.eof }

// Broken reports whether it ended without, or worse.
func (c *TLSClient) Broken() bool { return c.err != nil }

// Addr is the address that the loop sees, as text.
func (c *TLSClient) Addr() string { return c.inner.Addr() }

// clientPipe is a TLSClient as the net.Conn under crypto/tls.
type clientPipe TLSClient

var errSlowHandshake = errors.New("looptest: the handshake does not end")

func (p *clientPipe) Read(b []byte) (int, error) {
	c := (*TLSClient)(p)
	for len(c.in) == 0 {
		c.room = append(c.room[:0], c.inner.Recv(64<<10)...)
		c.in = c.room
		switch {
		case len(c.in) > 0:
		case c.inner.EOF():
			c.cut = true
			return 0, io.EOF
		case c.inner.Broken():
			return 0, syscall.ECONNRESET
		case c.shaken:
			return 0, nothingYet{}
		case time.Now().After(c.limit):
			return 0, errSlowHandshake
		default:
			c.Flush()
			c.step()
		}
	}
	n := copy(b, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (p *clientPipe) Write(b []byte) (int, error) {
	c := (*TLSClient)(p)
	c.out = append(c.out, b...)
	c.Flush()
	return len(b), nil
}

func (p *clientPipe) Close() error                     { return nil }
func (p *clientPipe) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (p *clientPipe) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (p *clientPipe) SetDeadline(time.Time) error      { return nil }
func (p *clientPipe) SetReadDeadline(time.Time) error  { return nil }
func (p *clientPipe) SetWriteDeadline(time.Time) error { return nil }

// nothingYet is what crypto/tls takes for a passing trouble.
type nothingYet struct{}

func (nothingYet) Error() string   { return "looptest: nothing has come yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }
