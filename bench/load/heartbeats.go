//go:build linux

package load

// heartbeats is echo, with or without a load of its own, next to sessions that only
// wait for the server's pings.
type heartbeats struct {
	echo
	watched []*session
}

func (h *heartbeats) attach(r *runner) {
	h.echo.attach(r)
	r.populate(r.plan.Watched, r.plan.way(), openers)
	h.watched = r.sessions[r.plan.Sessions:]
	for _, s := range h.watched {
		s.watched = true
	}
}

// timing waits for no echo at the end: a slow server has seconds of them.
func (h *heartbeats) timing() timing { return timing{opens: true, warms: true, ends: true} }

func (h *heartbeats) opened(s *session) { s.pinged = h.now }

// message counts echoes. Their latency is no matter here.
func (h *heartbeats) message(s *session, data []byte, binary bool) {
	n := h.check(s, data, binary)
	if n > 0 {
		h.progress = h.now
		if h.phase == measuring {
			h.out.Operations++
		}
	}
	h.inFlight -= n
	s.ready += n
}

// pinged ends a gap between two pings.
func (h *heartbeats) pinged(s *session) {
	if !s.watched {
		return
	}
	h.progress = h.now
	if h.phase == measuring {
		h.gap(s)
	}
	s.pinged = h.now
}

// end counts the gaps that have no end yet and are longer than they may be: a
// server that pings nobody any more would have none else.
func (h *heartbeats) end() {
	for _, s := range h.watched {
		if s.state == stateOpen && h.now-s.pinged > int64(h.plan.PingInterval) {
			h.gap(s)
		}
	}
}

func (h *heartbeats) gap(s *session) {
	gap := h.now - s.pinged
	h.record(gap)
	if gap > int64(h.plan.PingInterval+h.plan.PingTimeout) && !s.starved {
		s.starved = true
		h.out.Starved++
		h.fault("session %d had no ping for %d ms, at which a client leaves", s.number, gap/1e6)
	}
}
