package engine

import (
	"sync/atomic"
	"time"
)

// A session remembers moments of its loop's clock, in few bits: what is asked for counts
// back from now. Hence when it began is wrong after 497 days, and when its client was
// heard of after 49 days, which only a paused client comes to.
const (
	openedUnit = 10 * time.Millisecond
	heardUnit  = time.Millisecond
)

// markBegin remembers that the session begins now.
func (s *Session) markBegin() {
	s.began = uint32(s.loop.Moment() / openedUnit)
	s.heard.Store(s.moment())
}

// moment is now, as heard has it.
func (s *Session) moment() uint32 { return uint32(s.loop.Moment() / heardUnit) }

// Opened is when the session began, to a hundredth of a second, by the clock of the
// system as it stands now: where that was set since, the session's age counts.
// Safe from any goroutine.
func (s *Session) Opened() time.Time { return s.wasAt(s.began, openedUnit) }

// LastHeartbeat is when the client's last heartbeat was heard: a pong in revision 4, a
// ping in revision 3. Before the first one it is when the session began. What else the
// client sends does not count. Safe from any goroutine.
func (s *Session) LastHeartbeat() time.Time { return s.wasAt(s.heard.Load(), heardUnit) }

// wasAt is when that moment was. It was read before the clock is.
func (s *Session) wasAt(moment uint32, unit time.Duration) time.Time {
	now := s.loop.Clock()
	since := uint32(now/unit) - moment
	return s.server.epoch.at(now, now/unit*unit-time.Duration(since)*unit)
}

// An epoch is when the clock of the loops began, by the clock of the system. It is kept,
// so that the same moment is told as the same time whenever it is asked for, until the
// system's clock is set.
type epoch struct{ began atomic.Int64 } // in ns since 1970

// clockWasSet is from which difference on.
const clockWasSet = time.Second

// at is when a moment of the loops' clock was, which stands at now.
func (e *epoch) at(now, moment time.Duration) time.Time {
	began := time.Now().Add(-now).UnixNano()
	kept := e.began.Load()
	if (time.Duration(began - kept)).Abs() >= clockWasSet {
		e.began.Store(began)
		kept = began
	}
	return time.Unix(0, kept).Add(moment)
}
