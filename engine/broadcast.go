package engine

import (
	"slices"
	"time"

	"turbine/loop"
)

// Broadcast sends p to every session that can take it. It returns at once:
// each loop goes through its sessions, some in each turn, so that it keeps
// serving others. What one caller does reaches each session in the order of the
// calls: Broadcast, Publish, Join, Leave, Send and Close, in all their forms. A
// caller is one goroutine, or the callbacks of one session. A session that is
// closing does not get p; to one whose queue is full, Options.Queue.Overflow applies.
//
// A Broadcast that has not begun waits, and no limit counts it: about 100 bytes, 200
// for each loop, and p itself. An application that broadcasts faster than its
// loops reach all sessions, in a loop of its own, fills the memory and has to hold
// itself back; Audience.Done says when a message has reached all. Whoever lets
// clients broadcast bounds how often they may.
//
// The error is ErrNotServing before Serve and when a loop has ended, and ErrNotUTF8
// for nil, which is what Prepare returns with that error. It says nothing about
// single sessions. With Options.Node any other error is that of Node.Bus, and says that
// the message does not reach the other nodes; the sessions of this node get it all the
// same.
func (s *Server) Broadcast(p *Prepared) error { return s.PublishTo(Audience{}, p) }

// Publish sends p to every member of the group of that name that can take it,
// as Broadcast does to all: in the order of the caller's calls, without a limit
// for what has not begun, and with the same errors. A group without members is no
// error; Count says how many there are.
func (s *Server) Publish(group string, p *Prepared) error {
	if p == nil {
		return ErrNotUTF8
	}
	return s.publish(Audience{Groups: []string{group}}, p)
}

// PublishTo sends p to the audience, as Broadcast does to all. It borrows what a
// lists. With Options.Node the members of Groups on other nodes get p too, without
// those of Except. The rest of an Audience is about this node's sessions: Sessions,
// ExceptSessions, Keep and Done stay here, and so does p for an Audience of Sessions
// without Groups.
func (s *Server) PublishTo(a Audience, p *Prepared) error {
	if p == nil {
		return ErrNotUTF8
	}
	a.Groups, a.Except = slices.Clone(a.Groups), slices.Clone(a.Except)
	return s.publish(a, p)
}

// publish is PublishTo, and keeps the names in a.
func (s *Server) publish(a Audience, p *Prepared) error {
	if err := s.deliver(a, p); err != nil {
		return err
	}
	return s.publishAway(&a, p)
}

// deliver is publish for the sessions of this node. Without p the audience is closed.
func (s *Server) deliver(a Audience, p *Prepared) error {
	shards := s.allShards()
	d := &delivery{
		prepared: p, groups: a.Groups, except: a.Except, keep: a.Keep, done: a.Done,
		everybody: a.Groups == nil && a.Sessions == nil,
	}
	byLoop := d.list(s, &a, len(shards))
	walks := make([]deliveryWalk, 0, len(shards))
	for i, sh := range shards {
		w := deliveryWalk{of: d, shard: sh}
		if byLoop != nil {
			w.sessions = byLoop[i]
		}
		// One loop at least has to call Done.
		if d.everybody || len(d.groups)+len(w.sessions) > 0 || len(walks) == 0 && i == len(shards)-1 {
			walks = append(walks, w)
		}
	}
	if len(walks) == 0 {
		return ErrNotServing
	}
	d.left.Store(int32(len(walks))) // #nosec G115 -- loops
	var err error
	for i := range walks {
		if !walks[i].shard.enqueue(&walks[i], true) {
			err = ErrNotServing // left does not come to zero: nobody calls Done
		}
	}
	return err
}

// deliveryWalk is the entry that gives a message to the audience on one loop, some
// sessions in each turn: those that were listed, then the members of each group.
//
// It relies on this: while it is under way nobody joins or leaves a group of the
// loop, except sessions that end.
type deliveryWalk struct {
	walk     // over all slots, for everybody
	of       *delivery
	shard    *shard
	sessions []*Session // of Audience.Sessions, those of this loop
	groups   []*group   // of Audience.Groups, those of this loop
	except   []*group   // of Audience.Except, likewise
	at       int        // 0 is in sessions, n in groups[n-1]
	place    int        // of the next session there
	taken    int
	refused  int
	begun    bool
	ended    bool
	picks    bool // some sessions that it comes to are excluded
}

func (w *deliveryWalk) begin() {
	w.begun = true
	if w.of.everybody {
		w.walk = walk{loop: w.shard.loop, visit: w.visitOwner}
	}
	for _, name := range w.of.except {
		if g := w.shard.groups[name]; g != nil && g.role == 0 {
			g.role = roleExcept
			w.except = append(w.except, g)
		}
	}
	for _, name := range w.of.groups {
		if g := w.shard.groups[name]; g != nil && g.role == 0 {
			w.groups = append(w.groups, g)
			g.role = int32(len(w.groups)) // #nosec G115 -- as many names as an application lists
		}
	}
	w.picks = len(w.of.listed) > 0 || len(w.except) > 0 || len(w.groups) > 1
}

func (w *deliveryWalk) step() (more bool) {
	switch {
	case w.ended: // Done has ended the goroutine
		return false
	case !w.begun:
		w.begin()
	}
	if w.of.everybody {
		more = w.walk.step()
	} else {
		more = w.stepListed()
	}
	if !more {
		w.finish()
	}
	return more
}

func (w *deliveryWalk) stepListed() (more bool) {
	for p, enough := newPortion(w.shard.loop), false; !enough; enough = p.visited() {
		s, ok := w.nextPlace()
		if !ok {
			return false
		}
		if s != nil {
			w.give(s)
		}
	}
	return true
}

// nextPlace goes one place further, and returns the session there, nil when it has
// left. ok is false behind the last one.
func (w *deliveryWalk) nextPlace() (s *Session, ok bool) {
	for ; w.at <= len(w.groups); w.at, w.place = w.at+1, 0 {
		switch {
		case w.at == 0 && w.place < len(w.sessions):
			s = w.sessions[w.place]
		case w.at > 0 && w.place < len(w.groups[w.at-1].members):
			s = w.groups[w.at-1].members[w.place].session
		default:
			continue
		}
		w.place++ // first: a callback may end the goroutine
		return s, true
	}
	return nil, false
}

func (w *deliveryWalk) visitOwner(owner loop.Alarm) {
	if a, ok := owner.(*sessionAlarm); ok {
		w.give((*Session)(a))
	}
}

// excludes reports whether s is not to be given anything here: it is excepted, or
// has its turn elsewhere in the walk.
func (w *deliveryWalk) excludes(s *Session) bool {
	if len(w.of.listed) > 0 && (w.at > 0 || w.of.everybody) {
		if _, listed := w.of.listed[s]; listed {
			return true
		}
	}
	if s.extra == nil {
		return false
	}
	return slices.ContainsFunc(s.extra.groups, func(m membership) bool {
		role := int(m.group.role)
		return role == roleExcept || 0 < role && role < w.at
	})
}

// give gives s the message, outside of its callbacks, or closes it.
func (w *deliveryWalk) give(s *Session) {
	if w.picks && w.excludes(s) {
		return
	}
	d := w.of
	if d.prepared != nil && d.keep == nil && s.writePrepared(d.prepared) {
		w.taken++ // and no callback was called, which could panic
		return
	}
	returned := false
	defer s.rescue(&returned)
	w.refused++ // until s takes it: a callback may panic
	switch {
	case s.state == sessionClosed: // of Audience.Sessions
	case d.prepared == nil:
		s.set(publicQuit)
		s.end(endingCalled)
	case d.keep != nil && !s.asked(d.keep):
		w.refused--
	case s.givePrepared(d.prepared):
		w.refused--
		w.taken++
	}
	returned = true
}

// finish is the end of the walk, also where its loop stops before it has begun. The
// last one of a delivery calls Done, which may end the goroutine: then step comes
// again.
func (w *deliveryWalk) finish() {
	if w.ended {
		return
	}
	w.ended = true
	for _, groups := range [][]*group{w.groups, w.except} {
		for _, g := range groups {
			g.role = 0
			w.shard.tidy(g)
		}
	}
	d := w.of
	if d.done == nil {
		return
	}
	d.taken.Add(int64(w.taken))
	d.refused.Add(int64(w.refused))
	if d.left.Add(-1) == 0 {
		w.shard.tellDone(d)
	}
}

// givePrepared is SendPrepared on the session's loop, outside of its callbacks. It
// reports whether the session took p.
func (s *Session) givePrepared(p *Prepared) (taken bool) {
	if s.writePrepared(p) {
		return true
	}
	s.begin()
	err := s.sendPrepared(p, true)
	s.run()
	return err == nil
}

// writePrepared is givePrepared if p can go to the connection at once: nothing waits
// before it, so it needs to ask no limit, and no callback is to be called for it. It
// reports whether it was.
func (s *Session) writePrepared(p *Prepared) (written bool) {
	t, e := &s.websocket, &s.server.events
	switch {
	case s.state != sessionOpen || s.transport != transport(t) || t.conn.Blocked() || !t.ready():
		return false
	case p.with().Sent != nil || e.PacketCreate != nil || e.Flush != nil || e.Flushed != nil || s.server.debug.socket.Load() != nil:
		return false
	case t.deflate.Accepted && !p.with().NoCompress || p.binary && s.base64:
		return false
	}
	s.mu.Lock()
	idle := s.outbox == nil && !s.scheduled && s.public.Load()&(publicSealed|publicTraced) == 0
	s.mu.Unlock()
	if idle {
		s.server.shard(s.loop).tally.out[WebSocket].count(len(p.data))
		t.conn.WriteBuf(p.frame(s.revision))
	}
	return idle
}

// walk is a Task that visits the owners of all slots of a loop, some in each
// turn, so that the loop keeps serving the others.
type walk struct {
	loop  *loop.Loop
	next  loop.Slot
	visit func(owner loop.Alarm)
}

// A walk looks at so many slots and visits so many owners in one turn: a visit may
// cost a system call at the turn's end, while others wait. Visits that take long, in
// a callback, end the turn earlier.
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

// Abandon continues behind the owner at which the walk was broken off.
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
