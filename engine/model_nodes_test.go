package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// modelNodeFaults let a run have some of each.
var modelNodeFaults = engine.MemFaults{NoRoom: 30, Refused: 600, Cut: 4, Stall: 4, CutRelay: 2}

// TestModelOnNodes is TestModelDeliversOnceInOrder with one to three nodes. Each request
// of a session comes to a node at random; what nodes tell each other comes late and in
// pieces.
func TestModelOnNodes(t *testing.T) {
	modelOnNodes(t, engine.MemFaults{}, "relayed")
}

// TestModelOnFaultyNodes is the same where links and relays are refused, stall and break,
// there is no room on them, and nodes go away.
func TestModelOnFaultyNodes(t *testing.T) {
	modelOnNodes(t, modelNodeFaults, "relayed", "relay cut", "no room", "link refused", "link cut", "link stalled", "node gone", "node drains")
}

func modelOnNodes(t *testing.T, faults engine.MemFaults, kinds ...string) {
	target := int64(*modelMessages) / 2
	if testing.Short() || race.Enabled { // one goroutine: the detector finds nothing here
		target /= 10
	}
	var counts modelCounts
	goOn := func() bool {
		missing := slices.ContainsFunc(kinds, func(kind string) bool { return counts.faults[kind] == 0 })
		return counts.messages.Load() < target || missing && counts.runs < 100
	}
	modelSeeds(t, &counts, goOn, func(seed uint64) {
		runModelOnNodes(t, seed, faults, &counts)
	})
	requireFaults(t, &counts, kinds...)
}

// nodesNet is MemNodes as a modelNet.
type nodesNet struct {
	*engine.MemNodes
	random *rand.Rand
	at     *engine.MemNode // where the next connection is made
	now    func() time.Duration
}

func (n *nodesNet) Dial() modelPeer    { return n.at.Dial() }
func (n *nodesNet) Between()           { n.Run() }
func (n *nodesNet) Turn() (busy bool)  { n.Run(); return true }
func (n *nodesNet) Settle()            { n.Run() }
func (n *nodesNet) Pass()              { n.Advance(time.Duration(n.random.IntN(50)) * time.Millisecond) }
func (n *nodesNet) Now() time.Duration { return n.now() }

func (n *nodesNet) Patience() func() bool {
	steps := 0
	return func() bool {
		if steps%16 == 15 {
			n.Pass()
		}
		steps++
		return steps <= 5000
	}
}

// node is one that lives, at random.
func (n *nodesNet) node() *engine.MemNode {
	alive := n.Nodes()
	return alive[n.random.IntN(len(alive))]
}

// A modelNodePeer is a client's connection to a node.
type modelNodePeer struct {
	node *engine.MemNode
	peer modelPeer
}

// roam lets the next request of c go to some node, by the connection that h has to it.
func (n *nodesNet) roam(c *modelClient, h *modelHTTP) {
	n.at = n.node()
	for i, o := range h.others {
		if o.node != n.at {
			continue
		}
		if !o.peer.EOF() && !o.peer.Closed() {
			h.peer = o.peer
			return
		}
		o.peer.CloseWrite()
		h.others = slices.Delete(h.others, i, i+1)
		break
	}
	h.peer, h.buffer = c.dial(), nil
	h.others = append(h.others, modelNodePeer{n.at, h.peer})
}

func runModelOnNodes(t *testing.T, seed uint64, faults engine.MemFaults, counts *modelCounts) {
	random := rand.New(rand.NewPCG(seed, 1))
	nodes := engine.NewMemNodes(t, seed, faults)
	r := &modelRun{t: t, seed: seed, counts: counts}
	options, events := r.options(), r.events()
	join := func() *engine.MemNode {
		return nodes.Join(1+random.IntN(2), loop.Options{HighWater: 8 << 10}, options, events)
	}
	for range 1 + seed%3 {
		join()
	}
	r.server, r.faulty = nodes.Nodes()[0].Server, true
	net := &nodesNet{MemNodes: nodes, random: random, now: nodes.Nodes()[0].World.Now, at: nodes.Nodes()[0]}
	d := &modelDriver{run: r, net: net, random: random, steps: 1500}
	for range modelClients {
		net.at = net.node()
		d.open()
	}
	goes := faults != engine.MemFaults{} && random.IntN(2) == 0
	for step := range d.steps {
		net.at = net.node()
		d.operate(d.sessions[random.IntN(len(d.sessions))])
		d.settle(1 + random.IntN(3))
		switch {
		case random.IntN(8) == 0:
			net.Pass()
		case faults != engine.MemFaults{} && random.IntN(200) == 0:
			nodes.Drain(net.node())
			r.counts.faults["node drains"]++
		case goes && step == d.steps/2:
			join() // and one that is there goes
			gone := nodes.Nodes()[0]
			nodes.Die(gone)
			for _, m := range d.sessions {
				if m.session != nil && m.home == gone.Server {
					m.gone = true
				}
			}
		}
	}
	nodes.Calm()
	// Whoever is over on one side has a heartbeat's time to be so on the other.
	for range 400 {
		d.catchUp()
		net.Advance(100 * time.Millisecond)
		d.settle(1)
	}
	r.compare()
	r.compareEnds()
	for _, n := range nodes.Nodes() {
		n.Server.CloseSessions()
	}
	for range 50 {
		d.settle(1)
	}
	for _, m := range d.sessions {
		m.client.over = true
		m.client.hangUp()
	}
	net.Advance(2 * time.Minute)
	require.Empty(t, nodes.Left())
	for _, n := range nodes.Nodes() {
		require.Zero(t, n.Server.Stats().Sessions)
		require.Zero(t, n.Server.Stats().Pending)
		require.Zero(t, n.Server.Stats().Polls)
		n.World.Close()
		require.Zero(t, n.World.Sockets())
		require.Zero(t, n.Server.Stats().Queued)
	}
	if invariants.Enabled {
		require.Zero(t, engine.OnLoan())
	}
	for kind, n := range nodes.Counts() {
		counts.faults[kind] += n
	}
	r.count(nil)
}

// compareEnds looks for sessions that are over on one side alone.
func (r *modelRun) compareEnds() {
	for _, m := range r.sessions {
		m.mu.Lock()
		c := m.client
		name := fmt.Sprintf("session %d (revision %d, upgraded %v, closed %v %v %v, vanished %v)", c.name, c.revision, c.upgraded, m.closed, m.reason, m.err, c.vanished)
		if m.session != nil && !m.gone && c.over != m.closed {
			r.violation("%s: the client is over: %v", name, c.over)
		}
		if m.gone && !c.over {
			r.violation("%s: its node is gone, and the client does not know", name)
		}
		m.mu.Unlock()
	}
}

var _ modelPeer = (*looptest.Peer)(nil)
