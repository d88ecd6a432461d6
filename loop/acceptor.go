//go:build linux || darwin || freebsd

package loop

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"turbine/internal/seldom"

	"golang.org/x/sys/unix"
)

const (
	// acceptRest is how long a listener rests when the system lacks memory.
	acceptRest = 100 * time.Millisecond

	// Keep-alive probes find peers that vanished where no protocol above
	// looks for them, in seconds: dead after 240.
	keepAliveIdle     = 120
	keepAliveInterval = 30
	keepAliveCount    = 4
)

// acceptor takes connections from all listeners, on loop 0, and deals them to
// the loops. No failure of an accept ends it.
type acceptor struct {
	reactor    *Reactor
	accepted   atomic.Uint64
	refused    atomic.Uint64
	failed     atomic.Uint64
	gate       *gate
	dealer     *Dealer
	crowded    []*listener         // loop 0's: those that had more than their portion
	more       func(time.Duration) // acceptMore as a value, made once
	complaints seldom.Once         // loop 0's
	reserve    int                 // a descriptor to give up when there are no more, or -1; loop 0's

	listeners atomic.Pointer[[]*listener] // replaced, never changed
	mu        sync.Mutex                  // for whoever replaces it
	closed    bool
}

// open is called before anything runs.
func (a *acceptor) open(r *Reactor) {
	a.reactor, a.more = r, a.acceptMore
	a.gate = newGate(&r.options)
	a.dealer = NewDealer(r.loops)
	for _, l := range r.loops {
		l.gate = a.gate
	}
	a.listeners.Store(new([]*listener))
	a.takeReserve()
}

func (a *acceptor) takeReserve() bool {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		fd = -1
	}
	a.reserve = fd
	return fd >= 0
}

// release is called after all has run.
func (a *acceptor) release() {
	if a.reserve >= 0 {
		_ = unix.Close(a.reserve)
		a.reserve = -1
	}
}

// Listen takes l, a listener of TCP or Unix sockets, and accepts on it until
// StopAccepting, or Stop; it may be called before Serve and while that runs.
// accept chooses the handler of each connection that comes from l, on the
// connection's loop, which need not be the one that the connection before is
// on; nil means what Open was given. l is closed in the end, also with an error:
// so the path of a Unix socket is removed as its SetUnlinkOnClose says.
// Safe from any goroutine.
func (r *Reactor) Listen(l net.Listener, accept func(*Conn) Handler) error {
	s, err := r.acceptor.take(l, accept)
	if err != nil {
		return fmt.Errorf("loop: listen on %v: %w", l.Addr(), err)
	}
	return r.acceptor.add(s)
}

func (a *acceptor) add(s *listener) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		s.close()
		return ErrStopped
	}
	// It is listed before it is watched, or its first event has no owner.
	before := a.listeners.Load()
	all := slices.Concat(*before, []*listener{s})
	a.listeners.Store(&all)
	if err := s.watch(Readable); err != nil {
		a.listeners.Store(before)
		s.close()
		return fmt.Errorf("loop: watch a listener: %w", err)
	}
	return nil
}

func (a *acceptor) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, s := range *a.listeners.Load() {
		s.close()
	}
	a.listeners.Store(new([]*listener))
}

// event handles an event of fd if that is a listener, and reports whether.
func (a *acceptor) event(fd int) bool {
	for _, s := range *a.listeners.Load() {
		if int(s.fd.Load()) == fd {
			a.drain(s)
			return true
		}
	}
	return false
}

// drain accepts a portion of what s has.
func (a *acceptor) drain(s *listener) {
	l := a.reactor.loops[0]
	l.enter()
	a.accept(s, quantum)
	l.leave()
	l.finish()
}

// accept takes connections from s for about as long as budget. The rest of the
// backlog waits for the next share of the loop's time, or for its turn among the
// sockets.
func (a *acceptor) accept(s *listener, budget time.Duration) {
	l := a.reactor.loops[0]
	room, now, end := a.reactor.MaxConns()-a.reactor.conns(), l.clock(), l.now+budget
	for {
		fd, address, err := s.accept()
		if room <= 0 { // until others have left, or SetMaxConns was called
			room = a.reactor.MaxConns() - a.reactor.conns()
		}
		if err != nil {
			// Closed: an event from before StopAccepting.
			if err == syscall.EAGAIN || err == net.ErrClosed || !a.goOn(s, err) {
				a.crowded = slices.DeleteFunc(a.crowded, func(other *listener) bool { return other == s })
				break
			}
		} else if held, refusal := a.admit(address.Addr(), room, now); refusal != 0 {
			a.refuse(fd, refusal, address.Addr())
		} else {
			room--
			a.accepted.Add(1)
			a.deal(s, fd, address, held)
		}
		if l.look() >= end {
			if !slices.Contains(a.crowded, s) {
				a.crowded = append(a.crowded, s)
			}
			break
		}
	}
	l.accepting = nil
	if len(a.crowded) > 0 {
		l.accepting = a.more
	}
}

// acceptMore continues with the first listener that had more than its portion.
func (a *acceptor) acceptMore(budget time.Duration) {
	s := a.crowded[0]
	a.crowded = append(a.crowded[1:], s)
	a.accept(s, budget)
}

// admit holds a new connection against the limits; room is what is left of
// MaxConns. held says that it counts for its address from now on. Safe from any
// goroutine.
func (a *acceptor) admit(address netip.Addr, room int, now time.Duration) (held bool, refusal Refusal) {
	if room <= 0 {
		return false, RefusedMaxConns
	}
	return a.gate.admit(address, now)
}

// refuse closes a connection that is over a limit, after it was counted.
func (a *acceptor) refuse(fd int, why Refusal, address netip.Addr) {
	if why == RefusedMaxConns {
		a.refused.Add(1)
	}
	if f := a.reactor.options.Refused; f != nil {
		f(why, address.Unmap())
	}
	_ = unix.Close(fd)
}

func (a *acceptor) deal(s *listener, fd int, address netip.AddrPort, held bool) {
	tuneAccepted(fd, s.tcp)
	l := a.dealer.Deal()
	if len(a.reactor.loops) == 1 {
		l.expect()
		l.open(fd, address, held, s.choose)
		return
	}
	// Also on loop 0: what it opened at once would weigh less than what waits for
	// the others, and it would be given more.
	_ = l.adopt(fd, address, held, s.choose) // a loop that stopped has closed it
}

// goOn deals with a failed accept and reports whether to try the next one.
func (a *acceptor) goOn(s *listener, err error) bool {
	a.failed.Add(1)
	a.complain(err)
	switch err {
	case syscall.EMFILE, syscall.ENFILE:
		if a.shed(s) {
			return true
		}
	case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
		syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.ETIMEDOUT:
		return true // accept(2): an error of that one connection
	}
	s.rest() // ENOBUFS, ENOMEM, or nothing left to shed with
	return false
}

// shed takes a connection for which there is no descriptor and closes it:
// left in the backlog it would be reported again at once, and its peer would
// wait for nothing.
func (a *acceptor) shed(s *listener) bool {
	if a.reserve < 0 && !a.takeReserve() {
		return false
	}
	_ = unix.Close(a.reserve)
	fd, _, err := s.accept()
	if err == nil {
		a.refused.Add(1)
		_ = unix.Close(fd)
	}
	a.takeReserve()
	return err == nil
}

func (a *acceptor) complain(err error) {
	if suppressed, ok := a.complaints.Allow(a.reactor.loops[0].now); ok {
		a.reactor.options.Logger.Error("accept failed", "error", err,
			"suppressed", suppressed, "conns", a.reactor.conns())
	}
}

// tuneTCP sets the options of an accepted connection.
func tuneTCP(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
		return err
	}
	return setKeepAlive(fd)
}
