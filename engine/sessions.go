package engine

import (
	"errors"
	"iter"
	"net/url"
	"strconv"

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
		for session := range s.SessionsFrom(Cursor{}) {
			if !yield(session) {
				return
			}
		}
	}
}

// A Cursor is how far a walk through the sessions has come. The zero Cursor is the
// beginning. The server keeps nothing for it: it is a place in the order of the walk, and
// stays one, whatever opens and closes, until the process ends.
type Cursor struct {
	loop int
	slot loop.Slot
}

// SessionsFrom is Sessions from a Cursor on. With each session it yields the Cursor from
// which the walk continues behind it. So a walk can be broken off, and go on later, for
// example to show the sessions page by page: a session that is open from the beginning to
// the end of all parts is met once.
func (s *Server) SessionsFrom(from Cursor) iter.Seq2[*Session, Cursor] {
	return func(yield func(*Session, Cursor) bool) {
		var owners [sessionsChunk]loop.Alarm
		for shards := s.allShards(); from.loop < len(shards); from = (Cursor{loop: from.loop + 1}) {
			for {
				n := shards[from.loop].loop.Owners(from.slot, owners[:])
				for _, owner := range owners[:n] {
					from.slot++
					session := visible(owner)
					if session != nil && !yield(session, from) {
						return
					}
				}
				if n < len(owners) {
					break
				}
			}
		}
	}
}

// String is the Cursor as a text, for ParseCursor.
func (c Cursor) String() string {
	return strconv.FormatUint(uint64(c.loop)<<32|uint64(c.slot), 36) // #nosec G115 -- an index
}

// ParseCursor is the Cursor that String has made.
func ParseCursor(text string) (Cursor, error) {
	n, err := strconv.ParseUint(text, 36, 32+8)
	if err != nil || text != strconv.FormatUint(n, 36) { // Cursor.String has one spelling
		return Cursor{}, errCursor
	}
	return Cursor{loop: int(n >> 32), slot: loop.Slot(n)}, nil // #nosec G115 -- 8 and 32 bits
}

var errCursor = errors.New("engine: a text is no cursor")

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
// StateClosing. It finds no session of another node. Safe from any goroutine.
func (s *Server) Find(id string) *Session {
	shards := s.allShards()
	where, ok := s.findSID([]byte(url.QueryEscape(id)))
	if !ok || where.node != s.node() || where.home() >= len(shards) {
		return nil
	}
	session := shards[where.home()].visibleAt(where.slot)
	if session == nil || !session.secret.equal(&where.secret) {
		return nil
	}
	return session
}
