package link

import (
	"math/rand/v2"
	"time"

	"turbine/loop"
	"turbine/pool"
)

const (
	// relayTime is how long a client waits until its home has answered.
	relayTime = 2 * time.Second
	// maxRelayWaiting is how much of a client may wait meanwhile, with what the home is told.
	maxRelayWaiting = 64 << 10
	// MaxRelayHello is the longest hello of a relay in bytes.
	MaxRelayHello = 4 << 10
	// farewellTime is how long a home has, behind a farewell, to end the relay itself.
	farewellTime = 5 * time.Second
	// relayHelloLen is the length of a hello's length in front of it.
	relayHelloLen = 2
)

// relayState is how far a relay has come.
//
//	| state   | event                              | next    | does
//	| dialing | client's bytes                     | dialing | they wait
//	| dialing | client's bytes, above 64 KiB       | closing | Refusal
//	| dialing | client's end of stream             | dialing | is passed on later
//	| dialing | refused, 2 s, node lost or leaving | closing | Refusal, Close
//	| dialing | client gone                        | over    | the dial is cancelled
//	| dialing | greeting done                      | open    | Hello and what waits
//	| open, parting | bytes                        | same    | to the other end, Pause while that is not Ready
//	| open, parting | Drained                      | same    | the other end: Resume
//	| open, parting | client's end of stream       | same    | home: CloseWrite
//	| open, parting | home's end of stream         | closing | client, home: Close
//	| open, parting | client gone                  | closing | home: Close, so that it hears what the client said last
//	| open, parting | home gone                    | closing | client: Abort
//	| open, parting | client takes nothing for Stall | closing | client: Abort
//	| open, parting | node lost                    | closing | client, home: Abort
//	| open    | its part of Leave                  | parting | Farewell
//	| parting | 5 s                                | closing | client, home: Close
//	| closing | both are gone                      | over    | its place is free
type relayState uint8

const (
	relayDialing relayState = iota
	relayOpen
	relayParting
	relayClosing
	relayOver
)

// relay is one relay. Its two connections are on one loop, and their handlers are
// relayClient and relayHome.
type relay struct {
	edge     *Edge
	loop     *loop.Loop
	client   *loop.Conn // nil: gone
	home     *loop.Conn // nil: gone, or not there yet
	waiting  *pool.Buf  // for the home, until it has answered
	cancel   func()     // of the dial, until then
	refusal  []byte     // until then
	farewell []byte
	deadline time.Duration // of the dial, of a client that takes nothing, and behind a farewell
	leave    time.Duration // when it is to part; 0: not
	unsent   int           // of the client, when the deadline was set
	node     uint32
	slot     loop.Slot // also shows the relay to walks over what connections hold
	state    relayState
	half     bool // the client's stream has ended
	held     bool // the home is not read until the client has taken what is unsent
}

// greet is the accept function of the connection to the home.
func (r *relay) greet(c *loop.Conn) loop.Handler {
	r.home = c
	return Greet(c, r.edge.options.Self, Relays, r.up, r.fail)
}

// up is told that the home has answered.
func (r *relay) up(c *loop.Conn, p Peer) loop.Handler {
	if r.state == relayDialing && p.Node != r.node {
		r.fail(errNode)
	}
	if r.state != relayDialing {
		c.Abort()
		return closedConn{}
	}
	e := r.edge
	e.opened.Add(1)
	e.homes.Add(1)
	r.state = relayOpen
	c.WriteBuf(r.waiting)
	r.waiting.Release()
	r.waiting, r.cancel, r.refusal = nil, nil, nil
	if r.half {
		c.CloseWrite()
	}
	if !c.Ready() {
		r.client.Pause()
	}
	if over := e.leaving.Load(); over != 0 {
		r.leaveWithin(time.Duration(over))
	}
	return (*relayHome)(r)
}

// fail is told that the home cannot be reached.
func (r *relay) fail(err error) {
	if r.state != relayDialing {
		return
	}
	r.state = relayClosing
	r.edge.failed.Add(1)
	r.edge.options.Failed(r.node, err)
	r.undial()
	r.client.Write(r.refusal)
	r.refusal = nil
	r.client.Close()
}

// undial gives up what the dial needs.
func (r *relay) undial() {
	r.waiting.Release()
	r.waiting = nil
	if cancel := r.cancel; cancel != nil { // a Dialer may fail before it returns
		r.cancel = nil
		cancel()
	}
	if c := r.home; c != nil { // in its greeting, which has its own handler
		r.home = nil
		c.Abort()
	}
}

// relayClient is a relay as the handler of the client's connection.
type relayClient relay

// Data borrows p.
func (h *relayClient) Data(p []byte) {
	r := (*relay)(h)
	switch {
	case r.state == relayDialing:
		if r.waiting.Len()+len(p) > maxRelayWaiting {
			r.fail(ErrEarly)
			return
		}
		r.waiting.Append(p)
	case r.home != nil:
		r.home.Write(p)
		if !r.home.Ready() {
			r.client.Pause()
		}
	}
}

func (h *relayClient) Drained() {
	r := (*relay)(h)
	if r.held {
		r.held = false
		if r.home != nil {
			r.home.Resume()
		}
	}
}

func (h *relayClient) EOF() {
	r := (*relay)(h)
	r.half = true
	if r.state != relayDialing && r.home != nil {
		r.home.CloseWrite()
	}
}

func (h *relayClient) Closed(error) {
	r := (*relay)(h)
	r.client = nil
	if r.state == relayDialing {
		r.undial()
	}
	r.state = relayClosing
	if r.home != nil {
		r.home.Close()
	}
	r.maybeOver()
}

// relayHome is a relay as the handler of the connection to the home.
type relayHome relay

// Data borrows p.
func (h *relayHome) Data(p []byte) {
	r := (*relay)(h)
	c := r.client
	if c == nil {
		return
	}
	c.Write(p)
	if c.Ready() || r.held || r.state == relayClosing {
		return
	}
	r.held = true
	r.home.Pause()
	r.unsent = c.Unsent()
	if r.state == relayOpen { // behind a farewell there is a deadline already
		r.deadline = r.loop.Now() + r.edge.options.Stall
		r.loop.Arm(r.slot, r.deadline)
	}
}

func (h *relayHome) Drained() {
	if r := (*relay)(h); r.client != nil {
		r.client.Resume()
	}
}

// EOF is how a home ends a relay: it has said all, and hears nothing more.
func (h *relayHome) EOF() {
	r := (*relay)(h)
	r.state = relayClosing
	if r.client != nil {
		r.client.Close()
	}
	r.home.Close()
}

func (h *relayHome) Closed(error) {
	r := (*relay)(h)
	r.home = nil
	r.edge.homes.Add(-1)
	if r.client != nil && r.state != relayClosing {
		r.state = relayClosing
		r.client.Abort()
	}
	r.maybeOver()
}

// maybeOver gives the relay's place up once both ends are gone.
func (r *relay) maybeOver() {
	if r.client != nil || r.home != nil || r.state == relayOver {
		return
	}
	r.state = relayOver
	r.edge.now.Add(-1)
	r.release()
}

// release gives the slot back.
func (r *relay) release() {
	if r.slot == 0 {
		return
	}
	r.loop.Release(r.slot)
	r.slot = 0
}

// Carried is that of the relay's connections which holds most: it may be ended for want of
// memory, as any that somebody reads too slowly.
func (r *relay) Carried() *loop.Conn {
	if r.client == nil || r.home != nil && r.home.Unsent() > r.client.Unsent() {
		return r.home
	}
	return r.client
}

// Alarm looks at the relay's deadlines.
func (r *relay) Alarm() {
	switch r.state {
	case relayDialing:
		if r.loop.Late(r.slot, r.deadline) {
			r.fail(ErrRelayTime)
		}
	case relayOpen:
		if r.leave != 0 && r.loop.Now() >= r.leave {
			r.part()
			return
		}
		if r.leave != 0 {
			r.loop.Arm(r.slot, r.leave)
		}
		r.look()
	case relayParting:
		if r.loop.Late(r.slot, r.deadline) {
			r.cut()
		}
	case relayClosing, relayOver: // the connections see to their ends
	}
}

// look ends the relay of a client that takes nothing.
func (r *relay) look() {
	switch now := r.loop.Now(); {
	case !r.held:
		return
	case now < r.deadline:
	case r.client.Unsent() < r.unsent:
		r.unsent = r.client.Unsent()
		r.deadline = now + r.edge.options.Stall
	default:
		r.edge.stalled.Add(1)
		r.client.Abort()
		return
	}
	r.loop.Arm(r.slot, r.deadline)
}

// leaveWithin has the relay part at some time within over.
func (r *relay) leaveWithin(over time.Duration) {
	r.leave = r.loop.Now() + rand.N(over+1) // #nosec G404 -- spreads load
	r.loop.Arm(r.slot, r.leave)
}

// part says the relay's farewell.
func (r *relay) part() {
	note := r.edge.options.Note
	if note == nil || len(r.farewell) == 0 {
		r.cut()
		return
	}
	r.state = relayParting
	r.deadline = r.loop.Now() + farewellTime
	r.loop.Arm(r.slot, r.deadline)
	note(r.loop, r.node, r.farewell)
}

// cut ends the relay in good order at both ends.
func (r *relay) cut() {
	r.state = relayClosing
	if r.client != nil {
		r.client.Close()
	}
	if r.home != nil {
		r.home.Close()
	}
}
