package engine

import (
	"container/list"
	"sync"
)

// seats bounds the requests that net/http serves for the loops, each on a
// goroutine while it lasts: so many at the same time, and so many that wait.
// Its methods are safe from any goroutine.
type seats struct {
	limit     int
	waitLimit int

	mu      sync.Mutex
	running int
	waiting list.List // of *lentConn, the first one to go next
}

// enter lets c be served, now or when it is its turn, unless too many wait.
func (s *seats) enter(c *lentConn) (ok, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.running < s.limit:
		s.start(c)
		return true, false
	case s.waiting.Len() < s.waitLimit:
		c.place = s.waiting.PushBack(c)
		return true, true
	}
	return false, false
}

// start is called with mu held.
func (s *seats) start(c *lentConn) {
	s.running++
	c.outside.serve(c)
}

// leave takes c from those that wait, and reports whether it was one.
func (s *seats) leave(c *lentConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place == nil {
		return false
	}
	s.waiting.Remove(c.place)
	c.place = nil
	return true
}

// done makes room for the next one.
func (s *seats) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if first := s.waiting.Front(); first != nil {
		next := s.waiting.Remove(first).(*lentConn)
		next.place = nil
		s.start(next)
	}
}
