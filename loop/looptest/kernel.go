package looptest

import (
	"net/netip"
	"sync/atomic"
	"syscall"

	"turbine/loop"
)

// defaultWindow is how many bytes a Peer takes before it reads them.
const defaultWindow = 4 << 20

// socket is both ends of one connection.
type socket struct {
	world  *World
	fd     int
	remote netip.AddrPort
	owner  int // index of the loop that watches it, -1 for none
	watch  loop.Interest

	in      []byte // from the peer, not yet read by the loop
	inBase  []byte // the same storage from its start
	out     []byte // from the loop, not yet read by the peer
	window  int    // bytes that out may hold
	peerEnd bool   // the peer sends no more
	reset   bool   // the peer is gone
	shut    bool   // the loop sends no more
	closed  bool   // the loop closed the descriptor
	broken  bool   // the loop closed it with bytes unread: the peer sees a reset
	queued  bool   // on its kernel's ready list
}

func (s *socket) ready() loop.Interest {
	var r loop.Interest
	if len(s.in) > 0 || s.peerEnd || s.reset {
		r |= loop.Readable
	}
	if len(s.out) < s.window || s.reset {
		r |= loop.Writable
	}
	return r & s.watch
}

// stir puts the socket on its kernel's list if there is something to report.
func (s *socket) stir() {
	if s.owner >= 0 && !s.queued && s.ready() != 0 {
		s.queued = true
		k := s.world.kernels[s.owner]
		k.readyList = append(k.readyList, s)
	}
}

// kernel is the simulated operating system, as one loop sees it.
type kernel struct {
	world     *World
	index     int
	readyList []*socket
	batch     []*socket // of a turn, as far as it has not got yet
	spare     []*socket
	woken     atomic.Bool
	more      bool // Mail asked to be called again
	ticks     bool
}

// turn reports what is ready now, in the order in which it became so, and then
// runs one batch of the mailbox.
func (k *kernel) turn(l *loop.Loop) (busy bool) {
	if k.batch != nil {
		k.goOn()
	}
	if batch := k.readyList; len(batch) > 0 {
		k.batch, k.readyList = batch, k.spare[:0]
		busy = k.report(l, batch)
		k.batch, k.spare = nil, batch
	}
	if k.woken.Swap(false) || k.more {
		busy, k.more = true, true // and stays so until Mail has returned
		k.more = l.Mail()
	}
	return busy
}

func (k *kernel) report(l *loop.Loop, batch []*socket) (busy bool) {
	for i, s := range batch {
		s.queued = false
		if r := s.ready(); r != 0 && s.owner == k.index && !s.closed {
			busy = true
			l.Ready(s.fd, r)
			s.stir()
		}
		batch[i] = nil
	}
	return busy
}

// goOn reports in this turn what the one before has not, because a callback has
// ended its goroutine.
func (k *kernel) goOn() {
	for _, s := range k.batch {
		if s != nil {
			s.queued = false
			s.stir()
		}
	}
	k.batch, k.spare = nil, k.batch // readyList has the room of the other one
}

func (k *kernel) Read(fd int, p []byte) (int, error) {
	s := k.world.socket(fd)
	switch {
	case s.reset:
		return 0, syscall.ECONNRESET
	case len(s.in) > 0:
		n := copy(p, s.in)
		s.in = s.in[n:]
		if len(s.in) == 0 {
			s.in = s.inBase[:0]
		}
		return n, nil
	case s.peerEnd:
		return 0, nil
	}
	return 0, syscall.EAGAIN
}

func (k *kernel) Write(fd int, p []byte, _ bool) (int, error) {
	s := k.world.socket(fd)
	if s.reset {
		return 0, syscall.EPIPE
	}
	if s.shut {
		panic("looptest: write after shutdown")
	}
	room := s.window - len(s.out)
	if room <= 0 {
		return 0, syscall.EAGAIN
	}
	n := min(room, len(p))
	s.out = append(s.out, p[:n]...)
	return n, nil
}

func (k *kernel) Writev(fd int, v [][]byte, more bool) (int, error) {
	if len(v) > loop.MaxVector {
		return 0, syscall.EINVAL
	}
	total := 0
	for _, p := range v {
		n, err := k.Write(fd, p, more)
		total += n
		if err != nil && total == 0 {
			return 0, err
		}
		if n < len(p) {
			break
		}
	}
	return total, nil
}

func (k *kernel) Watch(fd int, from, to loop.Interest) (int, error) {
	s := k.world.socket(fd)
	if from != s.watch {
		panic("looptest: the loop is wrong about what it watches")
	}
	s.watch, s.owner = to, k.index
	if to == 0 {
		s.owner = -1
	}
	s.stir()
	return fd, nil
}

func (k *kernel) LocalAddr(int) netip.AddrPort { return localAddr }

// localAddr is the one address that all clients of a World connect to.
var localAddr = netip.MustParseAddrPort("192.0.2.254:80")

func (k *kernel) Shutdown(fd int) { k.world.socket(fd).shut = true }

func (k *kernel) Close(fd int) {
	s := k.world.socket(fd)
	s.closed, s.owner = true, -1
	s.broken = len(s.in) > 0
	k.world.sockets[fd] = nil
	k.world.free = append(k.world.free, fd)
}

// Wake is all of a World that may be called from other goroutines; the loop
// sees it at the next Run.
func (k *kernel) Wake() {
	k.woken.Store(true)
	select {
	case k.world.woken <- struct{}{}:
	default:
	}
}

func (k *kernel) Sleep() {}

func (k *kernel) Ticks(on bool) { k.ticks = on }
