//go:build darwin || freebsd

package loop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

func read(fd int, p []byte) (int, error) {
	for {
		if n, err := unix.Read(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func write(fd int, p []byte) (int, error) {
	for {
		if n, err := unix.Write(fd, p); err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func receive(fd int, p []byte) (int, error) { return read(fd, p) }

// send has no use for more: there is no such flag.
func send(fd int, p []byte, _ bool) (int, error) { return write(fd, p) }

// vector is empty here: x/sys has no Writev for these systems, so each piece
// is a call of its own.
type vector struct{}

func (vector) send(fd int, v [][]byte, _ bool) (total int, err error) {
	for _, p := range v {
		n, err := write(fd, p)
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

// openWake returns a pipe.
func openWake() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe(p[:]); err != nil {
		return -1, -1, err
	}
	for _, fd := range p {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			_ = unix.Close(p[0])
			_ = unix.Close(p[1])
			return -1, -1, err
		}
	}
	return p[0], p[1], nil
}

// Watch goes through the poller's functions. These can take back the writing
// filter only; the reading one goes away with its descriptor, so that is
// exchanged for a duplicate.
func (k *pollKernel) Watch(fd int, from, to Interest) (int, error) {
	removed := from &^ to
	switch {
	case removed&Readable != 0:
		other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fd, err
		}
		_ = unix.Close(fd)
		fd, from = other, 0
	case removed == Writable:
		if err := k.poller.ModRead(attach(fd), false); err != nil {
			return fd, errno(err)
		}
	}
	return fd, errno(k.add(fd, to&^from))
}

func accept(fd int) (int, netip.AddrPort, error) {
	fd, address, err := unix.Accept(fd)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, netip.AddrPort{}, unix.ECONNABORTED
	}
	return fd, addrPort(address), nil
}

func tuneListener(int) error { return nil }

// tuneAccepted ignores errors: macOS refuses options of a connection that the
// peer has reset already.
func tuneAccepted(fd int, tcp bool) {
	if tcp {
		_ = tuneTCP(fd)
	}
}
