package link

import (
	"encoding/binary"
	"errors"
	"time"

	"turbine/loop"
)

// Errors that an accepted relay ends with before it has begun.
var (
	ErrRelaySlow  = errors.New("link: hello of a relay too slow")
	ErrRelayHello = errors.New("link: no hello of a relay")
)

// relayIn reads what an edge says first on a relay, and hands the connection on.
type relayIn struct {
	conn     *loop.Conn
	serve    func(c *loop.Conn, hello []byte) (loop.Handler, error)
	failed   func(error)
	in       []byte // of the hello, with its length; nil where nothing waits
	deadline time.Duration
	slot     loop.Slot
	over     bool
}

// AcceptRelay is the handler of c, an accepted connection of purpose Relays, at the
// home, until the edge has said its hello: 3 seconds and 4 KiB at most. serve borrows
// the hello, and returns the handler of the connection, whose bytes are the client's
// from then on. Otherwise the connection ends, and failed is told once; nil means
// nobody.
func AcceptRelay(c *loop.Conn, serve func(c *loop.Conn, hello []byte) (loop.Handler, error), failed func(error)) loop.Handler {
	if failed == nil {
		failed = func(error) {}
	}
	l := c.Loop()
	r := &relayIn{conn: c, serve: serve, failed: failed, deadline: l.Now() + greetingTime}
	r.slot = l.Claim(r)
	l.Arm(r.slot, r.deadline)
	return r
}

// parseRelayHello reads the hello at the front of p and returns its length with the
// length in front of it. hello points into p.
func parseRelayHello(p []byte) (hello []byte, n int, err error) {
	if len(p) < relayHelloLen {
		return nil, 0, ErrIncomplete
	}
	n = int(binary.LittleEndian.Uint16(p))
	switch {
	case n > MaxRelayHello:
		return nil, 0, ErrRelayHello
	case len(p) < relayHelloLen+n:
		return nil, 0, ErrIncomplete
	}
	return p[relayHelloLen : relayHelloLen+n], relayHelloLen + n, nil
}

// Data borrows p.
func (r *relayIn) Data(p []byte) {
	if r.over {
		return
	}
	before := len(r.in)
	whole := p
	if before > 0 {
		r.in = append(r.in, p[:min(len(p), relayHelloLen+MaxRelayHello-before)]...)
		whole = r.in
	}
	hello, n, err := parseRelayHello(whole)
	switch {
	case err == ErrIncomplete && before == 0:
		r.in = append(r.in, p...)
		return
	case err == ErrIncomplete:
		return
	case err != nil:
		r.fail(err)
		return
	}
	r.end()
	h, err := r.serve(r.conn, hello)
	if err != nil {
		r.failed(err)
		r.conn.Abort()
		return
	}
	r.in = nil
	r.conn.HandOn(h, p[n-before:])
}

// end is the only way to over.
func (r *relayIn) end() {
	r.over = true
	r.conn.Loop().Release(r.slot)
}

func (r *relayIn) fail(err error) {
	if r.over {
		return
	}
	r.end()
	r.failed(err)
	r.conn.Abort()
}

// Alarm looks whether the hello takes too long.
func (r *relayIn) Alarm() {
	if !r.over && r.conn.Loop().Late(r.slot, r.deadline) {
		r.fail(ErrRelaySlow)
	}
}

// Drained is of no interest here.
func (r *relayIn) Drained() {}

// EOF ends a relay without a hello.
func (r *relayIn) EOF() { r.fail(ErrRelayHello) }

// Closed comes once and last, unless the hello was there.
func (r *relayIn) Closed(err error) {
	if err == nil {
		err = ErrRelayHello
	}
	r.fail(err)
}
