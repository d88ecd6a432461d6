package engine

// Overflow is what happens to a session that a message does not fit in, by
// Options.Queue.MaxBytes, Queue.MaxPackets or Queue.Budget. The caller of Send hears of
// it in either case.
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

// cut is who ended a session without waiting for its queue.
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

// sparedQueue is how many bytes a session may have waiting and still draw on
// the reserve of the budget, if its connection takes what it is given: it is not
// the one that has used it up.
const sparedQueue = 16 << 10

// charge counts n bytes more in the outboxes of the session's loop.
func (s *Session) charge(n int) { s.server.shard(s.loop).queued.Add(int64(n)) }

// refuses says why a packet of size bytes, of which the loop's budget has adds
// more, cannot be queued now: nil, ErrQueueFull or ErrBudget. One that is the
// protocol's own, of which one of a kind waits at most, has a place beside those of
// the session's messages: a client that lags and reads on must not lose its
// heartbeat for its full queue. s.mu is held.
func (s *Session) refuses(size int, adds int64, ours bool) error {
	o := &s.server.options
	waiting := 0
	if s.outbox != nil {
		waiting = s.outbox.bytes
		if !ours && (waiting+size > o.Queue.MaxBytes || s.outbox.packets >= o.Queue.MaxPackets) {
			return ErrQueueFull
		}
	}
	return s.overBudget(waiting, adds)
}

// refusesMore is refuses for a message in the place of another, which has size bytes
// less. s.mu is held.
func (s *Session) refusesMore(size int, adds int64) error {
	waiting := s.outbox.bytes
	switch {
	case size > 0 && waiting+size > s.server.options.Queue.MaxBytes:
		return ErrQueueFull
	case adds > 0:
		return s.overBudget(waiting, adds)
	}
	return nil
}

// overBudget is the part of refuses that asks the budget; the session has so many
// bytes waiting. s.mu is held.
func (s *Session) overBudget(waiting int, adds int64) error {
	share := s.server.shares.queue
	shard := s.server.shard(s.loop)
	used := shard.used() + adds
	if used <= share {
		return nil
	}
	if s.server.lacksRoom(used-adds, adds) {
		shard.relieve(s.server)
	}
	if waiting < sparedQueue && !s.behind && used <= share+share/8 {
		return nil
	}
	return ErrBudget
}

// countRefused counts that a message was refused with err. s.mu is held.
func (s *Session) countRefused(err error) {
	limit := LimitQueue
	switch {
	case err == ErrBudget:
		limit = LimitQueueBudget
	case s.outbox.packets >= s.server.options.Queue.MaxPackets:
		limit = LimitQueuePackets
	}
	s.server.count(limit)
}

// takes reports whether a message of size bytes would be queued now, behind others
// or in the place of one with its key.
func (s *Session) takes(size int, key string, inTurn bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over(inTurn) {
		return false
	}
	if key != "" {
		hold := !inTurn && s.mustWait()
		if k := s.waiting(key, hold); k != nil {
			more := size - s.outbox.at(k, hold).size()
			return s.refusesMore(more, int64(more)) == nil
		}
	}
	return s.refuses(size, int64(size), false) == nil
}

// overflow seals the session and frees its queue; the next run closes it.
// s.mu is held.
func (s *Session) overflow(err error) {
	s.cut = cutByQueue
	if err == ErrBudget {
		s.cut = cutByBudget
	}
	s.sealed.Store(true)
	if box := s.outbox; box != nil {
		s.outbox = nil
		box.free(s.server.shard(s.loop))
	}
}

// tellWater tells of the high and the low water mark; left is the number of
// bytes that wait now.
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
