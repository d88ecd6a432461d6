//go:build linux

package load

// again opens one session after the other in each of InFlight places.
type again struct{ base }

func (a *again) timing() timing {
	return timing{warms: true, missing: "%d sessions were never opened and closed"}
}

func (a *again) begin() {
	for _, s := range a.sessions {
		a.opening.add(s)
	}
}

func (a *again) pending() int { return a.opening.active + a.closing }

// reopen lets s open again in this turn.
func (a *again) reopen(s *session) {
	s.state = stateClosed
	a.opening.add(s)
}

func (a *again) closed(s *session) { a.reopen(s) }
func (a *again) lost(s *session)   { a.reopen(s) }

// pollHandshake opens polling sessions and leaves them: they cost the server
// what they cost it until it misses their pong.
type pollHandshake struct{ again }

func (h *pollHandshake) attach(r *runner) {
	h.runner = r
	r.populate(r.plan.InFlight, byPolling, r.plan.InFlight)
}

func (h *pollHandshake) opened(s *session) {
	h.done(1, s.began)
	h.reopen(s)
}

// wsHandshake opens WebSocket sessions and closes them in good order: our close
// frame, the server's or its end of the connection. Then our end is reset, which
// keeps the 28,000 ports of an address out of TIME_WAIT.
type wsHandshake struct{ again }

func (h *wsHandshake) attach(r *runner) {
	h.runner = r
	r.populate(r.plan.InFlight, byWebSocket, r.plan.InFlight)
}

func (h *wsHandshake) opened(s *session) {
	h.done(1, s.began)
	s.close()
}

// upgradeDance opens polling sessions, upgrades them, has one message echoed,
// which shows that the new transport works, and closes them in good order.
type upgradeDance struct{ again }

func (u *upgradeDance) attach(r *runner) {
	u.runner = r
	r.populate(r.plan.InFlight, byUpgrade, r.plan.InFlight)
}

func (u *upgradeDance) opened(s *session) {
	u.inFlight++
	s.send(u.messages, 1)
}

func (u *upgradeDance) message(s *session, data []byte, binary bool) {
	if n := u.check(s, data, binary); n > 0 {
		u.inFlight--
		u.done(1, s.began)
		s.close()
	}
}

func (u *upgradeDance) lost(s *session) {
	u.inFlight -= int(s.sent - s.received)
	u.reopen(s)
}

func (u *upgradeDance) pending() int { return u.again.pending() + u.inFlight }

// pollCycle sends by POST what the waiting GET brings back.
type pollCycle struct{ base }

// The halves of a cycle.
const (
	echoed uint8 = 1 << iota // a GET brought the message
	taken                    // the POST was answered
)

func (c *pollCycle) timing() timing {
	return timing{opens: true, warms: true, missing: "%d messages were never echoed"}
}

func (c *pollCycle) attach(r *runner) {
	c.runner = r
	r.populate(r.plan.Sessions, byPolling, openers)
}

// opened polls at once, since heartbeats come with a poll.
func (c *pollCycle) opened(s *session) { s.get() }

func (c *pollCycle) begin() {
	for _, s := range c.sessions {
		if s.state == stateOpen {
			c.cycle(s)
		}
	}
}

// cycle begins a cycle: the GET before the POST.
func (c *pollCycle) cycle(s *session) {
	s.times = append(s.times[:0], c.now)
	s.answered = 0
	c.inFlight++
	s.get()
	s.postMessage()
}

func (c *pollCycle) message(s *session, data []byte, binary bool) {
	if c.check(s, data, binary) > 0 {
		s.answered |= echoed
	}
}

func (c *pollCycle) posted(s *session) { s.answered |= taken }

func (c *pollCycle) settled(s *session) {
	if s.answered == echoed|taken {
		s.answered = 0
		c.inFlight--
		c.done(1, s.times[0])
		if c.loaded() {
			c.cycle(s)
			return
		}
	}
	if s.answered&echoed == 0 {
		s.get() // it was answered with something else
	}
}

func (c *pollCycle) lost(s *session) {
	if s.sent != s.received || s.answered != 0 || s.wants {
		c.inFlight--
	}
}

func (c *pollCycle) pending() int { return c.inFlight }
