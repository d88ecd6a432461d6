package engine

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// MemNodes are servers that are one, in memory. Each has a World, all Worlds have one
// clock, and what the servers tell each other travels over queues of bytes, which a seeded
// schedule delays, stalls or cuts. All of it belongs to one goroutine.
type MemNodes struct {
	t      testing.TB
	random *rand.Rand
	nodes  []*MemNode
	routes []*memRoute
	links  []*memLink  // that have not ended on both sides
	relays []*memRelay // the same
	faults MemFaults
	calm   bool // no faults, and nothing is delayed
	counts map[string]int64
}

// MemFaults says how many of 10,000 occasions of each kind fare so. NoRoom is asked for
// each request, Refused for each link that is dialed, the rest for each link or relay at
// each delivery.
type MemFaults struct{ NoRoom, Refused, Cut, Stall, CutRelay int }

// A MemNode is one of MemNodes.
type MemNode struct {
	all    *MemNodes
	ID     NodeID
	Server *Server
	World  *looptest.World
	peers  []*looptest.Peer // that were dialled; a machine that is gone resets them
	home   Home
	diedAt time.Duration // 0 while it lives
}

const (
	memPiece = 700             // of a body or an answer in a frame, at most
	memDead  = 6 * time.Second // of silence, until a link ends
	memDial  = 50 * time.Millisecond
	memNote  = 10 * time.Second // for how long a note waits for a link
)

// NewMemNodes makes none yet. The same seed has the same schedule.
func NewMemNodes(t testing.TB, seed uint64, faults MemFaults) *MemNodes {
	return &MemNodes{t: t, random: rand.New(rand.NewPCG(seed, 7)), faults: faults, counts: map[string]int64{}}
}

// Join adds a server to them. Its loops are on the clock of the others.
func (m *MemNodes) Join(loops int, lo loop.Options, o Options, e Events) *MemNode {
	n := m.invite(&o)
	server, err := New(o, e)
	require.NoError(m.t, err)
	world := looptest.NewWorld(loops, lo, server.Driver().Accept)
	server.Driver().UseLoops(world.Loops())
	m.enter(n, server, world)
	return n
}

// invite is the first half of Join: it draws the id of a node to be, for its options.
func (m *MemNodes) invite(o *Options) *MemNode {
	n := &MemNode{all: m, ID: NodeID(m.random.Uint32() | 1)}
	o.Node = &Node{ID: n.ID, Peers: n}
	return n
}

// enter is the other half: the server of the node has loops.
func (m *MemNodes) enter(n *MemNode, server *Server, world *looptest.World) {
	if len(m.nodes) > 0 {
		world.Jump(m.now() - world.Now())
	}
	home, err := server.Home()
	require.NoError(m.t, err)
	n.Server, n.World, n.home = server, world, home
	m.nodes = append(m.nodes, n)
}

// Nodes are those that live.
func (m *MemNodes) Nodes() (alive []*MemNode) {
	for _, n := range m.nodes {
		if n.diedAt == 0 {
			alive = append(alive, n)
		}
	}
	return alive
}

// Counts is how often each fault was met.
func (m *MemNodes) Counts() map[string]int64 { return m.counts }

// Calm ends all faults and delays.
func (m *MemNodes) Calm() { m.calm = true }

func (m *MemNodes) now() time.Duration { return m.nodes[0].World.Now() }

func (m *MemNodes) fault(kind string, rate int) bool {
	if m.calm || m.random.IntN(10_000) >= rate {
		return false
	}
	m.counts[kind]++
	return true
}

// Dial connects a client to a loop of the node.
func (n *MemNode) Dial() *looptest.Peer {
	p := n.World.Dial()
	n.peers = append(n.peers, p)
	return p
}

// Die has the node's machine lose its power: its clients see their connections break,
// and other nodes hear nothing more. What is in its memory is given back.
func (m *MemNodes) Die(n *MemNode) {
	m.counts["node gone"]++
	n.diedAt = m.now()
	for _, p := range n.peers {
		p.Reset()
	}
	for _, l := range m.links {
		if l.route.from == n || l.route.to == n {
			l.cut()
		}
	}
	for _, r := range m.relays {
		if r.from == n || r.to == n {
			r.cut()
		}
	}
	n.Server.CloseSessions()
	n.World.Advance(time.Minute)
	n.World.Close()
	n.World.Jump(m.Nodes()[0].World.Now() - n.World.Now())
}

// Drain has a node send home what it does for the sessions of others, as before its end:
// waiting polls are released, and relays said farewell to.
func (m *MemNodes) Drain(n *MemNode) {
	for _, l := range m.links {
		if l.route.from == n && !l.dead {
			for _, s := range l.order {
				l.there.write(memFrame(memRelease, 0, s, nil))
			}
		}
	}
	for _, r := range m.relays {
		if r.from == n {
			n.Note(r.on, r.to.ID, r.farewell)
		}
	}
}

// Run lets all Worlds work, and some of what is on the way arrive.
func (m *MemNodes) Run() {
	for _, n := range m.Nodes() {
		n.World.Run()
	}
	m.deliver()
	for _, n := range m.Nodes() {
		n.World.Run()
	}
}

// Rest runs until nothing is on the way, where there is calm.
func (m *MemNodes) Rest() {
	for turns := 0; ; turns++ {
		m.Run()
		if !m.busy() {
			return
		}
		if turns > 100_000 {
			m.t.Fatal("the nodes do not come to rest")
		}
	}
}

func (m *MemNodes) busy() bool {
	for _, l := range m.links {
		if l.there.busy() || l.back.busy() || l.dead {
			return true
		}
	}
	for _, r := range m.relays {
		if r.busy() {
			return true
		}
	}
	return false
}

// Advance moves the one clock by d.
func (m *MemNodes) Advance(d time.Duration) {
	for d > 0 {
		step := min(d, m.nodes[0].World.Tick())
		for _, n := range m.nodes {
			if n.diedAt != 0 {
				n.World.Jump(step)
				continue
			}
			n.World.Advance(step)
		}
		m.Run()
		d -= step
	}
}

// Left is what is still under way, in words: nothing, when all is over.
func (m *MemNodes) Left() (left []string) {
	for _, l := range m.links {
		if len(l.order)+len(l.guests) > 0 {
			left = append(left, fmt.Sprintf("%d streams, %d guests on a link", len(l.order), len(l.guests)))
		}
	}
	if len(m.relays) > 0 {
		left = append(left, fmt.Sprintf("%d relays", len(m.relays)))
	}
	return left
}

func (m *MemNodes) find(id NodeID) *MemNode {
	for _, n := range m.nodes {
		if n.ID == id {
			return n
		}
	}
	return nil
}

// deliver is where the schedule is asked.
func (m *MemNodes) deliver() {
	for _, r := range m.routes {
		r.retry()
	}
	for _, l := range slices.Clone(m.links) {
		l.deliver()
	}
	m.links = slices.DeleteFunc(m.links, func(l *memLink) bool { return l.dead && l.edgeEnd == 0 && l.homeEnd == 0 })
	for _, r := range slices.Clone(m.relays) {
		r.deliver()
	}
	m.relays = slices.DeleteFunc(m.relays, (*memRelay).over)
}

// Peers.

// Knows has a node that is gone be known for as long as a link is waited for.
func (n *MemNode) Knows(id NodeID) bool {
	other := n.all.find(id)
	return other != nil && other != n && (other.diedAt == 0 || n.World.Now()-other.diedAt < memDead)
}

// Conns is 0: the links are on no loop.
func (n *MemNode) Conns() int { return 0 }

func (n *MemNode) Arrive(on *loop.Loop, to NodeID, head, body []byte, whole bool, back Reply) Stream {
	if n.all.fault("no room", n.all.faults.NoRoom) {
		return 0
	}
	r := n.all.route(n, on, to)
	l := r.dial()
	r.last++
	s := r.last
	l.streams[s] = &memStream{reply: back}
	l.order = append(l.order, s)
	p := binary.LittleEndian.AppendUint16(nil, uint16(len(head)))
	p = append(p, head...)
	flags, size := byte(0), min(len(body), n.all.piece())
	if whole {
		flags |= memWhole
	}
	if size < len(body) {
		flags |= memMore
	}
	l.there.write(memFrame(memArrive, flags, s, append(p, body[:size]...)))
	if size < len(body) {
		l.there.pieces(n.all, memBody, s, body[size:])
	}
	return s
}

func (n *MemNode) Complete(on *loop.Loop, to NodeID, s Stream, body *poolBuf) {
	if l := n.all.route(n, on, to).holding(s); l != nil {
		l.there.pieces(n.all, memBody, s, body.Bytes())
	}
}

func (n *MemNode) Cancel(on *loop.Loop, to NodeID, s Stream, status int) {
	if l := n.all.route(n, on, to).holding(s); l != nil {
		l.there.behind(s, memFrame(memCancel, 0, s, binary.LittleEndian.AppendUint16(nil, uint16(status))))
	}
}

func (n *MemNode) Lost(on *loop.Loop, to NodeID, s Stream, overBudget bool) {
	l := n.all.route(n, on, to).holding(s)
	if l == nil {
		return
	}
	l.forget(s)
	l.there.drop(s)
	flags := byte(0)
	if overBudget {
		flags = memMore
	}
	l.there.write(memFrame(memLost, flags, s, nil))
}

func (n *MemNode) Note(on *loop.Loop, to NodeID, p []byte) {
	n.all.route(n, on, to).dial().there.write(memFrame(memNoted, 0, 0, p))
}

// A memRoute is the way from a loop of one node to another node, over one link after
// another.
type memRoute struct {
	all      *MemNodes
	from, to *MemNode
	on       *loop.Loop
	link     *memLink // nil while there is none
	last     Stream
	notes    [][]byte // that wait for a link, as frames
	until    time.Duration
}

func (m *MemNodes) route(from *MemNode, on *loop.Loop, to NodeID) *memRoute {
	for _, r := range m.routes {
		if r.from == from && r.on == on && r.to.ID == to {
			return r
		}
	}
	r := &memRoute{all: m, from: from, on: on, to: m.find(to)}
	m.routes = append(m.routes, r)
	return r
}

// holding is the link that has the stream, nil for none.
func (r *memRoute) holding(s Stream) *memLink {
	for _, l := range r.all.links {
		if l.route == r && l.streams[s] != nil {
			return l
		}
	}
	return nil
}

// dial returns the route's link, which may not be up yet.
func (r *memRoute) dial() *memLink {
	if r.link != nil {
		return r.link
	}
	m := r.all
	l := &memLink{route: r, streams: map[Stream]*memStream{}, guests: map[Stream]*memGuest{}, upAt: m.now()}
	if !m.calm {
		l.upAt += time.Duration(m.random.Int64N(int64(memDial)))
	}
	l.at = r.to.World.Loops()[m.random.IntN(len(r.to.World.Loops()))]
	l.refused = r.to.diedAt != 0 || m.fault("link refused", m.faults.Refused)
	for _, p := range r.notes {
		l.there.write(p)
	}
	r.notes, r.link = nil, l
	m.links = append(m.links, l)
	return l
}

// retry dials again for notes that wait.
func (r *memRoute) retry() {
	switch {
	case len(r.notes) == 0 || r.link != nil:
	case r.all.now() > r.until || r.from.diedAt != 0:
		r.notes = nil
	default:
		r.dial()
	}
}

// A memLink is a connection for the requests of one loop.
type memLink struct {
	route       *memRoute
	at          *loop.Loop // of the home
	there, back memWay
	streams     map[Stream]*memStream // of the edge
	order       []Stream              // of streams
	guests      map[Stream]*memGuest  // of the home
	guestOrder  []Stream
	upAt        time.Duration
	refused     bool
	stalled     time.Duration // until when
	dead        bool
	edgeEnd     time.Duration // when the edge hears of that; 0 once it has
	homeEnd     time.Duration
}

// A memStream is a request at the edge.
type memStream struct {
	reply  Reply
	answer []byte
}

func (l *memLink) forget(s Stream) {
	delete(l.streams, s)
	l.order = slices.DeleteFunc(l.order, func(o Stream) bool { return o == s })
}

func (l *memLink) forgetGuest(s Stream) {
	delete(l.guests, s)
	l.guestOrder = slices.DeleteFunc(l.guestOrder, func(o Stream) bool { return o == s })
}

// cut ends the link. Each side hears of it in its own time, and the bytes under way are
// lost.
func (l *memLink) cut() {
	if l.dead {
		return
	}
	m := l.route.all
	l.dead, l.edgeEnd, l.homeEnd = true, m.now(), m.now()
	if !m.calm {
		l.edgeEnd += time.Duration(m.random.Int64N(int64(100 * time.Millisecond)))
		l.homeEnd += time.Duration(m.random.Int64N(int64(100 * time.Millisecond)))
	}
}

// ends tells the sides of a dead link that is over, each on its loop, when it is time.
func (l *memLink) ends() {
	now := l.route.all.now()
	if l.edgeEnd != 0 && now >= l.edgeEnd {
		l.edgeEnd = 0
		if l.route.link == l {
			l.route.link = nil
		}
		_ = l.route.on.Post(loop.Func(func() {
			for _, s := range slices.Clone(l.order) {
				if st := l.streams[s]; st != nil {
					l.forget(s)
					st.reply.Failed()
				}
			}
		}))
	}
	if l.homeEnd != 0 && now >= l.homeEnd {
		l.homeEnd = 0
		_ = l.at.Post(loop.Func(func() {
			for _, s := range slices.Clone(l.guestOrder) {
				if g := l.guests[s]; g != nil {
					l.forgetGuest(s)
					g.guest.Lost(false)
				}
			}
		}))
	}
}

func (l *memLink) deliver() {
	m := l.route.all
	now := m.now()
	switch {
	case l.dead:
		l.ends()
		return
	case now < l.upAt:
		return
	case l.refused || l.route.to.diedAt != 0:
		for _, p := range l.there.notes() {
			l.route.notes, l.route.until = append(l.route.notes, p), now+memNote
		}
		l.cut()
		l.edgeEnd = now
		l.ends()
		return
	case now < l.stalled:
		if m.calm {
			l.stalled = 0
		}
		return
	}
	switch {
	case m.fault("link cut", m.faults.Cut):
		l.move()
		l.cut()
		return
	case m.fault("link stalled", m.faults.Stall):
		if m.random.IntN(3) == 0 { // until it is dead
			l.cut()
			l.edgeEnd, l.homeEnd = now+memDead, now+memDead
			return
		}
		l.stalled = now + time.Duration(m.random.Int64N(int64(memDead)))
		return
	}
	l.move()
}

// move lets some bytes arrive.
func (l *memLink) move() {
	m := l.route.all
	if l.there.arrive(m) {
		_ = l.at.Post(loop.Func(func() { l.there.read(l.atHome) }))
	}
	if l.back.arrive(m) {
		_ = l.route.on.Post(loop.Func(func() { l.back.read(l.atEdge) }))
	}
}

// atHome is called on the home's loop.
func (l *memLink) atHome(f memReceived) {
	m, home := l.route.all, l.route.to.home
	if l.homeEnd == 0 && l.dead {
		return
	}
	g := l.guests[f.stream]
	switch f.kind {
	case memArrive:
		n := int(binary.LittleEndian.Uint16(f.body))
		head, body := f.body[2:2+n], f.body[2+n:]
		g = &memGuest{link: l, stream: f.stream}
		l.guests[f.stream] = g // an answer may come before Arrive returns
		l.guestOrder = append(l.guestOrder, f.stream)
		guest, err := home.Arrive(l.at, head, g)
		require.NoError(m.t, err)
		scribble(head)
		g.guest = guest
		if f.flags&memWhole != 0 {
			guest.Body(body, f.flags&memMore == 0)
		}
	case memNoted:
		require.NoError(m.t, home.Note(l.at, f.body))
	case memBody:
		if g != nil {
			g.guest.Body(f.body, f.flags&memMore == 0)
		}
	case memCancel:
		if g != nil {
			g.guest.Cancel(int(binary.LittleEndian.Uint16(f.body)))
		}
	case memLost:
		if g != nil {
			l.forgetGuest(f.stream)
			l.back.drop(f.stream)
			g.guest.Lost(f.flags&memMore != 0)
		}
	case memRelease:
		if g != nil {
			g.guest.Release()
		}
	}
	scribble(f.body)
}

// atEdge is called on the edge's loop.
func (l *memLink) atEdge(f memReceived) {
	st := l.streams[f.stream]
	if st == nil {
		return
	}
	switch f.kind {
	case memAnswer:
		st.answer = append(st.answer, f.body...)
		if f.flags&memMore != 0 {
			return
		}
		l.forget(f.stream)
		require.NoError(l.route.all.t, st.reply.Answer(st.answer))
		scribble(st.answer)
	case memAbort:
		l.forget(f.stream)
		st.reply.Abort()
	}
}

// scribble is what becomes of bytes that were borrowed.
func scribble(p []byte) {
	for i := range p {
		p[i] = '!'
	}
}

// A memGuest is a request at home: the Back of a Guest.
type memGuest struct {
	link   *memLink
	stream Stream
	guest  *Guest
	over   bool
}

func (g *memGuest) end() {
	if g.over || g.link.guests[g.stream] != g {
		g.link.route.all.t.Errorf("a guest has ended twice, or after Lost")
	}
	g.over = true
	g.link.forgetGuest(g.stream)
}

func (g *memGuest) Answer(b *poolBuf) {
	g.end()
	g.link.back.pieces(g.link.route.all, memAnswer, g.stream, b.Bytes())
}

func (g *memGuest) Abort() {
	g.end()
	g.link.back.write(memFrame(memAbort, 0, g.stream, nil))
}
