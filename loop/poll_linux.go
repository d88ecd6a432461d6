package loop

import (
	"errors"
	"os"
	"reflect"
	"runtime"
	"time"
	"unsafe"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// eventBatch is the number of ready descriptors that one look at the sockets
// takes at most. The wake and the ticks are descriptors among the others, so
// they have their turn after as many.
const eventBatch = 128

// A look that takes longer than lookTime makes the next one take fewer descriptors,
// leastBatch at least. What became ready during a look stands behind all that was
// ready before, so it waits for the rest of a look and for these; callbacks of a
// millisecond made both a tenth of a second.
const (
	lookTime   = 10 * time.Millisecond
	leastBatch = 16
)

var errNoEpoll = errors.New("loop: gnet's poller keeps its epoll descriptor elsewhere")

// epoll returns the epoll descriptor of a gnet poller, which has no method for it.
func epoll(p *netpoll.Poller) (int, error) {
	fd := reflect.ValueOf(p).Elem().FieldByName("fd")
	if !fd.IsValid() || !fd.CanInt() {
		return 0, errNoEpoll
	}
	return int(fd.Int()), nil
}

// polling hands each ready descriptor to handle, until handle returns an error. It
// calls looked after each look at the sockets, for which it may have waited.
// hurries reports whether the next wait is likely to be short.
//
// Short waits are as in gnet's own Polling: the loop yields to Go's scheduler before
// each, and looks at the sockets by a system call that the scheduler is told of.
// Without both, one client that sends the next message once it has the answer gets a
// third fewer of them. But both wake threads of the runtime that look for work: an
// idle loop that ticks was 1,100 context switches and 2.5 % of a core a second.
// Before a long wait neither is done.
func (k *pollKernel) polling(looked func(), hurries func() bool, handle netpoll.PollEventHandler) error {
	fd, err := epoll(k.poller)
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, eventBatch)
	for batch := eventBatch; ; {
		n, err := wait(fd, events[:batch], hurries())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		looked()
		began := time.Time{}
		if n >= leastBatch { // fewer do not pay for the clock
			began = time.Now()
		}
		for i := range max(n, 0) {
			if err := handle(int(events[i].Fd), events[i].Events, 0); err != nil {
				return err
			}
		}
		if n >= leastBatch {
			batch = nextBatch(n, time.Since(began))
		}
	}
}

// nextBatch is how many descriptors a look takes at most after one that took n for
// that long.
func nextBatch(n int, took time.Duration) int {
	return int(min(max(int64(n)*int64(lookTime)/max(int64(took), 1), leastBatch), eventBatch))
}

// wait waits until descriptors are ready, and returns their number.
func wait(fd int, events []unix.EpollEvent, hurries bool) (n int, err error) {
	if hurries {
		if n, err = unix.EpollWait(fd, events, 0); n != 0 || err != nil {
			return n, err
		}
		runtime.Gosched()
	} else if n, err = waitNow(fd, events); n != 0 || err != nil {
		return n, err
	}
	return unix.EpollWait(fd, events, -1)
}

// waitNow is EpollWait that does not wait.
func waitNow(fd int, events []unix.EpollEvent) (int, error) {
	room := unsafe.Pointer(&events[0]) // #nosec G103 -- what the kernel fills
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(fd), uintptr(room), uintptr(len(events)), 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
