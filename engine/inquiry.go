package engine

import (
	"time"

	"turbine/loop"
)

// An inquiry is a Task that goes from loop to loop, has each read what waits in
// its sockets, and comes home: then the sessions that it is for have all that
// their clients had sent, on whatever connection, when it began.
type inquiry struct {
	server   *Server
	home     *shard
	began    time.Duration // on the home loop
	sessions []loop.Slot
	at       int           // index of the loop that is asked
	slot     loop.Slot     // on that loop
	since    time.Duration // on that loop
}

// heardEverywhere reports whether everything that had come to any loop by
// deadline, which has passed, has been read. If not, the session's alarm rings
// again when it has. It is called on the session's home loop, whose own sockets
// have been read.
func (s *Server) heardEverywhere(session *Session, deadline time.Duration) bool {
	home := s.shard(session.loop)
	if len(s.allShards()) == 1 || home.heard >= deadline {
		return true
	}
	home.doubts = append(home.doubts, session.slot)
	home.inquire(s)
	return false
}

// inquire begins an inquiry for those in doubt, unless one is under way.
func (sh *shard) inquire(s *Server) {
	if sh.inquiring || len(sh.doubts) == 0 {
		return
	}
	q := &inquiry{server: s, home: sh, began: sh.loop.Now(), sessions: sh.doubts, at: -1}
	sh.doubts, sh.inquiring = nil, true
	q.next()
}

// next sends the inquiry to the next loop, and home in the end.
func (q *inquiry) next() {
	for q.at++; q.at < len(q.server.allShards()); q.at++ {
		if sh := q.server.allShards()[q.at]; sh != q.home && sh.loop.Post(q) == nil {
			return
		}
	}
	_ = q.home.loop.Post(q) // a stopped loop has closed them all
}

func (q *inquiry) Run() {
	if q.at == len(q.server.allShards()) {
		q.answer()
		return
	}
	l := q.server.allShards()[q.at].loop
	q.slot, q.since = l.Claim(q), l.Now()
	q.Alarm()
}

// Alarm comes until the loop has read what had come when the inquiry did.
func (q *inquiry) Alarm() {
	l := q.server.allShards()[q.at].loop
	if l.Late(q.slot, q.since) {
		l.Release(q.slot)
		q.next()
	}
}

// answer rings for some of the sessions, a portion, and comes again for the others.
func (q *inquiry) answer() {
	sh := q.home
	sh.heard = q.began
	for p, enough := newPortion(sh.loop), false; len(q.sessions) > 0 && !enough; enough = p.visited() {
		slot := q.sessions[0]
		q.sessions = q.sessions[1:] // first: a callback may end the goroutine
		if a, ok := sh.loop.Owner(slot).(*sessionAlarm); ok {
			a.Alarm()
		}
	}
	if len(q.sessions) > 0 {
		_ = sh.loop.Post(q)
		return
	}
	sh.inquiring = false
	sh.inquire(q.server)
}

// Abandon continues with the sessions behind the one at which the answer was broken
// off.
func (q *inquiry) Abandon() { _ = q.home.loop.Post(q) }
