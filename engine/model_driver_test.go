package engine_test

import (
	"math/rand/v2"
	"strings"
	"time"

	"turbine/engine"
	"turbine/loop/looptest"
)

const (
	modelClients  = 6 // of a driver, at first
	modelSessions = 8 * modelClients
)

// modelDriver is who the clients belong to: all that they do is done by its
// goroutine.
type modelDriver struct {
	run      *modelRun
	net      modelNet
	random   *rand.Rand
	steps    int
	sessions []*modelSession
	draining bool
}

// drive does random things to random sessions.
func (d *modelDriver) drive() {
	if o := d.run.order; o != nil {
		o.drive(d)
		return
	}
	for range modelClients {
		d.open()
	}
	for range d.steps {
		d.operate(d.sessions[d.random.IntN(len(d.sessions))])
		d.settle(1 + d.random.IntN(3))
	}
}

// drain closes all sessions, each in its turn, while everything goes on.
func (d *modelDriver) drain(world *looptest.World) {
	const steps, step = 200, 10 * time.Millisecond
	d.draining = true
	engine.BeginDrain(d.run.server, time.Duration(d.random.IntN(steps/4))*step, time.Duration(d.random.IntN(steps/2))*step)
	for range steps {
		d.operate(d.sessions[d.random.IntN(len(d.sessions))])
		d.settle(1 + d.random.IntN(3))
		world.Advance(step)
	}
	for _, m := range d.sessions {
		if m.session != nil && m.session.State() == engine.StateOpen {
			d.run.violation("session %d was not asked to end", m.client.name)
		}
	}
}

// open begins a session and waits until it is there, or cannot be.
func (d *modelDriver) open() {
	m := d.run.add(d.net, d.random)
	d.sessions = append(d.sessions, m)
	transport := "polling"
	if n := d.random.IntN(4); n == 0 || n < 3 && d.run.packs != nil {
		transport = "websocket"
	}
	m.client.connect(transport)
	for patient := d.net.Patience(); patient(); {
		d.settle(1)
		if m.client.sid != "" || d.run.faulty && m.client.over {
			return
		}
	}
	d.run.violation("no session: %+v", m.client)
}

func (d *modelDriver) operate(m *modelSession) {
	c := m.client
	if d.run.busy.operate(m) {
		return
	}
	d.run.packs.operate(m)
	switch n := d.random.IntN(1000); {
	case n < 400:
		for range 1 + d.random.IntN(4) {
			c.message()
		}
	case n < 800:
		m.mu.Lock()
		for range 1 + d.random.IntN(6) {
			m.send()
		}
		m.mu.Unlock()
	case n < 850:
		c.startUpgrade()
	case n < 870:
		if c.websocket != nil && d.run.busy == nil {
			c.websocket.peer.SetWindow(1 + d.random.IntN(2000))
		}
	case n < 880:
		d.net.Pass()
	case n < 884:
		m.close(d.random)
	case n < 887:
		c.control(closePacket(c.revision))
	case n < 890:
		c.vanish()
	case n < 900 && c.websocket != nil && !c.upgraded:
		c.websocket.peer.Reset() // the probe is lost
		c.lostWS()
	}
	if d.finished(m) && !d.draining && len(d.sessions) < modelSessions && d.random.IntN(4) == 0 {
		d.open()
	}
}

// close is the application's Close, or its CloseWith.
func (m *modelSession) close(random *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.session == nil {
		return
	}
	if random.IntN(2) == 0 {
		m.session.Close()
		m.ended = true
		return
	}
	told := engine.ClosedByApp{Code: 4000 + random.IntN(1000), Reason: strings.Repeat("é", random.IntN(62))}
	switch err := m.session.CloseWith(told.Code, told.Reason); {
	case err == nil && (m.ended || m.closed):
		m.client.fail("CloseWith of session %d, which was closed before, has no error", m.client.name)
	case err == nil:
		m.ended, m.told = true, told
	case err != engine.ErrClosed:
		m.client.fail("CloseWith of session %d: %v", m.client.name, err)
	}
}

// finished reports whether nothing comes of the session any more.
func (d *modelDriver) finished(m *modelSession) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed || d.run.faulty && m.client.over
}

func closePacket(engine.Revision) string { return "1" }

// settle lets both sides work for some rounds.
func (d *modelDriver) settle(rounds int) {
	for range rounds {
		d.net.Settle()
		d.step()
	}
}

// step lets the clients work.
func (d *modelDriver) step() {
	for _, m := range d.sessions {
		m.client.step()
		if d.run.faulty && m.client.over {
			m.client.hangUp()
		}
	}
}

// catchUp makes slow readers quick.
func (d *modelDriver) catchUp() {
	for _, m := range d.sessions {
		for _, p := range m.client.peers() {
			p.SetWindow(1 << 20)
		}
	}
}
