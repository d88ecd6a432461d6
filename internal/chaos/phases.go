//go:build linux

package main

// A phase is an attack, of crowds of one or several kinds, with well-behaved
// sessions beside it.
type phase struct {
	name   string
	what   string // a sentence for the report
	crowds []crowd
	vanish int // clients that vanish; 0 for none
}

type crowd struct {
	kind string
	size int // at a time
}

var phases = []phase{
	{name: "heads", what: "Slowloris on request heads: a byte a second, until the server answers 408; whoever was ended comes again.",
		crowds: []crowd{{"heads", 10_000}}},
	{name: "bodies", what: "The same on the body of a POST, each with a session of its own.",
		crowds: []crowd{{"bodies", 10_000}}},
	{name: "frames", what: "The same on WebSocket: half of them with one large frame, half with fragments of one byte. Neither can answer a ping meanwhile.",
		crowds: []crowd{{"frames", 5_000}, {"fragments", 5_000}}},
	{name: "readers", what: "Clients that send 100 KB a second and never read the echoes: half of them on WebSocket, half by POST and GET.",
		crowds: []crowd{{"sockets", 500}, {"polls", 500}}},
	{name: "cuts", what: "Resets, half-closes, and closes with unread data, at every moment in the life of a client.",
		crowds: []crowd{{"cuts", 1_000}}},
	{name: "vanished", what: "Clients at each of these moments whose link goes down: no FIN, no RST.",
		vanish: 2_000},
	{name: "mass", what: "All of it together.",
		crowds: []crowd{{"heads", 3_000}, {"bodies", 2_000}, {"frames", 1_000}, {"fragments", 1_000}, {"sockets", 200}, {"polls", 200}, {"cuts", 500}},
		vanish: 1_000},
}

// scaled is the phase with fewer clients, at least one of each kind.
func (p phase) scaled(by float64) phase {
	scale := func(n int) int { return max(1, int(float64(n)*by)) }
	crowds := make([]crowd, len(p.crowds))
	for i, c := range p.crowds {
		crowds[i] = crowd{c.kind, scale(c.size)}
	}
	p.crowds = crowds
	if p.vanish > 0 {
		p.vanish = scale(p.vanish)
	}
	return p
}
