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

func (s *Session) startHeartbeat() {
	o := &s.server.options
	s.nextBeat = s.loop.Now() + o.PingInterval
	if !s.revision.ServerPings() {
		s.nextBeat += o.PingTimeout
	}
	s.arm()
}

// heartbeat handles a ping or pong from the client.
func (s *Session) heartbeat(kind packet.Type) {
	o := &s.server.options
	switch {
	case s.revision.ServerPings() && kind == packet.Pong:
		s.awaiting, s.extended = false, false
		s.nextBeat = s.loop.Now() + o.PingInterval
		s.arm() // for the ping may be due before the pong would have been
		s.tellHeartbeat()
	case !s.revision.ServerPings() && kind == packet.Ping:
		s.nextBeat = s.loop.Now() + o.PingInterval + o.PingTimeout
		_ = s.control(packet.Pong)    // what has no room is dropped, or ends the session, as Overflow says
		if s.state != sessionClosed { // by a panic
			s.tellHeartbeat()
		}
	default:
		s.close(ReasonTransportError, ErrHeartbeat)
	}
}

// overdue reports whether the session has missed its heartbeat, be the alarm
// late or not.
func (s *Session) overdue() bool {
	if s.has(publicPaused) {
		return false
	}
	deadline := s.nextBeat
	if s.revision.ServerPings() && !s.awaiting {
		deadline += s.server.options.PingTimeout
	}
	return s.loop.Now() >= deadline
}

// alarm is a Session as the owner of its slot.
type alarm Session

func (a *alarm) Alarm() { (*Session)(a).rang() }

// rang looks at all deadlines of the session.
func (s *Session) rang() {
	now := s.loop.Now()
	if s.state == sessionClosing && now >= s.closeBy {
		s.server.met(LimitCloseTimeout, s.loop)
		s.close(s.endReason(), ErrCloseTimeout)
		return
	}
	if s.unheard(now) {
		return
	}
	if at, ok := s.drainAt(); ok && now >= at {
		s.retire()
	}
	if s.upgrade != nil && now >= s.upgrade.deadline {
		s.upgrade.expired()
	}
	if now >= s.nextBeat {
		s.beat(now)
	}
	if s.state != sessionClosed {
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
	s.close(ReasonPingTimeout, ErrNeverHeard)
	return true
}

// beat sends the ping that is due, or ends the session.
func (s *Session) beat(now time.Duration) {
	if (!s.revision.ServerPings() || s.awaiting) && s.has(publicPaused) {
		// What the client has to say may wait where we do not read.
		s.nextBeat = now + s.server.options.PingTimeout
		return
	}
	if !s.revision.ServerPings() || s.awaiting {
		s.close(ReasonPingTimeout, nil)
		return
	}
	due, timeout := s.nextBeat, s.server.options.PingTimeout
	if now-due > timeout/2 {
		due = now // the process slept; the client is not to blame
	}
	s.awaiting, s.extended = true, false
	s.nextBeat = due + timeout
	if s.control(packet.Ping) != nil { // no room: it was asked nothing, and is asked later
		s.awaiting = false
	}
	s.flush()
}

// arm makes the alarm ring for the earliest deadline.
func (s *Session) arm() {
	at := s.nextBeat
	if s.state == sessionClosing {
		at = min(at, s.closeBy)
	}
	if s.upgrade != nil {
		at = min(at, s.upgrade.deadline)
	}
	if p, ok := s.transport.(*polling); ok && p.heardBy != 0 {
		at = min(at, p.heardBy)
	}
	if turn, ok := s.drainAt(); ok {
		at = min(at, turn)
	}
	s.loop.Arm(s.slot, at)
}
