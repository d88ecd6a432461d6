package cluster

import (
	"time"

	"turbine/internal/fifo"
)

const (
	maxExact  = 20_000          // groups with a subscription of their own
	wholeFrom = 64              // own groups above which a part may be subscribed whole
	wholeTo   = 32              // own groups up to which it is divided again
	lingering = 5 * time.Second // that a subscription outlives its need
)

// subscriptions are what this node wants to hear: a subscription for each group that has
// members here, or one for a whole part of the groups, where there are very many. They
// belong to the goroutine that publishes.
//
// A subscription that is not needed any more stays for 5 seconds. A group whose members
// come and go then costs NATS nothing. And where a part takes the place of its groups, or
// they of it, nothing is lost: a client drops what is under way for a subscription that it
// has ended. What comes by both is dropped once, by its number.
type subscriptions struct {
	names     subjects
	subscribe func(subject string) (cancel func(), err error)
	failed    func(err error)
	widened   func(part uint8, whole bool)

	groups map[string]*interest
	exact  int // interests with a subscription of their own
	parts  [parts]partInterest
	ending fifo.Queue[ending]
}

// interest is a group.
type interest struct {
	on      bool // it has members
	left    time.Duration
	pending bool   // its end is in ending
	cancel  func() // of a subscription of its own
}

type partInterest struct {
	groups int    // with members, or that linger
	exact  int    // of them, those with a subscription of their own
	cancel func() // of the whole part
}

// ending is something that has lingered for long enough at a time: a subscription, or a
// group, unless it has members again.
type ending struct {
	at     time.Duration
	group  string
	cancel func()
}

func newSubscriptions(names subjects, subscribe func(string) (func(), error), failed func(error), widened func(uint8, bool)) *subscriptions {
	return &subscriptions{names: names, subscribe: subscribe, failed: failed, widened: widened, groups: map[string]*interest{}}
}

// set says that the group has members here, or has none any more.
func (s *subscriptions) set(group string, on bool, now time.Duration) {
	g := s.groups[group]
	switch {
	case on && g != nil:
		g.on = true
	case on:
		s.begin(group, now)
	case g != nil:
		g.on, g.left = false, now
		if !g.pending {
			g.pending = true
			s.ending.Push(ending{at: now + lingering, group: group})
		}
	}
}

func (s *subscriptions) begin(group string, now time.Duration) {
	g := &interest{on: true}
	s.groups[group] = g
	p := &s.parts[partOf(group)]
	p.groups++
	if p.cancel == nil && s.exact >= maxExact {
		s.widen(now)
	}
	if p.cancel == nil {
		s.subscribeExact(group, g, p)
	}
}

func (s *subscriptions) subscribeExact(group string, g *interest, p *partInterest) {
	cancel, err := s.subscribe(s.names.group(group))
	if err != nil {
		s.failed(err)
		return
	}
	g.cancel = cancel
	s.exact++
	p.exact++
}

// widen subscribes the part with most groups whole, if it has enough.
func (s *subscriptions) widen(now time.Duration) {
	most := 0
	for i := range s.parts {
		if s.parts[i].exact > s.parts[most].exact {
			most = i
		}
	}
	p, part := &s.parts[most], uint8(most) // #nosec G115 -- below parts
	if p.exact <= wholeFrom {
		return
	}
	cancel, err := s.subscribe(s.names.part(part))
	if err != nil {
		s.failed(err)
		return
	}
	p.cancel = cancel
	s.widened(part, true)
	s.exact -= p.exact
	p.exact = 0
	for group, g := range s.groups {
		if g.cancel != nil && partOf(group) == part {
			s.ending.Push(ending{at: now + lingering, cancel: g.cancel})
			g.cancel = nil
		}
	}
}

// narrow subscribes the groups of a part that was subscribed whole, when they are few.
func (s *subscriptions) narrow(part uint8, now time.Duration) {
	p := &s.parts[part]
	if p.cancel == nil || p.groups > wholeTo || s.exact+p.groups > maxExact-maxExact/8 {
		return
	}
	for group, g := range s.groups {
		if p.groups > 0 && g.cancel == nil && partOf(group) == part {
			s.subscribeExact(group, g, p)
		}
	}
	s.ending.Push(ending{at: now + lingering, cancel: p.cancel})
	p.cancel = nil
	s.widened(part, false)
}

// tick ends what has lingered for long enough. It returns when the next does, 0 for never.
func (s *subscriptions) tick(now time.Duration) (next time.Duration) {
	for s.ending.Len() > 0 {
		if at := s.ending.First().at; at > now {
			return at
		}
		e := s.ending.Pop()
		if e.cancel != nil {
			e.cancel()
			continue
		}
		switch g := s.groups[e.group]; {
		case g.on:
			g.pending = false
		case g.left+lingering > now: // it had members meanwhile
			s.ending.Push(ending{at: g.left + lingering, group: e.group})
		default:
			s.end(e.group, g, now)
		}
	}
	s.ending.Trim(1024)
	return 0
}

func (s *subscriptions) end(group string, g *interest, now time.Duration) {
	delete(s.groups, group)
	part := partOf(group)
	p := &s.parts[part]
	p.groups--
	if g.cancel != nil {
		g.cancel()
		s.exact--
		p.exact--
	}
	s.narrow(part, now)
}

// count is how many subscriptions there are, without those that linger.
func (s *subscriptions) count() int {
	n := s.exact
	for i := range s.parts {
		if s.parts[i].cancel != nil {
			n++
		}
	}
	return n
}
