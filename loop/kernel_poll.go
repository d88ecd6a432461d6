//go:build linux || darwin || freebsd

package loop

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// pollKernel is the real Kernel: system calls, and one of gnet's pollers.
//
// The wake is a descriptor of our own that the poller watches like any other,
// so it has its turn among the sockets, and left readable it comes again.
type pollKernel struct {
	poller   *netpoll.Poller
	scratch  vector // for Writev
	ticker   ticker
	wakeRead int

	// A Post may be about to Wake a loop that has just been closed: the
	// lock keeps it from writing to somebody else's descriptor.
	wakeMu    sync.Mutex
	wakeWrite int // -1 when closed
}

func newPollKernel(tick time.Duration, clock func() time.Duration) (*pollKernel, error) {
	poller, err := netpoll.OpenPoller()
	if err != nil {
		return nil, fmt.Errorf("loop: open a poller: %w", err)
	}
	k := &pollKernel{poller: poller}
	if k.wakeRead, k.wakeWrite, err = openWake(); err != nil {
		_ = poller.Close()
		return nil, fmt.Errorf("loop: open a wake descriptor: %w", err)
	}
	if err := poller.AddRead(attach(k.wakeRead), false); err != nil {
		k.close()
		return nil, fmt.Errorf("loop: watch the wake descriptor: %w", err)
	}
	if err := k.openTicker(tick, clock); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// close gives back the kernel's own descriptors. Safe from any goroutine.
func (k *pollKernel) close() {
	k.wakeMu.Lock()
	defer k.wakeMu.Unlock()
	if k.wakeWrite < 0 {
		return
	}
	_ = k.poller.Close()
	k.closeTicker()
	_ = unix.Close(k.wakeRead)
	if k.wakeWrite != k.wakeRead {
		_ = unix.Close(k.wakeWrite)
	}
	k.wakeWrite = -1
}

// wakeBytes are the 8 bytes that an eventfd wants, any number but 0.
var wakeBytes = []byte{1, 1, 1, 1, 1, 1, 1, 1}

func (k *pollKernel) Wake() {
	k.wakeMu.Lock()
	defer k.wakeMu.Unlock()
	if k.wakeWrite >= 0 {
		// It fails only when it is full, and then it is readable.
		_, _ = write(k.wakeWrite, wakeBytes)
	}
}

func (k *pollKernel) Sleep() {
	var p [64]byte
	_, _ = read(k.wakeRead, p[:])
}

func (k *pollKernel) Read(fd int, p []byte) (int, error) { return receive(fd, p) }

func (k *pollKernel) Write(fd int, p []byte, more bool) (int, error) { return send(fd, p, more) }

func (k *pollKernel) Writev(fd int, v [][]byte, more bool) (int, error) {
	return k.scratch.send(fd, v, more)
}

func (k *pollKernel) Shutdown(fd int) {
	_ = unix.Shutdown(fd, unix.SHUT_WR) // it fails when the peer is gone: read tells
}

func (k *pollKernel) Close(fd int) { _ = unix.Close(fd) }

func (k *pollKernel) LocalAddr(fd int) netip.AddrPort {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPort(address)
}

// addrPort is the address of TCP, and none of others.
func addrPort(address unix.Sockaddr) netip.AddrPort {
	switch a := address.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)) // #nosec G115 -- a port
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)) // #nosec G115 -- a port
	}
	return netip.AddrPort{}
}

func attach(fd int) *netpoll.PollAttachment { return &netpoll.PollAttachment{FD: fd} }

// add watches fd for one more direction or for both.
func (k *pollKernel) add(fd int, more Interest) error {
	switch more {
	case Readable:
		return k.poller.AddRead(attach(fd), false)
	case Writable:
		return k.poller.AddWrite(attach(fd), false)
	case Readable | Writable:
		return k.poller.AddReadWrite(attach(fd), false)
	}
	return nil
}

// errno strips what gnet wraps around a system call's error.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}
