package engine

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine/packet"
	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/pool"
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
//	| open    | transport closed, failed, unreadable | closed | transport close, transport error, parse error
//	| open    | Session.Close                     | closing | queue drains, then transport closes
//	| closing | drained / CloseTimeout            | closed  | forced close
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
	// closed tells that the session is over: free everything.
	closed()
}

// A Session is one client, across its transports. An application may keep it
// as long as it likes; after Close nothing happens through it any more.
//
// Methods marked "Safe from any goroutine" are; the others belong into the
// session's callbacks.
//
// A million of these may sit idle: the size is pinned by a test.
type Session struct {
	server    *Server
	loop      *loop.Loop
	transport transport
	websocket websocket // in place, so that an idle session is one object
	upgrade   *upgrade  // nil when idle or done

	extra *extra  // what few sessions have
	ownID *string // an id that the application chose

	nextBeat time.Duration // when the ping is due or the session times out
	closeBy  time.Duration // when a closing session is closed anyway

	mu     sync.Mutex
	outbox *outbox // guarded by mu; nil when empty
	value  any     // guarded by mu

	slot      loop.Slot
	sealed    atomic.Bool // Send is over; set under mu
	scheduled bool        // run will come; guarded by mu
	dropped   bool        // CloseNow was called; guarded by mu
	secret    secret
	state     sessionState
	revision  Revision
	base64    bool          // the client cannot take binary
	awaiting  bool          // a ping was sent, its pong is due
	extended  bool          // that deadline was extended already
	stalled   bool          // the client has fallen behind: Drain is owed
	upgraded  bool          // it began on polling
	public    atomic.Uint32 // what other goroutines may ask: transport, state, upgraded
}

// extra is what few sessions have.
type extra struct {
	sent     []func()          // to be called when the connection has drained
	takeover *wsframe.Takeover // compression with context takeover
}

func (s *Session) rare() *extra {
	if s.extra == nil {
		s.extra = &extra{}
	}
	return s.extra
}

// ID is the session's id: 20 characters, or what Options.GenerateID or
// Request.SetID said. It may be made anew on each call. Safe from any goroutine.
func (s *Session) ID() string {
	if s.ownID != nil {
		return *s.ownID
	}
	return string(appendSID(make([]byte, 0, sidLength), s.home()))
}

func (s *Session) home() sid {
	return sid{loop: s.loop.Index(), slot: s.slot, secret: s.secret}
}

// Transport is what carries the session at present.
// Safe from any goroutine.
func (s *Session) Transport() Transport { return Transport(s.public.Load()) }

// State is where the session is in its life. Safe from any goroutine.
func (s *Session) State() State { return State(s.public.Load() >> 8) }

// Upgraded reports whether the session went from polling to WebSocket.
// Safe from any goroutine.
func (s *Session) Upgraded() bool { return s.public.Load()>>16 != 0 }

// publish makes what has changed known to other goroutines.
func (s *Session) publish() {
	seen := uint32(s.state) << 8
	if s.transport != nil {
		seen |= uint32(s.transport.kind())
	}
	if s.upgraded {
		seen |= 1 << 16
	}
	s.public.Store(seen)
}

// RemoteAddr is the address of the client: of its WebSocket, or of the
// connection that the session began on. It belongs into the session's
// callbacks, and is the zero AddrPort once its WebSocket is gone.
func (s *Session) RemoteAddr() netip.AddrPort {
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
// take them, as Options.MaxQueue counts them. Safe from any goroutine.
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

// Revision is the protocol revision that the client speaks.
// Safe from any goroutine.
func (s *Session) Revision() Revision { return s.revision }

// Value is what SetValue stored, nil at first. Safe from any goroutine.
func (s *Session) Value() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.value
}

// SetValue attaches the application's own data. Safe from any goroutine.
func (s *Session) SetValue(v any) {
	s.mu.Lock()
	s.value = v
	s.mu.Unlock()
}

// Send borrows m and queues a copy for the client. Messages arrive in the
// order of the calls, once each, or the session is closed with a reason. It
// returns ErrClosed when the session is closing or closed, and ErrQueueFull
// when the client has fallen behind too far. Safe from any goroutine.
func (s *Session) Send(m Message) error { return s.SendWith(m, SendOptions{}) }

// SendOptions say how a message is sent. The zero value is Send.
type SendOptions struct {
	// NoCompress leaves the message as it is, where compression is on.
	NoCompress bool
	// Sent is called on the session's loop when the message has been given to
	// the operating system (WebSocket) or to the connection of the poll that
	// it answers, in the order of the messages. It is never called when the
	// session ends before. It must not block.
	Sent func()
}

// SendWith is Send with options. Safe from any goroutine.
func (s *Session) SendWith(m Message, o SendOptions) error {
	if s.sealed.Load() {
		return ErrClosed
	}
	s.tellMessageCreate(m.Binary, m.Data) // it may panic: nothing is on loan yet
	data := pool.Frames.Get(len(m.Data) + pool.Headroom)
	data.Append(m.Data)
	err := s.queue(outgoing{data: data, kind: packet.Message, binary: m.Binary, plain: o.NoCompress, sent: o.Sent})
	if err != nil {
		data.Release()
	}
	return err
}

// SendPrepared is Send for a message that many sessions get.
// Safe from any goroutine.
func (s *Session) SendPrepared(p *Prepared) error {
	s.tellMessageCreate(p.binary, p.data)
	return s.queue(outgoing{prepared: p, kind: packet.Message, binary: p.binary})
}

// Close ends the session when the client has taken what was queued for it, or
// after Options.CloseTimeout. Send returns ErrClosed from now on. Closing twice
// does nothing. Safe from any goroutine.
func (s *Session) Close() {
	s.mu.Lock()
	if s.sealed.Load() {
		s.mu.Unlock()
		return
	}
	s.sealed.Store(true)
	schedule := !s.scheduled
	s.scheduled = true
	s.mu.Unlock()
	if schedule {
		s.post()
	}
}

// CloseNow ends the session at once: what is queued for the client is dropped.
// Safe from any goroutine.
func (s *Session) CloseNow() {
	s.mu.Lock()
	s.sealed.Store(true)
	s.dropped = true
	schedule := !s.scheduled
	s.scheduled = true
	s.mu.Unlock()
	if schedule {
		s.post()
	}
}

// queue takes o, unless it returns an error.
func (s *Session) queue(o outgoing) error {
	size := o.size()
	s.mu.Lock()
	if s.sealed.Load() {
		s.mu.Unlock()
		return ErrClosed
	}
	if s.outbox == nil {
		s.outbox = outboxes.Get().(*outbox)
	} else if s.outbox.bytes+size > s.server.options.MaxQueue {
		s.mu.Unlock()
		return ErrQueueFull
	}
	s.outbox.push(o)
	schedule := !s.scheduled
	s.scheduled = true
	s.mu.Unlock()
	if schedule {
		s.post()
	}
	return nil
}

// takes reports whether queue would take size bytes more now.
func (s *Session) takes(size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.sealed.Load() && (s.outbox == nil || s.outbox.bytes+size <= s.server.options.MaxQueue)
}

// control queues a packet of the protocol's own, also while closing. A client
// that pings and takes nothing gets no more pongs.
func (s *Session) control(kind packet.Type) {
	s.tellOwnPacket(packet.Packet{Type: kind})
	if s.state == sessionClosed { // by a panic
		return
	}
	s.mu.Lock()
	if s.outbox == nil {
		s.outbox = outboxes.Get().(*outbox)
	} else if kind == packet.Pong && s.outbox.bytes+packetSize > s.server.options.MaxQueue {
		s.mu.Unlock()
		return
	}
	s.outbox.push(outgoing{kind: kind})
	s.mu.Unlock()
}

// runTask is a Session as the Task that runs it.
type runTask Session

func (t *runTask) Run() { (*Session)(t).run() }

// post asks for a run. A loop that was stopped has closed the session already,
// or is about to.
func (s *Session) post() { _ = s.loop.Post((*runTask)(s)) }

// begin holds back the output until run: what callbacks send leaves at once.
func (s *Session) begin() {
	s.mu.Lock()
	s.scheduled = true
	s.mu.Unlock()
}

// run gives the transport what it takes, and closes when that is all.
func (s *Session) run() {
	s.mu.Lock()
	s.scheduled = false
	dropped := s.dropped
	s.mu.Unlock()
	if dropped {
		s.ended()
		return
	}
	if s.state == sessionOpen && s.sealed.Load() {
		s.become(sessionClosing)
		s.closeBy = s.loop.Now() + s.server.options.CloseTimeout
		s.arm()
	}
	s.flush()
}

// flush hands over batches as long as the transport takes them.
func (s *Session) flush() {
	if s.state == sessionClosed {
		return
	}
	shard := s.server.shard(s.loop)
	for s.state != sessionClosed && s.transport.ready() {
		batch := s.takeBatch(shard.batch[:0])
		if len(batch) == 0 {
			break
		}
		s.deliver(batch)
	}
	if s.state == sessionClosed { // the batch was the last one
		return
	}
	if s.pending() {
		s.stalled = true
		return
	}
	if s.stalled {
		s.stalled = false
		s.tellDrain()
	}
	if s.state == sessionClosing && !s.pending() {
		s.transport.end()
	}
}

// deliver takes a batch, which is in the shard's room, and gives it to the
// transport.
func (s *Session) deliver(batch []outgoing) {
	shard := s.server.shard(s.loop)
	shard.batch = nil // callbacks may lead to another session's batch
	if d := s.server.debug.socket; d != nil {
		d.Debug("flushing", "session", s.ID(), "packets", len(batch), "transport", s.Transport())
	}
	if s.state != sessionClosed { // by a panic in PacketCreate
		s.tellFlush(len(batch))
	}
	if s.state == sessionClosed { // by a panic
		for i := range batch {
			batch[i].release()
		}
		return
	}
	s.transport.send(batch)
	clear(batch)
	shard.batch = batch[:0]
	if s.state != sessionClosed { // the batch may have been the last one
		s.tellFlushed()
	}
}

func (s *Session) takeBatch(batch []outgoing) []outgoing {
	bytes, packets := s.transport.limits()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outbox == nil {
		return batch
	}
	batch = s.outbox.take(batch, bytes, packets, s.cost)
	if s.outbox.empty() {
		s.outbox.free()
		s.outbox = nil
	}
	return batch
}

// cost is the bound of what o takes in a payload, in bytes.
func (s *Session) cost(o *outgoing) int { return s.revision.PayloadCost(o.packet(), s.base64) }

func (s *Session) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outbox != nil
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
	if d := s.server.debug.socket; d != nil {
		d.Debug("packet received", "session", s.ID(), "type", p.Type, "bytes", len(p.Data))
	}
	s.tellPacket(p)
	if s.state == sessionClosed { // by a panic
		return
	}
	if s.awaiting && !s.extended && p.Type != packet.Pong {
		// A busy line: the pong waits behind what is arriving now.
		s.extended = true
		s.nextBeat = s.loop.Now() + s.server.options.PingTimeout
	}
	switch p.Type {
	case packet.Message:
		if !s.sealed.Load() {
			s.tellMessage(Message{Binary: p.Binary, Data: p.Data})
		}
	case packet.Ping, packet.Pong:
		s.heartbeat(p.Type)
	}
}

// setTransport is the only place that sets s.transport.
func (s *Session) setTransport(t transport) {
	if d := s.server.debug.transport; d != nil {
		d.Debug("transport", "session", s.ID(), "now", t.kind())
	}
	s.transport = t
	s.publish()
}

// ended tells that the orderly end, which Close asked for, is complete.
func (s *Session) ended() { s.close(ReasonForcedClose, nil) }

// close ends the session, once. The client is told as the transport can.
func (s *Session) close(reason Reason, err error) {
	if s.state == sessionClosed {
		return
	}
	s.become(sessionClosed)
	if d := s.server.debug.socket; d != nil {
		d.Debug("closed", "session", s.ID(), "reason", reason, "cause", err)
	}
	s.mu.Lock()
	s.sealed.Store(true)
	box := s.outbox
	s.outbox = nil
	s.scheduled = true // nothing to run any more
	s.mu.Unlock()

	s.server.forget(s)
	if s.upgrade != nil {
		s.upgrade.abandon()
	}
	s.transport.closed()
	s.tellClose(reason, err)
	if box != nil {
		box.free()
	}
}

// The callbacks. Each is called from exactly one place, where a panic is
// caught: it costs the session and one line in the log.

func (s *Session) tellOpen(r *Request) {
	if s.server.events.Open != nil {
		defer s.rescue()
		s.server.events.Open(s, r)
	}
}

func (s *Session) tellMessage(m Message) {
	if s.server.events.Message != nil {
		defer s.rescue()
		s.server.events.Message(s, m)
	}
}

func (s *Session) tellPacket(p Packet) {
	if s.server.events.Packet != nil && !s.sealed.Load() {
		defer s.rescue()
		s.server.events.Packet(s, p)
	}
}

// tellMessageCreate may run on any goroutine: a panic there is the caller's own.
func (s *Session) tellMessageCreate(binary bool, data []byte) {
	if s.server.events.PacketCreate != nil && s.takes(packetSize+len(data)) {
		s.server.events.PacketCreate(s, Packet{Type: packet.Message, Binary: binary, Data: data})
	}
}

// tellOwnPacket calls PacketCreate for packets of the server's own, on the
// session's loop.
func (s *Session) tellOwnPacket(p Packet) {
	if s.server.events.PacketCreate != nil {
		defer s.rescue()
		s.server.events.PacketCreate(s, p)
	}
}

func (s *Session) tellHeartbeat() {
	if s.server.events.Heartbeat != nil {
		defer s.rescue()
		s.server.events.Heartbeat(s)
	}
}

func (s *Session) tellUpgrading() {
	if s.server.events.Upgrading != nil {
		defer s.rescue()
		s.server.events.Upgrading(s)
	}
}

func (s *Session) tellFlush(packets int) {
	if s.server.events.Flush != nil {
		defer s.rescue()
		s.server.events.Flush(s, packets)
	}
}

func (s *Session) tellFlushed() {
	if s.server.events.Flushed != nil {
		defer s.rescue()
		s.server.events.Flushed(s)
	}
}

// visit is a callback of Server.Each.
func (s *Session) visit(f func(*Session)) {
	defer s.rescue()
	f(s)
}

// tellSent calls back for a message that was sent.
func (s *Session) tellSent(f func()) {
	defer s.rescue()
	f()
}

func (s *Session) tellUpgrade() {
	if s.server.events.Upgrade != nil {
		defer s.rescue()
		s.server.events.Upgrade(s)
	}
}

func (s *Session) tellDrain() {
	if s.server.events.Drain != nil {
		defer s.rescue()
		s.server.events.Drain(s)
	}
}

func (s *Session) tellClose(reason Reason, err error) {
	if s.server.events.Close != nil {
		defer s.rescue()
		s.server.events.Close(s, reason, err)
	}
}

// rescue is deferred around each callback.
func (s *Session) rescue() {
	p := recover()
	if p == nil {
		return
	}
	s.server.shard(s.loop).logPanic(s.server.options.Logger, "panic in a callback; its session is closed", p)
	s.close(ReasonTransportError, ErrCallbackPanic)
}
