package link

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// relayCell is one client of an edge, loop 0 of a World, whose session is at a home,
// loop 1.
type relayCell struct {
	t       *testing.T
	world   *looptest.World
	edge    *Edge
	client  *looptest.Peer
	conn    *loop.Conn // the client's, at the edge
	wires   []*wire
	homes   []*relayEnd
	notes   []string
	failed  []error
	refuse  bool // dials
	hold    bool // dials, until free
	held    []func()
	stall   bool // new wires
	stays   bool // homes
	pauses  bool // whoever opens relays
	self    *Self
	serves  error // of the home
	hellos  []string
	refused []error // by the home
}

// relayEnd is the handler that a home gives a relay.
type relayEnd struct {
	conn    *loop.Conn
	got     []byte
	drained int
	ended   bool
	closed  bool
	err     error
	stays   bool // it does not close behind the client's end
	data    func(p []byte)
}

func (e *relayEnd) Data(p []byte) {
	e.got = append(e.got, p...)
	if e.data != nil {
		e.data(p)
	}
}
func (e *relayEnd) Drained() { e.drained++ }
func (e *relayEnd) EOF() {
	e.ended = true
	if !e.stays {
		e.conn.Close()
	}
}
func (e *relayEnd) Closed(err error) { e.closed, e.err = true, err }

const relayHighWater = 64 << 10

func newRelayCell(t *testing.T, change func(*relayCell, *EdgeOptions)) *relayCell {
	t.Helper()
	return newRelayCellOn(t, loop.Options{HighWater: relayHighWater}, change)
}

func newRelayCellOn(t *testing.T, loops loop.Options, change func(*relayCell, *EdgeOptions)) *relayCell {
	t.Helper()
	loops.Logger = slog.New(slog.DiscardHandler)
	c := &relayCell{t: t, self: selfOf(2)}
	c.world = looptest.NewWorld(2, loops, nil)
	o := EdgeOptions{
		Self: selfOf(1), Dial: c.dial, Loops: c.world.Loops()[:1],
		Note:   func(_ *loop.Loop, node uint32, p []byte) { c.notes = append(c.notes, fmt.Sprintf("%d %s", node, p)) },
		Failed: func(_ uint32, err error) { c.failed = append(c.failed, err) },
	}
	if change != nil {
		change(c, &o)
	}
	c.edge = NewEdge(o)
	before := pool.Outstanding()
	t.Cleanup(func() {
		c.world.Close()
		require.Zero(t, c.world.Sockets())
		require.Equal(t, before, pool.Outstanding())
		require.Zero(t, c.edge.Stats().Now)
		require.Zero(t, c.edge.Conns())
	})
	return c
}

func (c *relayCell) dial(on *loop.Loop, _ string, accept func(*loop.Conn) loop.Handler, failed func(error)) func() {
	cancelled := false
	free := func() {
		_ = on.Post(loop.Func(func() {
			switch {
			case cancelled:
			case c.refuse:
				failed(errRefused)
			default:
				door := NewDoor(c.self, func(conn *loop.Conn, p Peer) loop.Handler {
					require.Equal(c.t, Relays, p.Purpose)
					return AcceptRelay(conn, c.serve, func(err error) { c.refused = append(c.refused, err) })
				}, nil)
				c.wires = append(c.wires, &wire{a: c.world.DialTo(0, accept), b: c.world.DialTo(1, door.Accept), stalled: c.stall})
			}
		}))
	}
	if c.hold {
		c.held = append(c.held, free)
	} else {
		free()
	}
	return func() { cancelled = true }
}

// free lets held dials come to their end.
func (c *relayCell) free() {
	for _, f := range c.held {
		f()
	}
	c.held = nil
	c.run()
}

// serve is what the engine does at the home.
func (c *relayCell) serve(conn *loop.Conn, hello []byte) (loop.Handler, error) {
	c.hellos = append(c.hellos, string(hello))
	if c.serves != nil {
		return nil, c.serves
	}
	e := &relayEnd{conn: conn, stays: c.stays}
	c.homes = append(c.homes, e)
	return e, nil
}

// opener opens a relay with the first bytes that it gets.
type opener struct {
	cell *relayCell
	conn *loop.Conn
}

func (o *opener) Data(p []byte) {
	if o.cell.pauses {
		o.conn.Pause()
	}
	o.cell.edge.Open(o.conn, 2, "home:1", Relay{
		Hello: []byte("hello of a client"), First: p,
		Refusal: []byte("503 no home"), Farewell: []byte("retire"),
	})
}
func (*opener) Drained()     {}
func (*opener) EOF()         {}
func (*opener) Closed(error) {}

// connect connects a client, which says first.
func (c *relayCell) connect(first string) {
	c.client = c.world.DialTo(0, func(conn *loop.Conn) loop.Handler {
		c.conn = conn
		return &opener{c, conn}
	})
	c.client.Write([]byte(first))
	c.run()
}

// rest lets the loops work until they have nothing left to do.
func (c *relayCell) rest() {
	for _, l := range c.world.Loops() {
		_ = l.Post(nothing)
	}
	c.world.Run()
}

// run lets everything happen that can at this moment.
func (c *relayCell) run() {
	for moved := true; moved; {
		c.rest()
		moved = false
		for _, w := range c.wires {
			moved = passBytes(w) || moved
		}
	}
}

// passBytes is wire.pass for ends of which a kernel cannot tell more than a real one: a
// connection that is closed is one that has ended, unless bytes were unread.
func passBytes(w *wire) (moved bool) {
	if w.stalled {
		return false
	}
	for _, way := range []struct {
		from, to *looptest.Peer
		done     *bool
	}{{w.a, w.b, &w.endA}, {w.b, w.a, &w.endB}} {
		p := way.from.ReadN(1 << 30)
		switch {
		case len(p) > 0:
			way.to.Write(p)
			moved = true
		case *way.done:
		case way.from.Broken():
			*way.done, moved = true, true
			way.to.Reset()
		case way.from.EOF():
			*way.done, moved = true, true
			way.to.CloseWrite()
		}
	}
	return moved
}

func (c *relayCell) advance(d time.Duration) {
	c.run()
	for end := c.world.Now() + d; c.world.Now() < end; c.run() {
		c.world.Advance(min(100*time.Millisecond, end-c.world.Now()))
	}
}

// on runs f on a loop.
func (c *relayCell) on(l int, f func()) {
	require.NoError(c.t, c.world.Loops()[l].Post(loop.Func(f)))
	c.run()
}

func (c *relayCell) home() *relayEnd {
	require.Len(c.t, c.homes, 1)
	return c.homes[0]
}

// reach brings the relay to a state.
func reachRelay(t *testing.T, state relayState) *relayCell {
	c := newRelayCell(t, func(c *relayCell, _ *EdgeOptions) { c.hold = state == relayDialing })
	c.connect("GET /")
	switch state {
	case relayDialing:
		require.Len(t, c.held, 1)
		return c
	case relayParting:
		c.edge.Leave(0)
		c.advance(200 * time.Millisecond)
		require.Equal(t, []string{"2 retire"}, c.notes)
	case relayOpen, relayClosing, relayOver:
	}
	require.Equal(t, []string{"hello of a client"}, c.hellos)
	require.Equal(t, "GET /", string(c.home().got))
	require.Equal(t, RelayStats{Opened: 1, Now: 1}, c.edge.Stats())
	require.Equal(t, 1, c.edge.Conns())
	return c
}

// refusedWith requires that the client was told the refusal, for that cause.
func (c *relayCell) refusedWith(cause error) {
	c.t.Helper()
	c.run()
	require.Equal(c.t, "503 no home", string(c.client.Read()))
	require.True(c.t, c.client.EOF())
	require.False(c.t, c.client.Broken())
	require.Len(c.t, c.failed, 1)
	require.ErrorIs(c.t, c.failed[0], cause)
	require.Empty(c.t, c.homes)
	c.client.CloseWrite()
	c.run()
	require.Equal(c.t, RelayStats{Failed: 1}, c.edge.Stats())
}

// over requires that nothing is left at the edge.
func (c *relayCell) over() {
	c.t.Helper()
	c.advance(time.Second)
	require.Zero(c.t, c.edge.Stats().Now)
	require.Zero(c.t, c.edge.Conns())
	require.Zero(c.t, c.world.Loops()[0].Conns())
}

// goodbye requires that the client sees what it was sent last and a good end.
func (c *relayCell) goodbye(last string) {
	c.t.Helper()
	require.Equal(c.t, last, string(c.client.Read()))
	require.True(c.t, c.client.EOF())
	require.False(c.t, c.client.Broken())
	c.client.CloseWrite()
}

// Each cell of the table of relayState.
func TestEachCellOfARelay(t *testing.T) {
	for _, c := range []struct {
		state relayState
		event string
		test  func(t *testing.T, c *relayCell)
	}{
		{relayDialing, "client's bytes", func(t *testing.T, c *relayCell) {
			c.client.Write([]byte("more"))
			c.run()
			c.free()
			require.Equal(t, "GET /more", string(c.home().got))
			c.client.Write([]byte(" and more"))
			c.run()
			require.Equal(t, "GET /more and more", string(c.home().got))
		}},
		{relayDialing, "client's bytes, as many as may wait", func(t *testing.T, c *relayCell) {
			rest := maxRelayWaiting - relayHelloLen - len("hello of a client") - len("GET /")
			c.client.Write(make([]byte, rest))
			c.run()
			c.free()
			require.Len(t, c.home().got, len("GET /")+rest)
		}},
		{relayDialing, "client's bytes, above 64 KiB", func(_ *testing.T, c *relayCell) {
			c.client.Write(make([]byte, maxRelayWaiting))
			c.refusedWith(ErrEarly)
			c.free()
		}},
		{relayDialing, "client's end of stream", func(t *testing.T, c *relayCell) {
			c.client.CloseWrite()
			c.run()
			require.False(t, c.client.EOF())
			c.stays = true
			c.free()
			require.Equal(t, "GET /", string(c.home().got))
			require.True(t, c.home().ended)
			c.on(1, func() { c.home().conn.Write([]byte("bye")); c.home().conn.Close() })
			c.goodbye("bye")
			c.over()
		}},
		{relayDialing, "refused", func(_ *testing.T, c *relayCell) {
			c.refuse = true
			c.free()
			c.refusedWith(errRefused)
		}},
		{relayDialing, "2 s", func(t *testing.T, c *relayCell) {
			c.advance(relayTime - 100*time.Millisecond)
			require.False(t, c.client.EOF())
			c.advance(200 * time.Millisecond)
			c.refusedWith(ErrRelayTime)
			c.free()
			require.Empty(t, c.wires, "the dial is cancelled")
		}},
		{relayDialing, "2 s in the greeting", func(t *testing.T, c *relayCell) {
			c.stall = true
			c.free()
			require.Len(t, c.wires, 1)
			c.advance(relayTime + 100*time.Millisecond)
			require.True(t, c.wires[0].a.Closed())
			c.refusedWith(ErrRelayTime)
		}},
		{relayDialing, "node lost", func(_ *testing.T, c *relayCell) {
			c.edge.Lost(3)
			c.edge.Lost(2)
			c.refusedWith(ErrDead)
		}},
		{relayDialing, "leaving", func(_ *testing.T, c *relayCell) {
			c.edge.Leave(time.Hour)
			c.refusedWith(ErrLeaving)
		}},
		{relayDialing, "another node at the address", func(_ *testing.T, c *relayCell) {
			c.self = selfOf(3)
			c.free()
			c.refusedWith(errNode)
		}},
		{relayDialing, "another key", func(_ *testing.T, c *relayCell) {
			c.self = selfOf(2)
			c.self.Key = bytes.Repeat([]byte("x"), 32)
			c.free()
			c.refusedWith(ErrProof)
		}},
		{relayDialing, "home gone in the greeting", func(_ *testing.T, c *relayCell) {
			c.stall = true
			c.free()
			c.wires[0].a.Reset()
			c.run()
			require.Len(c.t, c.failed, 1)
			c.refusedWith(c.failed[0])
		}},
		{relayDialing, "client gone", func(t *testing.T, c *relayCell) {
			c.client.Reset()
			c.over()
			c.free()
			require.Empty(t, c.wires)
			require.Empty(t, c.failed)
		}},
		{relayDialing, "client gone in the greeting", func(t *testing.T, c *relayCell) {
			c.stall = true
			c.free()
			c.client.Reset()
			c.over()
			require.True(t, c.wires[0].a.Closed())
			require.Empty(t, c.failed)
		}},
		{relayOpen, "bytes", func(t *testing.T, c *relayCell) {
			for i := range 100 {
				text := fmt.Sprintf("message %d ", i)
				c.client.Write([]byte(text))
				c.on(1, func() { c.home().conn.Write([]byte(text)) })
				require.Equal(t, text, string(c.client.Read()))
				require.True(t, bytes.HasSuffix(c.home().got, []byte(text)))
			}
		}},
		{relayOpen, "client's end of stream", func(t *testing.T, c *relayCell) {
			c.home().stays = true
			c.client.Write([]byte("last"))
			c.client.CloseWrite()
			c.run()
			require.Equal(t, "GET /last", string(c.home().got))
			require.True(t, c.home().ended)
			require.False(t, c.home().closed)
			c.on(1, func() { c.home().conn.Write([]byte("answer")) })
			require.Equal(t, "answer", string(c.client.Read()), "the other direction is open")
			c.on(1, func() { c.home().conn.Write([]byte("bye")); c.home().conn.Close() })
			c.goodbye("bye")
			c.over()
			require.NoError(t, c.home().err)
		}},
		{relayOpen, "home's end of stream", func(t *testing.T, c *relayCell) {
			c.on(1, func() { c.home().conn.Write([]byte("bye")); c.home().conn.Close() })
			c.client.Write([]byte("too late"))
			c.run()
			c.goodbye("bye")
			c.over()
			require.NoError(t, c.home().err)
		}},
		{relayOpen, "home's end of stream, the client stays", func(t *testing.T, c *relayCell) {
			c.on(1, func() { c.home().conn.Close() })
			require.True(t, c.client.EOF())
			require.Equal(t, 1, c.edge.Stats().Now)
			c.advance(10 * time.Second)
			c.over()
		}},
		{relayOpen, "client gone", func(t *testing.T, c *relayCell) {
			c.client.Reset()
			c.over()
			require.True(t, c.home().ended)
			c.on(1, func() { c.home().conn.Close() })
			require.True(t, c.home().closed)
		}},
		{relayOpen, "client gone behind its last message", func(t *testing.T, c *relayCell) {
			c.wires[0].b.SetWindow(0)
			c.on(1, c.home().conn.Pause)
			last := bytes.Repeat([]byte("x"), 3*relayHighWater)
			c.wires[0].a.SetWindow(10)
			c.client.Write(last)
			c.rest()
			c.client.Reset()
			c.rest()
			c.wires[0].a.SetWindow(1 << 20)
			c.on(1, c.home().conn.Resume)
			c.run()
			got := len(c.home().got) - len("GET /")
			require.GreaterOrEqual(t, got, relayHighWater, "what the edge had taken")
			require.True(t, c.home().ended)
			c.over()
		}},
		{relayOpen, "home gone", func(t *testing.T, c *relayCell) {
			c.wires[0].a.Reset()
			c.wires[0].b.Reset()
			c.run()
			require.True(t, c.client.Aborted())
			c.over()
		}},
		{relayOpen, "home aborts", func(_ *testing.T, c *relayCell) {
			c.on(1, func() { c.home().conn.Write([]byte("x")); c.home().conn.Abort() })
			c.goodbye("") // as over a socket: an end, unless bytes were unread
			c.over()
		}},
		{relayOpen, "node lost", func(t *testing.T, c *relayCell) {
			c.edge.Lost(3)
			c.run()
			require.False(t, c.client.Closed())
			c.edge.Lost(2)
			c.run()
			require.True(t, c.client.Aborted())
			require.True(t, c.home().closed)
			c.over()
		}},
		{relayOpen, "its part of Leave", func(t *testing.T, c *relayCell) {
			c.edge.Leave(10 * time.Second)
			c.run()
			require.Empty(t, c.notes)
			for len(c.notes) == 0 {
				require.Less(t, c.world.Now(), time.Hour+11*time.Second)
				c.advance(100 * time.Millisecond)
			}
			require.Equal(t, []string{"2 retire"}, c.notes)
			require.False(t, c.client.EOF())
			require.False(t, c.home().ended)
		}},
		{relayOpen, "the loop stops", func(t *testing.T, c *relayCell) {
			c.world.Close()
			require.True(t, c.client.Closed())
		}},
		{relayParting, "bytes", func(t *testing.T, c *relayCell) {
			c.client.Write([]byte("question"))
			c.run()
			require.Equal(t, "GET /question", string(c.home().got))
			c.on(1, func() { c.home().conn.Write([]byte("answer")) })
			require.Equal(t, "answer", string(c.client.Read()))
		}},
		{relayParting, "home's end of stream", func(_ *testing.T, c *relayCell) {
			c.on(1, func() { c.home().conn.Write([]byte("bye")); c.home().conn.Close() })
			c.goodbye("bye")
			c.over()
		}},
		{relayParting, "client's end of stream", func(t *testing.T, c *relayCell) {
			c.home().stays = true
			c.client.CloseWrite()
			c.run()
			require.True(t, c.home().ended)
			require.False(t, c.client.EOF())
			c.on(1, func() { c.home().conn.Close() })
			c.goodbye("")
			c.over()
		}},
		{relayParting, "client gone", func(t *testing.T, c *relayCell) {
			c.client.Reset()
			c.over()
			require.True(t, c.home().ended)
		}},
		{relayParting, "home gone", func(t *testing.T, c *relayCell) {
			c.wires[0].a.Reset()
			c.run()
			require.True(t, c.client.Aborted())
			c.over()
		}},
		{relayParting, "node lost", func(t *testing.T, c *relayCell) {
			c.edge.Lost(2)
			c.run()
			require.True(t, c.client.Aborted())
			c.over()
		}},
		{relayParting, "5 s", func(t *testing.T, c *relayCell) {
			c.advance(farewellTime - 500*time.Millisecond)
			require.False(t, c.client.EOF())
			c.advance(600 * time.Millisecond)
			require.True(t, c.home().ended)
			c.goodbye("")
			c.on(1, func() { c.home().conn.Close() })
			c.over()
		}},
	} {
		name := map[relayState]string{relayDialing: "dialing", relayOpen: "open", relayParting: "parting"}[c.state]
		t.Run(name+"/"+c.event, func(t *testing.T) { c.test(t, reachRelay(t, c.state)) })
	}
}

// A client that reads slowly slows its home down, and a home that reads slowly its
// client: the edge holds two reads and the mark of each at most.
func TestRelaySlowsDownWhoeverSends(t *testing.T) {
	const total = 8 << 20
	want := pattern(total)
	const bound = relayHighWater + 64<<10
	for name, c := range map[string]struct {
		send   func(c *relayCell, p []byte)
		window func(c *relayCell, n int)
		unsent func(c *relayCell) int
		got    func(c *relayCell) []byte
		after  func(c *relayCell)
	}{
		"the client": {
			send:   func(c *relayCell, p []byte) { c.on(1, func() { c.home().conn.Write(p) }) },
			window: func(c *relayCell, n int) { c.client.SetWindow(n) },
			unsent: func(c *relayCell) int { return c.conn.Unsent() },
			got:    func(c *relayCell) []byte { return c.client.Read() },
		},
		"the home": {
			send: func(c *relayCell, p []byte) { c.client.Write(p); c.run() },
			window: func(c *relayCell, n int) {
				c.wires[0].a.SetWindow(n)
				c.wires[0].stalled = n == 0
			},
			unsent: func(c *relayCell) int { return int(c.world.Loops()[0].Unsent()) },
			got: func(c *relayCell) []byte {
				p := c.home().got
				c.home().got = nil
				return p
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cell := reachRelay(t, relayOpen)
			cell.home().got = nil
			c.window(cell, 0)
			c.send(cell, want)
			most := c.unsent(cell)
			require.NotZero(t, most)
			require.LessOrEqual(t, most, bound)
			require.Contains(t, carried(cell.world.Loops()[0]), most, "whoever makes room finds it")
			var got []byte
			for n := 1000; len(got) < total; n = min(2*n, 300_000) {
				c.window(cell, n)
				cell.run()
				got = append(got, c.got(cell)...)
				c.window(cell, 0)
				require.LessOrEqual(t, c.unsent(cell), bound)
			}
			require.True(t, bytes.Equal(want, got), "%d bytes", len(got))
			c.window(cell, 1<<20)
			cell.run()
			// Both directions are as before.
			cell.client.Write([]byte("question"))
			cell.run()
			require.Equal(t, "question", string(cell.home().got))
			cell.on(1, func() { cell.home().conn.Write([]byte("answer")) })
			require.Equal(t, "answer", string(cell.client.Read()))
		})
	}
}

// carried are the unsent bytes of connections that owners of slots carry.
func carried(l *loop.Loop) (unsent []int) {
	for slot := range l.Slots() {
		if c, ok := l.Owner(slot).(loop.Carrier); ok && c.Carried() != nil {
			unsent = append(unsent, c.Carried().Unsent())
		}
	}
	return unsent
}

// A client that takes nothing is ended after a while, and one that takes little is not.
func TestRelayOfAClientThatTakesNothing(t *testing.T) {
	for name, takes := range map[string]bool{"nothing": false, "little": true} {
		t.Run(name, func(t *testing.T) {
			c := newRelayCell(t, func(_ *relayCell, o *EdgeOptions) { o.Stall = 10 * time.Second })
			c.connect("GET /")
			c.client.SetWindow(0)
			c.on(1, func() { c.home().conn.Write(make([]byte, 5<<20)) })
			for range 60 {
				require.Equal(t, 1, c.edge.Stats().Now)
				if takes {
					c.client.SetWindow(1000)
					c.run()
					c.client.Read()
					c.client.SetWindow(0)
				}
				c.advance(time.Second)
				if c.client.Closed() {
					break
				}
			}
			require.Equal(t, !takes, c.client.Aborted())
			require.Equal(t, !takes, c.edge.Stats().Stalled == 1)
			if !takes {
				require.True(t, c.home().conn.Unsent() == 0 || c.home().ended || c.home().closed)
				c.over()
			}
		})
	}
}

// Relays above the limit are told the refusal, and a place is free once a relay is over.
func TestRelaysHaveALimit(t *testing.T) {
	c := newRelayCell(t, func(_ *relayCell, o *EdgeOptions) { o.Max = 2 })
	var clients []*looptest.Peer
	for range 4 {
		c.connect("GET /")
		clients = append(clients, c.client)
	}
	require.Equal(t, RelayStats{Opened: 2, Refused: 2, Now: 2}, c.edge.Stats())
	for i, p := range clients {
		require.Equal(t, i >= 2, p.EOF())
		if i >= 2 {
			require.Equal(t, "503 no home", string(p.Read()))
			require.ErrorIs(t, c.failed[i-2], ErrRelays)
		}
	}
	clients[0].Reset()
	c.run()
	c.connect("GET /")
	require.Equal(t, RelayStats{Opened: 3, Refused: 2, Now: 2}, c.edge.Stats())
}

// What cannot be told to a home, or not within bounds, is refused.
func TestRelayThatIsTooLong(t *testing.T) {
	for name, r := range map[string]Relay{
		"hello": {Hello: make([]byte, MaxRelayHello+1)},
		"first": {First: make([]byte, maxRelayWaiting-1)},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRelayCell(t, nil)
			r.Refusal = []byte("503 no home")
			c.client = c.world.DialTo(0, func(conn *loop.Conn) loop.Handler {
				c.edge.Open(conn, 2, "home:1", r)
				return &opener{c, conn}
			})
			c.refusedWith(ErrEarly)
		})
	}
}

// Relays begin no more on a node that leaves, and those that are open part over the
// time that it takes, none before and none after.
func TestRelaysLeaveOverTime(t *testing.T) {
	c := newRelayCell(t, nil)
	const relays = 500 // more than a turn's portion
	for range relays {
		c.connect("GET /")
		c.client.Read()
	}
	c.edge.Leave(10 * time.Second)
	c.edge.Leave(time.Hour) // it leaves already
	c.run()
	require.Less(t, len(c.notes), relays/10)
	c.advance(5 * time.Second)
	require.InDelta(t, relays/2, len(c.notes), relays/5)
	c.connect("GET /")
	require.ErrorIs(t, c.failed[0], ErrLeaving)
	require.Equal(t, "503 no home", string(c.client.Read()))
	c.advance(5*time.Second + 200*time.Millisecond)
	require.Len(t, c.notes, relays)
	c.advance(farewellTime + 200*time.Millisecond)
	require.Zero(t, c.edge.Conns())
}

// A relay whose dial ends while the node begins to leave parts as well.
func TestRelayThatOpensWhileTheNodeLeaves(t *testing.T) {
	c := newRelayCell(t, func(c *relayCell, o *EdgeOptions) { o.Note = nil })
	c.stall = true
	c.connect("GET /")
	c.edge.leaving.Store(1) // the walk has not come by
	c.wires[0].stalled = false
	c.run()
	c.advance(200 * time.Millisecond)
	require.True(t, c.client.EOF(), "without a farewell it is cut at once")
	require.True(t, c.home().ended)
}

// What an edge says first is taken whole or in pieces, and is bounded in bytes and time.
func TestHomeReadsTheHelloOfARelay(t *testing.T) {
	long := bytes.Repeat([]byte("h"), MaxRelayHello)
	for name, c := range map[string]struct {
		in    string
		hello string
		rest  string
		err   error
	}{
		"whole":       {"\x05\x00helloGET /", "hello", "GET /", nil},
		"empty":       {"\x00\x00GET /", "", "GET /", nil},
		"longest":     {"\x00\x10" + string(long) + "x", string(long), "x", nil},
		"too long":    {"\x01\x10" + string(long) + "x", "", "", ErrRelayHello},
		"nothing":     {"", "", "", ErrRelaySlow},
		"half":        {"\x05\x00hel", "", "", ErrRelaySlow},
		"half, ended": {"\x05\x00hel", "", "", ErrRelayHello},
	} {
		for _, size := range []int{1, 3, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				cell := newRelayCell(t, nil)
				p := cell.world.DialTo(1, func(conn *loop.Conn) loop.Handler {
					return AcceptRelay(conn, cell.serve, func(err error) { cell.refused = append(cell.refused, err) })
				})
				for rest := []byte(c.in); len(rest) > 0; {
					n := min(size, len(rest))
					p.Write(rest[:n])
					cell.rest()
					rest = rest[n:]
				}
				if name == "half, ended" {
					p.CloseWrite()
				}
				cell.advance(greetingTime - 500*time.Millisecond)
				if c.err == ErrRelaySlow {
					require.False(t, p.Closed())
				}
				cell.advance(time.Second)
				if c.err != nil {
					require.True(t, p.Closed())
					require.Equal(t, []error{c.err}, cell.refused)
					require.Empty(t, cell.hellos)
					return
				}
				require.Empty(t, cell.refused)
				require.Equal(t, []string{c.hello}, cell.hellos)
				require.Equal(t, c.rest, string(cell.home().got))
				require.False(t, p.Closed())
			})
		}
	}
}

// A client whose connection was not read when it became a relay is read.
func TestRelayOfAPausedConnection(t *testing.T) {
	c := newRelayCell(t, nil)
	c.pauses = true
	c.connect("GET /")
	c.client.Write([]byte("more"))
	c.run()
	require.Equal(t, "GET /more", string(c.home().got))
}

// A home that cannot serve a relay ends it, and the client with it.
func TestHomeRefusesARelay(t *testing.T) {
	c := newRelayCell(t, nil)
	c.serves = errors.New("malformed hello")
	c.connect("GET /")
	require.Equal(t, []error{c.serves}, c.refused)
	c.goodbye("")
	c.over()
}

// Bytes pass without an allocation.
func TestRelayedBytesDoNotAllocate(t *testing.T) {
	if race.Enabled || invariants.Enabled {
		t.Skip("there is more on the heap")
	}
	c := reachRelay(t, relayOpen)
	home := c.home()
	home.data = func(p []byte) { home.got = home.got[:0]; home.conn.Write(p) }
	message := make([]byte, 128)
	trip := func() {
		c.client.Write(message)
		c.world.Run()
		c.wires[0].pass()
		c.world.Run()
		c.wires[0].pass()
		c.world.Run()
		if len(c.client.Read()) != len(message) {
			t.Fatal("no echo")
		}
	}
	for range 100 {
		trip()
	}
	require.Zero(t, testing.AllocsPerRun(1000, trip))
}
