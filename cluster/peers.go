package cluster

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"turbine/cluster/link"
	"turbine/engine"
	"turbine/loop"
	"turbine/pool"
)

// peersOptions of peers.
type peersOptions struct {
	Self   link.Self // without Options, which start is given
	TLS    *tls.Config
	Listen string // host:port
	Relays int    // the limit of WebSockets that are relayed; 0: link.DefaultRelays
	Log    *slog.Logger
	// Unknown is asked by Knows about a node that was not learnt. True: its requests wait
	// until it is learnt or forgotten. It is called on any goroutine. Nil: false.
	Unknown func(engine.NodeID) bool
	// Tell is told on a loop what became of a link, and does not block. Nil: nobody is.
	Tell func(engine.NodeID, linkEvent)
}

// peers is engine.Peers over links: one for each loop of this node and each other node,
// dialed here, and those that other nodes have dialed, dealt to the loops in turn. Loop
// 0's link to a node is dialed when the node is learnt, and again whenever it has ended:
// it says whether the node lives. The others are dialed at their first request.
type peers struct {
	options peersOptions
	tls     *loop.TLS // of the port; nil: plain
	dial    link.Dialer
	door    *link.Door
	edge    *link.Edge
	home    engine.Home
	loops   []*peersLoop
	started atomic.Bool // home, loops, door and edge are there
	denials denials

	// table is the nodes that are known. It is never changed, but replaced under mu.
	table atomic.Pointer[map[engine.NodeID]*peer]
	mu    sync.Mutex

	port port
}

// peersLoop is what the links of one loop share. It belongs to the loop, but for counts.
type peersLoop struct {
	on       *loop.Loop
	counts   link.Counts
	gathered link.Gathered
	ins      map[*link.In]struct{}
}

// peer is a node that is known.
type peer struct {
	id        engine.NodeID
	address   atomic.Pointer[string] // "": it is asked for
	forgotten atomic.Bool
	outs      []*link.Out // by loop, whose each one is; nil: none yet
}

// newPeers makes peers that know nobody. Nothing is opened.
func newPeers(o peersOptions) *peers {
	if o.Unknown == nil {
		o.Unknown = func(engine.NodeID) bool { return false }
	}
	if o.Tell == nil {
		o.Tell = func(engine.NodeID, linkEvent) {}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	p := &peers{options: o}
	p.table.Store(&map[engine.NodeID]*peer{})
	var dialed *loop.TLS
	if o.TLS != nil {
		// Handshakes of strangers take no places of those that this node begins.
		to := loop.TLSOptions{Config: o.TLS, Timeout: linkHandshake, Logger: o.Log}
		dialed = loop.NewTLS(to)
		to.MaxHandshakes = link.DoorPlaces
		p.tls = loop.NewTLS(to)
	}
	p.dial = link.Dial(dialed, "")
	return p
}

// start opens the listener, and has the server home serve what comes. options is the hash
// of what all nodes should have in common. It returns the listener's address.
func (p *peers) start(home engine.Home, options [8]byte) (address string, err error) {
	p.home = home
	p.options.Self.Options = options
	if err := p.options.Self.Check(); err != nil {
		return "", err
	}
	for _, l := range home.Loops() {
		p.loops = append(p.loops, &peersLoop{on: l, ins: map[*link.In]struct{}{}})
	}
	p.door = link.NewDoor(&p.options.Self, p.greeted, p.refused)
	p.edge = link.NewEdge(link.EdgeOptions{
		Self: &p.options.Self, Dial: p.dial, Loops: home.Loops(), Max: p.options.Relays,
		Note: func(on *loop.Loop, node uint32, note []byte) { p.Note(on, engine.NodeID(node), note) },
	})
	p.started.Store(true)
	return p.port.open(p, p.options.Listen)
}

// learn makes a node known that listens on address, and dials it. Again with another
// address it has later dials go there.
func (p *peers) learn(node engine.NodeID, address string) {
	q := p.add(node, address)
	if q == nil {
		return
	}
	q.address.Store(&address)
	for i, l := range p.loops {
		_ = l.on.Post(loop.Func(func() {
			out := q.outs[i]
			if i == 0 {
				out = p.out(q, l.on)
			}
			if out == nil { // not dialed yet, or forgotten
				return
			}
			out.SetAddress(address)
			if i == 0 {
				out.Dial()
			}
		}))
	}
}

// add returns what is known of a node, a new one if nothing is; nil before start.
func (p *peers) add(node engine.NodeID, address string) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.peer(node); q != nil {
		return q
	}
	if !p.started.Load() {
		return nil
	}
	q := &peer{id: node, outs: make([]*link.Out, len(p.loops))}
	q.address.Store(&address)
	next := maps.Clone(*p.table.Load())
	next[node] = q
	p.table.Store(&next)
	return q
}

// forget has Knows be false for a node, and its requests fail.
func (p *peers) forget(node engine.NodeID) {
	p.mu.Lock()
	q := p.peer(node)
	if q != nil {
		next := maps.Clone(*p.table.Load())
		delete(next, node)
		p.table.Store(&next)
		q.forgotten.Store(true)
	}
	p.mu.Unlock()
	if q == nil {
		return
	}
	p.edge.Lost(uint32(node))
	for i, l := range p.loops {
		_ = l.on.Post(loop.Func(func() {
			if out := q.outs[i]; out != nil {
				q.outs[i] = nil
				out.Forget()
			}
		}))
	}
}

// peer returns what is known of a node, nil if nothing is. Safe from any goroutine.
func (p *peers) peer(node engine.NodeID) *peer { return (*p.table.Load())[node] }

// out returns the link of a loop to a node, nil if the node is not known any more.
func (p *peers) out(q *peer, on *loop.Loop) *link.Out {
	if q == nil || q.forgotten.Load() { // set before the task that forgets q's links
		return nil
	}
	i := on.Index()
	if q.outs[i] == nil {
		l := p.loops[i]
		q.outs[i] = link.NewOut(on, link.OutOptions{
			Self: &p.options.Self, Node: uint32(q.id), Address: *q.address.Load(), Dial: p.dial,
			Keep: i == 0, Gathered: &l.gathered, Counts: &l.counts,
			Event: func(e link.Event, _ link.Peer, err error) { p.event(q, i == 0, e, err) },
		})
	}
	return q.outs[i]
}

// event tells what became of a link. Where it is about the node, any loop's counts.
func (p *peers) event(q *peer, first bool, e link.Event, err error) {
	if q.forgotten.Load() {
		return
	}
	told := linkEvent(0)
	switch e {
	case link.EventIncompatible:
		told = linkIncompatible
	case link.EventWrongNode:
		told = linkOther
	case link.EventWrongKey:
		told = linkDenied
		p.deny(*q.address.Load())
	case link.EventUp:
		if first {
			told = linkUp
		}
	case link.EventDown:
		if first {
			told = linkDown
		}
	case link.EventRefused:
		if first {
			told = linkRefused
		}
	}
	if told != 0 {
		p.options.Log.Debug("link to another node", "node", nodeText(q.id), "event", uint8(told), "error", err)
		p.options.Tell(q.id, told)
	}
}

// deny logs that a node has another key, once a minute for each address.
func (p *peers) deny(address string) {
	if p.denials.allow(address) {
		p.options.Log.Warn("node has another key", "peer", address)
	}
}

// What follows is engine.Peers.

func (p *peers) Knows(node engine.NodeID) bool {
	if p.peer(node) != nil {
		return true
	}
	if !p.options.Unknown(node) {
		return false
	}
	p.add(node, "")
	return true
}

func (p *peers) Arrive(on *loop.Loop, to engine.NodeID, head, body []byte, whole bool, back engine.Reply) engine.Stream {
	if out := p.out(p.peer(to), on); out != nil {
		return engine.Stream(out.Arrive(head, body, whole, back))
	}
	return 0
}

func (p *peers) Complete(on *loop.Loop, to engine.NodeID, s engine.Stream, body *pool.Buf) {
	if out := p.out(p.peer(to), on); out != nil {
		out.Complete(uint32(s), body)
	}
}

func (p *peers) Cancel(on *loop.Loop, to engine.NodeID, s engine.Stream, status int) {
	if out := p.out(p.peer(to), on); out != nil {
		out.Cancel(uint32(s), status)
	}
}

func (p *peers) Lost(on *loop.Loop, to engine.NodeID, s engine.Stream, overBudget bool) {
	if out := p.out(p.peer(to), on); out != nil {
		out.Lost(uint32(s), overBudget)
	}
}

func (p *peers) Note(on *loop.Loop, to engine.NodeID, note []byte) {
	if out := p.out(p.peer(to), on); out != nil {
		out.Note(note)
	}
}

func (p *peers) Relay(c *loop.Conn, to engine.NodeID, r engine.Relay) {
	address := "" // it cannot be dialed: the client is refused
	if q := p.peer(to); q != nil {
		address = *q.address.Load()
	}
	p.edge.Open(c, uint32(to), address, link.Relay(r))
}

func (p *peers) Conns() (n int) {
	if !p.started.Load() {
		return 0
	}
	for _, l := range p.loops {
		n += int(l.counts.Conns.Load())
	}
	return n + p.door.Unproven() + p.edge.Conns()
}

// linkStats are figures of links since the start, but for the first four and
// Relays.Now, which are of this moment.
type linkStats struct {
	Links    [link.Over]int // dialed here, by state: absent, dialing, hello, up, pressed
	Accepted int            // dialed by others
	Streams  int            // requests on their way to other nodes, and waiting there
	Guests   int            // requests of other nodes here
	Relays   link.RelayStats

	BytesSent, BytesHeard             uint64
	Answered, Aborted, Failed, NoRoom uint64 // of requests to other nodes
}

// stats returns the figures. Safe from any goroutine.
func (p *peers) stats() (s linkStats) {
	if !p.started.Load() {
		return s
	}
	for _, l := range p.loops {
		c := &l.counts
		for i := range s.Links {
			s.Links[i] += int(c.Links[i].Load())
		}
		s.Streams += int(c.Streams.Load())
		s.Guests += int(c.Guests.Load())
		s.BytesSent += c.BytesSent.Load()
		s.BytesHeard += c.BytesHeard.Load()
		s.Answered += c.Answered.Load()
		s.Aborted += c.Aborted.Load()
		s.Failed += c.Failed.Load()
		s.NoRoom += c.NoRoom.Load()
	}
	s.Accepted = int(p.port.links.Load())
	s.Relays = p.edge.Stats()
	return s
}

var errTooManyLinks = errors.New("cluster: too many links of other nodes")
