package engine

import (
	"iter"
	"net/url"

	"turbine/loop"
)

// sessionsChunk is how many places of a loop's table are copied at a time: the
// loop has to wait for that if it opens or closes a session just then.
const sessionsChunk = 128

// Sessions goes through the sessions, on the caller's goroutine; the loops keep
// running meanwhile, and wait for nobody. A session that is open from the beginning
// to the end of the walk is met once. One that opens or closes meanwhile is met once
// or not at all. A session that has ended is not met, but may end at any moment
// after. Safe from any goroutine, also in callbacks. It yields nothing when the
// server does not run.
//
//	for s := range server.Sessions() {
//		_ = s.Send(m)
//	}
func (s *Server) Sessions() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		var owners [sessionsChunk]loop.Alarm
		for _, shard := range s.allShards() {
			for from := loop.Slot(0); ; {
				n := shard.loop.Owners(from, owners[:])
				for _, owner := range owners[:n] {
					session := visible(owner)
					if session != nil && !yield(session) {
						return
					}
				}
				if n < len(owners) {
					break
				}
				from += loop.Slot(n)
			}
		}
	}
}

// visible is the session that owns a slot, once it has been opened and until it
// is closed; else nil. Safe from any goroutine.
func visible(owner loop.Alarm) *Session {
	a, ok := owner.(*sessionAlarm)
	if !ok {
		return nil
	}
	session := (*Session)(a)
	if !session.has(publicOpened) || session.State() == StateClosed {
		return nil
	}
	return session
}

// visibleAt is the visible session in that slot of the shard's loop, or nil. Safe from
// any goroutine.
func (sh *shard) visibleAt(slot loop.Slot) *Session {
	var owner [1]loop.Alarm
	sh.loop.Owners(slot, owner[:])
	return visible(owner[0])
}

// Find returns the session with that id, or nil. A session is found from Events.Open
// on until it has ended; Find and Sessions also return one whose State is
// StateClosing. Safe from any goroutine.
func (s *Server) Find(id string) *Session {
	shards := s.allShards()
	where, ok := s.findSID([]byte(url.QueryEscape(id)))
	if !ok || where.home() >= len(shards) {
		return nil
	}
	session := shards[where.home()].visibleAt(where.slot)
	if session == nil || !session.secret.equal(&where.secret) {
		return nil
	}
	return session
}
