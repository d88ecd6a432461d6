package engine

import (
	"time"

	"turbine/engine/packet"
)

// The heartbeat is one deadline, nextBeat. In revision 4 the server pings, and
// nextBeat is when the next ping is due or, while a pong is awaited, when the
// session times out. In revision 3 the client pings, and nextBeat is when the
// session times out. It outlives a change of transport: the reference server
// loses the timeout there (spec, section 6).
//
// A client is to blame only for what it was asked, and for what the loops had a
// chance to read: a ping that is late by the server's own fault moves the
// deadline of its pong, and no deadline counts before everything that had come by
// then was read. While the application is so slow that nothing is read from the
// client, the client is pinged all the same, or it would leave; its answers wait
// unread, and are not missed.
//
// A client leaves when no ping has come for PingInterval and PingTimeout, and it
// counts from the ping. So it is pinged again PingInterval behind the last ping also
// where the pong may wait unread, and a pong that is read late does not move the next
// ping by more than half of PingTimeout.

// pongState is whether the client owes a pong.
type pongState uint8

const (
	pongNone     pongState = iota
	pongAwaited            // a ping was sent, its pong is due
	pongExtended           // the same, and the deadline was extended already
)

func (s *Session) awaitsPong() bool { return s.pong != pongNone }

func (s *Session) startHeartbeat() {
	o := &s.server.options
	s.markPing()
	s.nextBeat = s.loop.Now() + o.PingInterval
	if !s.revision.ServerPings() {
		s.nextBeat += o.PingTimeout
	}
	s.arm()
}

// markPing remembers that the client was pinged now. What is remembered wraps after
// 49 days, when a ping is late by that.
func (s *Session) markPing() { s.pinged = uint32(s.loop.Now() / time.Millisecond) }

// closeBy is when a closing session is closed anyway.
func (s *Session) closeBy() time.Duration {
	now := s.loop.Now()
	since := uint32(now/time.Millisecond) - s.closing
	return now - time.Duration(since)*time.Millisecond + s.server.options.Timeouts.Close
}

// pingDue is PingInterval behind the last ping.
func (s *Session) pingDue() time.Duration {
	now := s.loop.Now()
	since := uint32(now/time.Millisecond) - s.pinged
	return now - time.Duration(since)*time.Millisecond + s.server.options.PingInterval
}

// heartbeat handles a ping or pong from the client.
func (s *Session) heartbeat(kind packet.Type) {
	o := &s.server.options
	switch {
	case s.revision.ServerPings() && kind == packet.Pong:
		s.pong = pongNone
		s.heard.Store(s.moment())
		s.nextBeat = min(s.loop.Now()+o.PingInterval, s.pingDue()+o.PingTimeout/2)
		s.arm() // for the ping may be due before the pong would have been
		s.tellHeartbeat()
	case !s.revision.ServerPings() && kind == packet.Ping:
		s.heard.Store(s.moment())
		s.nextBeat = s.loop.Now() + o.PingInterval + o.PingTimeout
		_ = s.control(packet.Pong)    // what has no room is dropped, or ends the session, as Overflow says
		if s.state != sessionClosed { // by a panic
			s.tellHeartbeat()
		}
	default:
		s.fail(ErrHeartbeat)
	}
}

// owed is the latest of the client's deadlines that have passed at now, 0 if none
// has.
func (s *Session) owed(now time.Duration) (at time.Duration) {
	passed := func(deadline time.Duration) {
		if deadline <= now {
			at = max(at, deadline)
		}
	}
	if s.owesHeartbeat() {
		passed(s.nextBeat)
	}
	if s.state == sessionClosing {
		passed(s.closeBy())
	}
	if s.upgrade != nil {
		passed(s.upgrade.deadline)
	}
	if p, ok := s.transport.(*polling); ok && p.heardBy != 0 {
		passed(p.heardBy)
	}
	return at
}

// owesHeartbeat reports whether nextBeat is when the client must have been heard
// of.
func (s *Session) owesHeartbeat() bool {
	return (s.awaitsPong() || !s.revision.ServerPings()) && !s.has(publicPaused)
}

// late reports whether the client has missed deadline, which has passed. If what
// it has sent may be unread, the answer is false, and the alarm rings again.
func (s *Session) late(deadline time.Duration) bool {
	if !s.loop.Late(s.slot, deadline) {
		return false
	}
	return s.Transport() == WebSocket || s.server.heardEverywhere(s, deadline)
}

// sessionAlarm is a Session as the owner of its slot.
type sessionAlarm Session

func (a *sessionAlarm) Alarm() { (*Session)(a).rang() }

// rang looks at all deadlines of the session.
func (s *Session) rang() {
	now := s.loop.Now()
	owed := s.owed(now)
	late := owed != 0 && s.late(owed)
	if late && s.state == sessionClosing && now >= s.closeBy() {
		s.server.met(LimitCloseTimeout, s.loop)
		reason, _ := s.why()
		s.close(reason, ErrCloseTimeout)
		return
	}
	if late && s.unheard(now) {
		return
	}
	if at, ok := s.drainAt(); ok && now >= at {
		s.end(endingDrain)
	}
	if late && s.upgrade != nil && now >= s.upgrade.deadline {
		s.upgrade.expired()
	}
	if p, ok := s.transport.(*polling); ok && p.holdsUp() {
		p.releaseInTurn(now)
	}
	if now >= s.nextBeat && (late || !s.owesHeartbeat()) {
		s.beat(now)
	}
	if s.state == sessionClosed {
		return
	}
	if s.awaitsPong() && (owed != 0 && !late || s.lags()) {
		s.pingAgain(now, owed)
	}
	if late || owed == 0 {
		s.arm()
	}
}

// unheard ends the session of a client that has made a handshake by polling and
// was not heard of since, if its time is up at now. It reports whether.
func (s *Session) unheard(now time.Duration) bool {
	p, ok := s.transport.(*polling)
	if !ok || p.heardBy == 0 || now < p.heardBy {
		return false
	}
	s.server.met(LimitFirstRequestTimeout, s.loop)
	s.fail(ErrNeverHeard)
	return true
}

// beat sends the ping that is due, or ends the session of a client that has not
// answered in time.
func (s *Session) beat(now time.Duration) {
	o := &s.server.options
	switch paused := s.has(publicPaused); {
	case paused && !s.revision.ServerPings(), s.owesHeartbeat() && (s.lags() || s.packs() && s.waits(packet.Ping)):
		// What the client has to say waits where nobody has looked, or it was not asked yet.
		s.nextBeat = now + o.PingTimeout
	case s.owesHeartbeat():
		s.close(ReasonPingTimeout, nil)
	case paused:
		s.nextBeat = now + o.PingInterval
		s.ping()
	default:
		s.server.shard(s.loop).tally.pings.Observe(now - s.nextBeat)
		s.nextBeat = now + o.PingTimeout
		s.ping()
	}
}

// ping sends a ping.
func (s *Session) ping() {
	s.pong = pongAwaited
	s.markPing()
	if s.control(packet.Ping) != nil { // no room: it was asked nothing, and is asked later
		s.pong = pongNone
	}
	s.flush()
}

// pingAgain pings a client whose pong may wait unread, once that is due. The client
// still owes the pong of the ping before. A deadline that has only just passed, at
// owed, is no reason: where the loop is not behind, it knows in a moment.
func (s *Session) pingAgain(now, owed time.Duration) {
	due := max(s.pingDue(), owed+2*s.server.options.tick())
	if now >= due {
		s.markPing()
		_ = s.control(packet.Ping) // what has no room is dropped, or ends the session, as Overflow says
		s.flush()
		due = s.pingDue()
	}
	s.loop.Arm(s.slot, due)
}

// forgive gives a client whose poll has waited for a busy loop the time to answer
// the ping that it takes only now.
func (s *Session) forgive() {
	if s.loop.Now() >= s.nextBeat {
		s.askAnew()
	}
}

// askAnew gives the client the time to answer a ping that leaves only now, if there is
// one.
func (s *Session) askAnew() {
	if now := s.loop.Now(); s.awaitsPong() && s.waits(packet.Ping) {
		s.markPing()
		s.nextBeat = now + s.server.options.PingTimeout
		s.arm()
	}
}

// arm makes the alarm ring for the earliest deadline.
func (s *Session) arm() {
	at := s.nextBeat
	if s.state == sessionClosing {
		at = min(at, s.closeBy())
	}
	if s.upgrade != nil {
		at = min(at, s.upgrade.deadline)
	}
	if p, ok := s.transport.(*polling); ok {
		if p.heardBy != 0 {
			at = min(at, p.heardBy)
		}
		if p.holdsUp() {
			at = min(at, s.upgrade.noopAt)
		}
	}
	if turn, ok := s.drainAt(); ok {
		at = min(at, turn)
	}
	s.loop.Arm(s.slot, at)
}
