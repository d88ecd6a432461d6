//go:build linux

package load

// The kinds whose sessions say nothing of themselves.

// idle holds sessions.
type idle struct{ base }

func (i *idle) timing() timing { return timing{opens: true, warms: true, ends: true} }

func (i *idle) attach(r *runner) {
	i.runner = r
	r.populate(r.plan.Sessions, r.plan.way(), r.plan.InFlight)
}

func (i *idle) end() { i.out.Operations = i.heartbeats - i.heartbeat }

// connect opens sessions, once.
type connect struct{ base }

func (c *connect) timing() timing { return timing{ends: true} }

func (c *connect) attach(r *runner) {
	c.runner = r
	r.populate(r.plan.Sessions, r.plan.way(), r.plan.InFlight)
	r.unopened = r.plan.Sessions
}

func (c *connect) begin() {
	for _, s := range c.sessions {
		c.opening.add(s)
	}
}

func (c *connect) opened(s *session) {
	c.done(1, s.began)
	if c.unopened == 0 {
		c.finish("")
	}
}

func (c *connect) pending() int { return c.unopened }

func (c *connect) end() {
	if c.unopened > 0 {
		c.fault("%d sessions did not open in time", c.unopened)
	}
}

// storm opens sessions, cuts them all and lets them come back.
type storm struct {
	base
	cut  int64
	back int
}

func (t *storm) timing() timing { return timing{opens: true, ends: true} }

func (t *storm) attach(r *runner) {
	t.runner = r
	r.populate(r.plan.Sessions, r.plan.way(), r.plan.InFlight)
}

func (t *storm) begin() {
	t.cut = t.now
	t.alive = 0
	t.back = 0
	for _, s := range t.sessions {
		s.shut()
		t.opening.add(s)
	}
}

func (t *storm) opened(*session) {
	if t.phase != measuring {
		return
	}
	t.done(1, t.cut)
	if t.back++; t.back == len(t.sessions) {
		t.finish("")
	}
}

func (t *storm) pending() int { return len(t.sessions) - t.back }

func (t *storm) end() {
	if n := t.pending(); n > 0 {
		t.out.Lost += n
		t.fault("%d sessions were not back in time", n)
	}
}
