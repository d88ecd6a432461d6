package engine

import (
	"slices"
	"sync"
)

// interests are the groups that have members on any loop of this node, for
// Node.Bus. Each loop has its own part of a group.
type interests struct {
	bus Bus

	mu    sync.Mutex
	loops map[string]int // guarded by mu; on how many loops a group has members
}

func newInterests(n *Node) *interests {
	if n == nil || n.Bus == nil {
		return nil
	}
	return &interests{bus: n.Bus, loops: map[string]int{}}
}

// begin says that the group has its first member on one more loop. Nil is no
// interests. The bus is told under mu, so that it hears of a group's end and of its
// next beginning in that order.
func (i *interests) begin(group string) {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.loops[group]++
	if i.loops[group] == 1 {
		i.bus.Interest(group, true)
	}
}

// end says that the group has no member any more on one loop.
func (i *interests) end(group string) {
	if i == nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.loops[group]--; i.loops[group] == 0 {
		delete(i.loops, group)
		i.bus.Interest(group, false)
	}
}

// publishAway takes to the other nodes what they can know of an audience: its groups,
// and the groups that are excepted. An audience of sessions stays here, because a
// Session is one of this node. It is called behind the entries of this node's loops,
// in the caller's goroutine, so each node sees the calls of one caller in order.
func (s *Server) publishAway(a *Audience, p *Prepared) error {
	if s.interests == nil || len(a.Groups) == 0 && (a.Groups != nil || a.Sessions != nil) {
		return nil
	}
	m := [1]Message{{Data: p.data, Binary: p.binary}}
	return s.interests.bus.Publish(a.Groups, a.Except, m[:], SendOptions{NoCompress: p.with().NoCompress})
}

// Deliver gives p to the audience on this node, in the order of calls, as
// Server.PublishTo does; it never travels. It is for what has come from another node, and
// for what is meant for this node alone. It borrows what a lists. Safe from any goroutine.
func (h Home) Deliver(a Audience, p *Prepared) {
	if p == nil {
		return
	}
	a.Groups, a.Except = slices.Clone(a.Groups), slices.Clone(a.Except)
	_ = h.server.deliver(a, p) // without loops nobody is there
}
