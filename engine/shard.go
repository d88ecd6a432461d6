package engine

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"turbine/engine/packet"
	"turbine/httpparse"
	"turbine/internal/seldom"
	"turbine/loop"
	"turbine/wsframe"
)

// A shard is what the server keeps for one loop. Its fields belong to that
// loop, but for the counters.
type shard struct {
	server    *Server
	loop      *loop.Loop
	mark      mark
	queued    atomic.Int64          // bytes in all outboxes
	closed    [reasons]atomic.Int64 // sessions that have ended, by Reason
	forbidden atomic.Int64          // requests refused for where they come from
	tunnels   atomic.Int64          // connections that handlers of net/http have hijacked
	carried   atomic.Int64          // bytes of bodies on their way here from other loops
	groups    map[string]*group     // nil when there are none
	holders   sessionHolders
	publishes publishQueue // what is for many, and what waits behind it
	entropy   entropy
	relief    atomic.Bool // a relief is under way

	request httpparse.Request // the request being handled
	rest    []byte            // what came behind the WebSocket handshake being handled
	scratch []byte            // what is being built
	batch   []outgoing        // what is on its way from an outbox to a transport
	packets []packet.Packet   // the same, for a payload

	drain *drainPlan // nil until the drain begins

	doubts    []loop.Slot   // sessions whose requests may wait on other loops
	inquiring bool          // an inquiry is under way
	heard     time.Duration // what had come to any loop until then has been read

	parked     int   // exchanges that wait for a Verdict
	polls      int   // those that wait for something to send
	upgrades   int   // under way
	bodies     int64 // bytes of unfinished bodies
	encoder    encoder
	compressor wsframe.Compressor
	inflater   wsframe.Decompressor
	line       line // of those with messages to inflate

	dateHeader []byte
	dateSecond time.Duration

	panics seldom.Once // records of panics of callbacks
}

// logPanic logs a panic of a callback on the loop l, at most one a second of each
// loop: what a client can cause at will must not fill a disk. p is nil after
// runtime.Goexit, of which the loop tells.
func (s *Server) logPanic(l *loop.Loop, message string, p any) {
	if p == nil {
		return
	}
	if suppressed, ok := s.shard(l).panics.Allow(l.Now()); ok {
		s.options.Logger.Error(message, "panic", p, "stack", string(debug.Stack()), "suppressed", suppressed)
	}
}

func (s *Server) shard(l *loop.Loop) *shard { return s.shards[l.Index()] }

// lookup finds a session on its home loop, where it is called. Whether the client
// is late with what it brings, the session's alarm finds out: a loop that was
// busy is late itself.
func (s *Server) lookup(home *loop.Loop, id sid) *Session {
	a, _ := home.Owner(id.slot).(*sessionAlarm)
	if a == nil {
		return nil
	}
	session := (*Session)(a)
	if !session.secret.equal(id.secret) {
		return nil
	}
	return session
}

// register makes a session on the loop l, in the place that a has taken. It
// reports false when the loop has no number left for it.
func (s *Server) register(l *loop.Loop, q query, a *admission) (*Session, bool) {
	session := &Session{server: s, loop: l, revision: q.revision, base64: q.base64, state: sessionOpen, value: a.value}
	session.websocket.session = session
	session.slot = l.Claim((*sessionAlarm)(session))
	if session.slot > maxSlot {
		l.Release(session.slot)
		return nil, false
	}
	shard := s.shard(l)
	session.secret = shard.entropy.secret()
	if s.options.Bind != nil {
		session.rare().binding = a.binding
	}
	if a.id != "" {
		if !s.ownIDs.add(a.id, session.home()) {
			l.Release(session.slot)
			return nil, false
		}
		id := a.id // a pointer into a would keep the whole request alive
		session.ownID = &id
	}
	l.AddResidents(1)
	shard.holders.put(session.slot, a.holder)
	a.placed = false // the place is the session's
	session.publish()
	return session, true
}

// forget takes a session, closed for the reason, out of its shard.
func (s *Server) forget(session *Session, reason Reason) {
	shard := s.shard(session.loop)
	s.places.release(shard.holders.take(session.slot))
	session.loop.Release(session.slot)
	if session.ownID != nil {
		s.ownIDs.remove(*session.ownID)
	}
	shard.mark.forget(session)
	shard.closed[reason].Add(1)
	session.loop.AddResidents(-1)
}

// arrived is called on the session's home loop when x comes there, from this
// loop or another. It reports whether the session waits for the body of x. If
// not, x may be in use for the next request already.
func (s *Server) arrived(x *exchange) (receiving bool) {
	home := x.home
	session := s.lookup(home, x.query.sid)
	switch {
	case session == nil:
		x.reject(refusedSID, "", "", "")
	case !session.boundTo(x.binding):
		s.shard(home).forbidden.Add(1)
		s.logBinding(home, x.http.conn)
		x.reject(refusedForbidden, "BINDING_MISMATCH", "", "")
	case x.query.transport != Polling || session.Transport() != Polling:
		x.reject(refusedRequest, "TRANSPORT_MISMATCH", x.query.transport.String(), session.Transport().String())
	case x.query.revision != session.revision:
		x.reject(refusedRequest, "PROTOCOL_MISMATCH", revisionText(x.query.revision), revisionText(session.revision))
	default:
		x.request = nil // a poll may wait for long, and the copy is as large as its client likes
		return session.transport.(*polling).arrived(x)
	}
	return false
}

// completed is called on the session's home loop with the body of x.
func (s *Server) completed(x *exchange, body []byte) {
	if x.session != nil {
		x.partial = false
		x.session.transport.(*polling).received(x, body)
	}
}

// cancelled is called on the session's home loop when the body of x will not
// come. Only a body that is too large leaves the session open.
func (s *Server) cancelled(x *exchange, err *httpparse.Error) {
	session := x.session
	if session == nil { // answered already
		return
	}
	session.transport.(*polling).data = nil
	x.session = nil
	if err != errTooLarge {
		session.close(ReasonTransportError, ErrDataLost)
	}
	x.answer(session.loop, err.Status, "", "")
}

// walk is a Task that visits the owners of all slots of a loop, some in each
// turn, so that the loop keeps serving the others.
type walk struct {
	loop  *loop.Loop
	next  loop.Slot
	visit func(owner loop.Alarm)
}

// A walk looks at so many slots and visits so many owners in one turn: a visit
// may cost a system call, at the turn's end, and others wait for that. Visits that
// take long, in a callback, end the turn earlier.
const (
	walkSlots  = 512
	walkVisits = 64
	walkTime   = 200 * time.Microsecond
	walkLook   = 8 // visits between two looks at the clock
)

// portion is what a walk does in one turn.
type portion struct {
	loop   *loop.Loop
	begun  time.Duration
	visits int
}

func newPortion(l *loop.Loop) portion { return portion{loop: l, begun: l.Look()} }

// visited counts a visit, and reports whether that is enough for one turn.
func (p *portion) visited() (enough bool) {
	p.visits++
	if p.visits%walkLook != 0 {
		return false
	}
	return p.visits >= walkVisits || p.loop.Look()-p.begun >= walkTime
}

func (w *walk) Run() {
	if w.step() {
		_ = w.loop.Post(w) // a stopped loop has closed them all
	}
}

// Abandon goes on behind the owner at which the walk was broken off.
func (w *walk) Abandon() { _ = w.loop.Post(w) }

// step goes one turn's way, and reports whether there is more.
func (w *walk) step() bool {
	p, enough := newPortion(w.loop), false
	for end := min(w.next+walkSlots, w.loop.Slots()); w.next < end && !enough; {
		slot := w.next
		w.next++ // first: a callback may end the goroutine
		if owner := w.loop.Owner(slot); owner != nil {
			w.visit(owner)
			enough = p.visited()
		}
	}
	return w.next < w.loop.Slots()
}
