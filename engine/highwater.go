package engine

// The marks at which the application hears that a client falls behind, and that it
// has caught up. outbox_limits.go says what happens when the queue is full.

// crosses reports whether tellWater may have something to tell when so many bytes wait
// after a message has taken the place of another. Safe from any goroutine.
func (s *Session) crosses(before, after int) bool {
	q := &s.server.options.Queue
	return before < q.HighWater && after >= q.HighWater || before > q.LowWater && after <= q.LowWater
}

// tellWater calls Events.HighWater or LowWater when a mark is passed; left is the
// number of bytes that wait now.
func (s *Session) tellWater(left int) {
	o := &s.server.options
	switch {
	case !s.high && left >= o.Queue.HighWater:
		s.high = true
		s.tellHighWater(left)
	case s.high && left <= o.Queue.LowWater:
		s.high = false
		s.tellLowWater()
	}
}
