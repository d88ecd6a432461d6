//go:build darwin || freebsd

package loop

import (
	"sync"
	"sync/atomic"
	"time"
)

// ticker says whether the loop wants ticks. gnet's poller has no timers for
// kqueue, so one goroutine posts them to all loops.
type ticker struct {
	on   atomic.Bool
	rung atomic.Bool // a tick is queued
}

func (k *pollKernel) openTicker(time.Duration, func() time.Duration) error { return nil }

// Ticks starts or stops the loop's share of Reactor.tick.
func (k *pollKernel) Ticks(on bool) { k.ticker.on.Store(on) }

func (k *pollKernel) ticked(int) bool { return false }

func (k *pollKernel) closeTicker() {}

// tickTask is a tick on its way to a loop.
type tickTask struct {
	loop   *Loop
	ticker *ticker
}

func (t *tickTask) Run() {
	t.ticker.rung.Store(false)
	t.loop.Tick()
}

// startTicks starts the goroutine that ticks; stop ends it and waits for it.
func (r *Reactor) startTicks() (stop func()) {
	var ticker sync.WaitGroup
	done := make(chan struct{})
	ticker.Go(func() { r.tick(done) })
	return func() {
		close(done)
		ticker.Wait()
	}
}

// tick posts ticks to the loops that want them until done is closed. It keeps
// step with the wheels' own ticks, or an alarm could be late by two of them.
func (r *Reactor) tick(done <-chan struct{}) {
	tasks := make([]tickTask, len(r.loops))
	for i := range tasks {
		tasks[i] = tickTask{loop: r.loops[i], ticker: &r.kernels[i].ticker}
	}
	select {
	case <-done:
		return
	case <-time.After(r.options.Tick - r.clock()%r.options.Tick):
	}
	ticker := time.NewTicker(r.options.Tick)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			for i := range tasks {
				if t := tasks[i].ticker; t.on.Load() && !t.rung.Swap(true) {
					_ = r.loops[i].Post(&tasks[i]) // a stopped loop has no alarms
				}
			}
		}
	}
}
