package link

import (
	"slices"
	"strings"

	"turbine/loop"
	"turbine/pool"
)

func sorted(lines string) []string {
	list := strings.Split(lines, ", ")
	slices.Sort(list)
	return list
}

// The quiet ends are those of tests that count allocations.
type quietReply struct{ answers int }

func (r *quietReply) Answer([]byte) error { r.answers++; return nil }
func (r *quietReply) Abort()              {}
func (r *quietReply) Failed()             {}

// quietHome answers each request with its body.
type quietHome struct {
	bodies int
	guest  quietGuest
}

type quietGuest struct {
	home *quietHome
	back Back
}

func (h *quietHome) Arrive(_ *loop.Loop, _ []byte, back Back) (Guest, error) {
	h.guest = quietGuest{h, back}
	return &h.guest, nil
}
func (h *quietHome) Note(*loop.Loop, []byte) error { return nil }

func (g *quietGuest) Body(p []byte, last bool) {
	if !last {
		return
	}
	g.home.bodies++
	b := pool.Payloads.Get(len(p))
	b.Append(p)
	g.back.Answer(b)
	b.Release()
}
func (g *quietGuest) Cancel(int) {}
func (g *quietGuest) Lost(bool)  {}
func (g *quietGuest) Release()   {}

func quietDoor(h Home) func(*loop.Conn, Peer) loop.Handler {
	return func(c *loop.Conn, _ Peer) loop.Handler { return NewIn(c, InOptions{Home: h, Counts: new(Counts)}) }
}
