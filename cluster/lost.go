package cluster

import (
	"slices"

	"turbine/engine"
)

// loses has the survivor with the highest score tell that n is lost, whose sessions'
// closes nobody tells otherwise. All survivors compute the same, from what they know.
func (m *members) loses(n *member) {
	m.lost = append(m.lost, loss{node: n, until: m.now + retellFor})
	m.tellLoss(&m.lost[len(m.lost)-1])
}

// tellLoss finds who tells l, for the first time or because that one has died itself.
func (m *members) tellLoss(l *loss) {
	if l.teller != 0 {
		l.told = append(l.told, l.teller)
	}
	l.teller = 0
	best := uint64(0)
	consider := func(id engine.NodeID) {
		if s := score(l.node.id, id); !slices.Contains(l.told, id) && (l.teller == 0 || s > best) {
			l.teller, best = id, s
		}
	}
	if m.self.State != draining {
		consider(m.self.id)
	}
	for _, n := range m.sorted() {
		if n.state == StateAlive || n.state == StateSuspect {
			consider(n.id)
		}
	}
	if l.teller == m.self.id {
		m.event(Lost, l.node, nil)
	}
}

// unlose forgets the loss of a node that is back.
func (m *members) unlose(n *member) {
	m.lost = slices.DeleteFunc(m.lost, func(l loss) bool { return l.node == n })
}

// score is the rendezvous hash of a dead node and one that could tell it: splitmix64's
// finish of both ids. It is the same in all versions.
func score(dead, teller engine.NodeID) uint64 {
	h := uint64(dead)<<32 | uint64(teller)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
