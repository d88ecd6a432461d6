package loop

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Calls for non-blocking sockets return at once, so the scheduler need not hear
// of them: raw calls are worth a fifth of the throughput with few connections.
// Those for sockets alone save another twentieth, since they go around the
// layer of files.

func receive(fd int, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func send(fd int, p []byte, more bool) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), sendFlags(more), 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func sendFlags(more bool) uintptr {
	if more {
		return unix.MSG_NOSIGNAL | unix.MSG_MORE
	}
	return unix.MSG_NOSIGNAL
}

func read(fd int, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func write(fd int, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// vector is the room for the kernel's form of a list of pieces.
type vector struct {
	pieces  [MaxVector]unix.Iovec
	message unix.Msghdr
}

func (s *vector) send(fd int, v [][]byte, more bool) (int, error) {
	for i, p := range v {
		s.pieces[i].Base = unsafe.SliceData(p)
		s.pieces[i].SetLen(len(p))
	}
	defer clear(s.pieces[:len(v)]) // keep no buffer alive
	s.message.Iov = &s.pieces[0]
	s.message.SetIovlen(len(v))
	for {
		n, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.message)), sendFlags(more))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// openWake returns an eventfd, which is both ends.
func openWake() (r, w int, err error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return fd, fd, err
}

// Watch goes through the poller's functions. These cannot change a descriptor
// to "writable only", so that case starts afresh.
func (k *pollKernel) Watch(fd int, from, to Interest) (int, error) {
	var err error
	switch {
	case from == to:
	case from == 0:
		err = k.add(fd, to)
	case to == 0:
		err = k.poller.Delete(fd)
	case to == Readable:
		err = k.poller.ModRead(attach(fd), false)
	case to == Readable|Writable:
		err = k.poller.ModReadWrite(attach(fd), false)
	default:
		if err = k.poller.Delete(fd); err == nil {
			err = k.add(fd, to)
		}
	}
	return fd, errno(err)
}

// accept is accept4(2) alone: package unix asks each new socket for its
// protocol, with another system call, and allocates its address.
func accept(fd int) (int, netip.AddrPort, error) {
	var address unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&address)),
			uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == 0 {
			return int(n), remote(&address), nil
		}
		if e != unix.EINTR {
			return -1, netip.AddrPort{}, e
		}
	}
}

// remote is the address of a TCP peer, and none of others.
func remote(address *unix.RawSockaddrAny) netip.AddrPort {
	switch address.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(address))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), bigEndian(a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(address))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), bigEndian(a.Port))
	}
	return netip.AddrPort{}
}

// bigEndian reads a port that is in network order in memory.
func bigEndian(port uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&port))[:])
}

// tuneListener sets what accepted TCP connections inherit: it saves five
// system calls for each.
func tuneListener(fd int) error { return tuneTCP(fd) }

func tuneAccepted(int, bool) {}

func setKeepAlive(fd int) error {
	for _, o := range []struct{ option, value int }{
		{unix.TCP_KEEPIDLE, keepAliveIdle},
		{unix.TCP_KEEPINTVL, keepAliveInterval},
		{unix.TCP_KEEPCNT, keepAliveCount},
	} {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, o.option, o.value); err != nil {
			return err
		}
	}
	return nil
}
