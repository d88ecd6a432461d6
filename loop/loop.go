package loop

import (
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"turbine/internal/delays"
	"turbine/internal/fifo"
	"turbine/internal/seldom"
	"turbine/pool"
)

// readSize is the size in bytes of a loop's one read buffer: what one read
// takes at most, and how long others wait for a fast sender.
const readSize = 64 << 10

// A Loop is one event loop. Its methods belong to its goroutine, unless their
// comment says otherwise.
type Loop struct {
	index   int
	kernel  Kernel
	clock   func() time.Duration
	now     time.Duration
	lost    time.Duration // that the clock is ahead of now: the process did not run
	began   time.Duration // when the turn began
	idle    time.Duration // when the last turn ended: since then the loop waits
	waited  time.Duration // before the turn that followed a look at the sockets
	looks   bool          // the driver says when it has looked at the sockets
	warm    bool          // it has not looked since the last turn: there was no wait
	used    time.Duration // what sockets have taken since others had their share; negative if others took too much
	sharing bool          // others have theirs
	options Options
	accept  func(*Conn) Handler
	conns   *Table
	gate    *gate // limits by address, of all loops; nil without a Reactor

	mail   mailbox
	wheel  wheel
	doubts doubts
	ticks  bool // the kernel ticks: the wheel has entries
	lag    delays.Histogram
	count  atomic.Int64
	unsent atomic.Int64      // written by the loop only
	places map[*pool.Buf]int // of connections that hold a buffer for many which unsent counts; nil until there is one
	panics seldom.Once

	exiting bool // a callback has ended the goroutine; until the next turn

	arriving  atomic.Int64 // of the counted connections, those that the loop has not seen yet
	residents atomic.Int64

	buffer   []byte // what the kernel read, lent to Handler.Data
	vector   [MaxVector][]byte
	queues   []*sendQueue       // spare ones
	dirty    []*Conn            // wrote in this turn
	leaving  []move             // asked to change loops in this turn
	ended    fifo.Queue[ending] // Closed is due
	closing  fifo.Queue[int]    // descriptors to close after the next look at the sockets
	closable int                // of closing: those that such a look has followed
	fresh    int                // of closing: those told since the last Mail

	accepting func(time.Duration) // keeps accepting for that time; nil when nobody waits

	resting  []*Conn       // for want of memory
	restSlot Slot          // 0 when nobody rests
	restBy   time.Duration // when the rests end

	plain  []byte // what was decrypted, lent to Handler.Data; nil without TLS
	sealed []byte // what was encrypted, on its way to the kernel
}

// An ending is a connection that is over, and why.
type ending struct {
	conn *Conn
	fd   int
	err  error
}

// New makes a loop for a driver: the Reactor's goroutine, or a test's World.
//
// The driver calls Ready for each ready descriptor, Mail after a Wake, and Tick
// when the kernel is to tick; clock tells the time since a fixed moment.
// A callback may end the goroutine that these are called on: the next call, on
// another one, continues with what that turn has left.
// table is shared by all loops of one process, since descriptors are numbered
// per process. accept chooses the handler of a new connection.
func New(index int, kernel Kernel, clock func() time.Duration, table *Table, o Options, accept func(*Conn) Handler) *Loop {
	o = o.withDefaults()
	l := &Loop{
		index:   index,
		kernel:  kernel,
		clock:   clock,
		now:     clock(),
		options: o,
		accept:  accept,
		conns:   table,
		buffer:  make([]byte, readSize),
	}
	l.idle = l.now
	l.wheel.tick = o.Tick
	l.wheel.last = uint32(l.now / o.Tick)
	return l
}

// Index is the loop's number, from 0. Safe from any goroutine.
func (l *Loop) Index() int { return l.index }

// Now is the time since a fixed moment, as of the event that is being handled.
// It never goes back, and the time for which the process was stopped while the
// loop waited for events is not in it: a process that was stopped for minutes
// finds every deadline as far away as it was, so that it reads what waits in the
// sockets before it finds anybody late. The time that callbacks take is in it.
func (l *Loop) Now() time.Duration { return l.now }

// Clock is the time since the same moment for all loops of a Reactor, or of a
// World, with the time in which the loop could not run: for what loops share,
// since Now may differ by that. Safe from any goroutine.
func (l *Loop) Clock() time.Duration { return l.clock() }

// Moment is Now as Clock counts: with the time in which the loop could not run.
func (l *Loop) Moment() time.Duration { return l.now + l.lost }

// Conns is the number of the loop's connections, from Adopt until their
// descriptors are closed, which is a round after Closed.
// Safe from any goroutine.
func (l *Loop) Conns() int { return int(l.count.Load()) }

// Unsent is the number of bytes that the loop's connections hold because the kernel
// has refused them. A buffer for many, made by pool.New, counts once, and 128 bytes for each
// connection that holds it. Safe from any goroutine.
func (l *Loop) Unsent() int64 { return l.unsent.Load() }

// maxGap is the number of ticks for which a loop that ticks may wait for its next
// event. If it is more, the process was stopped, or starved.
const maxGap = 20

// enter begins a turn. Between two turns that follow one another the clock is
// read once, at the end of the first.
func (l *Loop) enter() {
	if l.warm {
		l.now = max(l.now, l.idle)
		l.began = l.now
		return
	}
	l.exiting = false
	now := l.clock() - l.lost
	gap, tick := now-l.idle, l.options.Tick
	l.waited = gap
	if l.ticks && gap > maxGap*tick {
		// Whole ticks, to keep step with the kernel's.
		lost := (gap/tick - 1) * tick
		l.lost += lost
		now -= lost
	}
	l.now = max(l.now, now)
	l.began = l.now
}

// maxRounds bounds how often one turn may write, hear that all was written,
// and write again, before others have their turn.
const maxRounds = 8

// leave ends a turn: one write for each connection that has something to say.
func (l *Loop) leave() {
	for round := 0; len(l.dirty) > 0 && round < maxRounds; round++ {
		batch := len(l.dirty)
		for i := range batch {
			c := l.dirty[i]
			c.dirty = false
			l.flush(c)
		}
		n := copy(l.dirty, l.dirty[batch:])
		clear(l.dirty[n:])
		l.dirty = l.dirty[:n]
	}
	if len(l.dirty) > 0 {
		l.wakeUp()
	}
	if len(l.leaving) > 0 {
		l.moveOut()
	}
}

// Ready handles what the kernel reports of fd.
func (l *Loop) Ready(fd int, ready Interest) {
	c := l.conns.get(fd)
	if c == nil || c.Loop() != l {
		return // closed or moved earlier in this batch
	}
	l.enter()
	if ready&Writable != 0 && c.watched&Writable != 0 {
		l.flush(c)
	}
	if ready&Readable != 0 && c.watched&Readable != 0 && c.state != connMoving {
		l.read(c)
	}
	l.leave()
	l.finish()
}

// Adopt makes fd, a connected, non-blocking stream socket, a connection of
// this loop, as if it had been accepted here. accept chooses its handler, on
// the loop's goroutine; nil means what New was given. The loop owns fd from now
// on, and closes it also when it returns an error, ErrStopped; then accept is
// not called. Safe from any goroutine.
func (l *Loop) Adopt(fd int, remote netip.AddrPort, accept func(*Conn) Handler) error {
	return l.adopt(fd, remote, false, accept)
}

// adopt is Adopt; held says that fd counts for its address.
func (l *Loop) adopt(fd int, remote netip.AddrPort, held bool, accept func(*Conn) Handler) error {
	l.expect()
	err := l.Post(&adoption{loop: l, fd: fd, remote: remote, held: held, accept: accept})
	if err != nil {
		l.reject(fd, remote, held)
	}
	return err
}

type adoption struct {
	loop   *Loop
	fd     int
	remote netip.AddrPort
	held   bool
	accept func(*Conn) Handler
}

func (a *adoption) Run() { a.loop.open(a.fd, a.remote, a.held, a.accept) }

// Open is Adopt on the loop's goroutine, for acceptors.
func (l *Loop) Open(fd int, remote netip.AddrPort) {
	l.expect()
	l.open(fd, remote, false, nil)
}

// reject closes an expected descriptor that does not become a connection.
func (l *Loop) reject(fd int, remote netip.AddrPort, held bool) {
	if held {
		l.gate.release(remote.Addr())
	}
	l.arriving.Add(-1)
	l.discard(fd)
}

// discard closes a counted descriptor that is no connection any more.
func (l *Loop) discard(fd int) {
	l.kernel.Close(fd)
	l.count.Add(-1)
}

// open makes fd, which is expected, a connection.
func (l *Loop) open(fd int, remote netip.AddrPort, held bool, accept func(*Conn) Handler) {
	if accept == nil {
		accept = l.accept
	}
	c := &Conn{fd: int32(fd), held: held}
	c.loop.Store(l)
	c.setRemote(remote)
	if !l.conns.set(fd, c) {
		l.reject(fd, remote, held)
		return
	}
	l.arriving.Add(-1)
	c.handler = discard{}
	returned := false
	defer l.guard(c, &returned)
	c.handler = accept(c)
	c.rewatch() // accept may have paused or ended it
	returned = true
}

func (l *Loop) panicked(p any) {
	if suppressed, ok := l.panics.Allow(l.now); ok {
		l.options.Logger.Error("panic on an event loop", "loop", l.index, "panic", p,
			"suppressed", suppressed, "stack", string(debug.Stack()))
	}
}

// reap closes the descriptors of connections whose end was told in a round
// before, and tells the handlers of those that have ended since. In between the
// driver has looked at the sockets afresh, so that no event of an old
// connection can meet a new one with the same number. A close costs as much as a
// write.
func (l *Loop) reap(budget time.Duration) {
	for n, end := 1, l.now+budget; l.closable > 0; n++ {
		fd := l.closing.Pop()
		l.closable--
		l.discard(fd)
		if n%lookEvery == 0 && l.look() >= end {
			break
		}
	}
	for end := l.now + budget; l.ended.Len() > 0; { // a handler told may end others
		e := l.ended.Pop()
		l.closing.Push(e.fd)
		l.fresh++
		l.tellClosed(e)
		if l.look() >= end {
			break
		}
	}
}

func (l *Loop) reapable() bool {
	return l.ended.Len() > 0 || l.closable > 0
}

func (l *Loop) tellClosed(e ending) {
	handler := e.conn.handler
	e.conn.handler = nil
	returned := false
	defer l.survive(nil, &returned) // the connection is over
	handler.Closed(e.err)
	returned = true
}

// Tick rings the alarms whose time has come. The driver calls it every
// Options.Tick while Kernel.Ticks wants it.
func (l *Loop) Tick() {
	l.enter()
	l.ring(quantum)
	l.leave()
	l.idle = l.look()
}
