package engine

// The way into a session's outbox: what asks which limit, what counts, and what
// becomes of a session that a message does not fit in. All but takes are called under
// the session's mu.

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
	// OverflowDrop drops the message and leaves the session open: for messages
	// that the next one makes obsolete. A session is closed only to make
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

// over reports whether nothing may be queued any more. What comes in its turn may
// until the turn of Close comes.
func (s *Session) over(inTurn bool) bool {
	e := s.ends()
	return e != endingNot && !(inTurn && e == endingInTurn)
}

// book is the only way into an outbox: whatever is queued for a client, and whoever
// queues it, asks the same limits here, and is counted. The packet is of size bytes;
// it adds own to what the loop counts for the budget, and more where it is the first
// that holds what many share. After an error, what becomes of the session then was
// done: the caller schedules a run where it is sealed. s.mu is held.
func (s *Session) book(size, own int, more int64, ours bool) error {
	if err := s.refuses(size, int64(own)+more, ours); err != nil {
		s.countRefused(err, 1)
		if s.server.options.Queue.Overflow != OverflowDrop {
			s.overflow(err)
		}
		return err
	}
	if s.outbox == nil {
		s.outbox = outboxes.Get().(*outbox)
	}
	s.charge(own)
	return nil
}

// put takes o, unless it returns an error of book. s.mu is held.
func (s *Session) put(o outgoing, hold bool) error {
	size := o.size()
	more := int64(0)
	if o.prepared != nil {
		more = s.server.shard(s.loop).firstShare(o.prepared)
	}
	if err := s.book(size, size-o.shared(), more, o.ours()); err != nil {
		return err
	}
	if o.prepared != nil {
		s.server.shard(s.loop).share(o.prepared)
	}
	if hold {
		s.hold(o)
	} else {
		s.outbox.push(o)
	}
	return nil
}

// sparedQueue is how many bytes a session may have waiting and still draw on
// the reserve of the budget, if its connection takes what it is given: it is not
// the one that has used it up.
const sparedQueue = 16 << 10

// charge counts n bytes more in the outboxes of the session's loop.
func (s *Session) charge(n int) { s.server.shard(s.loop).queued.Add(int64(n)) }

// refuses says why a packet of size bytes, of which the loop's budget has adds more,
// cannot be queued now: nil, ErrQueueFull or ErrBudget. A packet of the protocol's
// own, of which one of a kind waits at most, has a place of its own next to the
// session's messages: a client that lags and still reads must not lose its heartbeat
// because its queue is full. s.mu is held.
func (s *Session) refuses(size int, adds int64, ours bool) error {
	o := &s.server.options
	waiting := 0
	if s.outbox != nil {
		waiting = s.outbox.bytes
		if !ours && (waiting+size > o.Queue.MaxBytes || s.outbox.packets >= o.Queue.MaxPackets) {
			return ErrQueueFull
		}
	}
	if s.server.shard(s.loop).used()+adds <= s.server.shares.queue {
		return nil // mostly: without a call
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

// countRefused counts that a message was refused with err, with which so many packets
// more would wait. s.mu is held.
func (s *Session) countRefused(err error, packets int) {
	limit := LimitQueue
	switch {
	case err == ErrBudget:
		limit = LimitQueueBudget
	case s.outbox.packets+packets > s.server.options.Queue.MaxPackets:
		limit = LimitQueuePackets
	}
	s.server.count(limit)
}

// takes reports whether a message of size bytes would be queued now, behind others
// or in the place of one with its key. If it is to be merged, nobody knows yet how much
// room it takes: it is tried.
func (s *Session) takes(size int, with *SendOptions, inTurn bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over(inTurn) {
		return false
	}
	if with.Key != "" {
		hold := !inTurn && s.mustWait()
		if k := s.waiting(with.Key, hold); k != nil && with.Merge != nil {
			return true
		} else if k != nil {
			more := size - s.outbox.at(k, hold).size()
			return s.refusesMore(more, int64(more)) == nil
		}
	}
	return s.refuses(size, int64(size), false) == nil
}

// overflow seals the session and frees its queue; the next run closes it.
// s.mu is held.
func (s *Session) overflow(err error) {
	e := endingQueueFull
	if err == ErrBudget {
		e = endingBudget
	}
	s.endFor(e)
	if box := s.outbox; box != nil {
		s.outbox = nil
		box.free(s.server.shard(s.loop))
	}
}
