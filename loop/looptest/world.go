package looptest

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"turbine/loop"
)

// A World is a machine with some loops, in memory. It and its Peers belong to
// one goroutine; others may only read the clocks of its loops.
type World struct {
	loops   []*loop.Loop
	kernels []*kernel
	tick    time.Duration
	now     atomic.Int64 // ns; sessions are asked for their times on any goroutine
	spent   bool         // Spend has moved it past ticks
	pace    atomic.Int64 // ns
	sockets []*socket    // by descriptor
	free    []int        // descriptors to use again
	dialled int
	dealer  *loop.Dealer
	woken   chan struct{} // a loop was woken
}

// maxTurns bounds one Run: more means that the program under test never rests.
const maxTurns = 10_000_000

// NewWorld makes a World of n loops. accept chooses the handler of each new
// connection. Of o, Loops and MaxConns are not used.
func NewWorld(n int, o loop.Options, accept func(*loop.Conn) loop.Handler) *World {
	if o.Tick == 0 {
		o.Tick = 10 * time.Millisecond
	}
	w := &World{tick: o.Tick, woken: make(chan struct{}, 1)}
	w.now.Store(int64(time.Hour)) // an odd moment, as on a machine that runs
	o.HandshakesInTurn = true
	table := new(loop.Table)
	for i := range n {
		k := &kernel{world: w, index: i}
		w.kernels = append(w.kernels, k)
		used := loop.Kernel(k)
		if o.Faults != nil {
			used = o.Faults.Kernel(i, k)
		}
		w.loops = append(w.loops, loop.New(i, used, w.clock, table, o, accept))
	}
	w.dealer = loop.NewDealer(w.loops)
	w.sockets = make([]*socket, 3) // 0 to 2 are taken, as in a process
	return w
}

// Loops returns the World's loops.
func (w *World) Loops() []*loop.Loop { return w.loops }

// Now is the World's time, as loop.Loop.Now tells it.
func (w *World) Now() time.Duration { return time.Duration(w.now.Load()) }

// Tick is the time between two ticks of its loops.
func (w *World) Tick() time.Duration { return w.tick }

// Pace has each look that a loop takes at the clock move it by d, for work that
// takes as long as it looks often. Advance does not go well with it.
func (w *World) Pace(d time.Duration) { w.pace.Store(int64(d)) }

// clock is Now for loops.
func (w *World) clock() time.Duration {
	if d := w.pace.Load(); d > 0 {
		w.Spend(time.Duration(d))
	}
	return w.Now()
}

// Woken receives when a loop was given something to do by a task since the last
// Run: where other goroutines work too, it says when to Run again. It may also
// receive when there is nothing left to do.
func (w *World) Woken() <-chan struct{} { return w.woken }

// Dial connects to the next loop in turn. The peers of all methods but DialFrom
// have one address, 192.0.2.1: a server with limits by address has to exempt it.
func (w *World) Dial() *Peer {
	w.dialled++
	return w.DialLoop((w.dialled - 1) % len(w.loops))
}

// DialDealt connects to the loop that a Reactor's acceptor would choose.
func (w *World) DialDealt() *Peer { return w.DialLoop(w.dealer.Deal().Index()) }

// DialLoop connects to the loop with that index.
func (w *World) DialLoop(index int) *Peer { return w.DialTo(index, nil) }

// DialTo connects to a listener with a choice of handlers of its own, as
// loop.Reactor.Listen takes one, on the loop with that index.
func (w *World) DialTo(index int, accept func(*loop.Conn) loop.Handler) *Peer {
	return w.DialFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), index, accept)
}

// DialFrom is DialTo for a peer of that address.
func (w *World) DialFrom(address netip.Addr, index int, accept func(*loop.Conn) loop.Handler) *Peer {
	s := &socket{world: w, owner: -1, window: defaultWindow}
	if n := len(w.free); n > 0 {
		s.fd = w.free[n-1]
		w.free = w.free[:n-1]
		w.sockets[s.fd] = s
	} else {
		s.fd = len(w.sockets)
		w.sockets = append(w.sockets, s)
	}
	s.remote = netip.AddrPortFrom(address, uint16(1024+s.fd%60000))
	if err := w.loops[index].Adopt(s.fd, s.remote, accept); err != nil {
		s.closed = true
	}
	return &Peer{socket: s}
}

// Run lets all loops work until none has anything left to do at this moment.
func (w *World) Run() {
	for turns := 0; ; turns++ {
		if turns > maxTurns {
			panic("looptest: the loops do not come to rest")
		}
		if !w.Turn() {
			return
		}
	}
}

// Turn lets each loop look at its sockets and at its mailbox once, and reports
// whether there was anything to do. It is for programs that never rest.
func (w *World) Turn() (busy bool) {
	if w.spent {
		w.spent, busy = false, true
		for i, l := range w.loops {
			if w.kernels[i].ticks {
				l.Tick()
			}
		}
	}
	for i, k := range w.kernels {
		busy = k.turn(w.loops[i]) || busy
	}
	return busy
}

// Advance runs the World and moves its clock by d, tick by tick, so that every
// alarm rings at its time.
func (w *World) Advance(d time.Duration) {
	w.Run()
	for end := w.Now() + d; w.Now() < end; w.Run() {
		next := (w.Now()/w.tick + 1) * w.tick
		w.now.Store(int64(min(next, end)))
		if w.Now() == next {
			for i, l := range w.loops {
				if w.kernels[i].ticks {
					l.Tick()
				}
			}
		}
	}
}

// Jump moves the clock by d and lets no loop run meanwhile, as when the process
// is stopped for that time.
func (w *World) Jump(d time.Duration) { w.now.Add(int64(d)) }

// Spend moves the clock by d in the middle of a turn, as a callback does that
// takes its time. The next Turn has the tick that is due, among all else.
func (w *World) Spend(d time.Duration) {
	w.spent = w.spent || (w.Now()+d)/w.tick > w.Now()/w.tick
	w.now.Add(int64(d))
}

// Mislead reports to every loop that fd is ready for all, whether true or not, also
// for a connection of another loop or of none.
func (w *World) Mislead(fd int) {
	for _, l := range w.loops {
		l.Ready(fd, loop.Readable|loop.Writable)
	}
}

// Close stops all loops, as at the end of a process: what is still open is
// aborted.
func (w *World) Close() {
	w.Run()
	for _, l := range w.loops {
		l.Close()
	}
}

// Sockets is the number of descriptors that the loops have not closed.
func (w *World) Sockets() int { return len(w.sockets) - 3 - len(w.free) }

func (w *World) socket(fd int) *socket {
	if fd < 0 || fd >= len(w.sockets) || w.sockets[fd] == nil {
		panic(fmt.Sprintf("looptest: use of descriptor %d, which is not open", fd))
	}
	return w.sockets[fd]
}
