package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"turbine/engine"
)

const (
	beatEvery     = time.Second
	suspectAfter  = 4 * time.Second        // silent on NATS
	relink        = 500 * time.Millisecond // for a link that has ended: a new one is dialed meanwhile
	rememberFor   = time.Hour              // who is dead or gone
	maxFormer     = 4096                   // of these
	maxMembers    = 1024                   // others that may be there: a holder of the key could invent any number
	whoFor        = 250 * time.Millisecond
	whoRate       = 10 // questions a second
	notThereFor   = 10 * time.Second
	maxNotThere   = 65536 // ids that nobody has; by rate and time there are 100
	retellFor     = time.Minute
	returnedPause = 10 * time.Second // all that had declared this node lost tell it at once
	missedTime    = 2 * time.Second  // between two ticks: this process was stopped
)

// A linker has the links to the other nodes. Its methods are called one at a time.
type linker interface {
	// learn says where the node's links are, for the first time or anew.
	learn(node engine.NodeID, address string)
	// forget says that the node is not there, or not any more: its sessions are lost.
	forget(node engine.NodeID)
}

// linkEvent is what became of the link of loop 0 to a node that was learnt.
type linkEvent uint8

const (
	linkUp           linkEvent = iota + 1
	linkDown                   // one that was up has ended
	linkRefused                // a dial was refused, or timed out
	linkIncompatible           // there is no common version
	linkOther                  // another node answered at the address
	linkDenied                 // the other side does not have our key
)

// members is the table of section Membership of docs/design.md: who is there, by what is
// heard over NATS and by what becomes of links. It has no clock and starts nothing: each
// event brings the time since some beginning. What it decides is done by whoever calls
// take, without the lock.
type members struct {
	send  func(subject string, r *record) // to NATS; it does not matter whether it arrives
	links linker
	tell  func(Event)
	wake  func() // something waits for take; any goroutine
	names subjects
	log   *slog.Logger

	mu       sync.Mutex
	self     record
	table    map[engine.NodeID]*member
	former   int                             // of table: dead and gone
	asked    map[engine.NodeID]time.Duration // until when an answer is awaited
	notThere map[engine.NodeID]time.Duration // until when it is not asked for again
	lost     []loss
	todo     []func()
	now      time.Duration // of the latest event
	ticked   time.Duration // the last tick
	beaten   time.Duration // the last beat
	counted  time.Duration // the beginning of the second in which questions are counted
	counts   int
	returned time.Duration // of the last event Returned
	unknowns UnknownStats
	differ   bool  // a difference of options was logged
	conflict error // why Join has to fail
}

// A member is a node that is or was there.
type member struct {
	record
	state        State // not StateIncompatible
	heard        time.Duration
	since        time.Duration // of state, when it is dead or gone
	link         linkEvent     // the last of up, down and refused, or 0
	linked       time.Duration // when link began
	incompatible bool
	ended        bool // it has said so itself
}

// A loss is a node whose end one survivor has to tell.
type loss struct {
	node   *member
	until  time.Duration
	teller engine.NodeID
	told   []engine.NodeID // those that were to tell it before
}

func newMembers(self record) *members {
	return &members{
		self: self, names: subjects("turbine"), log: slog.New(slog.DiscardHandler),
		send: func(string, *record) {}, tell: func(Event) {}, wake: func() {},
		table: map[engine.NodeID]*member{}, asked: map[engine.NodeID]time.Duration{}, notThere: map[engine.NodeID]time.Duration{},
		returned: -returnedPause, beaten: -beatEvery,
	}
}

// take returns what is to be done, in order, after an event.
func (m *members) take() []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	todo := m.todo
	m.todo = nil
	return todo
}

// m.mu is held in all that follows up to list, except where a function takes it.

func (m *members) do(f func()) { m.todo = append(m.todo, f) }

func (m *members) event(kind EventKind, n *member, err error) {
	e := Event{Kind: kind, Node: n.id, Name: n.Name, Boot: n.Boot, Err: err}
	m.do(func() { m.tell(e) })
}

// say sends a record of this node.
func (m *members) say(subject, kind string, linked bool) {
	r := m.self
	r.Kind, r.Linked = kind, linked
	m.do(func() { m.send(subject, &r) })
}

func (m *members) sayTo(n *member, kind string) { m.say(m.names.node(n.id), kind, n.link == linkUp) }

// hello asks all nodes to answer.
func (m *members) hello(now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
	m.say(m.names.nodes(), sayHello, false)
}

// heard is told what a node says about itself. It keeps r.
func (m *members) heard(now time.Duration, r *record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = now
	if r.id == m.self.id {
		m.twice(r)
		return
	}
	n := m.table[r.id]
	if n != nil && n.Boot != r.Boot {
		if n.state != StateDead && n.state != StateGone {
			return // one of the two does not get through its Join
		}
		m.drop(n)
		n = nil
	}
	switch r.Kind {
	case sayHello, sayBeat, sayAnswer, sayBye:
		if n = m.lives(n, r); n == nil {
			return
		}
		if r.Kind == sayHello {
			m.sayTo(n, sayAnswer)
		}
	case sayEnd:
		if n == nil {
			return // it was never here
		}
		n.ended = true
		if n.state != StateDead && n.state != StateGone {
			m.leaves(n, StateGone)
		}
	case sayReturned:
		if n = m.lives(n, r); n != nil && now-m.returned >= returnedPause {
			m.returned = now
			self := &member{record: m.self}
			m.event(Returned, self, nil)
		}
	}
}

// lives takes what n, which may be new, says of itself.
func (m *members) lives(n *member, r *record) *member {
	if n != nil && n.ended {
		return nil // what it has said before its end came late
	}
	delete(m.asked, r.id)
	delete(m.notThere, r.id)
	if n == nil {
		if len(m.table)-m.former >= maxMembers {
			m.log.Warn("there are more nodes than a cluster may have, so one is left out", "name", r.Name, "node", r.Node)
			return nil
		}
		n = &member{record: *r, linked: m.now}
		n.Address = "" // so that it is learnt
		m.table[r.id] = n
		m.agree(r)
		m.enters(n, r, Up)
	}
	switch n.state {
	case StateDead:
		m.former--
		m.sayTo(n, sayReturned)
		m.unlose(n)
		m.enters(n, r, Up)
	case StateGone:
		m.former--
		m.enters(n, r, Up)
	case StateSuspect, StateAlive:
		if r.State == draining {
			m.enters(n, r, Draining)
		} else {
			n.state = StateAlive
		}
	default: // one that drains does so until its end
	}
	n.heard = m.now
	address := n.Address
	linked := n.Linked
	n.record = *r
	if r.Kind == sayBeat || r.Kind == sayBye {
		n.Linked = linked // what is for all says nothing about one
	}
	if r.Address != address {
		id, to := r.id, r.Address
		m.do(func() { m.links.learn(id, to) })
	}
	return n
}

// enters makes n alive or draining, as it says.
func (m *members) enters(n *member, r *record, kind EventKind) {
	if n.state == StateDead || n.state == StateGone {
		n.Address, n.link, n.linked, n.incompatible = "", 0, m.now, false
	}
	n.state = StateAlive
	if r.State == draining {
		n.state = StateDraining
	}
	m.event(kind, n, nil)
}

// leaves makes n dead or gone.
func (m *members) leaves(n *member, state State) {
	n.state, n.since = state, m.now
	m.former++
	id := n.id
	m.do(func() { m.links.forget(id) })
	if state == StateDead {
		m.event(Dead, n, nil)
		m.loses(n)
	} else {
		m.event(Gone, n, nil)
	}
	for i := range m.lost {
		if m.lost[i].teller == id && m.now < m.lost[i].until {
			m.tellLoss(&m.lost[i])
		}
	}
	for m.former > maxFormer {
		m.forgetOldest()
	}
}

func (m *members) forgetOldest() {
	var oldest *member
	for _, n := range m.table {
		if (n.state == StateDead || n.state == StateGone) && (oldest == nil || n.since < oldest.since) {
			oldest = n
		}
	}
	m.drop(oldest)
}

// drop takes a dead or gone node out of the table.
func (m *members) drop(n *member) {
	delete(m.table, n.id)
	m.former--
}

// linked is told what became of the link to a node. Safe from any goroutine.
func (m *members) linkEvent(now time.Duration, id engine.NodeID, e linkEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.wake()
	m.now = max(m.now, now)
	n := m.table[id]
	if n == nil || n.state == StateDead || n.state == StateGone {
		return
	}
	switch e {
	case linkUp:
		n.link, n.linked, n.incompatible = linkUp, now, false
		m.sayTo(n, sayAnswer) // it may wait for this in its Join
	case linkDown:
		n.link, n.linked = linkDown, now
	case linkRefused:
		if n.link != linkRefused {
			m.event(Refused, n, nil)
		}
		n.link, n.linked = linkRefused, now
	case linkIncompatible:
		if !n.incompatible {
			m.event(Incompatible, n, fmt.Errorf("cluster: it speaks versions %d to %d of links, this node %d to %d", n.Oldest, n.Newest, m.self.Oldest, m.self.Newest))
		}
		n.incompatible = true
	case linkOther:
		if n.state == StateDraining {
			m.leaves(n, StateGone)
		} else {
			m.leaves(n, StateDead)
		}
	case linkDenied: // the links log it; the node is unreachable by them
	}
}

// tick does what is due. It is called once a second at least.
func (m *members) tick(now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = max(m.now, now)
	if missed := now - m.ticked; m.ticked != 0 && missed > missedTime {
		// This process was stopped. The others have not been silent for longer than it
		// has listened to them.
		for _, n := range m.table {
			n.heard = min(n.heard+missed, now)
			n.linked = min(n.linked+missed, now)
		}
	}
	m.ticked = now
	if now-m.beaten >= beatEvery {
		m.beaten = now
		m.say(m.names.nodes(), sayBeat, false)
	}
	for _, n := range m.sorted() {
		silent, apart := now-n.heard >= suspectAfter, m.apart(n)
		switch n.state {
		case StateAlive:
			if silent {
				n.state = StateSuspect
				m.event(Suspect, n, nil)
				if apart {
					m.leaves(n, StateDead)
				}
			}
		case StateSuspect:
			if apart {
				m.leaves(n, StateDead)
			}
		case StateDraining:
			if silent && apart {
				m.leaves(n, StateGone)
			}
		case StateDead, StateGone:
			if now-n.since >= rememberFor {
				m.drop(n)
			}
		default: // there is no other
		}
	}
	for id, until := range m.asked {
		if now >= until {
			delete(m.asked, id)
			m.notThere[id] = now + notThereFor
			m.do(func() { m.links.forget(id) })
		}
	}
	for id, until := range m.notThere {
		if now >= until {
			delete(m.notThere, id)
		}
	}
	m.lost = slices.DeleteFunc(m.lost, func(l loss) bool { return now >= l.until })
}

// apart reports whether no link reaches n, nor will one at once.
func (m *members) apart(n *member) bool {
	switch n.link {
	case linkUp:
		return false
	case linkRefused:
		return true
	default: // there was none yet, or it has ended
	}
	return m.now-n.linked >= relink
}

// next is when tick has something to do.
func (m *members) next() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.beaten + beatEvery
	for _, until := range m.asked {
		next = min(next, until)
	}
	for _, n := range m.table {
		switch n.state {
		case StateAlive:
			next = min(next, n.heard+suspectAfter)
		case StateSuspect, StateDraining:
			if n.link != linkUp && n.link != linkRefused {
				next = min(next, max(n.linked+relink, n.heard+suspectAfter))
			}
		default: // who is dead or gone is dropped an hour later, more or less
		}
	}
	return next
}

// unknown is asked for a node whose sessions somebody wants. True: it is looked for, and
// learn or forget follows within whoFor. False: there is none. Safe from any goroutine.
func (m *members) unknown(now time.Duration, id engine.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = max(m.now, now)
	if id == m.self.id || id == 0 {
		return false
	}
	if n := m.table[id]; n != nil {
		if n.state == StateDead || n.state == StateGone {
			m.unknowns.Former++
			return false
		}
		return true // its learn is on its way
	}
	if _, under := m.asked[id]; under {
		m.unknowns.Asked++
		return true
	}
	if until, negative := m.notThere[id]; negative && now < until || len(m.notThere) >= maxNotThere {
		m.unknowns.Absent++
		return false
	}
	if now-m.counted >= time.Second {
		m.counted, m.counts = now, 0
	}
	if m.counts >= whoRate {
		m.unknowns.Limited++
		return false
	}
	m.counts++
	m.unknowns.Asked++
	m.asked[id] = now + whoFor
	m.say(m.names.who(id), sayHello, false)
	m.wake()
	return true
}

var errTwice = errors.New("cluster: another process has drawn the same node id, which happens once in four billion times: start again")

// twice is told about another process that has this node's id. Of two that join the lower
// one fails; one that has joined stays.
func (m *members) twice(r *record) {
	switch {
	case r.Boot == m.self.Boot:
	case m.self.State != joining:
		if r.Kind == sayHello {
			m.say(m.names.node(m.self.id), sayAnswer, false)
		}
	case r.State != joining || m.self.Boot < r.Boot:
		m.conflict = errTwice
	}
}

// agree compares this node with a new one.
func (m *members) agree(r *record) {
	same := func(what string, theirs, ours any) {
		if theirs != ours && m.conflict == nil && m.self.State == joining {
			m.conflict = fmt.Errorf("cluster: node %s (%s) has %s %v, this one %v: all nodes need the same", r.Name, r.Node, what, theirs, ours)
		}
	}
	same("Options.Path", r.Path, m.self.Path)
	same("Options.Access.Bind", given(r.Bound), given(m.self.Bound))
	if r.Options != m.self.Options && !m.differ {
		m.differ = true
		m.log.Warn("nodes of the cluster have different options, so clients see limits and timeouts of the node that has their session", "name", r.Name, "node", r.Node, "help", "give all nodes the same options")
	}
}

func given(is bool) string {
	if is {
		return "given"
	}
	return "not given"
}

// joined says that Join is through: from now on clients may have ids of this node.
func (m *members) joined() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.State = living
}

// drains says that this node takes nobody new, ends that it has told all closes.
func (m *members) drains() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.State = draining
	m.say(m.names.nodes(), sayBye, false)
}

func (m *members) ends() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.say(m.names.nodes(), sayEnd, false)
}

// moves says that this node's links are at another address from now on.
func (m *members) moves(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.Address = address
	m.say(m.names.nodes(), sayBeat, false)
}

// barrier reports how many nodes are there, and whether the links to all of them are up,
// both ways. An error says why Join cannot succeed.
func (m *members) barrier() (n int, up bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	up = true
	for _, o := range m.table {
		if o.state == StateDead || o.state == StateGone || o.incompatible {
			continue
		}
		n++
		up = up && o.link == linkUp && o.Linked
	}
	return n, up, m.conflict
}

// sorted is the table in the order of ids, so that events come in one order.
func (m *members) sorted() []*member {
	list := make([]*member, 0, len(m.table))
	for _, n := range m.table {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *member) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return list
}

// list is who is and was there, this node first, then by id.
func (m *members) list() []Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	self := &member{record: m.self}
	if m.self.State == draining {
		self.state = StateDraining
	}
	all := []Member{self.shown()}
	all[0].Self = true
	for _, n := range m.sorted() {
		all = append(all, n.shown())
	}
	return all
}

func (n *member) shown() Member {
	state := n.state
	if n.incompatible && state == StateAlive {
		state = StateIncompatible
	}
	return Member{ID: n.id, Name: n.Name, State: state, Address: n.Address, Version: n.Version, Boot: n.Boot, Loops: n.Loops}
}
