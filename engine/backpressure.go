package engine

import (
	"time"

	"turbine/loop"
)

// Overflow is what happens to a session that a message does not fit in, by
// Options.MaxQueue, MaxQueuePackets or QueueBudget. The caller of Send hears of
// it in either case.
type Overflow uint8

// The policies.
const (
	// OverflowClose closes the session at once with ReasonOverflow and frees
	// what was queued: the client comes back and knows that it has missed
	// something.
	OverflowClose Overflow = iota + 1
	// OverflowDrop drops that message and leaves the session open: for
	// messages that the next one makes obsolete.
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

// refuses says why a packet of size bytes cannot be queued now: nil,
// ErrQueueFull or ErrBudget. One that is the protocol's own, of which one of a kind
// waits at most, has a place beside those of the session's messages: a client that
// lags and reads on must not lose its heartbeat for its full queue. s.mu is held.
func (s *Session) refuses(size int, ours bool) error {
	o := &s.server.options
	share, waiting := s.server.queueShare, 0
	if s.outbox != nil {
		waiting = s.outbox.bytes
		if !ours && (waiting+size > o.MaxQueue || s.outbox.packets >= o.MaxQueuePackets) {
			return ErrQueueFull
		}
	}
	shard := s.server.shard(s.loop)
	used := shard.queued.Load() + s.loop.Unsent() + int64(size)
	if used <= share {
		return nil
	}
	shard.relieve(s.server)
	if waiting < sparedQueue && !s.behind && used <= share+share/8 {
		return nil
	}
	return ErrBudget
}

// relief is a Task that cuts connections which have much unsent, until the
// budget is kept again: those of polling clients that do not take their
// responses, and closing ones. These bytes have left their sessions, so that no
// Send meets them; they would go with the connection, which may take minutes,
// and others would pay meanwhile.
type relief struct {
	walk
	server *Server
	shard  *shard
	slot   loop.Slot // while it rests
}

// reliefRest is the time between two walks: where nobody is left to be cut, each
// Send that is refused would begin another.
const reliefRest = 100 * time.Millisecond

// relieve starts a relief, unless one is under way or was just now. Safe from
// any goroutine.
func (sh *shard) relieve(s *Server) {
	if sh.relief.Load() || !sh.relief.CompareAndSwap(false, true) {
		return
	}
	r := &relief{server: s, shard: sh}
	r.walk = walk{loop: sh.loop, visit: r.visit}
	_ = sh.loop.Post(r) // a stopped loop has closed them all
}

func (r *relief) Run() {
	if r.step() {
		_ = r.loop.Post(r)
		return
	}
	r.slot = r.loop.Claim(r)
	r.loop.Arm(r.slot, r.loop.Now()+reliefRest)
}

// Alarm ends the rest.
func (r *relief) Alarm() {
	r.loop.Release(r.slot)
	r.shard.relief.Store(false)
}

func (r *relief) visit(owner loop.Alarm) {
	c := loop.Closing(owner)
	h, polls := owner.(*httpAlarm)
	if polls {
		c = h.conn
	}
	if c == nil || c.Unsent() < sparedQueue || r.shard.queued.Load()+r.loop.Unsent() <= r.server.queueShare {
		return
	}
	r.server.met(LimitQueueBudget, r.loop)
	if polls {
		h.x.cut = true
		(*httpConn)(h).lose()
	}
	c.Abort()
}

// countRefused counts that a message was refused with err. s.mu is held.
func (s *Session) countRefused(err error) {
	limit := LimitQueue
	switch {
	case err == ErrBudget:
		limit = LimitQueueBudget
	case s.outbox.packets >= s.server.options.MaxQueuePackets:
		limit = LimitQueuePackets
	}
	s.server.count(limit)
}

// takes reports whether queue would take size bytes more now.
func (s *Session) takes(size int, inTurn bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.over(inTurn) && s.refuses(size, false) == nil
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
		s.charge(-box.bytes)
		box.free()
	}
}

// tellWater tells of the high and the low water mark; left is the number of
// bytes that wait now.
func (s *Session) tellWater(left int) {
	o := &s.server.options
	switch {
	case !s.high && left >= o.HighWater:
		s.high = true
		s.tellHighWater(left)
	case s.high && left <= o.LowWater:
		s.high = false
		s.tellLowWater()
	}
}
