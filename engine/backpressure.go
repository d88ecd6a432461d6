package engine

// Overflow is what happens to a session that a message does not fit in, by
// Options.Queue.MaxBytes, Queue.MaxPackets or Queue.Budget. Send returns an error in
// either case.
type Overflow uint8

// The policies.
const (
	// OverflowClose closes the session at once with ReasonOverflow and frees
	// what was queued: the client comes back and knows that it has missed
	// something.
	OverflowClose Overflow = iota + 1
	// OverflowDrop drops that message and leaves the session open: for
	// messages that the next one makes obsolete. A session is closed only to make
	// room for others, as Queue.Budget says.
	OverflowDrop
)

// String is the policy's name.
func (o Overflow) String() string {
	switch o {
	case OverflowClose:
		return "close"
	case OverflowDrop:
		return "drop"
	}
	return "unknown"
}

// cut is what ended a session without waiting for its queue.
type cut uint8

const (
	cutNot    cut = iota
	cutByCall     // CloseNow
	cutByQueue
	cutByBudget
)

// cause is the error that Events.Close is told. s.mu is held.
func (s *Session) cause() error {
	if s.cut == cutByBudget {
		return ErrBudget
	}
	return ErrQueueFull
}

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
