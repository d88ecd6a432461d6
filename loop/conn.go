package loop

import (
	"net/netip"
	"sync/atomic"
	"time"

	"turbine/pool"
)

// A Handler hears what happens to a connection, always on the loop that the
// connection is on at that moment. Nothing may block in it.
type Handler interface {
	// Data borrows p, the next bytes of the stream, for the length of the
	// call. It takes all of them: the loop keeps nothing. p may be changed.
	Data(p []byte)
	// Drained says that all that was written has been taken by the kernel,
	// after Ready had become false or the kernel had refused bytes.
	Drained()
	// EOF says that the peer will send nothing more. The writing direction
	// is still open; Close ends it once all is sent.
	EOF()
	// Closed comes once and last, with nil after an orderly Close.
	Closed(err error)
}

// connState is what a connection is doing.
//
//	| state    | event                                    | next              | does
//	| open     | bytes                                    | open              | Handler.Data
//	| open     | Close                                    | draining          | arm linger, flush
//	| open     | CloseWrite, all sent                     | open              | shut down writing
//	| open     | MoveTo                                   | moving -> open    | re-deliver unread on the new loop
//	| draining | all sent                                 | draining          | shut down writing, arm linger
//	| draining | all sent, after CloseSent or CloseIdle   | closed            | Closed
//	| draining | all sent and peer's EOF, or linger over  | closed            | Closed; bytes meanwhile are dropped
//	| any      | Abort, peer gone, error                  | closed            | Closed(err), once
type connState uint8

const (
	connOpen connState = iota
	connMoving
	connDraining
	connClosed
)

// family is what kind of address a connection's peer has.
type family uint8

const (
	familyNone family = iota // a Unix socket
	family4
	family6
)

// Conn is one byte stream on a loop. Its methods belong to the goroutine of
// the loop that it is on. After Close, Abort or Closed they do nothing.
//
// A million of these may sit idle: the size is pinned by a test.
type Conn struct {
	// loop is atomic because another loop may look at it through a stale
	// event of a descriptor that was its own before.
	loop      atomic.Pointer[Loop]
	handler   Handler
	out       *sendQueue    // nil when nothing is unsent
	deadline  time.Duration // for linger
	address   [16]byte      // of the peer; kept small, since most never ask
	fd        int32
	slot      Slot // for linger, 0 while open
	port      uint16
	state     connState
	watched   Interest
	resting   Interest // not watched for a while, for want of memory
	family    family
	eof       bool
	paused    bool
	dirty     bool // on the loop's list of connections to flush
	blocked   bool // the kernel refused bytes
	pressured bool // Drained is owed
	ending    bool // nothing more is written
	finished  bool // writing was shut down
	hasty     bool // the peer's end is not waited for
	held      bool // it counts for its address
}

// Loop is the loop that the connection is on.
func (c *Conn) Loop() *Loop { return c.loop.Load() }

// SetHandler gives h the events of the connection, from the next one on.
func (c *Conn) SetHandler(h Handler) {
	if f := c.filter(); f != nil && h != Handler(f) {
		f.handler = h
		return
	}
	c.handler = h
}

// RemoteAddr is the peer's address, or what SetRemoteAddr has said; the zero
// AddrPort where there is none, as with Unix sockets. An IPv6 zone is not kept.
func (c *Conn) RemoteAddr() netip.AddrPort {
	if c.family == familyNone {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(c.remote(), c.port)
}

// LocalAddr is the address of this end of the connection, the zero AddrPort
// where there is none.
func (c *Conn) LocalAddr() netip.AddrPort {
	if c.state == connClosed {
		return netip.AddrPort{}
	}
	return c.Loop().kernel.LocalAddr(int(c.fd))
}

// remote is the peer's address, for callers that know that there is one.
func (c *Conn) remote() netip.Addr {
	address := netip.AddrFrom16(c.address)
	if c.family == family4 {
		address = address.Unmap()
	}
	return address
}

func (c *Conn) setRemote(a netip.AddrPort) {
	if !a.IsValid() {
		return
	}
	address := a.Addr()
	c.address, c.port, c.family = address.As16(), a.Port(), family6
	if address.Is4() || address.Is4In6() {
		c.family = family4
	}
}

// HandOn makes h the handler, as SetHandler does, and lets it have p, which is
// borrowed, at once, unless the connection is over: for a handler that has found
// out what the bytes behind its own are for.
func (c *Conn) HandOn(h Handler, p []byte) {
	c.SetHandler(h)
	if len(p) > 0 && c.state == connOpen {
		h.Data(p)
	}
}

// Unsent is the number of bytes written but not yet taken by the kernel.
func (c *Conn) Unsent() (n int) {
	if c.out != nil {
		n = c.out.size
	}
	if f := c.filter(); f != nil && f.wire != nil {
		n += f.wire.size
	}
	return n
}

// send writes what is queued, which is something where there is no TLS.
func (c *Conn) send(l *Loop) (taken int, err error) {
	if f := c.filter(); f != nil {
		return f.send(l)
	}
	return c.out.send(l, int(c.fd), c.state == connDraining)
}

// countUnsent brings Loop.Unsent up to date.
func (c *Conn) countUnsent(l *Loop) {
	if c.out != nil {
		l.countUnsent(c.out)
	}
	if f := c.filter(); f != nil && f.wire != nil {
		l.countUnsent(f.wire)
	}
}

// uncount takes the connection out of Loop.Unsent.
func (c *Conn) uncount(l *Loop) {
	if c.out != nil {
		l.uncount(c.out)
	}
	if f := c.filter(); f != nil && f.wire != nil {
		l.uncount(f.wire)
	}
}

// Holds is how many of the bytes that Loop.Unsent counts would be free without the
// connection, about, and for how long the kernel has refused them. They become younger
// by the part that it takes.
func (c *Conn) Holds() (bytes int, age time.Duration) {
	l := c.Loop()
	bytes, age = c.out.holds(l)
	if f := c.filter(); f != nil {
		encrypted, since := f.wire.holds(l)
		bytes, age = bytes+encrypted, max(age, since)
	}
	return bytes, age
}

// Ready reports whether the writer should continue: less than Options.HighWater
// bytes are unsent. If not, Drained will come. Writing more is possible all
// the same; the bytes wait in memory.
func (c *Conn) Ready() bool { return c.state == connOpen && c.Unsent() < c.Loop().options.HighWater }

// Blocked reports whether the kernel has refused bytes that were written, and
// has not taken them since.
func (c *Conn) Blocked() bool { return c.blocked }

// WantDrained makes Drained come once all that was written is taken by the
// kernel, also where the connection never ceased to be Ready.
func (c *Conn) WantDrained() { c.pressured = true }

// Write borrows p and queues a copy. All that is queued in one turn leaves in
// one system call at the turn's end.
func (c *Conn) Write(p []byte) {
	if c.writable(len(p)) {
		c.out.copy(p)
		c.wrote()
	}
}

// WriteBuf shares b and queues it without a copy, or copies where that is
// cheaper. The caller releases b as usual; nobody may change it until then.
func (c *Conn) WriteBuf(b *pool.Buf) {
	if c.writable(b.Len()) {
		c.out.share(b)
		c.wrote()
	}
}

func (c *Conn) writable(n int) bool {
	if n == 0 || c.ending || (c.state != connOpen && c.state != connMoving) {
		return false
	}
	if c.out == nil {
		c.out = c.Loop().sendQueue()
	}
	return true
}

func (c *Conn) wrote() {
	if c.Unsent() >= c.Loop().options.HighWater {
		c.pressured = true
	}
	if c.blocked {
		c.Loop().countUnsent(c.out)
	}
	c.touch()
}

// touch puts the connection on the list of those to flush.
func (c *Conn) touch() {
	if c.dirty || c.blocked || c.state == connMoving {
		return
	}
	c.dirty = true
	c.Loop().dirty = append(c.Loop().dirty, c)
}

// Pause stops reading: the peer's bytes stay in the kernel and slow it down.
// Bytes read already may still come with the running event.
func (c *Conn) Pause() { c.pause(true) }

// Resume undoes Pause.
func (c *Conn) Resume() { c.pause(false) }

func (c *Conn) pause(paused bool) {
	if c.state != connOpen && c.state != connMoving {
		return // a closing connection reads on, to see the peer's end
	}
	c.paused = paused
	c.rewatch()
}

// watch asks the kernel for want.
func (c *Conn) watch(want Interest) error {
	if c.watched == want {
		return nil
	}
	fd, err := c.Loop().kernel.Watch(int(c.fd), c.watched, want)
	if err != nil {
		return err
	}
	c.watched = want
	if fd == int(c.fd) {
		return nil
	}
	c.Loop().conns.clear(int(c.fd), c)
	c.fd = int32(fd)
	if !c.Loop().conns.set(fd, c) {
		return ErrTooManyConns
	}
	return nil
}

// rewatch asks for what the connection's state calls for, and ends the connection
// if the kernel refuses.
func (c *Conn) rewatch() {
	if c.state == connClosed || c.state == connMoving {
		return
	}
	var want Interest
	if !c.paused && !c.eof {
		want |= Readable
	}
	if c.blocked {
		want |= Writable
	}
	if err := c.watch(want &^ c.resting); err != nil {
		c.end(err)
	}
}

// read takes what one system call gives.
func (l *Loop) read(c *Conn) {
	n, err := l.kernel.Read(int(c.fd), l.buffer)
	switch {
	case n > 0 && c.state == connOpen:
		returned := false
		defer l.guard(c, &returned)
		c.handler.Data(l.buffer[:n])
		returned = true
	case n > 0: // draining: dropped
	case err == nil:
		l.sawEOF(c)
	case shortage(err):
		l.rest(c, Readable)
	case !later(err):
		c.end(err)
	}
}

func (l *Loop) sawEOF(c *Conn) {
	c.eof = true
	switch {
	case c.state == connOpen:
		c.rewatch()
		if c.state == connOpen {
			returned := false
			defer l.guard(c, &returned)
			c.handler.EOF()
			returned = true
		}
	case c.finished:
		c.end(nil)
	default:
		c.rewatch() // continues sending
	}
}

// flush writes what is queued and then does what had to wait for it.
func (l *Loop) flush(c *Conn) {
	if c.state == connClosed || c.state == connMoving {
		return
	}
	if c.out != nil || c.Secure() {
		taken, err := c.send(l)
		if err != nil && !later(err) {
			c.end(err)
			return
		}
		if c.Unsent() > 0 {
			c.countUnsent(l)
			if c.state == connDraining && taken > 0 {
				c.armLinger(l.options.Linger)
			}
			c.blocked, c.pressured = true, true
			if shortage(err) {
				l.rest(c, Writable)
			} else {
				c.rewatch()
			}
			return
		}
		if c.out != nil {
			l.giveBack(c.out)
			c.out = nil
		}
	}
	c.blocked = false
	c.rewatch()
	if c.ending && c.state == connOpen {
		c.shut()
	}
	switch {
	case c.state == connDraining:
		c.finish()
	case c.state == connOpen && c.pressured:
		c.pressured = false
		returned := false
		defer l.guard(c, &returned)
		c.handler.Drained()
		returned = true
	}
}

// discard is the handler of a connection that has none yet.
type discard struct{}

func (discard) Data([]byte)  {}
func (discard) Drained()     {}
func (discard) EOF()         {}
func (discard) Closed(error) {}
