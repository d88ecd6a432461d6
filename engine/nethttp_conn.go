package engine

import (
	"container/list"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"turbine/loop"
	"turbine/pool"
)

// lentWindow is how many bytes a lentConn holds in each direction: what was
// read and nobody took yet, and what was written and has not left.
const lentWindow = 64 << 10

var errLost = errors.New("engine: connection lost")

// A lentConn is the net.Conn by which net/http serves one request of a connection
// that stays on its loop: the loop gives it the bytes of this request and takes what
// is written. After them Read returns io.EOF, as on a connection that the client has
// closed. So net/http is done, and the connection continues with its next request. A
// handler that hijacks it has the whole connection from then on.
//
// Its methods are those of net.Conn and safe from any goroutine. They reach the
// loop as one task, however many calls there were since the last.
type lentConn struct {
	http          *httpConn // the loop's
	loop          *loop.Loop
	outside       *outside
	local, remote net.Addr
	tls           *tls.ConnectionState // nil without
	place         *list.Element        // while it waits for a goroutine; guarded by the mu of seats

	unacked int  // the loop's: bytes written to the connection that count for the window
	tunnel  bool // the loop's: all bytes are for the hijacker

	mu       sync.Mutex
	changed  sync.Cond
	in       []byte // read by the loop and not taken; guarded by mu, as all below
	complete bool   // the loop has given the whole request
	stopped  bool   // in is full: the loop does not read until half of it is taken
	answered bool   // net/http is done with the request and would take another
	inErr    error  // what comes behind in
	gone     bool   // the connection is lost
	closed   bool

	out       []*pool.Buf // written and not taken by the loop
	pending   int         // bytes in out and unacked
	hijacked  bool
	returning bool // the hijacker gives the connection back
	broken    bool // a write was given up: the response is cut
	returned  *handed
	posted    bool

	readBy, writeBy time.Time
	patience        time.Duration // that is left of Timeouts.Body
}

func newLentConn(h *httpConn, o *outside) *lentConn {
	c := &lentConn{
		http: h, loop: h.conn.Loop(), outside: o,
		local: address(h.conn.LocalAddr()), remote: address(h.conn.RemoteAddr()), tls: h.server.tlsOf(h.conn),
		patience: h.server.options.Timeouts.Body,
	}
	c.changed.L = &c.mu
	return c
}

// bodyPace is how many bytes of a body earn another Options.Timeouts.Body of waiting
// for more. Otherwise a client that sends a byte now and then would hold a goroutine,
// and a place among Options.Limits.MaxFallback, forever.
const bodyPace = 16 << 10

// Read takes what has come of the request. Where no deadline is set,
// Options.Timeouts.Body bounds how long it waits, in all, for each bodyPace bytes of
// a body.
func (c *lentConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := time.Now().Add(c.patience)
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case over(c.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			n, timeout := c.take(p), c.outside.server.options.Timeouts.Body
			c.patience = min(max(time.Until(by), 0)+time.Duration(n)*(timeout/bodyPace), timeout)
			return n, nil
		case c.inErr != nil:
			return 0, c.inErr
		case c.answered:
			return 0, io.EOF
		}
		until := c.readBy
		if until.IsZero() && !c.complete && !c.hijacked {
			if over(by) {
				return 0, os.ErrDeadlineExceeded
			}
			until = by
		}
		c.wait(until)
	}
}

// take moves bytes from in to p. mu is held.
func (c *lentConn) take(p []byte) int {
	n := copy(p, c.in)
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.in = nil
	}
	if c.stopped && len(c.in) <= lentWindow/2 {
		c.stopped = false
		c.post()
	}
	return n
}

// Write blocks while the client does not take what was written before. Where no
// deadline is set, a client that takes nothing for Options.Timeouts.Close is given up.
func (c *lentConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if err = c.room(); err != nil {
			return n, err
		}
		piece := min(len(p), lentWindow-c.pending)
		b := pool.Payloads.Get(piece)
		b.Append(p[:piece])
		c.out = append(c.out, b)
		c.pending += piece
		c.post()
		n, p = n+piece, p[piece:]
	}
	return n, c.writeErr()
}

func (c *lentConn) writeErr() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.gone:
		return errLost
	case over(c.writeBy):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// room waits until something may be written. mu is held.
func (c *lentConn) room() error {
	by := time.Now().Add(c.outside.server.options.Timeouts.Close)
	before := c.pending
	for {
		if err := c.writeErr(); err != nil {
			c.broken = true
			return err
		}
		if c.pending < lentWindow {
			return nil
		}
		if c.pending != before {
			by, before = time.Now().Add(c.outside.server.options.Timeouts.Close), c.pending
		}
		until := c.writeBy
		if until.IsZero() {
			if over(by) {
				c.broken = true
				return os.ErrDeadlineExceeded
			}
			until = by
		}
		c.wait(until)
	}
}

// wait waits for a change, or until then; zero is no bound. mu is held.
func (c *lentConn) wait(until time.Time) {
	if !until.IsZero() {
		timer := time.AfterFunc(time.Until(until), func() {
			c.mu.Lock() // or it could come before the wait has begun
			defer c.mu.Unlock()
			c.changed.Broadcast()
		})
		defer timer.Stop()
	}
	c.changed.Wait()
}

func over(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// Close ends what net/http, or a hijacker, had the connection for.
func (c *lentConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.in = true, nil
	c.changed.Broadcast()
	c.post()
	return nil
}

// LocalAddr is the server's end of the connection.
func (c *lentConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the client's end.
func (c *lentConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *lentConn) SetDeadline(t time.Time) error { return c.setDeadlines(&t, &t) }

// SetReadDeadline bounds Reads, also one that is under way. Zero is no bound.
func (c *lentConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&t, nil) }

// SetWriteDeadline bounds Writes.
func (c *lentConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &t) }

func (c *lentConn) setDeadlines(read, write *time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if read != nil {
		c.readBy = *read
	}
	if write != nil {
		c.writeBy = *write
	}
	c.changed.Broadcast()
	return nil
}

// willReturn says whether the next hijack gives the connection back.
func (c *lentConn) willReturn(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returning = yes
}

// stays turns a hijack that willReturn had announced as temporary into a permanent
// one.
func (c *lentConn) stays() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returning, c.hijacked = false, true
	c.post()
}

// giveBack ends a hijack with a request that the loop is to serve itself.
// buffered is how many bytes of the request, or behind it, net/http had read
// and not given out.
func (c *lentConn) giveBack(h handed, buffered int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// What is left of a body must not be taken for the next request.
	h.last = h.last || !c.complete || len(c.in) > 0 || buffered > 0
	c.returned = &h
	c.post()
}

// whenAnswered and whenHijacked are told by net/http.
func (c *lentConn) whenAnswered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = true
}

func (c *lentConn) whenHijacked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hijacked = !c.returning; c.hijacked {
		c.post()
	}
}

// post makes the loop look. mu is held.
func (c *lentConn) post() {
	if c.posted {
		return
	}
	c.posted = true
	if c.loop.Post((*lentTask)(c)) != nil { // a stopped loop has ended the connection
		c.gone, c.inErr = true, errLost
		c.releaseOut()
	}
}

func (c *lentConn) releaseOut() {
	for _, b := range c.out {
		b.Release()
	}
	c.out = nil
}

// address is a in the form of package net.
func address(a netip.AddrPort) net.Addr {
	if !a.IsValid() {
		return &net.UnixAddr{Name: "@", Net: "unix"}
	}
	return net.TCPAddrFromAddrPort(a)
}
