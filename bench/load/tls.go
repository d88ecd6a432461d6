//go:build linux

package load

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// tlsPatience bounds the waiting of a handshake, and of a write, for the server.
const tlsPatience = 10 * time.Second

// secure makes c, whose socket connects, speak TLS. It waits for the handshake,
// and the whole load with it. The server therefore has one handshake at a time,
// and rates by the clock mean little; its CPU time for each is what is measured.
func (c *conn) secure(config *tls.Config) error {
	c.socket = tlsSocket{fd: c.fd, waits: true}
	c.tls = tls.Client(&c.socket, config)
	if err := c.tls.Handshake(); err != nil {
		return err
	}
	c.socket.waits = false
	if c.tls.ConnectionState().DidResume {
		c.s.r.out.Resumed++
	}
	return nil
}

// read is a read of the socket, or of what TLS makes of it. 0 and nil is the
// end of the stream.
func (c *conn) read(p []byte) (int, error) {
	if c.tls == nil {
		return read(c.fd, p)
	}
	n, err := c.tls.Read(p)
	switch {
	case n > 0, errors.Is(err, io.EOF):
		return n, nil
	case err == errNotNow:
		return 0, errAgain
	}
	return n, err
}

func (c *conn) write(p []byte) (int, error) {
	if c.tls == nil {
		return write(c.fd, p)
	}
	return c.tls.Write(p)
}

// tlsSocket is the net.Conn below a tls.Conn.
type tlsSocket struct {
	fd    int
	waits bool // reads wait for bytes
	// drained: the last read was a short one, so that another would find nothing
	// until the next event. crypto/tls asks once more after each record.
	drained bool
	ended   bool // the stream ends behind what is there, so that nothing is drained
}

// notNow is an error after which crypto/tls lets one read again.
type notNow struct{}

func (notNow) Error() string   { return "load: nothing to read now" }
func (notNow) Timeout() bool   { return false }
func (notNow) Temporary() bool { return true }

var (
	errNotNow  net.Error = notNow{}
	errTooSlow           = errors.New("load: the server does not go on with TLS")
)

func (s *tlsSocket) Read(p []byte) (int, error) {
	if s.drained && !s.waits {
		return 0, errNotNow
	}
	for {
		n, err := read(s.fd, p)
		s.drained = n < len(p) && err == nil && !s.waits && !s.ended
		switch {
		case err == errAgain && !s.waits:
			return 0, errNotNow
		case err == errAgain:
			if err := s.await(unix.POLLIN); err != nil {
				return 0, err
			}
			continue
		case err == nil && n == 0:
			return 0, io.EOF
		}
		return n, err
	}
}

// Write waits until all is taken: for crypto/tls a write that failed is the end.
func (s *tlsSocket) Write(p []byte) (int, error) {
	for done := 0; ; {
		n, err := write(s.fd, p[done:])
		if err != nil && err != errAgain {
			return done, err
		}
		if done += n; done == len(p) {
			return done, nil
		}
		if err := s.await(unix.POLLOUT); err != nil {
			return done, err
		}
	}
}

func (s *tlsSocket) await(events int16) error {
	for end := time.Now().Add(tlsPatience); ; {
		left := time.Until(end)
		if left <= 0 {
			return errTooSlow
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: events}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if n > 0 {
			return nil
		}
	}
}

// The rest of a net.Conn is not asked for.

func (s *tlsSocket) Close() error                     { return nil }
func (s *tlsSocket) LocalAddr() net.Addr              { return nil }
func (s *tlsSocket) RemoteAddr() net.Addr             { return nil }
func (s *tlsSocket) SetDeadline(time.Time) error      { return nil }
func (s *tlsSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *tlsSocket) SetWriteDeadline(time.Time) error { return nil }
