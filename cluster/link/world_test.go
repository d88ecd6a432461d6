package link

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

var testKey = func() []byte { k := sha256.Sum256([]byte("key of the tests")); return k[:] }()

func selfOf(node uint32) *Self {
	return &Self{Cluster: "tests", Node: node, Boot: [16]byte{byte(node)}, Options: [8]byte{1, 2, 3}, Key: testKey}
}

var errRefused = errors.New("connection refused")

// A journal notes what happens.
type journal struct{ lines []string }

func (j *journal) note(format string, args ...any) {
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns what was noted since the last call.
func (j *journal) take() string {
	s := strings.Join(j.lines, ", ")
	j.lines = nil
	return s
}

// fakeReply is what is at the edge's end of a stream.
type fakeReply struct {
	journal  *journal
	name     string
	answered func(p []byte) error
}

func (r *fakeReply) Answer(p []byte) error {
	r.journal.note("%s answered %s", r.name, brief(p))
	if r.answered != nil {
		return r.answered(p)
	}
	return nil
}
func (r *fakeReply) Abort()  { r.journal.note("%s aborted", r.name) }
func (r *fakeReply) Failed() { r.journal.note("%s failed", r.name) }

// brief is p, or its length where it is long.
func brief(p []byte) string {
	if len(p) > 40 {
		return fmt.Sprintf("%d bytes", len(p))
	}
	return string(p)
}

// fakeHome notes what arrives. A request whose head begins with "now" is answered before
// Arrive returns, and one with "bad" is malformed.
type fakeHome struct {
	journal *journal
	guests  map[string]*fakeGuest
	last    *fakeGuest
}

func newFakeHome(j *journal) *fakeHome { return &fakeHome{journal: j, guests: map[string]*fakeGuest{}} }

func (h *fakeHome) Arrive(_ *loop.Loop, head []byte, back Back) (Guest, error) {
	name := brief(head)
	if strings.HasPrefix(name, "bad") {
		return nil, errors.New("bad head")
	}
	g := &fakeGuest{journal: h.journal, name: name, back: back}
	h.guests[name], h.last = g, g
	h.journal.note("%s arrived", name)
	if strings.HasPrefix(name, "now") {
		g.answer("at once")
	}
	return g, nil
}

func (h *fakeHome) Note(_ *loop.Loop, p []byte) error {
	if string(p) == "bad" {
		return errors.New("bad note")
	}
	h.journal.note("note %s", brief(p))
	return nil
}

type fakeGuest struct {
	journal *journal
	name    string
	back    Back
	body    []byte
	lost    bool
}

func (g *fakeGuest) Body(p []byte, last bool) {
	g.body = append(g.body, p...)
	if last {
		g.journal.note("%s has body %s", g.name, brief(g.body))
	}
}
func (g *fakeGuest) Cancel(status int) { g.journal.note("%s cancelled %d", g.name, status) }
func (g *fakeGuest) Lost(over bool) {
	g.lost = true
	g.journal.note("%s lost %t", g.name, over)
}
func (g *fakeGuest) Release() { g.journal.note("%s released", g.name) }

// answer answers with a copy of s.
func (g *fakeGuest) answer(s string) {
	b := pool.Frames.Get(len(s))
	b.Append([]byte(s))
	g.back.Answer(b)
	b.Release()
}

// A wire is a connection between two loops of a World: what one end writes is brought to
// the other by pass.
type wire struct {
	a, b     *looptest.Peer
	stalled  bool
	endA     bool // the end of a was brought to b
	endB     bool
	limit    int // bytes that one pass brings, each way
	aToB     int // bytes brought
	observed func(p []byte)
}

func (w *wire) pass() (moved bool) {
	if w.stalled {
		return false
	}
	limit := w.limit
	if limit == 0 {
		limit = 1 << 30
	}
	if p := w.a.ReadN(limit); len(p) > 0 {
		w.aToB += len(p)
		if w.observed != nil {
			w.observed(p)
		}
		w.b.Write(p)
		moved = true
	}
	if p := w.b.ReadN(limit); len(p) > 0 {
		w.a.Write(p)
		moved = true
	}
	if moved {
		return true
	}
	return end(w.a, w.b, &w.endA) || end(w.b, w.a, &w.endB)
}

// end brings the end of one side to the other.
func end(from, to *looptest.Peer, done *bool) (moved bool) {
	if *done || !from.EOF() {
		return false
	}
	*done = true
	if from.Aborted() {
		to.Reset()
	} else {
		to.CloseWrite()
	}
	return true
}

// A mesh is a World with links between its loops.
type mesh struct {
	t       testing.TB
	world   *looptest.World
	journal journal
	wires   []*wire
	refuse  bool
	home    *fakeHome
	door    *Door
	ins     []*In
	limit   int // of new wires
	unsent  int // of Ins
}

// newMesh makes a World whose last loop is the home's.
func newMesh(t testing.TB, loops int) *mesh {
	n := &mesh{t: t, world: looptest.NewWorld(loops, loop.Options{Logger: slog.New(slog.DiscardHandler)}, nil)}
	n.home = newFakeHome(&n.journal)
	n.door = NewDoor(selfOf(2), func(c *loop.Conn, p Peer) loop.Handler {
		in := NewIn(c, InOptions{Home: n.home, Unsent: n.unsent})
		n.ins = append(n.ins, in)
		return in
	}, nil)
	t.Cleanup(func() {
		n.world.Close()
		require.Zero(t, n.world.Sockets())
	})
	return n
}

func (n *mesh) dial(on *loop.Loop, _ string, accept func(*loop.Conn) loop.Handler, failed func(error)) func() {
	cancelled := false
	_ = on.Post(loop.Func(func() {
		switch {
		case cancelled:
		case n.refuse:
			failed(errRefused)
		default:
			w := &wire{a: n.world.DialTo(on.Index(), accept), limit: n.limit}
			w.b = n.world.DialTo(len(n.world.Loops())-1, n.door.Accept)
			n.wires = append(n.wires, w)
		}
	}))
	return func() { cancelled = true }
}

// out makes an Out on a loop, to the home's node.
func (n *mesh) out(i int, o OutOptions) *Out {
	o.Self, o.Node, o.Address, o.Dial = selfOf(1), 2, "home", n.dial
	if o.Event == nil {
		o.Event = func(e Event, _ Peer, _ error) { n.journal.note("event %d", e) }
	}
	return NewOut(n.world.Loops()[i], o)
}

func (n *mesh) reply(name string) *fakeReply { return &fakeReply{journal: &n.journal, name: name} }

// rest lets the loops work until they have nothing left to do. What was written outside a
// turn leaves at the end of the next one.
func (n *mesh) rest() {
	for _, l := range n.world.Loops() {
		_ = l.Post(nothing)
	}
	n.world.Run()
}

var nothing = loop.Func(func() {})

// run lets everything happen that can at this moment.
func (n *mesh) run() {
	for moved := true; moved; {
		n.rest()
		moved = false
		for _, w := range n.wires {
			moved = w.pass() || moved
		}
	}
}

func (n *mesh) advance(d time.Duration) {
	n.run()
	for end := n.world.Now() + d; n.world.Now() < end; n.run() {
		n.world.Advance(min(50*time.Millisecond, end-n.world.Now()))
	}
}

// cut ends all wires, as when a cable is pulled and both ends are told.
func (n *mesh) cut() {
	for _, w := range n.wires {
		w.a.Reset()
		w.b.Reset()
	}
	n.wires = nil
	n.rest()
}
