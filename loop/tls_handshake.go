package loop

import (
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"time"

	"turbine/pool"
)

// A handshake is the extra state of a tlsConn until its TLS handshake is done.
// crypto/tls does a handshake on one stack, so the handshake has a goroutine of its
// own, which runs between turn and Run and waits otherwise. What is said to be the
// goroutine's belongs to the goroutine while it runs, and to the loop while it waits.
type handshake struct {
	tls      *TLS
	filter   *tlsConn
	accept   func(*Conn) Handler
	failed   func(error) // a client's: told if accept will not be called; nil when told, or for nobody
	arrived  *pool.Buf   // what came and was not handed over; the loop's
	lent     *pool.Buf   // what was; nil when all of it was read
	out      []byte      // to be sent; the goroutine's
	err      error       // how it went; the goroutine's
	resume   chan bool   // to continue, or to give up
	yield    chan struct{}
	deadline time.Duration
	slot     Slot
	place    place
	inTurn   bool // Options.HandshakesInTurn
	heard    bool // the peer has sent something
	begun    bool // there is a goroutine
	running  bool // it runs; the loop's
	dead     bool // the connection is over; the loop's
	done     bool // the goroutine's last word
	busy     bool // it has a processor; the goroutine's
	givenUp  bool // the goroutine's
}

func newHandshake(t *TLS, f *tlsConn, accept func(*Conn) Handler) *handshake {
	l := f.conn.Loop()
	h := &handshake{tls: t, filter: f, accept: accept, inTurn: l.options.HandshakesInTurn}
	h.slot = l.Claim(h)
	h.deadline = l.now + t.options.Timeout
	l.Arm(h.slot, h.deadline)
	return h
}

// data borrows p, and lets the handshake have it as soon as it wants it.
func (h *handshake) data(p []byte) {
	if h.dead {
		return
	}
	h.heard = true
	if h.arrived == nil {
		h.arrived = pool.Spills.Get(len(p))
	}
	h.arrived.Append(p)
	switch {
	case h.running:
		if h.arrived.Len() >= readSize {
			h.filter.conn.Pause() // until it is handed over
		}
	case h.begun:
		h.turn()
	default:
		h.look()
	}
}

// look waits for the whole of the first record, in which a client says all that
// a server needs to begin: until then it costs no goroutine.
func (h *handshake) look() {
	p := h.arrived.Bytes()
	switch {
	case p[0] != 22 && len(p) < tlsHeader:
		return
	case p[0] != 22, len(p) > 1 && p[1] != 3:
		h.notTLS(p)
		return
	case len(p) < tlsHeader:
		return
	}
	n := int(p[3])<<8 | int(p[4])
	if n == 0 || n > maxTLSPlain {
		h.notTLS(p)
		return
	}
	if len(p) >= tlsHeader+n {
		h.begin()
	}
}

// notTLS answers a client that does not speak TLS, and closes. p is borrowed.
func (h *handshake) notTLS(p []byte) {
	var answer []byte
	if f := h.tls.options.Plain; f != nil && len(p) >= tlsHeader {
		answer = f(p)
	}
	f := h.filter
	if answer != nil {
		h.tls.plain.Add(1)
	}
	f.queue(answer)
	h.lose(errNotTLS)
}

// lose closes the connection because of err, after what is to be sent: the peer must
// be able to read the alert that says why.
func (h *handshake) lose(err error) {
	c := h.filter.conn
	h.tls.fail(c, err)
	h.over()
	h.filter.shake, h.filter.tls = nil, nil
	c.Close()
	h.tellFailed(err)
}

// tellFailed says that accept will not be called, and why.
func (h *handshake) tellFailed(err error) {
	if f := h.failed; f != nil {
		h.failed = nil
		f(err)
	}
}

// over gives back what the loop holds for the handshake.
func (h *handshake) over() {
	h.dead = true
	if h.slot != 0 {
		h.filter.conn.Loop().Release(h.slot)
		h.slot = 0
	}
	if h.arrived != nil {
		h.arrived.Release()
		h.arrived = nil
	}
}

// begin starts the handshake if there is a place for it.
func (h *handshake) begin() {
	c := h.filter.conn
	cut, ok := h.tls.places.enter(h, c.RemoteAddr().Addr())
	if cut != nil {
		_ = cut.filter.conn.Loop().Post((*cutTask)(cut)) // a stopped loop has ended it
	}
	if !ok {
		h.tls.met(c.Loop(), TLSHandshakes)
		h.over()
		c.end(ErrTLSTooMany)
		return
	}
	h.begun = true
	if !h.filter.client {
		h.filter.tls = tls.Server((*tlsPipe)(h.filter), h.tls.base)
	}
	h.resume, h.yield = make(chan bool, 1), make(chan struct{}, 1)
	go h.work()
	h.turn()
}

// turn lets the goroutine run with what has arrived.
func (h *handshake) turn() {
	h.lent, h.arrived = h.arrived, nil
	if h.lent != nil { // a client's first turn has none
		h.filter.in = h.lent.Bytes()
	}
	if c := h.filter.conn; c.paused {
		c.Resume()
	}
	h.running = true
	h.tls.places.wait(h, false)
	h.resume <- true
	if h.inTurn {
		<-h.yield
		h.Run()
	}
}

// Run is the loop's turn, after the goroutine's.
func (h *handshake) Run() {
	f := h.filter
	c := f.conn
	h.running = false
	if h.dead || c.state == connClosed {
		h.dropLent()
		if h.dead {
			h.dismiss()
		}
		return
	}
	returned := false
	defer c.Loop().guard(c, &returned)
	h.proceed()
	returned = true
}

// proceed does what the goroutine has left to the loop.
func (h *handshake) proceed() {
	f := h.filter
	f.queue(h.out)
	h.out = nil
	switch {
	case h.done && h.err != nil:
		h.dropLent()
		h.lose(h.err)
	case h.done:
		h.succeed()
	default:
		h.dropLent() // it was read to its end
		if h.arrived != nil {
			h.turn()
			return
		}
		h.tls.places.wait(h, true)
	}
}

func (h *handshake) dropLent() {
	if h.lent != nil {
		h.lent.Release()
		h.lent, h.filter.in = nil, nil
	}
}

// succeed opens the connection.
func (h *handshake) succeed() {
	f := h.filter
	c := f.conn
	h.tls.done.Add(1)
	state := f.tls.ConnectionState()
	if state.DidResume {
		h.tls.resumed.Add(1)
	}
	if !h.tls.speaks(state.NegotiatedProtocol) {
		h.dropLent()
		h.over()
		f.shake = nil
		c.Close()
		h.tellFailed(errTLSProtocol)
		return
	}
	h.failed = nil
	f.early = joined(f.takeRead(), h.rest())
	h.over()
	f.shake = nil
	if c.paused {
		c.Resume()
	}
	f.handler = h.accept(c)
	f.deliver()
}

// rest is what has come behind the handshake, nil if nothing has.
func (h *handshake) rest() *pool.Buf {
	unread := len(h.filter.in)
	if unread == 0 {
		h.dropLent()
	}
	b, more := h.lent, h.arrived
	h.lent, h.arrived, h.filter.in = nil, nil, nil
	if b != nil {
		b.Drop(b.Len() - unread)
	}
	return joined(b, more)
}

// joined takes two buffers, of which each may be nil, and makes one of them.
func joined(b, more *pool.Buf) *pool.Buf {
	switch {
	case b == nil:
		return more
	case more != nil:
		b.Append(more.Bytes())
		more.Release()
	}
	return b
}

// abandon is told of the connection's end.
func (h *handshake) abandon(err error) {
	if !h.dead {
		if (h.heard || h.begun) && err != ErrStopped && err != ErrTLSTimeout {
			h.tls.fail(h.filter.conn, err)
		}
		h.over()
	}
	if !h.running {
		h.dismiss()
	}
	h.tellFailed(err)
}

// dismiss ends the goroutine, which waits.
func (h *handshake) dismiss() {
	if h.begun && !h.done {
		h.done = true
		h.resume <- false
	}
}

// Alarm ends a handshake that takes too long.
func (h *handshake) Alarm() {
	c := h.filter.conn
	l := c.Loop()
	if !l.Late(h.slot, h.deadline) {
		return
	}
	if h.heard {
		h.tls.met(l, TLSTimeout)
	} else {
		h.tls.met(l, TLSSilence)
	}
	c.end(ErrTLSTimeout)
}

// HurryTLS bounds the rest of the handshake of the connection that owns the slot
// of owner to within; where the owner is something else it does nothing.
func HurryTLS(owner Alarm, within time.Duration) {
	if h, ok := owner.(*handshake); ok {
		h.hurry(within)
	}
}

// HurryTLS bounds the rest of the connection's TLS handshake, if it is in one.
func (c *Conn) HurryTLS(within time.Duration) {
	if f := c.filter(); f != nil && f.shake != nil {
		f.shake.hurry(within)
	}
}

func (h *handshake) hurry(within time.Duration) {
	l := h.filter.conn.Loop()
	if at := l.now + within; h.slot != 0 && at < h.deadline {
		h.deadline = at
		l.Arm(h.slot, at)
	}
}

// What follows runs on the handshake's goroutine.

// work is the goroutine.
func (h *handshake) work() {
	if !<-h.resume {
		h.tls.places.leave(h)
		return
	}
	h.err = errTLSExit // unless shake returns
	defer h.finish()
	h.takeProcessor()
	h.err = h.shake()
}

// finish says how the handshake went, for the last time. The place is free before
// the loop hears of it, so a handshake that the loop knows to be done holds none.
func (h *handshake) finish() {
	h.giveProcessor()
	h.tls.places.leave(h)
	if !h.givenUp {
		h.done = true
		h.handBack()
	}
}

func (h *handshake) shake() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
		}
	}()
	return h.filter.tls.Handshake()
}

// wantMore waits for bytes of the peer. It reports false when none will come.
func (h *handshake) wantMore() bool {
	if h.givenUp {
		return false
	}
	h.giveProcessor()
	if !h.handBack() || !<-h.resume {
		h.givenUp = true
		return false
	}
	h.takeProcessor()
	return true
}

// handBack gives the loop its turn. It reports false when there is no loop any
// more.
func (h *handshake) handBack() bool {
	if h.inTurn {
		h.yield <- struct{}{}
		return true
	}
	if err := h.filter.conn.Loop().Post(h); err != nil {
		h.dropLent()
		return false
	}
	return true
}

func (h *handshake) takeProcessor() {
	if !h.inTurn && !h.busy {
		h.tls.compute <- struct{}{}
		h.busy = true
	}
}

func (h *handshake) giveProcessor() {
	if h.busy {
		h.busy = false
		<-h.tls.compute
	}
}
