package loop

import (
	"slices"

	"turbine/internal/invariants"
	"turbine/pool"
)

// move is a connection on its way to another loop.
type move struct {
	conn   *Conn
	to     *Loop
	unread *pool.Buf // nil when there is none
}

// MoveTo takes the connection to another loop at the end of this turn, with
// all that is still unsent. There, Data gets a copy of unread first. The
// connection must not be used on this loop afterwards.
func (c *Conn) MoveTo(to *Loop, unread []byte) {
	if c.state != connOpen {
		return
	}
	invariants.Check(to != c.Loop(), "move to the same loop")
	c.state = connMoving
	m := move{conn: c, to: to}
	if len(unread) > 0 {
		m.unread = pool.Spills.Get(len(unread))
		m.unread.Append(unread)
	}
	c.Loop().leaving = append(c.Loop().leaving, m)
}

// moveOut hands over the connections that asked for it in this turn.
func (l *Loop) moveOut() {
	leaving := l.leaving
	l.leaving = nil
	for _, m := range leaving {
		c := m.conn
		if c.state != connMoving {
			m.release() // it failed in between
			continue
		}
		if err := c.watch(0); err != nil {
			m.release()
			c.end(err)
			continue
		}
		l.conns.clear(int(c.fd), c)
		if c.dirty { // it was still writing after maxRounds
			l.forget(c)
		}
		m.to.expect()
		l.count.Add(-1)
		c.uncount(l)
		c.loop.Store(m.to)
		if err := m.to.Post(&m); err != nil {
			c.loop.Store(l)
			l.count.Add(1)
			m.to.unexpect()
			m.release()
			c.end(err)
		}
	}
}

// forget takes c off the list of connections to flush.
func (l *Loop) forget(c *Conn) {
	c.dirty = false
	l.dirty = slices.DeleteFunc(l.dirty, func(d *Conn) bool { return d == c })
}

func (m *move) release() {
	if m.unread != nil {
		m.unread.Release()
	}
}

// Run takes the connection in, on its new loop.
func (m *move) Run() {
	l, c := m.to, m.conn
	defer m.release()
	l.arriving.Add(-1)
	c.state, c.resting = connOpen, 0
	if !l.conns.set(int(c.fd), c) {
		c.end(ErrTooManyConns)
		return
	}
	c.rewatch()
	if c.Unsent() > 0 || c.ending {
		c.touch()
	}
	if c.blocked {
		c.countUnsent(l)
	}
	if c.state != connOpen {
		return
	}
	returned := false
	defer l.guard(c, &returned)
	f := c.filter()
	if m.unread != nil {
		if f != nil {
			f.handler.Data(m.unread.Bytes())
		} else {
			c.handler.Data(m.unread.Bytes())
		}
	}
	if f != nil {
		f.arrived()
	}
	returned = true
}
