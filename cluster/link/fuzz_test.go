package link

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// feed writes p to a peer in pieces of step and one bytes.
func feed(peer *looptest.Peer, p []byte, step byte, run func()) {
	for len(p) > 0 && !peer.Closed() {
		n := min(len(p), 1+int(step))
		peer.Write(p[:n])
		run()
		p = p[n:]
	}
}

func fuzzWorld() *looptest.World {
	return looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, nil)
}

// Nothing that comes to the port gets in without the key, or stays for longer than a
// greeting may take, or leaves anything behind.
func FuzzPort(f *testing.F) {
	hello := appendHello(nil, hello{oldest: 1, newest: 1, purpose: Requests, node: 1, cluster: []byte("tests")})
	f.Add(Append(nil, Hello, 0, 0, hello), byte(200))
	f.Add(Append(Append(nil, Hello, 0, 0, hello), Proof, 0, 0, make([]byte, proofLen)), byte(7))
	f.Add([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), byte(0))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		before := pool.Outstanding()
		w := fuzzWorld()
		failures := 0
		door := NewDoor(selfOf(2), func(*loop.Conn, Peer) loop.Handler {
			t.Fatal("it got in")
			return nil
		}, func(*loop.Conn, error) { failures++ })
		peer := w.DialTo(0, door.Accept)
		w.Run()
		require.Equal(t, 1, door.Unproven())
		feed(peer, p, step, w.Run)
		w.Advance(greetingTime + time.Second)
		require.True(t, peer.Closed())
		require.Equal(t, 1, failures)
		require.Zero(t, door.Unproven())
		w.Close()
		require.Equal(t, before, pool.Outstanding())
	})
}

// fuzzHome has guests that count how often they are over. The first byte of a head says
// what becomes of it.
type fuzzHome struct {
	t      *testing.T
	guests []*fuzzGuest
}

type fuzzGuest struct {
	home  *fuzzHome
	back  Back
	body  int
	whole bool // the body is
	over  bool
}

func (h *fuzzHome) Arrive(_ *loop.Loop, head []byte, back Back) (Guest, error) {
	g := &fuzzGuest{home: h, back: back}
	if len(head) > 0 && head[0] == 'e' {
		return nil, ErrMalformed
	}
	h.guests = append(h.guests, g)
	if len(head) > 0 && head[0] == 'n' {
		g.answer()
	}
	return g, nil
}
func (h *fuzzHome) Note(_ *loop.Loop, p []byte) error {
	if len(p) > 0 && p[0] == 'e' {
		return ErrMalformed
	}
	return nil
}

func (g *fuzzGuest) end() {
	require.False(g.home.t, g.over, "a guest is over once")
	g.over = true
}

func (g *fuzzGuest) answer() {
	g.end()
	b := pool.Frames.Get(g.body)
	b.Append(make([]byte, g.body))
	g.back.Answer(b)
	b.Release()
}

func (g *fuzzGuest) Body(p []byte, last bool) {
	require.False(g.home.t, g.over || g.whole)
	if g.body, g.whole = g.body+len(p), last; last && g.body%2 == 0 {
		g.answer()
	}
}
func (g *fuzzGuest) Cancel(status int) {
	require.False(g.home.t, g.over)
	if status != 0 {
		g.end()
		g.back.Abort()
	}
}
func (g *fuzzGuest) Lost(bool) { g.end() }
func (g *fuzzGuest) Release() {
	require.False(g.home.t, g.over)
	g.answer()
}

// Whatever an edge says, each of its requests is over once at the home, and nothing is
// left when the link has ended.
func FuzzIn(f *testing.F) {
	arrive := Append(nil, Arrive, 0, 1, []byte("\x04\x00headbody"))
	pieces := Append(Append(nil, Arrive, FlagMore, 2, []byte("\x04\x00head")), Body, FlagMore, 2, []byte("abc"))
	f.Add(arrive, byte(255))
	f.Add(append(bytes.Clone(arrive), Append(nil, Release, 0, 1, nil)...), byte(3))
	f.Add(append(bytes.Clone(pieces), Append(Append(nil, Body, 0, 2, []byte("d")), Lost, 0, 2, nil)...), byte(50))
	f.Add(append(bytes.Clone(pieces), Append(Append(nil, Cancel, 0, 2, []byte{0, 0}), Cancel, 0, 2, []byte{0x9d, 1})...), byte(50))
	f.Add(Append(Append(nil, Arrive, 0, 3, []byte("\x01\x00n")), Arrive, 0, 3, []byte("\x01\x00e")), byte(9))
	f.Add(Append(Append(nil, Ping, 0, 0, make([]byte, 8)), Note, 0, 0, []byte("note")), byte(1))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		before := pool.Outstanding()
		w := fuzzWorld()
		home := &fuzzHome{t: t}
		ended := 0
		counts := new(Counts)
		peer := w.DialTo(0, func(c *loop.Conn) loop.Handler {
			return NewIn(c, InOptions{Home: home, Counts: counts, Ended: func() { ended++ }})
		})
		w.Run()
		feed(peer, p, step, w.Run)
		peer.Read()
		peer.Reset()
		w.Run()
		require.True(t, peer.Closed())
		require.Equal(t, 1, ended)
		for _, g := range home.guests {
			require.True(t, g.over)
		}
		require.Zero(t, counts.Guests.Load())
		w.Close()
		require.Equal(t, before, pool.Outstanding())
	})
}

// fuzzReply counts how often it ends.
type fuzzReply struct{ ended int }

func (r *fuzzReply) Answer(p []byte) error {
	r.ended++
	if len(p) > 0 && p[0] == 'e' {
		return ErrMalformed
	}
	return nil
}
func (r *fuzzReply) Abort()  { r.ended++ }
func (r *fuzzReply) Failed() { r.ended++ }

// Whatever a home says, each request at the edge ends once, and nothing is left when the
// node is forgotten.
func FuzzOut(f *testing.F) {
	f.Add(Append(nil, Answer, 0, 1, []byte("200 answer")), byte(255))
	f.Add(Append(Append(nil, Answer, FlagMore, 2, []byte("2")), Answer, 0, 2, []byte("00")), byte(5))
	f.Add(Append(Append(nil, Answer, FlagMore, 3, []byte("2")), Abort, 0, 3, nil), byte(20))
	f.Add(Append(Append(nil, Abort, 0, 1, nil), Abort, 0, 1, nil), byte(1))
	f.Add(Append(nil, Answer, 0, 1, []byte("e")), byte(30))
	f.Add(Append(Append(nil, Pong, 0, 0, make([]byte, 8)), Ping, 0, 0, make([]byte, 8)), byte(0))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		before := pool.Outstanding()
		c := newCell(t)
		var replies [4]fuzzReply
		for i := range replies {
			require.NotZero(t, c.out.Arrive([]byte("head"), []byte("body"), i%2 == 0, &replies[i]))
		}
		c.connect()
		c.greet()
		require.Equal(t, Up, c.out.State())
		feed(c.far.peer, p, step, c.run)
		require.NoError(t, c.world.Loops()[0].Post(loop.Func(c.out.Forget)))
		c.run()
		for i := range replies {
			require.Equal(t, 1, replies[i].ended, "request %d", i+1)
		}
		require.Zero(t, c.out.options.Counts.Streams.Load())
		require.True(t, c.far.peer.Closed())
		c.world.Close()
		require.Equal(t, before, pool.Outstanding())
	})
}

// What an edge says first on a relay is heard the same in any pieces, and what is behind
// it is the client's.
func FuzzRelayHello(f *testing.F) {
	f.Add([]byte("\x05\x00helloGET /"), byte(3))
	f.Add([]byte("\x00\x00"), byte(0))
	f.Add([]byte("\xff\xff"), byte(1))
	f.Fuzz(func(t *testing.T, p []byte, step byte) {
		want, n, wrong := parseRelayHello(p)
		w := fuzzWorld()
		var hello []byte
		var end *relayEnd
		var failed error
		peer := w.DialTo(0, func(c *loop.Conn) loop.Handler {
			return AcceptRelay(c, func(c *loop.Conn, h []byte) (loop.Handler, error) {
				hello, end = bytes.Clone(h), &relayEnd{conn: c}
				return end, nil
			}, func(err error) { failed = err })
		})
		w.Run()
		feed(peer, p, step, w.Run)
		w.Advance(greetingTime + time.Second)
		switch wrong {
		case nil:
			require.NotNil(t, end)
			require.True(t, bytes.Equal(want, hello))
			require.True(t, bytes.Equal(p[n:], end.got))
			require.NoError(t, failed)
			require.False(t, peer.Closed())
		case ErrIncomplete:
			require.Equal(t, ErrRelaySlow, failed)
		default:
			require.Equal(t, wrong, failed)
		}
		require.Equal(t, wrong != nil, peer.Closed())
		w.Close()
	})
}
