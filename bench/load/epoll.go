//go:build linux

package load

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reads and writes of non-blocking sockets return at once, so the scheduler need not
// know of them: raw calls, as turbine/loop makes them.

func read(fd int, p []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, errno(e)
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
			return 0, errno(e)
		}
	}
}

var errAgain error = unix.EAGAIN

// errno makes an error of e; the one that is no fault is not boxed anew.
func errno(e unix.Errno) error {
	if e == unix.EAGAIN {
		return errAgain
	}
	return e
}

// epoll tells which connections are ready. It is edge triggered: each
// descriptor is registered once, for everything, and never changed, which
// saves a system call or two for each connection.
type epoll struct {
	fd     int
	coarse bool // a kernel before 5.11, without epoll_pwait2
	events [512]unix.EpollEvent
}

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("load: epoll: %w", err)
	}
	return &epoll{fd: fd}, nil
}

func (e *epoll) close() { _ = unix.Close(e.fd) }

func (e *epoll) add(fd int) error {
	return unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&(1<<32-1),
		Fd:     int32(fd),
	})
}

// timespec is the kernel's of 64 bits, on every architecture.
type timespec struct{ sec, nsec int64 }

// wait waits at most d. It takes epoll_pwait2, whose timeout is in
// nanoseconds, since an open loop sends in between two milliseconds; without
// it, waits of less than a millisecond are busy ones. Its result is valid until
// the next call.
func (e *epoll) wait(d time.Duration) ([]unix.EpollEvent, error) {
	var n uintptr
	var err error
	if e.coarse {
		var m int
		m, err = unix.EpollWait(e.fd, e.events[:], int(d.Milliseconds()))
		n = uintptr(max(m, 0))
	} else {
		t := timespec{int64(d / time.Second), int64(d % time.Second)}
		var en unix.Errno
		n, _, en = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])),
			uintptr(len(e.events)), uintptr(unsafe.Pointer(&t)), 0, 0)
		if en != 0 {
			n, err = 0, en
		}
	}
	switch {
	case err == nil, errors.Is(err, unix.EINTR):
		return e.events[:n], nil
	case errors.Is(err, unix.ENOSYS) && !e.coarse:
		e.coarse = true
		return nil, nil
	}
	return nil, fmt.Errorf("load: epoll: %w", err)
}

// sharpen makes this thread's timeouts exact to the microsecond, where the
// kernel's default is 50 of them. The returned function undoes it.
func sharpen() (restore func()) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) } // 0: the default
}

// threadCPU is what the calling thread has used up to now. The collector's
// threads, and whatever else the process does, do not count: the thread of the
// load is what can be too slow. The clock counts what getrusage does not know
// before the next tick: a burst of a millisecond is not nothing.
func threadCPU() time.Duration {
	var used unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used) != nil {
		return 0
	}
	return time.Duration(used.Nano())
}
