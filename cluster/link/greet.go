package link

import (
	"crypto/hmac"
	"crypto/rand"
	"sync/atomic"
	"time"

	"turbine/loop"
)

const (
	// greetingTime is how long a greeting may take.
	greetingTime = 3 * time.Second
	// DoorPlaces is how many accepted connections without a proof there may be.
	DoorPlaces = 64
	// exporterLabel names what is exported from TLS for the proof.
	exporterLabel = "EXPORTER-turbine-link"
)

// stage is how far a greeting has come. The end that accepts says nothing before it has
// heard a greeting, and proves nothing before it has heard a proof: whoever has no key
// learns nothing from it.
//
//	| stage     | event                          | next      | does
//	| met       | dialed                         | met       | Hello
//	| met       | Hello                          | greeted   | dialer: Proof; acceptor: Hello
//	| met       | Hello of no common version, of another cluster, of this node | over | acceptor: Hello
//	| greeted   | right Proof                    | over      | acceptor: Proof; up
//	| greeted   | wrong Proof                    | over      | acceptor: an empty Proof
//	| any       | anything else, 3 s, 1 KiB, end | over      | failed
type stage uint8

const (
	stageMet stage = iota
	stageGreeted
	stageOver
)

// greeting is the first handler of a link's connection, at both ends.
type greeting struct {
	conn     *loop.Conn
	self     *Self
	up       func(*loop.Conn, Peer) loop.Handler
	failed   func(error)
	door     *Door // nil where we have dialed
	deadline time.Duration
	slot     loop.Slot
	stage    stage
	purpose  Purpose // what we dialed for
	peer     Peer
	ours     []byte // our hello
	in       []byte // all that has come
	parsed   int    // so much of in was understood
	theirs   []byte // the other hello, in in
}

// Greet is the first handler of c, a connection that was dialed for purpose. One of up and
// failed is called, once. up returns the handler that follows; what comes behind the
// greeting is the handler's. failed comes before the end of c, which is ended.
func Greet(c *loop.Conn, self *Self, purpose Purpose, up func(*loop.Conn, Peer) loop.Handler, failed func(error)) loop.Handler {
	g := &greeting{conn: c, self: self, purpose: purpose, up: up, failed: failed}
	g.begin()
	g.sayHello(self.versions())
	return g
}

// A Door lets other nodes in that have the key. It is shared by all loops.
type Door struct {
	self     *Self
	up       func(*loop.Conn, Peer) loop.Handler
	failed   func(*loop.Conn, error)
	unproven atomic.Int64
	refused  atomic.Uint64
}

// NewDoor makes a Door. up and failed are called on the connection's loop. failed may be
// nil. Connections that are refused because there are DoorPlaces without a proof are
// counted only.
func NewDoor(self *Self, up func(*loop.Conn, Peer) loop.Handler, failed func(*loop.Conn, error)) *Door {
	if failed == nil {
		failed = func(*loop.Conn, error) {}
	}
	return &Door{self: self, up: up, failed: failed}
}

// Accept chooses the first handler of a connection, as loop.Reactor.Listen asks for.
func (d *Door) Accept(c *loop.Conn) loop.Handler {
	if d.unproven.Add(1) > DoorPlaces {
		d.unproven.Add(-1)
		d.refused.Add(1)
		c.Abort()
		return closedConn{}
	}
	g := &greeting{conn: c, self: d.self, up: d.up, door: d, failed: func(err error) { d.failed(c, err) }}
	g.begin()
	return g
}

// Unproven is how many connections have not proven that they have the key. Safe from any
// goroutine.
func (d *Door) Unproven() int { return int(d.unproven.Load()) }

// Refused counts the connections for which there was no place. Safe from any goroutine.
func (d *Door) Refused() uint64 { return d.refused.Load() }

func (d *Door) leave() {
	if d != nil {
		d.unproven.Add(-1)
	}
}

func (g *greeting) begin() {
	l := g.conn.Loop()
	g.slot = l.Claim(g)
	g.deadline = l.Now() + greetingTime
	l.Arm(g.slot, g.deadline)
}

// Alarm looks whether the greeting takes too long.
func (g *greeting) Alarm() {
	if g.stage != stageOver && g.conn.Loop().Late(g.slot, g.deadline) {
		g.fail(ErrSlow)
	}
}

// Data borrows p.
func (g *greeting) Data(p []byte) {
	if g.stage == stageOver {
		return
	}
	before := len(g.in)
	g.in = append(g.in, p[:min(len(p), maxGreeting-before)]...)
	for g.stage != stageOver {
		h, body, n, err := Parse(g.in[g.parsed:])
		switch {
		case err == ErrIncomplete && len(g.in) < maxGreeting:
			return
		case err != nil || int(h.Length) > maxGreeting-g.parsed-HeaderLen:
			g.fail(ErrGreeting)
			return
		}
		g.parsed += n
		if g.frame(h, body) {
			g.arrive(p[g.parsed-before:])
			return
		}
	}
}

// frame hears a whole frame, and reports whether the greeting is done.
func (g *greeting) frame(h Header, body []byte) (done bool) {
	switch {
	case g.stage == stageMet && h.Kind == Hello:
		g.hello(body)
	case g.stage == stageGreeted && h.Kind == Proof:
		return g.proven(body)
	default:
		g.fail(ErrGreeting)
	}
	return false
}

// hello hears the other end's greeting.
func (g *greeting) hello(body []byte) {
	h, err := parseHello(body)
	if err != nil {
		g.fail(err)
		return
	}
	g.theirs = body
	oldest, newest := g.self.versions()
	g.peer = Peer{Node: h.node, Boot: h.boot, Options: h.options, Version: min(newest, h.newest), Purpose: h.purpose}
	switch {
	case string(h.cluster) != g.self.Cluster:
		err = ErrCluster
	case h.node == g.self.Node && h.boot == g.self.Boot:
		err = ErrSelf
	case g.peer.Version < max(oldest, h.oldest):
		err = ErrVersion
	case g.door == nil && h.purpose != g.purpose, h.purpose != Requests && h.purpose != Relays:
		err = ErrGreeting
	}
	if g.door != nil {
		g.purpose = h.purpose
		g.sayHello(oldest, newest) // also so that the other end sees what is wrong
	}
	if err != nil {
		g.fail(err)
		return
	}
	g.stage = stageGreeted
	if g.door == nil {
		g.sayProof(roleDialer)
	}
}

// proven hears the other end's proof.
func (g *greeting) proven(body []byte) (done bool) {
	role := roleAcceptor
	if g.door != nil {
		role = roleDialer
	}
	want := g.proof(role)
	if !hmac.Equal(body, want[:]) {
		if g.door != nil {
			g.conn.Write(Append(nil, Proof, 0, 0, nil))
		}
		g.fail(ErrProof)
		return false
	}
	if g.door != nil {
		g.sayProof(roleAcceptor)
	}
	return true
}

// arrive hands the connection on, with rest, what came behind the greeting.
func (g *greeting) arrive(rest []byte) {
	g.end()
	g.door.leave()
	g.door = nil
	c, in := g.conn, g.up
	g.in, g.ours, g.theirs = nil, nil, nil
	c.HandOn(in(c, g.peer), rest)
}

func (g *greeting) sayHello(oldest, newest uint8) {
	h := hello{
		oldest: oldest, newest: newest, purpose: g.purpose, node: g.self.Node,
		boot: g.self.Boot, options: g.self.Options, cluster: []byte(g.self.Cluster),
	}
	_, _ = rand.Read(h.nonce[:]) // it never fails
	g.ours = appendHello(nil, h)
	g.conn.Write(Append(nil, Hello, 0, 0, g.ours))
}

func (g *greeting) sayProof(role string) {
	sum := g.proof(role)
	g.conn.Write(Append(nil, Proof, 0, 0, sum[:]))
}

func (g *greeting) proof(role string) [proofLen]byte {
	dialer, acceptor := g.ours, g.theirs
	if g.door != nil {
		dialer, acceptor = g.theirs, g.ours
	}
	var exported []byte
	if state := g.conn.TLS(); state != nil {
		var err error
		if exported, err = state.ExportKeyingMaterial(exporterLabel, nil, proofLen); err != nil {
			exported = []byte(err.Error()) // TLS 1.2 without extended master secret: no proof holds
			_, _ = rand.Read(exported)
		}
	}
	return proof(g.self.Key, role, dialer, acceptor, exported)
}

// end is the only way into stageOver.
func (g *greeting) end() {
	g.stage = stageOver
	if g.slot != 0 {
		g.conn.Loop().Release(g.slot)
		g.slot = 0
	}
}

func (g *greeting) fail(err error) {
	if g.stage == stageOver {
		return
	}
	g.end()
	g.failed(err)
	if g.conn.Unsent() > 0 {
		g.conn.CloseIdle()
	} else {
		g.conn.Abort()
	}
}

// Drained is of no interest here.
func (g *greeting) Drained() {}

// EOF ends the greeting: a node does not close one direction.
func (g *greeting) EOF() { g.fail(ErrGreeting) }

// Closed comes once and last, unless the greeting was done.
func (g *greeting) Closed(err error) {
	g.door.leave()
	g.door = nil
	if g.stage == stageOver {
		return
	}
	if err == nil {
		err = ErrGreeting
	}
	g.end()
	g.failed(err)
}

// closedConn is the handler of a connection that was ended before it had one.
type closedConn struct{}

func (closedConn) Data([]byte)  {}
func (closedConn) Drained()     {}
func (closedConn) EOF()         {}
func (closedConn) Closed(error) {}
