package engine

import (
	"errors"
	"time"

	"turbine/engine/packet"
	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// upgradeState is how far the switch from polling to WebSocket has come.
//
//	| state           | event                                           | next    | does
//	| idle          | WebSocket with this sid, polling, upgrades allowed | probing | 101, arm Timeouts.Upgrade
//	| idle            | the same, more than MaxUpgrades under way       | idle    | 503
//	| idle, done      | WebSocket with this sid, not allowed            | same    | close that WebSocket
//	| probing, probed | another WebSocket with this sid                 | same    | close that WebSocket
//	| probing, probed | ping "probe" on it                              | probed  | pong "probe"; a waiting GET gets noop, at most one in noopPace
//	| probed          | GET                                             | probed  | waiting packets, else noop: at once, noopPace after the last one
//	| probing, probed | upgrade packet                                  | done    | WebSocket becomes the transport, polling dropped, flush
//	| probing, probed | other packet, lost, timeout, session closed     | idle    | close the candidate, stay on polling
//	| done            | GET or POST with this sid                       | done    | 400 bad request
//
// Idle is a session without an upgrade.
type upgradeState uint8

const (
	upgradeProbing upgradeState = iota + 1
	upgradeProbed
	upgradeDone
	upgradeOver // given up: back to idle
)

// upgrade is the WebSocket being tried, and its connection's handler. It
// exists from the 101 until it is the transport or is given up.
type upgrade struct {
	link
	session  *Session
	deadline time.Duration
	noopAt   time.Duration     // when the next waiting poll may be answered with a noop
	takeover *wsframe.Takeover // nil without context takeover
	state    upgradeState
	base64   bool
}

// offer makes conn, a WebSocket just opened with the session's id, its
// candidate. rest is borrowed: what came behind the handshake.
func (s *Session) offer(conn *loop.Conn, q query, deflate wsframe.DeflateParams, rest []byte) {
	o := &s.server.options
	if s.state == sessionClosed || s.upgrade != nil || s.Transport() != Polling || o.NoUpgrades {
		s.server.shard(s.loop).refuses(conn, nil, CauseUpgrade)
		rejectWebSocket(conn)
		return
	}
	u := &upgrade{
		link:     link{conn: conn, deflate: deflate},
		session:  s,
		deadline: s.loop.Now() + o.Timeouts.Upgrade,
		state:    upgradeProbing,
		base64:   q.base64,
	}
	if deflate.ServerTakeover || deflate.ClientTakeover {
		u.takeover = wsframe.NewTakeover(deflate)
	}
	s.upgrade = u
	s.set(publicUpgrading)
	t := &s.server.shard(s.loop).tally
	t.upgrades.Add(1)
	t.begun.Add(1)
	s.transport.(*polling).heardBy = 0
	s.arm()
	conn.SetHandler(u)
	s.traceChange(TraceRecord{Event: TraceUpgradeBegun})
	if len(rest) > 0 {
		u.Data(rest)
	}
}

// become is the only place that sets u.state.
func (u *upgrade) become(next upgradeState) {
	invariants.Check(u.state < upgradeDone, "upgrade %d -> %d", u.state, next)
	u.state = next
}

// Data borrows p.
func (u *upgrade) Data(p []byte) {
	defer u.session.server.shard(u.session.loop).inflater.Done()
	for {
		m, rest, err := u.receive(p, u.session.server, u.takeover)
		switch {
		case errors.Is(err, wsframe.ErrIncomplete):
			return
		case err != nil:
			u.session.server.metFault(err, u.session.loop)
			u.giveUp(UpgradeInvalid, closeCode(err))
			return
		case m.OpCode == ws.OpClose:
			code, _, _ := wsframe.ParseClose(m.Payload) // the reader has checked it
			u.giveUp(UpgradeLost, code)
			return
		}
		u.packet(u.session.revision.Decode(m.Payload, m.OpCode == ws.OpBinary))
		switch u.state {
		case upgradeDone:
			u.handOver(rest)
			return
		case upgradeOver:
			return
		case upgradeProbing, upgradeProbed:
		}
		p = rest
	}
}

// packet handles one packet on the candidate.
func (u *upgrade) packet(p packet.Packet, err error) {
	if err == nil {
		u.session.traceIn(WebSocket, p)
	}
	switch {
	case err != nil:
		u.abandon(UpgradeInvalid)
	case p.IsProbe() && u.conn.Ready(): // a client that probes again and again without reading is given up
		if u.state == upgradeProbing {
			u.become(upgradeProbed)
		}
		u.conn.Write(probeFrame)
		u.session.traceProbed()
		u.session.tellUpgrading()
		if u.state == upgradeProbed { // a panic has ended it otherwise
			p := u.session.transport.(*polling)
			p.releaseInTurn(u.session.loop.Now())
			p.hurry()
		}
	case p.Type == packet.Upgrade:
		// Also without a probe and with data, as the reference server: BestHTTP for Unity
		// sends "52".
		u.become(upgradeDone)
	default:
		u.abandon(UpgradeInvalid)
	}
}

var probeFrame = wsframe.AppendFrame(nil, ws.OpText, []byte("3probe"))

// handOver makes the candidate the session's transport. rest is borrowed: what
// came behind the upgrade packet.
func (u *upgrade) handOver(rest []byte) {
	s := u.session
	old := s.transport.(*polling)
	t := &s.websocket
	s.mu.Lock()
	t.link = u.link
	s.mu.Unlock()
	if u.takeover != nil {
		s.rare().takeover = u.takeover
	}
	s.upgrade, s.base64 = nil, u.base64
	tally := &s.server.shard(s.loop).tally
	tally.upgrades.Add(-1)
	tally.done.Add(1)
	s.setTransport(t)
	t.conn.SetHandler(t)
	if u.noopAt != 0 {
		old.release() // a poll that has waited for its turn: the client is not to take it for the end
	}
	old.closed(0) // the session continues
	if s.has(publicPaused) || s.posts() {
		t.conn.Pause()
	}

	s.begin()
	s.tellUpgrade()
	s.run()
	if s.state != sessionClosed {
		t.Data(rest)
	}
}

// abandon gives the attempt up: the session stays on polling.
func (u *upgrade) abandon(why UpgradeEnd) { u.giveUp(why, 0) }

func (u *upgrade) giveUp(why UpgradeEnd, code ws.StatusCode) {
	if u.state >= upgradeDone {
		return
	}
	u.become(upgradeOver)
	u.session.upgrade = nil
	u.session.clear(publicUpgrading)
	u.session.traceChange(TraceRecord{Event: TraceUpgradeFailed, Failed: why})
	shard := u.session.server.shard(u.session.loop)
	shard.tally.upgrades.Add(-1)
	shard.tally.failed[why].Add(1)
	shard.inflater.Done()
	u.bye(shard, code, "", false)
	if u.takeover != nil {
		u.takeover.Release()
	}
}

func (u *upgrade) expired() {
	u.session.server.met(LimitUpgradeTimeout, u.session.loop)
	u.abandon(UpgradeTimeout)
}

func (u *upgrade) Drained() {}

func (u *upgrade) EOF() { u.abandon(UpgradeLost) }

func (u *upgrade) Closed(error) { u.abandon(UpgradeLost) }
