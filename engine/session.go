package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine/packet"
	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/wsframe"
)

// sessionState is where a session is in its life.
//
//	| state   | event                             | next    | does
//	| -       | handshake accepted                | open    | slot, open packet, heartbeat armed, Events.Open
//	| open    | message                           | open    | Events.Message
//	| open    | ping in rev 3 / pong in rev 4     | open    | pong + new deadline / next ping due
//	| open    | heartbeat in the wrong direction  | closed  | transport error
//	| open    | ping due (rev 4)                  | open    | ping; deadline = due + PingTimeout
//	| open    | deadline passed                   | closed  | ping timeout
//	| open    | no request in time after a handshake by polling | closed | ping timeout
//	| open    | transport closed, failed, unreadable | closed | transport close, transport error, parse error
//	| open    | Session.Close, its turn in the drain | closing | queue drains, then transport closes
//	| closing | drained / Timeouts.Close          | closed  | forced close; server shutting down after the drain's turn
//	| closed  | anything                          | closed  | nothing; Send returns ErrClosed; Events.Close ran once
//
// A closing session keeps its heartbeat; messages that still arrive are
// dropped.
type sessionState uint8

const (
	sessionOpen sessionState = iota + 1
	sessionClosing
	sessionClosed
)

// transport carries a session's packets. There are two: polling, websocket.
type transport interface {
	kind() Transport
	// ready reports whether the transport takes packets now.
	ready() bool
	// send takes the batch.
	send(batch []outgoing)
	// limits of one batch: bytes, and packets.
	limits() (bytes, packets int)
	// end begins the orderly end, when the queue has drained. It calls
	// Session.ended, at once or later.
	end()
	// closed tells that the session is over, and why: free everything.
	closed(Reason)
}

// A Session is one client, across its transports. An application may keep it
// as long as it likes; after Close nothing happens through it any more. All its
// methods are safe from any goroutine, in callbacks, and after the end.
//
// A million of these may sit idle: the size is pinned by a test.
type Session struct {
	server    *Server
	loop      *loop.Loop
	transport transport // changed under mu by the loop, which reads it without
	websocket websocket // in place, so that an idle session is one object
	upgrade   *upgrade  // nil when idle or done

	extra *extra  // what few sessions have; changed under mu by the loop, which reads it without
	ownID *string // an id that the application chose

	nextBeat time.Duration // when the ping is due or the session times out
	began    uint32        // when it began, in hundredths of a second; see moment
	closing  uint32        // when it became closing, in ms of the loop's time

	mu     sync.Mutex
	outbox *outbox // guarded by mu; nil when empty
	value  any     // guarded by mu; a *lifetime when Context was asked for

	slot      loop.Slot
	pinged    uint32 // when the last ping was sent, in ms of the loop's time, or the session began
	scheduled bool   // run will come; guarded by mu
	behind    bool   // its WebSocket takes nothing at present; guarded by mu
	secret    secret
	state     sessionState
	revision  Revision
	base64    bool // the client cannot take binary
	pong      pongState
	stalled   bool          // the client has fallen behind: Drain is owed
	high      bool          // Events.HighWater was called: LowWater is owed
	heard     atomic.Uint32 // when the client's last heartbeat was heard; see moment
	public    atomic.Uint32 // what other goroutines may ask: transport (8 bits), state (8), and those below
}

// The rest of Session.public.
const (
	publicUpgraded uint32 = 1 << (16 + iota)
	publicOpened          // Sessions and Find may meet it
	publicQuit            // the application has closed it
	publicPaused          // nothing is read from its client, because the application is slow

	publicUpgrading = 1 << 23 // an upgrade is under way

	publicEnding = 20 // the place of the ending, of 3 bits
	publicReason = 24 // and of the Reason that it ended for, of 7 bits

	publicTraced uint32 = 1 << 31 // there is a Trace of it; set under traces.mu

	publicSealed = endingMask << publicEnding // zero while the session has no ending
)

func (s *Session) has(flag uint32) bool { return s.public.Load()&flag != 0 }
func (s *Session) set(flag uint32)      { s.public.Or(flag) }
func (s *Session) clear(flag uint32)    { s.public.And(^flag) }

// extra is what few sessions have.
type extra struct {
	sent      []func()          // to be called when the connection has drained
	takeover  *wsframe.Takeover // compression with context takeover
	groups    []membership      // changed under the session's mu by the loop
	left      []string          // the groups of a session that has closed; guarded by mu
	binding   binding           // of the handshake; with Options.Access.Bind
	unread    unread            // on a WebSocket
	posted    posted            // on polling
	goesOn    bool              // a goOnTask is under way
	packWaits bool              // it stands in line for packing
	told      *ClosedByApp      // by CloseWith
}

func (s *Session) rare() *extra {
	if s.extra == nil {
		s.mu.Lock()
		s.extra = &extra{}
		s.mu.Unlock()
	}
	return s.extra
}

// ID is the session's id: 27 characters, or what Options.GenerateID or Admission.SetID
// said. With Options.Node it is 32 characters, or what was said with '~' and 6 characters
// behind it, which name the node. It is a secret: a client that polls shows nothing else. PublicID is for logs and
// lists. Each call may allocate the string. Safe from any goroutine.
func (s *Session) ID() string {
	if s.ownID != nil {
		return *s.ownID
	}
	return string(appendSID(make([]byte, 0, nodeSIDLength), s.home()))
}

func (s *Session) home() sid {
	return sid{node: s.server.node(), loop: uint8(s.loop.Index()), slot: s.slot, secret: s.secret}
}

// Transport is what carries the session at present: Polling or WebSocket. Safe from
// any goroutine.
func (s *Session) Transport() Transport { return Transport(s.public.Load()) }

// Server is the server of the session, so that Events need not know it before New has
// made it. Safe from any goroutine.
func (s *Session) Server() *Server { return s.server }

// State says whether the session is open, closing or closed. Safe from any goroutine.
func (s *Session) State() State { return State(s.public.Load() >> 8) }

// Upgraded reports whether the session went from polling to WebSocket.
// Safe from any goroutine.
func (s *Session) Upgraded() bool { return s.has(publicUpgraded) }

// publish makes what has changed known to other goroutines.
func (s *Session) publish() {
	const changed = 1<<16 - 1
	seen := uint32(s.state) << 8
	if s.transport != nil {
		seen |= uint32(s.transport.kind())
	}
	for {
		old := s.public.Load()
		next := old&^changed | seen
		if next&publicUpgrading != 0 && Transport(next) == WebSocket { // the upgrade is done
			next ^= publicUpgrading | publicUpgraded
		}
		if s.public.CompareAndSwap(old, next) {
			return
		}
	}
}

// RemoteAddr is the address of the client, as Request.RemoteAddr says it: of its
// WebSocket, or of the request that the session began with. It is the zero AddrPort
// once its WebSocket is gone. Safe from any goroutine.
func (s *Session) RemoteAddr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t := s.transport.(type) {
	case *polling:
		return t.remote
	case *websocket:
		if t.conn != nil {
			return t.conn.RemoteAddr()
		}
	}
	return netip.AddrPort{}
}

// Buffered is the number of bytes that wait in the session for the client to
// take them, as Options.Queue.MaxBytes counts them. Safe from any goroutine.
func (s *Session) Buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outbox == nil {
		return 0
	}
	return s.outbox.bytes
}

// State is where a session is in its life, as an application sees it.
type State uint8

// The states.
const (
	StateOpen    = State(sessionOpen)
	StateClosing = State(sessionClosing) // Close was called; what is queued is being delivered
	StateClosed  = State(sessionClosed)
)

// String is the state in the reference server's words.
func (s State) String() string {
	switch s {
	case StateOpen:
		return "open"
	case StateClosing:
		return "closing"
	case StateClosed:
		return "closed"
	}
	return "unknown"
}

// Upgrading reports whether an upgrade from polling to WebSocket is under way.
// Safe from any goroutine.
func (s *Session) Upgrading() bool { return s.has(publicUpgrading) && s.State() != StateClosed }

// Revision is the protocol revision that the client speaks.
// Safe from any goroutine.
func (s *Session) Revision() Revision { return s.revision }

// Close ends the session, with ReasonForcedClose, when the client has taken what was
// queued for it, or after Options.Timeouts.Close. It returns at once: Events.Close
// says when the session has ended. Send returns ErrClosed from now on, and
// Events.Message does not come any more. Closing twice does nothing.
//
// Close reports whether the session was open until this call. Of several calls that race,
// one reports true.
//
// The client is not told why. On WebSocket it sees what it sees after a crash of the
// server: a connection that closes without a status ("transport close"). Clients that
// reconnect by themselves, such as those of Socket.IO, then come back at once. To keep
// a client away, say so in a last message, or with a code of CloseWith that the client
// knows, and refuse it in Events.Admit. Safe from any goroutine.
func (s *Session) Close() (first bool) {
	s.set(publicQuit)
	return s.end(endingInTurn)
}

// CloseNow ends the session at once, with ReasonForcedClose: what is queued for the
// client is dropped. Safe from any goroutine.
func (s *Session) CloseNow() {
	s.set(publicQuit)
	s.end(endingNow)
}

// become is the only place that sets s.state.
func (s *Session) become(next sessionState) {
	invariants.Check(next > s.state, "session %d -> %d", s.state, next)
	s.state = next
	s.publish()
}

// packet handles one packet from the client, on whatever transport. Close is
// the transports' own affair.
func (s *Session) packet(p packet.Packet) {
	if d := s.server.debug.socket.Load(); d != nil {
		d.Debug("packet received", "session", s.PublicID(), "type", p.Type.String(), "bytes", len(p.Data))
	}
	public := s.public.Load()
	if public&publicTraced != 0 {
		s.tracePacket(false, Transport(public), p) // before a callback may change the data
	}
	if s.server.events.Packet != nil { // most have none, and a call for each packet costs
		s.tellPacket(p)
		if s.state == sessionClosed { // by a panic
			return
		}
		public = s.public.Load()
	}
	if s.pong == pongAwaited && p.Type != packet.Pong {
		// A busy line: the pong waits behind what is arriving now.
		s.pong = pongExtended
		s.nextBeat = s.loop.Now() + s.server.options.PingTimeout
	}
	switch p.Type {
	case packet.Message:
		if public&publicSealed == 0 {
			s.server.shard(s.loop).tally.in[Transport(public)].count(len(p.Data))
			s.tellMessage(fromClient(p.Binary, p.Data))
		}
	case packet.Ping, packet.Pong:
		s.heartbeat(p.Type)
	}
}

// setTransport is the only place that sets s.transport.
func (s *Session) setTransport(t transport) {
	if d := s.server.debug.transport.Load(); d != nil {
		d.Debug("transport", "session", s.PublicID(), "now", t.kind().String())
	}
	s.server.shard(s.loop).tally.carries(s, s.Transport(), t.kind())
	s.mu.Lock()
	s.transport = t
	s.mu.Unlock()
	s.publish()
	s.traceChange(TraceRecord{Event: TraceTransport, Transport: t.kind()})
}

// fail ends the session for err, whose reason reasonOf knows.
func (s *Session) fail(err error) { s.close(reasonOf(err), err) }

// close ends the session, once. The client is told as the transport can.
func (s *Session) close(reason Reason, err error) {
	if s.state == sessionClosed {
		return
	}
	s.set(uint32(reason) << publicReason)
	s.become(sessionClosed)
	if d := s.server.debug.socket.Load(); d != nil {
		d.Debug("closed", "session", s.PublicID(), "reason", reason.String(), "error", err)
	}
	s.mu.Lock()
	s.endFor(endingOver)
	box := s.outbox
	s.outbox = nil
	s.scheduled = true // nothing to run any more
	asked, _ := s.value.(*lifetime)
	s.mu.Unlock()
	if asked != nil {
		asked.cancel(&ClosedError{Reason: reason, Err: err})
	}

	s.leaveAll()
	s.server.forget(s, reason)
	if s.upgrade != nil {
		s.upgrade.abandon(UpgradeSession)
	}
	s.transport.closed(reason)
	s.dropPosted()
	if box != nil {
		box.free(s.server.shard(s.loop))
	}
	s.traceClose(reason, err)
	s.tellClose(reason, err) // last: it may end the goroutine
}
