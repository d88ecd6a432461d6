//go:build linux || darwin || freebsd

package loop

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	gnet "github.com/panjf2000/gnet/v2/pkg/errors"
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
)

// maxLoops is what one byte of a session identifier can name.
const maxLoops = 256

// A Reactor runs loops on real sockets: one goroutine and one gnet poller for
// each.
type Reactor struct {
	options  Options
	clock    func() time.Duration
	loops    []*Loop
	kernels  []*pollKernel
	acceptor acceptor
	maxConns atomic.Int64
	stopping atomic.Bool

	mu      sync.Mutex
	running bool // Serve was called
	over    bool // Stop was called
}

// ReactorStats are counts since Open.
type ReactorStats struct {
	Accepted     uint64 // connections taken
	Refused      uint64 // connections closed at once for want of room
	OverPerIP    uint64 // closed at once because their address had too many
	OverRate     uint64 // closed at once because their address made them too fast
	AcceptErrors uint64 // failed accepts, whatever the cause
	Conns        int    // connections now
}

// Open makes a reactor's loops. accept chooses the handler of each new connection, on
// the connection's loop, where Listen or Adopt are given no other; it may be nil if
// they always are. Nothing runs before Serve; a program that does not get there calls
// Stop.
func Open(o Options, accept func(*Conn) Handler) (*Reactor, error) {
	o = o.withDefaults()
	o.Loops = LoopCount(o.Loops)
	if o.Loops < 0 || o.Loops > maxLoops {
		return nil, fmt.Errorf("loop: %d loops, want 1 to %d", o.Loops, maxLoops)
	}
	maxConns, err := maxConnsOf(o.MaxConns, o.Loops)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	clock := func() time.Duration { return time.Since(start) }
	r := &Reactor{options: o, clock: clock}
	r.maxConns.Store(int64(maxConns))
	table := new(Table)
	for i := range o.Loops {
		k, err := newPollKernel(o.Tick, clock)
		if err != nil {
			r.closePollers()
			return nil, err
		}
		r.kernels = append(r.kernels, k)
		r.loops = append(r.loops, New(i, o.kernel(i, k), clock, table, o, accept))
	}
	r.acceptor.open(r)
	return r, nil
}

// Loops returns the reactor's loops. Safe from any goroutine.
func (r *Reactor) Loops() []*Loop { return r.loops }

// MaxConns is the limit of connections: that of Options or SetMaxConns, or what zero
// stands for there. Safe from any goroutine.
func (r *Reactor) MaxConns() int { return int(r.maxConns.Load()) }

// maxConnsOf is what a limit of connections stands for, with that many loops.
func maxConnsOf(limit, loops int) (int, error) {
	if limit != 0 {
		return limit, nil
	}
	limit, err := DefaultMaxConns(loops)
	return max(1, limit), err
}

// Stats returns the reactor's counts. Safe from any goroutine.
func (r *Reactor) Stats() ReactorStats {
	a := &r.acceptor
	return ReactorStats{
		Accepted:     a.accepted.Load(),
		Refused:      a.refused.Load(),
		OverPerIP:    a.gate.overPerIP.Load(),
		OverRate:     a.gate.overRate.Load(),
		AcceptErrors: a.failed.Load(),
		Conns:        r.conns(),
	}
}

func (r *Reactor) conns() (n int) {
	for _, l := range r.loops {
		n += l.Conns()
	}
	return n
}

// Serve runs the loops until Stop, and then returns nil. It returns an error
// when it ended for a reason that nobody asked for. Either way all connections
// and listeners are closed, and all tasks posted in time have run.
func (r *Reactor) Serve() error {
	r.mu.Lock()
	if r.running {
		r.mu.Unlock()
		return errors.New("loop: Serve was called twice")
	}
	if r.over {
		r.mu.Unlock()
		return nil
	}
	r.running = true
	r.mu.Unlock()

	failed := make([]error, len(r.loops))
	var loops sync.WaitGroup
	stopTicks := r.startTicks()
	for i := range r.loops {
		outlive(&loops, func() {
			if err := r.poll(i); !r.stopping.Load() {
				failed[i] = fmt.Errorf("loop: poller of loop %d ended: %w", i, err)
			}
			r.Stop() // one loop less is no reactor any more
		})
	}
	loops.Wait()
	stopTicks()
	r.close()
	return errors.Join(failed...)
}

// poll is what the goroutine of loop i does. It may be called again, on another
// goroutine, after a callback has ended that.
func (r *Reactor) poll(i int) error {
	k, l := r.kernels[i], r.loops[i]
	looked := func() { l.looks, l.warm = true, false }
	return k.polling(looked, l.hurries, func(fd int, event netpoll.IOEvent, flags netpoll.IOFlags) error {
		if fd == k.wakeRead {
			l.Mail()
			// Mail may have eaten the Wake that Stop sent, but then it
			// happened after stopping was set.
			if r.stopping.Load() {
				return gnet.ErrEngineShutdown
			}
			return nil
		}
		if k.ticked(fd) {
			l.Tick()
			return nil
		}
		if i == 0 && r.acceptor.event(fd) {
			return nil
		}
		var ready Interest
		failing := netpoll.IsErrorEvent(event, flags)
		if failing || netpoll.IsReadEvent(event) {
			ready |= Readable
		}
		if failing || netpoll.IsWriteEvent(event) {
			ready |= Writable
		}
		l.Ready(fd, ready)
		return nil
	})
}

// StopAccepting closes the listeners; connections stay. When it returns,
// their addresses are free. Safe from any goroutine.
func (r *Reactor) StopAccepting() { r.acceptor.close() }

// Stop ends Serve, which closes what is open, and does not wait for it.
// Safe from any goroutine.
func (r *Reactor) Stop() {
	r.StopAccepting()
	if r.stopping.Swap(true) {
		return
	}
	r.mu.Lock()
	running := r.running
	r.over = true
	r.mu.Unlock()
	if !running {
		r.close()
		return
	}
	for _, k := range r.kernels {
		k.Wake()
	}
}

// close closes the loops, one after another, on the one goroutine that still
// has to do with them.
func (r *Reactor) close() {
	var closing sync.WaitGroup
	outlive(&closing, func() {
		for _, l := range r.loops {
			l.Close()
		}
	})
	closing.Wait()
	r.acceptor.release()
	r.closePollers()
}

func (r *Reactor) closePollers() {
	for _, k := range r.kernels {
		k.close()
	}
}
