package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"turbine/cluster/link"
	"turbine/engine"
)

const (
	barrierFor = 2 * time.Second        // that Join waits for links at most
	helloEvery = 250 * time.Millisecond // until Join returns
	settled    = 300 * time.Millisecond // without a new node: all have answered
	leaveStep  = 10 * time.Millisecond  // how often Leave looks whether the server has ended
	mailbox    = 8192                   // records that wait for this node's goroutine
)

// ErrJoined is what a second Join returns.
var ErrJoined = errors.New("cluster: Join was called before")

// A Cluster is one node of several: New, Node for engine.Options.Node, Join before Serve,
// Leave beside Shutdown.
type Cluster struct {
	options Options
	keys    keys
	names   subjects
	node    *engine.Node
	boot    string
	began   time.Time // its monotonic part is the clock
	members *members
	peers   *peers
	bus     *bus
	queries *queries

	mu      sync.Mutex
	stage   stage
	name    string
	nats    *nats.Conn
	waiting chan struct{}  // cap 1: members have something to do
	server  *engine.Server // guarded by mu; nil before Join
	quit    chan struct{}
	quitted sync.Once
	running sync.WaitGroup
	closers []func() // what Join has opened, in order: for Join, and then for Leave
}

type stage uint8

const (
	stageNew stage = iota
	stageJoining
	stageJoined
	stageLeft
)

// New checks the options and draws the node's id. Nothing is opened. The error says what
// to do.
func New(o Options) (*Cluster, error) {
	filled, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	secret, err := deriveKeys(filled.Key, filled.Name)
	if err != nil {
		return nil, fmt.Errorf("cluster: keys: %w", err)
	}
	var drawn [20]byte
	id := engine.NodeID(0)
	for id == 0 {
		_, _ = rand.Read(drawn[:]) // it does not fail
		id = engine.NodeID(binary.LittleEndian.Uint32(drawn[16:]))
	}
	boot := [16]byte(drawn[:])
	c := &Cluster{
		options: filled, keys: secret, names: subjectsOf(filled.Name), node: &engine.Node{ID: id},
		boot: hex.EncodeToString(boot[:]), began: time.Now(), name: filled.NodeName,
		waiting: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	if c.name == "" {
		c.name = nodeText(id)
	}
	m := newMembers(record{
		Node: nodeText(id), id: id, Boot: c.boot, Name: c.name, State: joining,
		Oldest: link.OldestVersion, Newest: link.NewestVersion, Version: filled.Version,
	})
	c.members = m
	c.peers = newPeers(peersOptions{
		Self: link.Self{Cluster: filled.Name, Node: uint32(id), Boot: boot, Key: secret.link},
		TLS:  filled.TLS, Listen: filled.Listen, Relays: filled.MaxRelays, Log: filled.Logger,
		Unknown: func(node engine.NodeID) bool { return m.unknown(c.now(), node) },
		Tell:    func(node engine.NodeID, e linkEvent) { m.linkEvent(c.now(), node, e) },
	})
	c.node.Peers = c.peers
	c.bus = newBus(busOptions{
		ID: id, Subjects: c.names, Log: filled.Logger, Gap: c.onGap, Now: c.now, Told: filled.Told,
		Query: func(p []byte) { c.queries.heard(p) }, Answer: func(p []byte) { c.queries.answered(p) },
	})
	c.node.Bus = c.bus
	c.queries = newQueries(queriesOptions{
		self: id, names: c.names, members: c.Members, count: c.ownCount, list: c.ownSessions, asked: filled.Asked, log: filled.Logger, send: c.bus.raw,
	})
	m.names, m.log, m.tell, m.links, m.send = c.names, filled.Logger, c.event, c.peers, c.send
	m.wake = func() {
		select {
		case c.waiting <- struct{}{}:
		default:
		}
	}
	return c, nil
}

// Node is what engine.Options.Node is given. It is the same each time.
func (c *Cluster) Node() *engine.Node { return c.node }

// SetNodeName changes Options.NodeName, for a program that knows its name only when it
// listens. It has no effect behind Join. A name that Options would not take is an error.
func (c *Cluster) SetNodeName(name string) error {
	if len(name) > maxName || !plain(name) {
		return fmt.Errorf("cluster: a node's name has at most %d bytes, and no control characters", maxName)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == stageNew && name != "" {
		c.name = name
	}
	return nil
}

// Members is who is there, and who was during the last hour, as this node sees it: this
// node first, the others by id. It is a copy. Safe from any goroutine.
func (c *Cluster) Members() []Member { return c.members.list() }

// NATS is the connection to NATS, for subjects below turbine.<Name>.v1. It is nil before
// Join and closed behind Leave.
func (c *Cluster) NATS() *nats.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nats
}

// now is the cluster's clock.
func (c *Cluster) now() time.Duration { return time.Since(c.began) }

// Join makes the server a node of the cluster: it connects to NATS, for as long as ctx
// lasts, hears of the other nodes, and returns when they have links to it and it to them,
// or 2 seconds after it has asked who is there. Serve comes next, so that no client has an
// id that other nodes do not know. An error says that this node is none, because NATS
// cannot be reached or because its options cannot go with those of the others; then
// everything that was opened is closed, and the Cluster is of no more use.
func (c *Cluster) Join(ctx context.Context, s *engine.Server) error {
	c.mu.Lock()
	if c.stage != stageNew {
		c.mu.Unlock()
		return ErrJoined
	}
	c.stage, c.server = stageJoining, s
	c.mu.Unlock()
	err := c.join(ctx, s)
	if err != nil {
		c.close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage = stageJoined; err != nil {
		c.stage = stageLeft
	}
	return err
}

func (c *Cluster) join(ctx context.Context, s *engine.Server) error {
	agreed := s.Agreement()
	if agreed.Node != c.node.ID {
		return errors.New("cluster: the server has another engine.Options.Node than Cluster.Node returns")
	}
	limit := c.options.MaxMessage
	if limit == 0 {
		limit = min(max(minMaxMessage, agreed.MaxPayload), maxMaxMessage)
	}
	if err := c.openNATS(ctx, limit+messageRoom); err != nil {
		return err
	}
	home, err := s.Home()
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	c.closers = append(c.closers, c.peers.stop)
	listens, err := c.peers.start(home, agreed.Digest)
	if err != nil {
		return fmt.Errorf("cluster: Options.Listen: %w", err)
	}
	m := c.members
	m.mu.Lock()
	m.self.Name, m.self.Address = c.name, c.advertised(listens, false)
	m.self.Options, m.self.Path, m.self.Bound = hex.EncodeToString(agreed.Digest[:]), agreed.Path, agreed.Bound
	m.self.Loops = len(home.Loops())
	m.mu.Unlock()
	in := make(chan *nats.Msg, mailbox)
	for _, subject := range []string{c.names.nodes(), c.names.node(c.node.ID), c.names.who(c.node.ID)} {
		if _, err := c.nats.ChanSubscribe(subject, in); err != nil {
			return fmt.Errorf("cluster: NATS: %w", err)
		}
	}
	if err := c.nats.FlushTimeout(natsTimeout); err != nil {
		return fmt.Errorf("cluster: NATS: %w", err)
	}
	c.running.Go(func() { c.run(in) })
	c.closers = append(c.closers, c.stop)
	if err := c.bus.start(c.nats, limit, home.Deliver); err != nil {
		return err
	}
	if err := c.passBarrier(ctx); err != nil {
		return err
	}
	m.joined()
	return nil
}

// advertised is the address of links for other nodes, where they are listened for on own;
// moved: not on the port that was configured.
func (c *Cluster) advertised(own string, moved bool) string {
	host, port, err := net.SplitHostPort(c.options.Advertise)
	if err != nil {
		return own
	}
	if port == "0" || moved {
		_, port, _ = net.SplitHostPort(own)
	}
	return net.JoinHostPort(host, port)
}

// openNATS connects to NATS, and starts it before where it is embedded.
func (c *Cluster) openNATS(ctx context.Context, payload int) error {
	o := &c.options
	address := o.NATS
	var more []nats.Option
	if address == "" {
		more = append(more, nats.IgnoreDiscoveredServers())
		config := EmbeddedConfig{
			Name: nodeText(c.node.ID), Cluster: o.Name, Listen: o.NATSListen, Routes: o.Routes,
			RoutePassword: c.keys.route, ClientPassword: c.keys.client, TLS: o.TLS, MaxPayload: payload, Logger: o.Logger,
		}
		if host, _, err := net.SplitHostPort(o.Advertise); err == nil {
			if _, port, _ := net.SplitHostPort(o.NATSListen); port != "0" {
				config.Advertise = net.JoinHostPort(host, port)
			}
		}
		url, stop, err := o.Embedded(config)
		if err != nil {
			return fmt.Errorf("cluster: embedded NATS: %w", err)
		}
		c.closers = append(c.closers, stop)
		address = url
	}
	conn, err := reach(ctx, address, o.TLS, watchNATS{
		log:  o.Logger,
		up:   func() { c.onBus(BusUp) },
		down: func() { c.onBus(BusDown) },
		slow: func(error) { c.bus.slow() },
	}, more...)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, conn.Close)
	c.mu.Lock()
	c.nats = conn
	c.mu.Unlock()
	if have := conn.MaxPayload(); have < int64(payload) {
		return fmt.Errorf("cluster: NATS takes messages of %d bytes, and this node needs %d: raise its max_payload, or lower Options.MaxMessage", have, payload)
	}
	return nil
}

// passBarrier says hello until all who answer are linked, both ways, or the time is over.
func (c *Cluster) passBarrier(ctx context.Context) error {
	begun := c.now()
	heard, since := 0, begun
	tick := time.NewTicker(leaveStep)
	defer tick.Stop()
	for said := begun - helloEvery; ; {
		now := c.now()
		n, up, err := c.members.barrier()
		if err != nil {
			return err
		}
		if n != heard {
			heard, since = n, now
		}
		if now-begun >= barrierFor || up && now-since >= settled && (n > 0 || c.alone()) {
			return nil
		}
		if now-said >= helloEvery {
			said = now
			c.members.hello(now)
			c.members.wake()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster: Join: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// alone reports whether nobody can be there who has not heard this node.
func (c *Cluster) alone() bool { return c.options.NATS == "" && len(c.options.Routes) == 0 }

// run is the goroutine of the membership.
func (c *Cluster) run(in <-chan *nats.Msg) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.quit:
			return
		case m := <-in:
			if r, err := parseRecord(m.Data); err == nil {
				c.members.heard(c.now(), r)
			} else if len(m.Data) > 0 && m.Data[0] == '{' {
				c.options.Logger.Debug("record of a node cannot be read", "error", err)
			}
		case <-c.waiting:
		case <-timer.C:
			c.members.tick(c.now())
		}
		for _, f := range c.members.take() {
			f()
		}
		timer.Reset(max(c.members.next()-c.now(), time.Millisecond))
	}
}

// send publishes a record, and loses it where NATS is down: the next beat is due in a
// second.
func (c *Cluster) send(subject string, r *record) {
	_ = c.nats.Publish(subject, appendRecord(nil, r))
}

// onBus tells what became of the connection to NATS, on the membership's goroutine.
func (c *Cluster) onBus(kind EventKind) {
	c.bus.connected(kind == BusUp)
	m := c.members
	m.mu.Lock()
	m.do(func() { c.event(Event{Kind: kind}) })
	if kind == BusUp {
		m.say(m.names.nodes(), sayHello, false)
	}
	m.mu.Unlock()
	m.wake()
}

// onGap tells of messages of a node that were lost, on the membership's goroutine.
func (c *Cluster) onGap(node engine.NodeID, missing uint64) {
	e := Event{Kind: Gap, Node: node, Err: errSlow}
	if node != 0 {
		e.Err = fmt.Errorf("cluster: %d messages did not arrive", missing)
	}
	for _, o := range c.Members() {
		if o.ID == node {
			e.Name, e.Boot = o.Name, o.Boot
		}
	}
	c.members.mu.Lock()
	c.members.do(func() { c.event(e) })
	c.members.mu.Unlock()
	c.members.wake()
}

// event logs e and tells it to the application.
func (c *Cluster) event(e Event) {
	log := c.options.Logger.Info
	switch e.Kind {
	case Refused, Suspect, Dead, Lost, Returned, Incompatible, Gap:
		log = c.options.Logger.Warn
	default: // as it should be; the bus logs its own
	}
	if e.Node != 0 {
		keys := []any{"event", e.Kind.String(), "name", e.Name, "node", nodeText(e.Node)}
		if e.Err != nil {
			keys = append(keys, "error", e.Err)
		}
		log("node of the cluster", keys...)
	}
	c.options.Event(e)
}

// Leave takes the node out of the cluster. It is called beside Server.Shutdown, at the
// same time: it says that this node takes nobody new, keeps its sessions reachable for
// other nodes until Shutdown has closed them, and then goes. What this node does for
// sessions of others ends at Shutdown's pace: their polls are answered and their relays
// closed, so that the clients go elsewhere. Leave returns when all of it is done, or with
// ctx's error when ctx ends; then, too, the node is out, and all that Join has opened is
// closed. Without a Join it does nothing.
func (c *Cluster) Leave(ctx context.Context) error {
	c.mu.Lock()
	if c.stage != stageJoined {
		c.mu.Unlock()
		return nil
	}
	c.stage = stageLeft
	c.mu.Unlock()
	c.members.drains()
	c.members.wake()
	draining, over := context.WithCancel(ctx)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		c.drain(draining)
	}()
	err := c.outlive(ctx, drained)
	over()
	<-drained
	c.stop()
	c.members.ends()
	for _, f := range c.members.take() {
		f()
	}
	_ = c.nats.FlushTimeout(natsTimeout) // without NATS the others find out by its silence
	c.close()
	return err
}

// drain ends what this node does for sessions of others, at the pace of Shutdown: polls
// that wait there are answered, relays end, and their clients go to other nodes.
func (c *Cluster) drain(ctx context.Context) {
	delay, over := c.server.DrainPace(ctx)
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return
	case <-t.C:
	}
	c.peers.drain(ctx, over)
}

// HandOver frees the address of Options.Listen for a process that takes this one's place:
// links are listened for on a random port from now on, which the other nodes are told. The
// node keeps its sessions, and they stay reachable, until Leave.
func (c *Cluster) HandOver() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage != stageJoined {
		return errors.New("cluster: the node has not joined, or has left")
	}
	address, err := c.peers.move()
	if err != nil {
		return fmt.Errorf("cluster: links on another port: %w", err)
	}
	c.members.moves(c.advertised(address, true))
	c.members.wake()
	return nil
}

// outlive waits until the server has closed its sessions, and until this node does nothing
// for those of others any more, of which none begins behind drained. Where the loops have
// ended nothing is left.
func (c *Cluster) outlive(ctx context.Context, drained <-chan struct{}) error {
	tick := time.NewTicker(leaveStep)
	defer tick.Stop()
	for {
		s := c.server.Stats()
		if s.Phase == engine.PhaseEnded {
			return nil
		}
		select {
		case <-drained:
			away := c.peers.stats()
			if s.Phase != engine.PhaseServing && s.Sessions == 0 && away.Streams == 0 && away.Relays.Now == 0 {
				return nil
			}
		default:
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster: Leave: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// stop ends the goroutines of the membership and of the bus, behind what was published.
func (c *Cluster) stop() {
	c.quitted.Do(func() { close(c.quit) })
	c.running.Wait()
	c.bus.stop()
}

// close undoes what Join has done, in reverse order.
func (c *Cluster) close() {
	closers := c.closers
	c.closers = nil
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
}
