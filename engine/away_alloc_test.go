//go:build !race && !invariants

package engine

import (
	"testing"

	"turbine/loop"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// shortWay is Peers, and the Back of each Guest, between two servers that a test drives in
// turn. It keeps one request, and allocates nothing.
type shortWay struct {
	Peers
	home       Home
	at         *loop.Loop
	head, body []byte
	reply      Reply
	answer     *pool.Buf
}

func (*shortWay) Knows(NodeID) bool { return true }

func (w *shortWay) Arrive(_ *loop.Loop, _ NodeID, head, body []byte, _ bool, back Reply) Stream {
	w.head, w.body, w.reply = append(w.head[:0], head...), append(w.body[:0], body...), back
	return 1
}

func (w *shortWay) Answer(b *pool.Buf) {
	b.Retain()
	w.answer = b
}

func (*shortWay) Abort() {}

func (w *shortWay) Run() {
	g, err := w.home.Arrive(w.at, w.head, w)
	if err == nil {
		g.Body(w.body, true)
	}
}

// wayBack is the task that brings the answer.
type wayBack shortWay

func (w *wayBack) Run() {
	_ = w.reply.Answer(w.answer.Bytes()) // the client would miss it
	w.answer.Release()
}

// A request of another node costs its home one allocation, the Guest, and its edge none,
// on top of what it costs on one node.
func TestAwayAllocatesLittle(t *testing.T) {
	way := new(shortWay)
	home := newEchoWith(t, 1, Options{Node: &Node{ID: 1}})
	defer home.world.Close()
	edge := newEchoWith(t, 1, Options{Node: &Node{ID: 2, Peers: way}})
	defer edge.world.Close()
	var err error
	way.home, err = home.server.Home()
	require.NoError(t, err)
	way.at = way.home.Loops()[0]
	peer := home.world.Dial()
	home.polling(peer)
	var id string
	for s := range home.server.Sessions() {
		id = s.ID()
	}
	target := "/engine.io/?EIO=4&transport=polling&sid=" + id
	post := request{method: "POST", target: target, body: "4hello", length: true}.bytes()
	get := request{method: "GET", target: target}.bytes()
	local := testing.AllocsPerRun(500, func() {
		for _, r := range [][]byte{post, get} {
			peer.Write(r)
			home.world.Run()
			if len(peer.Read()) == 0 {
				t.Fatal("no response")
			}
		}
	})
	client := edge.world.Dial()
	away := testing.AllocsPerRun(500, func() {
		for _, r := range [][]byte{post, get} {
			client.Write(r)
			edge.world.Run()
			if err := way.at.Post(way); err != nil {
				t.Fatal(err)
			}
			home.world.Run()
			if err := edge.world.Loops()[0].Post((*wayBack)(way)); err != nil {
				t.Fatal(err)
			}
			edge.world.Run()
			if len(client.Read()) == 0 {
				t.Fatal("no response")
			}
		}
	})
	require.LessOrEqual(t, away, local+2, "a Guest for each of the two requests")
}
