package loop

import (
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// fakeKernel takes up to room bytes and remembers them.
type fakeKernel struct {
	room   int
	sent   []byte
	calls  int
	pieces []int // of each Writev
	awake  atomic.Int64
	shift  int   // what Watch adds to a number that it stops watching, as on kqueue
	refuse error // of Watch
	fails  error // of Read and Write
	watch  Interest
	ticks  bool
}

func (k *fakeKernel) Read(int, []byte) (int, error) {
	if k.fails != nil {
		return 0, k.fails
	}
	return 0, syscall.EAGAIN
}

func (k *fakeKernel) Write(_ int, p []byte, _ bool) (int, error) {
	k.calls++
	if k.fails != nil {
		return 0, k.fails
	}
	n := min(len(p), k.room)
	if n == 0 {
		return 0, syscall.EAGAIN
	}
	k.room -= n
	k.sent = append(k.sent, p[:n]...)
	return n, nil
}

func (k *fakeKernel) Writev(fd int, v [][]byte, more bool) (total int, err error) {
	k.pieces = append(k.pieces, len(v))
	calls := k.calls
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
	k.calls = calls + 1
	return total, nil
}

func (k *fakeKernel) Watch(fd int, from, to Interest) (int, error) {
	if from&^to&Readable != 0 {
		fd += k.shift
	}
	if k.refuse == nil {
		k.watch = to
	}
	return fd, k.refuse
}

func (k *fakeKernel) LocalAddr(int) netip.AddrPort { return netip.AddrPort{} }

func (k *fakeKernel) Shutdown(int)  {}
func (k *fakeKernel) Close(int)     {}
func (k *fakeKernel) Wake()         { k.awake.Add(1) }
func (k *fakeKernel) Sleep()        {}
func (k *fakeKernel) Ticks(on bool) { k.ticks = on }

// newFake makes a loop whose clock is *now.
func newFake(now *time.Duration, tick time.Duration) (*Loop, *fakeKernel) {
	k := &fakeKernel{room: 1 << 30}
	o := Options{Tick: tick, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	clock := func() time.Duration { return *now }
	return New(0, k, clock, new(Table), o, func(*Conn) Handler { return discard{} }), k
}

// open makes a connection of l.
func open(l *Loop, fd int) *Conn {
	l.Open(fd, netip.AddrPort{})
	return l.conns.get(fd)
}
