package loop

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ticker is a timerfd that the loop's poller watches: a tick wakes the loop's
// own thread and nothing else. A goroutine with a timer, which then has to wake
// the loop, costs five times as much.
type ticker struct {
	fd    int
	tick  time.Duration
	clock func() time.Duration
}

func (k *pollKernel) openTicker(tick time.Duration, clock func() time.Duration) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("loop: create a timer: %w", err)
	}
	k.ticker = ticker{fd: fd, tick: tick, clock: clock}
	if err := k.poller.AddRead(attach(fd), false); err != nil {
		return fmt.Errorf("loop: watch the timer: %w", err)
	}
	return nil
}

// Ticks keeps step with the wheel's own ticks, or an alarm could be late by two
// of them.
func (k *pollKernel) Ticks(on bool) {
	var when unix.ItimerSpec
	if t := &k.ticker; on {
		when.Interval = unix.NsecToTimespec(t.tick.Nanoseconds())
		when.Value = unix.NsecToTimespec((t.tick - t.clock()%t.tick).Nanoseconds())
	}
	_ = unix.TimerfdSettime(k.ticker.fd, 0, &when, nil) // it fails for wrong arguments only
}

// ticked reports whether an event of fd is a tick.
func (k *pollKernel) ticked(fd int) bool {
	if fd != k.ticker.fd {
		return false
	}
	var expirations [8]byte
	_, _ = read(fd, expirations[:]) // starts the next period
	return true
}

func (k *pollKernel) closeTicker() {
	if k.ticker.fd > 0 {
		_ = unix.Close(k.ticker.fd)
	}
}

// startTicks has nothing to do: each loop has a timer of its own.
func (r *Reactor) startTicks() (stop func()) { return func() {} }
