//go:build linux

package load

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// role is what a connection is to its session.
type role uint8

const (
	rolePoll   role = iota // GETs, the handshake's too
	rolePost               // POSTs
	roleSocket             // WebSocket
	roles
)

// smallWindow is the receive buffer, in bytes, of a client that reads slowly or does
// not read. The kernel raises it to its own least.
const smallWindow = 4096

// ethernet is the largest segment, in bytes, of TCP over Ethernet.
const ethernet = 1448

// A conn is a TCP connection of a session. What happens to it comes up from
// the loop alone, never out of send or close.
type conn struct {
	s      *session
	fd     int // -1 when closed
	role   role
	frames bool // it speaks WebSocket by now
	deaf   bool // it does not read, or by sip alone
	queued bool // it is in runner.broken

	waiting int    // responses that are due
	rest    []byte // of what arrived: an unfinished response or frame
	out     []byte // what the kernel did not take yet
	err     error  // why it is in runner.broken

	tls    *tls.Conn // nil without
	socket tlsSocket // below tls
}

// dialer makes connections to one address.
type dialer struct {
	to   unix.SockaddrInet4
	from []*unix.SockaddrInet4
	next int
}

func newDialer(addr string, hosts []string) (*dialer, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil || !to.Addr().Is4() {
		return nil, fmt.Errorf("load: %q is no IPv4 address and port", addr)
	}
	d := &dialer{to: unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}}
	for _, h := range hosts {
		a, err := netip.ParseAddr(h)
		if err != nil || !a.Is4() {
			return nil, fmt.Errorf("load: %q is no IPv4 address", h)
		}
		d.from = append(d.from, &unix.SockaddrInet4{Addr: a.As4()})
	}
	return d, nil
}

// socket returns a socket that connects. small is for a client that does not read,
// narrow for one that reads slowly.
func (d *dialer) socket(small, narrow bool) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := d.connect(fd, small, narrow); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d *dialer) connect(fd int, small, narrow bool) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if narrow {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, ethernet); err != nil {
			return err
		}
	}
	if small || narrow {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, smallWindow); err != nil {
			return err
		}
	}
	if len(d.from) > 0 {
		// Without the option the port would be chosen now, and be taken for all
		// destinations.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return err
		}
		if err := unix.Bind(fd, d.from[d.next%len(d.from)]); err != nil {
			return err
		}
		d.next++
	}
	if err := unix.Connect(fd, &d.to); err != nil && err != unix.EINPROGRESS {
		return err
	}
	return nil
}

// dial returns a new connection of s. It can be sent to at once. That it
// failed is an event like any other.
func (r *runner) dial(s *session, role role) *conn {
	var c *conn
	if n := len(r.free); n > 0 {
		c = r.free[n-1]
		r.free = r.free[:n-1]
		*c = conn{rest: c.rest[:0], out: c.out[:0]}
	} else {
		c = new(conn)
	}
	c.s, c.role, c.fd = s, role, -1
	fd, err := r.dialer.socket(s.slow, s.narrow)
	if err != nil {
		c.fail(err)
		return c
	}
	c.fd = fd
	for len(r.conns) <= fd {
		r.conns = append(r.conns, nil)
	}
	r.conns[fd] = c
	if config := r.plan.TLS; config != nil {
		if err := c.secure(config); err != nil {
			c.fail(err)
			return c
		}
	}
	if err := r.epoll.add(fd); err != nil {
		c.fail(err)
	}
	return c
}

// send borrows p.
func (c *conn) send(p []byte) {
	if c.fd < 0 || c.queued {
		return
	}
	if len(c.out) == 0 {
		n, err := c.write(p)
		if err != nil && err != errAgain {
			c.fail(err)
			return
		}
		p = p[n:]
	}
	c.out = append(c.out, p...)
}

func (c *conn) flush() {
	n, err := c.write(c.out)
	if err != nil && err != errAgain {
		c.fail(err)
		return
	}
	c.out = c.out[:copy(c.out, c.out[n:])]
}

// fail puts off the end until the loop gets to it.
func (c *conn) fail(err error) {
	if !c.queued {
		c.queued, c.err = true, err
		c.s.r.broken = append(c.s.r.broken, c)
	}
}

const hungUp = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// ready reads and writes what can be. An event may be stale, meant for an
// earlier connection of the same number: so only reads and writes decide.
func (c *conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 && len(c.out) > 0 {
		c.flush()
	}
	if c.queued {
		return // why it failed is known already, and a read would not tell
	}
	if c.deaf {
		if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.fail(unix.ECONNRESET)
		}
		return
	}
	if events&(unix.EPOLLIN|hungUp) == 0 {
		return
	}
	c.socket.drained, c.socket.ended = false, events&hungUp != 0
	buf := c.s.r.buf
	for c.fd >= 0 && !c.deaf {
		n, err := c.read(buf)
		switch {
		case err == errAgain:
			return
		case err != nil:
			c.s.disconnected(c, err)
			return
		case n == 0:
			c.s.disconnected(c, errEOF)
			return
		}
		c.take(buf[:n])
		// A short read emptied the socket, and more will be another edge; but
		// the end of the stream, if it is here, is not.
		if n < len(buf) && events&hungUp == 0 && c.tls == nil {
			return
		}
	}
}

// sip reads n bytes at most. It is for a connection that is deaf.
func (c *conn) sip(n int) {
	switch n, err := c.read(c.s.r.buf[:n]); {
	case err == errAgain:
	case err != nil:
		c.s.disconnected(c, err)
	case n == 0:
		c.s.disconnected(c, errEOF)
	default:
		c.take(c.s.r.buf[:n])
	}
}

var errEOF = errors.New("the server closed the connection")

// take hands p to the session and keeps what it cannot use yet. It borrows p.
func (c *conn) take(p []byte) {
	if len(c.rest) == 0 {
		n := c.s.data(c, p)
		if c.fd >= 0 {
			c.rest = append(c.rest, p[n:]...)
		}
		return
	}
	c.rest = append(c.rest, p...)
	n := c.s.data(c, c.rest)
	c.rest = c.rest[:copy(c.rest, c.rest[n:])]
}

// close resets the connection: a load of short ones would leave a port in
// TIME_WAIT for each. Where good order matters, the session has seen to it
// before, by a close frame and its answer.
func (c *conn) close() {
	if c.fd >= 0 {
		r := c.s.r
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(c.fd)
		r.conns[c.fd] = nil
		c.fd = -1
		r.dead = append(r.dead, c) // not free before the turn is over: callers hold it
	}
}
