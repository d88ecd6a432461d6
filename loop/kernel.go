package loop

import "net/netip"

// Interest says which readiness of a descriptor its loop wants to be told.
type Interest uint8

// The two directions; their sum is both.
const (
	Readable Interest = 1 << iota
	Writable
)

// Kernel is what a Loop needs of the operating system. There are the real one on
// gnet's poller, the simulated one of package looptest, and that of bench/sim, which
// is a million clients at once.
//
// Errors are syscall.Errno values. EAGAIN and EINTR of Read and Write mean "not now",
// and ENOBUFS and ENOMEM "not for a while"; any other error ends the connection, and
// so does any error of Watch. All methods but Wake are called on the loop's
// goroutine, with two exceptions: whoever tried to Adopt on a loop that had stopped
// also calls Close, and whoever closes a listener also calls Watch of it.
type Kernel interface {
	// Read reads once, without blocking. 0 and nil is the end of the stream.
	Read(fd int, p []byte) (int, error)
	// Write writes once, without blocking, and borrows p. More says that
	// Shutdown, Close or another Write follows at once, so that the last bytes
	// may wait to share a packet with what comes then.
	Write(fd int, p []byte, more bool) (int, error)
	// Writev is Write for at most MaxVector pieces. It does not change v.
	Writev(fd int, v [][]byte, more bool) (int, error)
	// Watch changes what is reported of fd, level triggered, and returns the
	// descriptor to use from now on: kqueue forgets a filter only when its
	// descriptor is closed, so there a pause changes the number.
	Watch(fd int, from, to Interest) (int, error)
	// LocalAddr is the address of this end of fd, a socket; the zero AddrPort where
	// there is none, as with Unix sockets.
	LocalAddr(fd int) netip.AddrPort
	// Shutdown ends the writing direction.
	Shutdown(fd int)
	// Close closes fd. Nothing is reported of it afterwards.
	Close(fd int)
	// Wake makes the loop's driver call Loop.Mail soon, once for any number
	// of calls. Safe from any goroutine.
	Wake()
	// Ticks starts or stops calls of Loop.Tick every Options.Tick, on the
	// loop's goroutine. There are none at first.
	Ticks(on bool)
	// Sleep takes back the Wake that led to the running Mail.
	Sleep()
}

// MaxVector is the number of pieces of one Writev. The kernel's own limit is
// 1,024; above 64 nothing is gained.
const MaxVector = 64
