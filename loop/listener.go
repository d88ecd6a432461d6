//go:build linux || darwin || freebsd

package loop

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

var errNotListening = errors.New("neither a TCP nor a Unix listener")

// listener is one listening socket. Loop 0 accepts on it; anybody may close it,
// under mu, so that nobody accepts on a number that is another's by then.
type listener struct {
	acceptor *acceptor
	choose   func(*Conn) Handler // of its connections; nil means the loop's own
	fd       atomic.Int32
	tcp      bool
	original *net.UnixListener // knows whether its path is to be removed; nil with TCP
	slot     Slot              // while it rests; loop 0's

	mu      sync.Mutex
	watched Interest
	closed  bool
}

// take makes a listener of l, whose duplicate it accepts on. With an error, l is
// closed.
func (a *acceptor) take(l net.Listener, choose func(*Conn) Handler) (*listener, error) {
	s := &listener{acceptor: a, choose: choose}
	var fd int
	var err error
	switch l := l.(type) {
	case *net.TCPListener:
		s.tcp = true
		fd, err = duplicate(l)
	case *net.UnixListener:
		s.original = l
		fd, err = duplicate(l)
	default:
		err = errNotListening
	}
	if s.original == nil || err != nil {
		_ = l.Close()
	}
	if err != nil {
		return nil, err
	}
	s.fd.Store(int32(fd))
	if s.tcp {
		err = tuneListener(fd)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func duplicate(l syscall.Conn) (fd int, err error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return -1, err
	}
	closed := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	if closed != nil {
		return -1, closed
	}
	return fd, err
}

// watch says whether accepts are wanted.
func (s *listener) watch(want Interest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.watched == want {
		return nil
	}
	fd, err := s.acceptor.reactor.kernels[0].Watch(int(s.fd.Load()), s.watched, want)
	s.fd.Store(int32(fd))
	if err == nil {
		s.watched = want
	}
	return err
}

func (s *listener) accept() (int, netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return -1, netip.AddrPort{}, net.ErrClosed
	}
	if f := s.acceptor.reactor.options.Faults; f != nil {
		if err := f.Accept(); err != nil {
			return -1, netip.AddrPort{}, err
		}
	}
	return accept(int(s.fd.Load()))
}

// rest stops accepting for a while: the socket stays readable, and would be
// reported again and again.
func (s *listener) rest() {
	l := s.acceptor.reactor.loops[0]
	if s.slot == 0 {
		s.slot = l.Claim(s)
	}
	_ = s.watch(0) // if it stays on, it only comes back sooner
	l.Arm(s.slot, l.Now()+acceptRest)
}

// Alarm ends a rest.
func (s *listener) Alarm() {
	l := s.acceptor.reactor.loops[0]
	if err := s.watch(Readable); err != nil {
		s.acceptor.complain(err)
		l.Arm(s.slot, l.Now()+acceptRest)
		return
	}
	l.Release(s.slot)
	s.slot = 0
}

func (s *listener) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	fd := int(s.fd.Load())
	if s.watched != 0 {
		fd, _ = s.acceptor.reactor.kernels[0].Watch(fd, s.watched, 0) // if it fails, Close ends it
	}
	s.fd.Store(-1)
	_ = unix.Close(fd)
	if s.original != nil {
		_ = s.original.Close()
	}
}
