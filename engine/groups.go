package engine

import "slices"

// A group is the sessions of one loop that joined under one name, in the order
// in which they did. Each loop has its own, made with the first member and
// dropped with the last.
type group struct {
	name    string
	members []member
	empty   int        // places whose session has left
	walks   []*publish // under way
}

// member is a place in a group; nil when its session has left.
type member struct {
	session *Session
	at      int32 // the index of the membership in the session
}

// membership is a group as its member sees it.
type membership struct {
	group *group
	place int32 // the index in group.members
}

// Join makes the session a member of the group of that name, for
// Server.Publish, until it leaves or closes. It takes effect before any Publish
// that is called after it. A member that joins again stays one. A session pays
// about 24 bytes for each of its groups, and looks through them to join and
// leave: tens are fine, thousands are slow. Safe from any goroutine.
func (s *Session) Join(name string) {
	s.server.shard(s.loop).enqueue(&membershipEntry{session: s, name: name}, false)
}

// Leave undoes Join, for any Publish that is called after it.
// Safe from any goroutine.
func (s *Session) Leave(name string) {
	s.server.shard(s.loop).enqueue(&membershipEntry{session: s, name: name, leaves: true}, false)
}

// Groups are the names of the groups that the session is in. A Join shows when the
// loop has come to it, not yet in the same callback. In Events.Close and after it,
// they are the groups that the session was in at its end. Safe from any goroutine.
func (s *Session) Groups() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return nil
	}
	if s.extra.left != nil {
		return slices.Clone(s.extra.left)
	}
	return s.groupNames()
}

// groupNames are the names of the groups that the session is in. s.mu is held, or
// its loop asks.
func (s *Session) groupNames() []string {
	names := make([]string, 0, len(s.extra.groups))
	for _, m := range s.extra.groups {
		names = append(names, m.group.name)
	}
	return names
}

func (s *Session) join(name string) {
	if s.state == sessionClosed {
		return
	}
	shard := s.server.shard(s.loop)
	g := shard.groups[name]
	if g == nil {
		if shard.groups == nil {
			shard.groups = map[string]*group{}
		}
		g = &group{name: name}
		shard.groups[name] = g
	}
	if s.membership(g) >= 0 {
		return
	}
	e := s.rare()
	g.members = append(g.members, member{session: s, at: int32(len(e.groups))})
	s.mu.Lock()
	e.groups = append(e.groups, membership{group: g, place: int32(len(g.members) - 1)})
	s.mu.Unlock()
}

func (s *Session) leave(name string) {
	shard := s.server.shard(s.loop)
	g := shard.groups[name]
	if g == nil {
		return
	}
	if at := s.membership(g); at >= 0 {
		s.leaveAt(at)
		shard.tidy(g)
	}
}

// leaveAll is for a session that closes. The names stay: a session that was kept
// would hold whole groups otherwise.
func (s *Session) leaveAll() {
	if s.extra == nil || len(s.extra.groups) == 0 {
		return
	}
	left := s.groupNames()
	shard := s.server.shard(s.loop)
	for n := len(s.extra.groups); n > 0; n-- {
		g := s.extra.groups[n-1].group
		s.leaveAt(n - 1)
		shard.tidy(g)
	}
	s.mu.Lock()
	s.extra.groups, s.extra.left = nil, left
	s.mu.Unlock()
}

// membership is the index of g in the session's groups, -1 when it is no member.
func (s *Session) membership(g *group) int {
	if s.extra == nil {
		return -1
	}
	return slices.IndexFunc(s.extra.groups, func(m membership) bool { return m.group == g })
}

func (s *Session) leaveAt(at int) {
	groups := s.extra.groups
	left := groups[at]
	left.group.members[left.place] = member{}
	left.group.empty++
	last := len(groups) - 1
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < last {
		moved := groups[last]
		groups[at] = moved
		moved.group.members[moved.place].at = int32(at)
	}
	groups[last] = membership{}
	s.extra.groups = groups[:last]
}

// minEmpty is the number of empty places from which on a group is compacted.
const minEmpty = 32

// tidy drops g when nobody needs it and compacts it when half of it is empty.
func (sh *shard) tidy(g *group) {
	switch {
	case g.empty == len(g.members) && len(g.walks) == 0:
		delete(sh.groups, g.name)
	case g.empty >= minEmpty && 2*g.empty > len(g.members):
		g.compact()
	}
}

// compact closes up the empty places, also under the walks that are under way.
func (g *group) compact() {
	for _, w := range g.walks {
		w.next, w.end = w.next-g.emptyBefore(w.next), w.end-g.emptyBefore(w.end)
	}
	full := g.members[:0]
	for _, m := range g.members {
		if m.session != nil {
			m.session.extra.groups[m.at].place = int32(len(full))
			full = append(full, m)
		}
	}
	if cap(full) > 4*len(full) {
		full = slices.Clone(full) // give the room of the many back
	} else {
		clear(g.members[len(full):])
	}
	g.members, g.empty = full, 0
}

func (g *group) emptyBefore(place int) (n int) {
	for _, m := range g.members[:place] {
		if m.session == nil {
			n++
		}
	}
	return n
}

// publish is an entry that gives a message to the members of a group on one loop,
// some in each turn.
type publish struct {
	shard    *shard
	name     string
	prepared *Prepared
	keep     func(*Session) bool

	group     *group // nil until the first turn
	next, end int    // places in group.members
}

// Publish sends p to every member of the group of that name that can take it,
// as Broadcast does to all: in the order of the caller's calls, and without a limit
// for what has not begun.
func (s *Server) Publish(group string, p *Prepared) { s.PublishTo(group, p, nil) }

// PublishTo is Publish to those members for which keep, called on the session's
// loop, returns true. keep must not block. Nil keeps all.
func (s *Server) PublishTo(group string, p *Prepared, keep func(*Session) bool) {
	if p == nil {
		return // not made by Prepare
	}
	for _, shard := range s.allShards() {
		shard.enqueue(&publish{shard: shard, name: group, prepared: p, keep: keep}, true)
	}
}

// step visits the sessions that are members at the first turn.
func (w *publish) step() (more bool) {
	if w.group == nil {
		w.group = w.shard.groups[w.name]
		if w.group == nil {
			return false
		}
		w.end = len(w.group.members)
		w.group.walks = append(w.group.walks, w)
	}
	for p, enough := newPortion(w.shard.loop), false; w.next < w.end && !enough; {
		m := w.group.members[w.next]
		w.next++ // first: what follows may compact the group
		if m.session != nil {
			m.session.give(w.prepared, w.keep)
		}
		enough = p.visited()
	}
	if w.next < w.end {
		return true
	}
	w.group.walks = slices.DeleteFunc(w.group.walks, func(o *publish) bool { return o == w })
	w.shard.tidy(w.group)
	return false
}
