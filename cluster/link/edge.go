package link

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"turbine/loop"
	"turbine/pool"
)

// Defaults of EdgeOptions.
const (
	// DefaultRelays is how many relays a node has as the edge.
	DefaultRelays = 100_000
	// DefaultStall is how long a client of a relay may take nothing: longer than the home
	// waits for a client of Engine.IO's own default times, which is what ends it.
	DefaultStall = time.Minute
)

// Errors that a relay fails with, in addition to those of dials and greetings.
var (
	ErrRelays    = errors.New("link: too many relays")
	ErrRelayTime = errors.New("link: the node of a relay did not answer in time")
	ErrEarly     = errors.New("link: the client of a relay said too much before it was answered")
	ErrLeaving   = errors.New("link: this node leaves")
	errNode      = errors.New("link: another node is at the address")
)

// A Relay is what a connection takes with it to another node.
type Relay struct {
	Hello    []byte // what the home is told first
	First    []byte // the client's bytes so far
	Refusal  []byte // a response, for the client of a node that cannot be reached
	Farewell []byte // the note for the home when this node leaves; empty: none
}

// EdgeOptions of an Edge.
type EdgeOptions struct {
	Self *Self
	Dial Dialer
	// Loops are those that Open is called on.
	Loops []*loop.Loop
	// Max is the limit of relays at a time. Zero means DefaultRelays.
	Max int
	// Stall is how long a client may take nothing of what its home sends, before the
	// relay ends: the home's own end of the session cannot be seen behind what waits.
	// It should be longer than the home waits for a pong. Zero means DefaultStall.
	Stall time.Duration
	// Note takes a note to a node, on the loop. It borrows p. Nil: there are no
	// farewells.
	Note func(on *loop.Loop, node uint32, p []byte)
	// Failed is told of each relay that came to nothing, on its loop. Nil means nobody.
	Failed func(node uint32, err error)
}

// An Edge has the relays of the clients of this node to sessions of others: each is a
// connection of its own, on the client's loop, that carries the client's bytes unread.
type Edge struct {
	options EdgeOptions
	now     atomic.Int64
	opened  atomic.Uint64
	refused atomic.Uint64
	failed  atomic.Uint64
	stalled atomic.Uint64
	homes   atomic.Int64
	leaving atomic.Int64 // how long the leaving takes, and 1 more; 0: it has not begun
}

// RelayStats are counts since NewEdge.
type RelayStats struct {
	Opened  uint64 // relays that a home has answered
	Refused uint64 // those above the limit
	Failed  uint64 // those whose home could not be reached, and those of a node that leaves
	Stalled uint64 // ended because the client took nothing
	Now     int    // now, with those that are being dialed and closed
}

// NewEdge makes an Edge.
func NewEdge(o EdgeOptions) *Edge {
	if o.Max == 0 {
		o.Max = DefaultRelays
	}
	if o.Stall == 0 {
		o.Stall = DefaultStall
	}
	if o.Failed == nil {
		o.Failed = func(uint32, error) {}
	}
	return &Edge{options: o}
}

// Stats returns the counts. Safe from any goroutine.
func (e *Edge) Stats() RelayStats {
	return RelayStats{
		Opened: e.opened.Load(), Refused: e.refused.Load(), Failed: e.failed.Load(),
		Stalled: e.stalled.Load(), Now: int(e.now.Load()),
	}
}

// Conns is how many connections to homes are on the loops. Safe from any goroutine.
func (e *Edge) Conns() int { return int(e.homes.Load()) }

// Open makes c, a client's connection on its loop, a relay to the node at address. It
// becomes the handler of c, and borrows what r has. If the node cannot be reached the
// client is told r.Refusal.
func (e *Edge) Open(c *loop.Conn, node uint32, address string, r Relay) {
	if err := e.admit(r); err != nil {
		e.options.Failed(node, err)
		c.SetHandler(closedConn{})
		c.Write(r.Refusal)
		c.Close()
		return
	}
	l := c.Loop()
	x := &relay{edge: e, loop: l, client: c, node: node}
	x.refusal, x.farewell = own(r.Refusal), own(r.Farewell)
	x.waiting = pool.Spills.Get(relayHelloLen + len(r.Hello) + len(r.First))
	x.waiting.Append(binary.LittleEndian.AppendUint16(make([]byte, 0, relayHelloLen), uint16(len(r.Hello)))) // #nosec G115 -- MaxRelayHello
	x.waiting.Append(r.Hello)
	x.waiting.Append(r.First)
	x.slot = l.Claim(x)
	x.deadline = l.Now() + relayTime
	l.Arm(x.slot, x.deadline)
	c.SetHandler((*relayClient)(x))
	c.Resume() // whoever had it may have paused it
	x.cancel = e.options.Dial(l, address, x.greet, x.fail)
}

func own(p []byte) []byte { return append([]byte(nil), p...) }

// admit takes a place for r, or says why there is none.
func (e *Edge) admit(r Relay) error {
	err := error(nil)
	switch {
	case e.now.Add(1) > int64(e.options.Max):
		e.now.Add(-1)
		e.refused.Add(1)
		return ErrRelays
	case e.leaving.Load() != 0:
		err = ErrLeaving
	case len(r.Hello) > MaxRelayHello || relayHelloLen+len(r.Hello)+len(r.First) > maxRelayWaiting:
		err = ErrEarly
	default:
		return nil
	}
	e.now.Add(-1)
	e.failed.Add(1)
	return err
}

// Leave ends all relays over that time, each with its farewell, because this node leaves:
// no relay begins any more. Safe from any goroutine.
func (e *Edge) Leave(over time.Duration) {
	if !e.leaving.CompareAndSwap(0, int64(over)+1) {
		return
	}
	e.each(func(r *relay) {
		switch r.state {
		case relayDialing:
			r.fail(ErrLeaving)
		case relayOpen:
			r.leaveWithin(over)
		case relayParting, relayClosing, relayOver:
		}
	})
}

// Lost ends all relays to the node, because it is dead. Safe from any goroutine.
func (e *Edge) Lost(node uint32) {
	e.each(func(r *relay) {
		if r.node != node {
			return
		}
		switch r.state {
		case relayDialing:
			r.fail(ErrDead)
		case relayOpen, relayParting:
			r.state = relayClosing
			r.client.Abort()
			r.home.Abort()
		case relayClosing, relayOver:
		}
	})
}

// each visits the relays of all loops, a portion a turn.
func (e *Edge) each(visit func(*relay)) {
	for _, l := range e.options.Loops {
		_ = l.Post(&relayWalk{edge: e, loop: l, visit: visit}) // a stopped loop has none
	}
}

// relayWalk is a walk over the relays of a loop.
type relayWalk struct {
	edge  *Edge
	loop  *loop.Loop
	next  loop.Slot
	visit func(*relay)
}

func (w *relayWalk) Run() {
	for end := min(w.next+portion, w.loop.Slots()); w.next < end; {
		owner := w.loop.Owner(w.next)
		w.next++ // first: visit may end the goroutine
		if r, ok := owner.(*relay); ok && r.edge == w.edge {
			w.visit(r)
		}
	}
	if w.next < w.loop.Slots() {
		_ = w.loop.Post(w)
	}
}
