package engine

import (
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine/packet"
	"turbine/httpparse"
	"turbine/internal/seldom"
	"turbine/loop"
	"turbine/wsframe"
)

// A shard is what the server keeps for one loop. Its fields belong to that loop,
// except the counters.
type shard struct {
	server    *Server
	loop      *loop.Loop
	mark      mark
	queued    atomic.Int64      // bytes in all outboxes
	tunnels   atomic.Int64      // connections that handlers of net/http have hijacked
	carried   atomic.Int64      // bytes of bodies on their way here from other loops
	tally     tally             // for Stats
	groups    map[string]*group // nil when there are none; see groupsMu
	groupsMu  sync.Mutex        // held by the loop to change groups and what they have, by others to read it
	holders   sessionHolders
	publishes publishQueue // what is for many, and what waits behind it
	entropy   entropy
	relief    atomic.Bool // a relief is under way

	request httpparse.Request // the request being handled
	scratch []byte            // what is being built
	batch   []outgoing        // what is on its way from an outbox to a transport
	packets []packet.Packet   // the same, for a payload

	drain *drainPlan // nil until the drain begins

	doubts    []loop.Slot   // sessions whose requests may wait on other loops
	inquiring bool          // an inquiry is under way
	heard     time.Duration // what had come to any loop until then has been read

	parked     int   // exchanges that wait for a Verdict
	bodies     int64 // bytes of unfinished bodies
	encoder    encoder
	compressor wsframe.Compressor
	packing    packing // the large message that is compressed
	inflater   wsframe.Decompressor
	line       line // of those with messages to inflate
	wary       int  // for how many messages the time of each callback is looked at; see turn

	dateHeader []byte
	dateSecond time.Duration

	panics seldom.Once // records of panics of callbacks
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
	if !session.secret.equal(&id.secret) {
		return nil
	}
	return session
}

// register makes a session on the loop l, in the place that a has taken. It
// reports false when the loop has no number left for it.
func (s *Server) register(l *loop.Loop, q query, a *Admission) (*Session, bool) {
	session := &Session{server: s, loop: l, revision: q.revision, base64: q.base64, state: sessionOpen, value: a.value}
	session.websocket.session = session
	session.markBegin()
	session.slot = l.Claim((*sessionAlarm)(session))
	if session.slot > maxSlot {
		l.Release(session.slot)
		return nil, false
	}
	shard := s.shard(l)
	session.secret = shard.entropy.secret()
	if s.options.Access.Bind != nil {
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
	shard.tally.ends(session, reason)
	session.loop.AddResidents(-1)
}
