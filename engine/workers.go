package engine

import (
	"container/list"
	"sync"
)

// workers bounds the requests that net/http serves for the loops, each on a
// goroutine while it lasts: so many at the same time, and so many that wait.
// Its methods are safe from any goroutine.
type workers struct {
	limit     int
	waitLimit int

	mu      sync.Mutex
	running int
	waiting list.List // of *lentConn, the first one to go next
}

// enter lets c be served, now or when it is its turn, unless too many wait.
func (w *workers) enter(c *lentConn) (ok, waits bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.running < w.limit:
		w.start(c)
		return true, false
	case w.waiting.Len() < w.waitLimit:
		c.place = w.waiting.PushBack(c)
		return true, true
	}
	return false, false
}

// start is called with mu held.
func (w *workers) start(c *lentConn) {
	w.running++
	c.outside.serve(c)
}

// leave takes c from those that wait, and reports whether it was one.
func (w *workers) leave(c *lentConn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.place == nil {
		return false
	}
	w.waiting.Remove(c.place)
	c.place = nil
	return true
}

// done makes room for the next one.
func (w *workers) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if first := w.waiting.Front(); first != nil {
		next := w.waiting.Remove(first).(*lentConn)
		next.place = nil
		w.start(next)
	}
}
