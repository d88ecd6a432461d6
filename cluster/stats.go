package cluster

import "turbine/cluster/link"

// Stats are the figures of one node. What is called a count counts since New; all else is
// of this moment.
type Stats struct {
	Members [NumStates]int // by State, this node among them
	NATSUp  bool           // the connection to NATS is up

	Links    [link.Over]int // from this node to others, by link.State; one a loop and node
	Accepted int            // links from others to this node
	Streams  int            // requests of this node's clients that are at other nodes
	Guests   int            // requests of other nodes' clients that are here
	Relays   link.RelayStats

	BytesSent, BytesHeard uint64 // counts of bytes of links

	// Counts of requests to sessions of other nodes, by what became of them: an answer;
	// the client's connection was to be cut; the link or the node was gone; there was no
	// room on the link.
	Answered, Aborted, Failed, NoRoom uint64

	Unknown UnknownStats
	Bus     BusStats
	Queries QueryStats
}

// UnknownStats are counts of requests whose id names a node that is not there.
type UnknownStats struct {
	Asked   uint64 // those that waited for an answer to the question for their node
	Former  uint64 // refused: the node is dead, or has left
	Absent  uint64 // refused: nobody answered for the node a short while ago
	Limited uint64 // refused: too many nodes were asked for
}

// Stats returns the figures. Safe from any goroutine.
func (c *Cluster) Stats() Stats {
	l := c.peers.stats()
	s := Stats{
		Links: l.Links, Accepted: l.Accepted, Streams: l.Streams, Guests: l.Guests, Relays: l.Relays,
		BytesSent: l.BytesSent, BytesHeard: l.BytesHeard,
		Answered: l.Answered, Aborted: l.Aborted, Failed: l.Failed, NoRoom: l.NoRoom,
	}
	s.Members, s.Unknown = c.members.figures()
	n := c.NATS()
	s.NATSUp = n != nil && n.IsConnected()
	s.Bus, s.Queries = c.bus.stats(), c.queries.stats()
	return s
}

// figures counts the members by state. It takes the lock.
func (m *members) figures() (states [NumStates]int, u UnknownStats) {
	for _, n := range m.list() {
		states[n.State]++
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return states, m.unknowns
}
