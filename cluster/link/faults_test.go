package link

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// modelReply is one request of the model: what it may still hear.
type modelReply struct {
	t       *testing.T
	id      uint32
	size    int // of the body, and so of the answer
	over    bool
	aborts  bool
	ended   *int
	answers *int
}

func (r *modelReply) end() {
	require.False(r.t, r.over, "request %d ends twice", r.id)
	r.over = true
	*r.ended++
}

func (r *modelReply) Answer(p []byte) error {
	r.end()
	*r.answers++
	require.False(r.t, r.aborts)
	require.Equal(r.t, r.id, binary.LittleEndian.Uint32(p), "an answer to another request")
	require.True(r.t, bytes.Equal(modelBody(r.id, r.size), p))
	return nil
}
func (r *modelReply) Abort()  { r.end(); require.True(r.t, r.aborts) }
func (r *modelReply) Failed() { r.end() }

func modelBody(id uint32, size int) []byte {
	p := binary.LittleEndian.AppendUint32(make([]byte, 0, size+4), id)
	for i := range size {
		p = append(p, byte(id)+byte(i))
	}
	return p
}

// modelHome answers requests with their bodies, later.
type modelHome struct {
	t       *testing.T
	waiting []*modelGuest
}

type modelGuest struct {
	home  *modelHome
	abort bool
	back  Back
	body  []byte
	done  bool
	over  bool
}

func (h *modelHome) Arrive(_ *loop.Loop, head []byte, back Back) (Guest, error) {
	g := &modelGuest{home: h, back: back, abort: string(head) == "abort"}
	h.waiting = append(h.waiting, g)
	return g, nil
}
func (h *modelHome) Note(*loop.Loop, []byte) error { return nil }

func (g *modelGuest) Body(p []byte, last bool) {
	require.False(g.home.t, g.over || g.done)
	g.body, g.done = append(g.body, p...), last
}
func (g *modelGuest) Cancel(int) { g.done, g.abort = true, true }
func (g *modelGuest) Lost(bool)  { require.False(g.home.t, g.over); g.over = true }
func (g *modelGuest) Release()   {}

// Whatever happens to the links, each request ends once, an answer is its own, and nothing
// is left behind.
func TestRequestsEndOnceWhateverHappens(t *testing.T) {
	answered := 0
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { answered += soak(t, seed, 3000) })
	}
	require.Greater(t, answered, 1000, "else it shows little")
}

func soak(t *testing.T, seed uint64, steps int) (answers int) {
	before := pool.Outstanding()
	random := rand.New(rand.NewPCG(seed, 1))
	n := newMesh(t, 3)
	home := &modelHome{t: t}
	var ins []*In
	n.door.up = func(c *loop.Conn, _ Peer) loop.Handler {
		in := NewIn(c, InOptions{Home: home})
		ins = append(ins, in)
		return in
	}
	gathered := []*Gathered{{Limit: 3 << 20}, {Limit: 3 << 20}}
	quiet := func(Event, Peer, error) {}
	outs := []*Out{
		n.out(0, OutOptions{Gathered: gathered[0], Event: quiet, Keep: true}),
		n.out(1, OutOptions{Gathered: gathered[1], Event: quiet}),
	}
	type request struct {
		out    *Out
		stream uint32
		reply  *modelReply
		body   []byte // that is to be completed
	}
	var requests []*request
	begun, ended := 0, 0
	on := func(o *Out, f func()) {
		require.NoError(t, o.on.Post(loop.Func(f)))
		n.world.Run()
	}
	for step := range steps {
		o := outs[random.IntN(2)]
		switch k := random.IntN(100); {
		case k < 40:
			size := random.IntN(300)
			if random.IntN(20) == 0 {
				size = random.IntN(400_000)
			}
			r := &modelReply{t: t, id: uint32(step), size: size, aborts: random.IntN(10) == 0, ended: &ended, answers: &answers}
			q := &request{out: o, reply: r}
			head := "get"
			if r.aborts {
				head = "abort"
			}
			on(o, func() {
				body := modelBody(r.id, size)
				if random.IntN(2) == 0 && len(body) < MaxBody {
					q.stream = o.Arrive([]byte(head), body, true, r)
				} else {
					q.stream = o.Arrive([]byte(head), nil, false, r)
					q.body = body
				}
			})
			if q.stream != 0 {
				begun++
				requests = append(requests, q)
			}
		case k < 60 && len(requests) > 0:
			i := random.IntN(len(requests))
			q := requests[i]
			on(q.out, func() {
				switch {
				case q.reply.over:
					requests = append(requests[:i], requests[i+1:]...)
				case q.body != nil && random.IntN(10) == 0:
					q.reply.aborts, q.body = true, nil
					q.out.Cancel(q.stream, 413)
				case q.body != nil:
					b := pool.Frames.Get(len(q.body))
					b.Append(q.body)
					q.body = nil
					q.out.Complete(q.stream, b)
					b.Release()
				case random.IntN(4) == 0:
					q.reply.end()
					q.out.Lost(q.stream, false)
				}
			})
		case k < 90 && len(home.waiting) > 0:
			i := random.IntN(len(home.waiting))
			g := home.waiting[i]
			if g.over || g.done {
				home.waiting = append(home.waiting[:i], home.waiting[i+1:]...)
			}
			if g.over || !g.done {
				break
			}
			g.over = true
			_ = n.world.Loops()[2].Post(loop.Func(func() {
				if g.abort {
					g.back.Abort()
					return
				}
				b := pool.Frames.Get(len(g.body))
				b.Append(g.body)
				g.back.Answer(b)
				b.Release()
			}))
			n.world.Run()
		case k < 95:
			for _, w := range n.wires {
				w.limit = 1 + random.IntN(100_000)
				w.pass()
			}
			n.world.Run()
		case k < 97:
			n.advance(time.Duration(random.IntN(300)) * time.Millisecond)
		case k == 97 && random.IntN(4) == 0:
			n.cut()
		case k == 98 && len(n.wires) > 0:
			n.wires[len(n.wires)-1].stalled = random.IntN(2) == 0
		case k == 99:
			n.refuse = random.IntN(5) == 0
		}
	}
	n.refuse = false
	for _, w := range n.wires {
		w.stalled, w.limit = false, 0
	}
	n.advance(time.Second)
	for _, o := range outs {
		on(o, o.Forget)
	}
	n.advance(10 * time.Second)
	require.Equal(t, begun, ended, "each request has ended")
	for i, o := range outs {
		require.Zero(t, o.Streams())
		require.Zero(t, o.line.length)
		require.Zero(t, gathered[i].Size())
	}
	for _, in := range ins {
		require.True(t, in.over)
		require.Zero(t, in.Streams())
		require.Zero(t, in.line.length)
	}
	if invariants.Enabled {
		require.Equal(t, before, pool.Outstanding())
	}
	return answers
}
