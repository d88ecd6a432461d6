package engine

import (
	"math/bits"
	"time"

	"turbine/loop"
)

// used is how many bytes count for the loop's share of Options.Queue.Budget. Safe
// from any goroutine.
func (sh *shard) used() int64 { return sh.queued.Load() + sh.loop.Unsent() }

// relief is a Task that makes room when a loop's share of Options.Queue.Budget is
// used up. It cuts those that hold most, and longest: whoever comes next is not to
// blame. A first walk over the loop's slots measures what is held, a second one cuts
// from the top until the low mark is reached. Each walk does a portion in each turn,
// so that the loop continues to serve.
//
// What it looks at are sessions, candidates of upgrades, connections of polling
// clients, closing connections, and those that carry bytes to another node: what has left its
// session is met by no Send, and would stay as long as the connection.
type relief struct {
	walk
	server  *Server
	shard   *shard
	cutting bool      // the second walk
	cut     int       // so many were cut
	held    [65]int64 // bytes by weight, in powers of two
	least   int       // the power from which on is cut
	slot    loop.Slot // while it rests
}

// reliefRest is the time between two reliefs where nobody is left to be cut: each
// Send that is refused would begin another.
const reliefRest = 100 * time.Millisecond

// reliefSteps is how many portions of a walk are measured in one turn.
const reliefSteps = 4

// lacksRoom reports whether room is to be made when used bytes count, and adds more
// are to be queued. Where messages are dropped, sessions that these do not fit in
// cost others nothing until the reserve is half used up.
func (s *Server) lacksRoom(used, adds int64) bool {
	if s.options.Queue.Overflow == OverflowDrop {
		return used > s.shares.queue+s.shares.queue/16
	}
	return used+adds > s.shares.queue
}

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

// blocked makes room for what is written to peers that do not take it, whoever writes
// it: an answer to HTTP, or a control frame, asks no limit of its own.
func (s *Server) blocked(l *loop.Loop) {
	if sh := s.shard(l); s.lacksRoom(sh.used(), 0) {
		sh.relieve(s)
	}
}

// lowMark is how much is left when a relief is done: the time until the next one
// has to be worth the walks.
func (r *relief) lowMark() int64 { return r.server.shares.queue - r.server.shares.queue/8 }

func (r *relief) Run() {
	more := r.step()
	for n := 1; n < reliefSteps && more && !r.cutting; n++ {
		more = r.step()
	}
	switch {
	case more && (!r.cutting || r.shard.used() > r.lowMark()):
	case !r.cutting && r.aim():
		r.cutting, r.next = true, 0
	case r.cut > 0:
		r.shard.relief.Store(false)
		return
	default:
		r.slot = r.loop.Claim(r)
		r.loop.Arm(r.slot, r.loop.Now()+reliefRest)
		return
	}
	_ = r.loop.Post(r)
}

// Abandon continues the walk, behind what it was broken off at.
func (r *relief) Abandon() { _ = r.loop.Post(r) }

// aim finds out from which weight on has to be cut, and reports whether there is
// a need.
func (r *relief) aim() bool {
	excess := r.shard.used() - r.lowMark()
	if excess <= 0 {
		return false
	}
	for r.least = len(r.held) - 1; r.least > 1; r.least-- {
		if excess -= r.held[r.least]; excess <= 0 {
			break
		}
	}
	return true
}

// Alarm ends the rest.
func (r *relief) Alarm() {
	r.loop.Release(r.slot)
	r.shard.relief.Store(false)
}

// visit measures or cuts the owner of a slot.
func (r *relief) visit(owner loop.Alarm) {
	switch o := owner.(type) {
	case *sessionAlarm:
		s := (*Session)(o)
		if u := s.upgrade; u != nil && r.picks(u.conn.Holds()) { // the session is not to blame for its candidate
			u.conn.Abort()
		}
		if r.picks(s.holds()) {
			s.evict()
		}
	case *httpAlarm:
		if c := o.conn; r.picks(c.Holds()) {
			o.exchange.cut = true
			c.Abort()
			(*httpConn)(o).lose() // last: Close may end the goroutine
		}
	case loop.Carrier:
		if c := o.Carried(); c != nil && r.picks(c.Holds()) {
			c.Abort()
		}
	}
}

// picks measures an owner that holds so many bytes for so long, or reports whether that is
// to be cut.
func (r *relief) picks(held int, age time.Duration) bool {
	if held == 0 {
		return false
	}
	// The weight is bytes x milliseconds; the second on top lets the size count
	// where nobody has waited long.
	power := bits.Len64(uint64(held) * uint64((age+time.Second)/time.Millisecond))
	switch {
	case !r.cutting:
		r.held[power] += int64(held)
		return false
	case power < r.least || r.shard.used() <= r.lowMark():
		return false
	}
	r.cut++
	r.server.met(LimitQueueBudget, r.loop)
	return true
}

// reliefItems is how many messages for many are looked at in one outbox.
const reliefItems = 64

// holds is how many bytes would be free without the session, about, and for how
// long they have waited.
func (s *Session) holds() (bytes int, age time.Duration) {
	if c := s.websocket.conn; c != nil {
		bytes, age = c.Holds()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	box := s.outbox
	if box == nil {
		return bytes, age
	}
	bytes += box.own()
	if box.shared > 0 {
		sh := s.server.shard(s.loop)
		for _, o := range box.items.Front(reliefItems) {
			if p := o.prepared; p != nil {
				bytes += int(p.weight() / max(sh.heldPlaces(p).Load(), 1))
			}
		}
	}
	if box.since != 0 {
		age = max(age, s.loop.Now()-box.since)
	}
	return bytes, age
}

// evict ends the session to make room for others.
func (s *Session) evict() {
	s.mu.Lock()
	if s.ends().drops() { // the run that closes it is to come
		s.mu.Unlock()
		return
	}
	s.overflow(ErrBudget)
	s.mu.Unlock()
	s.fail(ErrBudget)
}
