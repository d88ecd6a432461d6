package engine

import (
	"iter"
	"slices"
)

// A group is the sessions of one loop that joined under one name, in the order
// in which they did. Each loop has its own, made with the first member and
// dropped with the last.
type group struct {
	name    string
	members []member
	empty   int       // places whose session has left
	role    int32     // in the deliveryWalk that is under way
	readers []*reader // under way
}

// The role of a group in a walk: none is 0, n is that of the walk's n-th group. A group
// with a role keeps its places.
const roleExcept = -1

// reader is how far a goroutine has come that goes through the members.
type reader struct{ next, end int }

// member is a place in a group; nil when its session has left.
type member struct {
	session *Session
	at      int32 // the index of the membership in the session
}

// membership is a group as its member sees it.
type membership struct {
	group *group
	place int32 // the index in group.members; the loop's, while s.mu guards the rest
}

// Join makes the session a member of the group of that name, for
// Server.Publish, until it leaves or closes. It takes effect before any Publish
// that is called after it. A member that joins again stays one. A session pays
// about 50 bytes for each of its groups, and looks through them to join and
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

// InGroup reports whether the session is in the group of that name, as Groups has it. It
// allocates nothing. Safe from any goroutine.
func (s *Session) InGroup(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extra == nil {
		return false
	}
	for i := range s.extra.groups {
		if s.extra.groups[i].group.name == name { // as in groupNames
			return true
		}
	}
	return slices.Contains(s.extra.left, name)
}

// groupNames are the names of the groups that the session is in. s.mu is held, or
// its loop asks. A place is not looked at: the loop may change it at any moment.
func (s *Session) groupNames() []string {
	names := make([]string, 0, len(s.extra.groups))
	for i := range s.extra.groups {
		names = append(names, s.extra.groups[i].group.name)
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
		shard.groupsMu.Lock()
		if shard.groups == nil {
			shard.groups = map[string]*group{}
		}
		g = &group{name: name}
		shard.groups[name] = g
		shard.groupsMu.Unlock()
		shard.server.interests.begin(name)
	}
	if s.membership(g) >= 0 {
		return
	}
	e := s.rare()
	shard.groupsMu.Lock()
	g.members = append(g.members, member{session: s, at: int32(len(e.groups))})
	shard.groupsMu.Unlock()
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
	shard := s.server.shard(s.loop)
	shard.groupsMu.Lock()
	defer shard.groupsMu.Unlock()
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
	if g.role != 0 {
		return // the end of the walk tidies
	}
	sh.groupsMu.Lock()
	defer sh.groupsMu.Unlock()
	switch {
	case g.empty == len(g.members):
		delete(sh.groups, g.name)
		sh.server.interests.end(g.name)
	case g.empty >= minEmpty && 2*g.empty > len(g.members):
		g.compact()
	}
}

// compact closes up the empty places, also under the readers that are under way.
// The shard's groupsMu is held.
func (g *group) compact() {
	for _, r := range g.readers {
		r.next, r.end = r.next-g.emptyBefore(r.next), r.end-g.emptyBefore(r.end)
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

// Members goes through the members of the group of that name, on the caller's
// goroutine, as Sessions goes through all sessions: a session that is a member from the
// beginning to the end is met once, one that joins or leaves meanwhile is met once or
// not at all. Safe from any goroutine, also in callbacks, where a Join or Leave shows
// when the loop has come to it.
func (s *Server) Members(group string) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		for _, shard := range s.allShards() {
			if !shard.eachMember(group, yield) {
				return
			}
		}
	}
}

// eachMember yields the members of the loop's part of a group, and reports whether
// more are wanted.
func (sh *shard) eachMember(name string, yield func(*Session) bool) (more bool) {
	g, r := sh.beginRead(name)
	if g == nil {
		return true
	}
	defer sh.endRead(g, r)
	var room [sessionsChunk]*Session
	for {
		n, ended := sh.read(g, r, room[:])
		for _, session := range room[:n] {
			if visible((*sessionAlarm)(session)) != nil && !yield(session) {
				return false
			}
		}
		if ended {
			return true
		}
	}
}

func (sh *shard) beginRead(name string) (*group, *reader) {
	sh.groupsMu.Lock()
	defer sh.groupsMu.Unlock()
	g := sh.groups[name]
	if g == nil {
		return nil, nil
	}
	r := &reader{end: len(g.members)}
	g.readers = append(g.readers, r)
	return g, r
}

// read copies the next members into room. It returns how many these are, and whether
// they are the last.
func (sh *shard) read(g *group, r *reader, room []*Session) (n int, ended bool) {
	sh.groupsMu.Lock()
	defer sh.groupsMu.Unlock()
	for end := min(r.end, r.next+len(room)); r.next < end; r.next++ {
		if session := g.members[r.next].session; session != nil {
			room[n] = session
			n++
		}
	}
	return n, r.next == r.end
}

func (sh *shard) endRead(g *group, r *reader) {
	sh.groupsMu.Lock()
	defer sh.groupsMu.Unlock()
	g.readers = slices.DeleteFunc(g.readers, func(o *reader) bool { return o == r })
}

// Count is the number of members of the group of that name. A Join or Leave counts
// when the loop has come to it: not yet in the same callback. Safe from any goroutine.
func (s *Server) Count(group string) (n int) {
	for _, shard := range s.allShards() {
		n += shard.count(group)
	}
	return n
}

func (sh *shard) count(name string) int {
	sh.groupsMu.Lock()
	defer sh.groupsMu.Unlock()
	g := sh.groups[name]
	if g == nil {
		return 0
	}
	return g.size()
}

func (g *group) size() int { return len(g.members) - g.empty }

// GroupNames goes through the groups that have members, and how many each has, in no
// particular order. It collects all of them first, some at a time; the loops continue
// meanwhile. A group that has members from the beginning to the end is met once.
// Safe from any goroutine.
func (s *Server) GroupNames() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		all := map[string]int{}
		for _, shard := range s.allShards() {
			for name, n := range shard.groupSizes(shard.letGroupsChange) {
				all[name] += n
			}
		}
		for name, n := range all {
			if !yield(name, n) {
				return
			}
		}
	}
}

// groupSizes are the sizes of the loop's parts of all groups. A group that ends and begins
// anew meanwhile may be met again, and counts once.
func (sh *shard) groupSizes(between func()) map[string]int {
	sizes := map[string]int{}
	sh.eachGroup(func(g *group) {
		if n := g.size(); n > 0 {
			sizes[g.name] = n
		}
	}, between)
	return sizes
}

// eachGroup calls f with the loop's parts of all groups, with groupsMu held. In between
// the lock may be let go of, and groups may begin and end: what a range over a map says
// about changes holds.
func (sh *shard) eachGroup(f func(*group), between func()) {
	sh.groupsMu.Lock()
	defer sh.groupsMu.Unlock()
	met := 0
	for _, g := range sh.groups {
		f(g)
		if met++; met%sessionsChunk == 0 {
			between()
		}
	}
}

func (sh *shard) letGroupsChange() {
	sh.groupsMu.Unlock()
	sh.groupsMu.Lock()
}

// CloseGroup closes the members of the group of that name, each as Session.Close does,
// behind what the caller has published and sent before. It returns at once. A session
// that joins later is not closed. Safe from any goroutine.
func (s *Server) CloseGroup(group string) {
	_ = s.deliver(Audience{Groups: []string{group}}, nil) // without loops nobody is there
}
