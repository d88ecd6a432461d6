package link

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// The limits of unsent bytes in the tables: what they do is the same above each number.
const (
	testPressed = 4 * MaxBody
	testUnsent  = 16 * MaxBody
)

// A cell is an Out whose dials, and whose other end, are played by the test.
type cell struct {
	t       *testing.T
	world   *looptest.World
	journal journal
	out     *Out
	accept  func(*loop.Conn) loop.Handler
	failed  func(error)
	far     *far
	opened  uint32 // a stream that was open before
	names   int
}

func newCell(t *testing.T) *cell {
	c := &cell{t: t, world: looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, nil)}
	c.out = NewOut(c.world.Loops()[0], OutOptions{
		Self: selfOf(1), Node: 2, Address: "here", Counts: new(Counts), Pressed: testPressed, Unsent: testUnsent,
		Dial: func(_ *loop.Loop, _ string, accept func(*loop.Conn) loop.Handler, failed func(error)) func() {
			c.journal.note("dials")
			c.accept, c.failed = accept, failed
			return func() { c.journal.note("cancels") }
		},
		Event: func(e Event, _ Peer, _ error) { c.journal.note("event %s", eventName(e)) },
	})
	return c
}

func eventName(e Event) string {
	return [...]string{"none", "up", "down", "refused", "wrong key", "incompatible", "wrong node"}[e]
}

func (c *cell) run() {
	_ = c.world.Loops()[0].Post(nothing)
	c.world.Run()
	if c.far != nil {
		if s := c.far.frames(); s != "" {
			c.journal.note("sent %s", s)
		}
	}
}

func (c *cell) advance(d time.Duration) {
	for range d / (100 * time.Millisecond) {
		c.world.Advance(100 * time.Millisecond)
		c.run()
	}
}

func (c *cell) request(size int) uint32 {
	c.names++
	s := c.out.Arrive(make([]byte, size), nil, true, &fakeReply{journal: &c.journal, name: fmt.Sprint("r", c.names)})
	if s == 0 {
		c.journal.note("no room")
	}
	c.run()
	return s
}

// connect is a dial that succeeds.
func (c *cell) connect() {
	c.far = &far{t: c.t, peer: c.world.DialTo(0, c.accept), run: c.run}
	c.run()
}

func (c *cell) refuse() {
	c.failed(errRefused)
	c.run()
}

func (c *cell) greet() {
	c.far.hello(selfOf(2), Requests)
	c.far.prove(testKey)
}

// reach brings a new Out to a state, in which one request is under way, where there can be
// one.
func reach(t *testing.T, state string) *cell {
	c := newCell(t)
	switch state {
	case "absent":
	case "refused":
		c.out.Dial()
		c.refuse()
	case "incompatible":
		c.out.Dial()
		c.connect()
		c.far.hello(&Self{Cluster: "tests", Node: 2, Key: testKey, Oldest: 8, Newest: 9}, Requests)
	case "over":
		c.out.Forget()
	default:
		c.opened = c.request(10)
		if state == "dialing" {
			break
		}
		c.connect()
		if state == "hello" {
			c.far.hello(selfOf(2), Requests)
			break
		}
		c.greet()
		if state == "pressed" {
			c.press(testPressed)
		}
	}
	c.run()
	c.journal.take()
	return c
}

// press has the other end take nothing, and notes of so many bytes waiting for it.
func (c *cell) press(bytes int) {
	c.far.peer.SetWindow(0)
	for n := 0; n <= bytes; n += MaxBody {
		c.out.Note(make([]byte, MaxBody))
		c.run()
	}
}

func dialed(c *cell) bool { return c.accept != nil }
func met(c *cell) bool    { return c.far != nil }

var cellEvents = []struct {
	name  string
	needs func(c *cell) bool // nil: it can happen in every state
	do    func(c *cell)
}{
	{"request", nil, func(c *cell) { c.request(10) }},
	{"note", nil, func(c *cell) { c.out.Note([]byte("note")); c.run() }},
	{"learnt", nil, func(c *cell) { c.out.Dial(); c.run() }},
	{"lost", nil, func(c *cell) { c.out.Lost(c.opened, false); c.run() }},
	{"connected", dialed, func(c *cell) {
		before := c.far
		c.connect()
		if before != nil {
			if c.far.peer.Closed() {
				c.journal.note("late one closed")
			}
			c.far = before
		}
	}},
	{"dial refused", dialed, (*cell).refuse},
	{"2 s", nil, func(c *cell) { c.advance(dialTime) }},
	{"3 s", nil, func(c *cell) { c.advance(requestWait) }},
	{"6 s of silence", nil, func(c *cell) { c.advance(deadAfter + 200*time.Millisecond) }},
	{"right proof", met, func(c *cell) {
		c.far.prove(testKey)
	}},
	{"wrong proof", met, func(c *cell) {
		c.far.prove(make([]byte, 32))
	}},
	{"answer", met, func(c *cell) {
		c.far.say(Answer, 0, max(c.opened, 1), []byte("a"))
	}},
	{"malformed", met, func(c *cell) {
		c.far.say(Arrive, 0, 1, []byte{0, 0})
	}},
	{"end", met, func(c *cell) {
		c.far.peer.Reset()
		c.run()
	}},
	{"half closed", met, func(c *cell) {
		c.far.peer.CloseWrite()
		c.run()
	}},
	{"unsent > 4 MiB", met, func(c *cell) {
		c.press(testPressed)
	}},
	{"unsent > 64 MiB", met, func(c *cell) {
		c.press(testUnsent)
	}},
	{"drained", met, func(c *cell) {
		c.far.peer.SetWindow(1 << 30)
		c.world.Run()
		c.far.peer.Read() // the notes
		c.run()
	}},
	{"forgotten", nil, func(c *cell) { c.out.Forget(); c.run() }},
}

// wantCells is the table of State, cell by cell: the next state, and what is done. A cell
// that is not in it needs a connection, of which there is none.
var wantCells = map[string]map[string]string{
	"absent": {
		"request":        "dialing: dials",
		"note":           "dialing: dials",
		"learnt":         "dialing: dials",
		"lost":           "absent:",
		"2 s":            "absent:",
		"3 s":            "absent:",
		"6 s of silence": "absent:",
		"forgotten":      "over:",
	},
	"refused": {
		"request":        "absent: r1 failed",
		"note":           "absent:",
		"learnt":         "absent:",
		"lost":           "absent:",
		"connected":      "absent:",
		"dial refused":   "absent:",
		"2 s":            "absent:",
		"3 s":            "absent:",
		"6 s of silence": "absent:",
		"forgotten":      "over:",
	},
	"dialing": {
		"request":        "dialing:",
		"note":           "dialing:",
		"learnt":         "dialing:",
		"lost":           "dialing:",
		"connected":      "hello: sent hello",
		"dial refused":   "absent: r1 failed, event refused",
		"2 s":            "absent: cancels, r1 failed, event refused",
		"3 s":            "absent: cancels, r1 failed, event refused",
		"6 s of silence": "absent: cancels, r1 failed, event refused",
		"forgotten":      "over: cancels, r1 failed",
	},
	"hello": {
		"request":         "hello:",
		"note":            "hello:",
		"learnt":          "hello:",
		"lost":            "hello:",
		"connected":       "hello: late one closed",
		"dial refused":    "hello:",
		"2 s":             "hello:",
		"3 s":             "absent: r1 failed, event refused",
		"6 s of silence":  "absent: r1 failed, event refused",
		"right proof":     "up: event up, sent arrive 1 12",
		"wrong proof":     "absent: r1 failed, event wrong key",
		"answer":          "absent: r1 failed, event refused",
		"malformed":       "absent: r1 failed, event refused",
		"end":             "absent: r1 failed, event refused",
		"half closed":     "absent: r1 failed, event refused",
		"unsent > 4 MiB":  "hello:",
		"unsent > 64 MiB": "hello:",
		"drained":         "hello:",
		"forgotten":       "over: r1 failed",
	},
	"up": {
		"request":         "up: sent arrive 2 12",
		"note":            "up: sent note 0 4",
		"learnt":          "up:",
		"lost":            "up: sent lost 1 0",
		"connected":       "up: late one closed",
		"dial refused":    "up:",
		"2 s":             "up: sent ping",
		"3 s":             "up: sent ping",
		"6 s of silence":  "absent: sent ping, sent ping, r1 failed, event down, sent ping",
		"right proof":     "absent: r1 failed, event down",
		"wrong proof":     "absent: r1 failed, event down",
		"answer":          "up: r1 answered a",
		"malformed":       "absent: r1 failed, event down",
		"end":             "absent: r1 failed, event down",
		"half closed":     "absent: r1 failed, event down",
		"unsent > 4 MiB":  "pressed:",
		"unsent > 64 MiB": "absent: r1 failed, event down",
		"drained":         "up:",
		"forgotten":       "over: r1 failed",
	},
	"pressed": {
		"request":         "pressed: no room",
		"note":            "pressed:",
		"learnt":          "pressed:",
		"lost":            "pressed:",
		"connected":       "pressed: late one closed",
		"dial refused":    "pressed:",
		"2 s":             "pressed:",
		"3 s":             "pressed:",
		"6 s of silence":  "absent: r1 failed, event down",
		"right proof":     "absent: r1 failed, event down",
		"wrong proof":     "absent: r1 failed, event down",
		"answer":          "pressed: r1 answered a",
		"malformed":       "absent: r1 failed, event down",
		"end":             "absent: r1 failed, event down",
		"half closed":     "absent: r1 failed, event down",
		"unsent > 4 MiB":  "pressed:",
		"unsent > 64 MiB": "absent: r1 failed, event down",
		"drained":         "up:",
		"forgotten":       "over: r1 failed",
	},
	"incompatible": {
		"request":         "absent: no room",
		"note":            "absent:",
		"learnt":          "absent:",
		"lost":            "absent:",
		"connected":       "absent: late one closed",
		"dial refused":    "absent:",
		"2 s":             "absent:",
		"3 s":             "absent:",
		"6 s of silence":  "absent:",
		"right proof":     "absent:",
		"wrong proof":     "absent:",
		"answer":          "absent:",
		"malformed":       "absent:",
		"end":             "absent:",
		"half closed":     "absent:",
		"unsent > 4 MiB":  "absent:",
		"unsent > 64 MiB": "absent:",
		"drained":         "absent:",
		"forgotten":       "over:",
	},
	"over": {
		"request":        "over: no room",
		"note":           "over:",
		"learnt":         "over:",
		"lost":           "over:",
		"2 s":            "over:",
		"3 s":            "over:",
		"6 s of silence": "over:",
		"forgotten":      "over:",
	},
}

func TestEachCellOfTheLink(t *testing.T) {
	for _, state := range []string{"absent", "refused", "dialing", "hello", "up", "pressed", "incompatible", "over"} {
		for _, e := range cellEvents {
			t.Run(state+"/"+e.name, func(t *testing.T) {
				c := reach(t, state)
				before := c.out.State().String()
				if e.needs != nil && !e.needs(c) {
					c.journal.note("-")
				} else {
					e.do(c)
				}
				got := c.out.State().String() + ": " + c.journal.take()
				want, played := wantCells[state][e.name]
				if !played {
					want = before + ": -"
				}
				require.Equal(t, want, strings.TrimSpace(got))
				// Whatever has happened, nothing is left once the node is forgotten.
				c.out.Forget()
				c.world.Advance(time.Second)
				require.Zero(t, c.out.Streams())
				require.Zero(t, c.out.line.size)
				require.Zero(t, c.out.options.Counts.Streams.Load())
				require.Zero(t, c.out.options.Counts.Conns.Load())
				for i := range c.out.options.Counts.Links {
					require.Zero(t, c.out.options.Counts.Links[i].Load())
				}
				c.world.Close()
				require.Zero(t, c.world.Sockets())
			})
		}
	}
}

// A request that comes while the end of the link is under way ends as those that were
// there before: its client is told that the session is gone, as it is.
func TestRequestAtTheEndOfALink(t *testing.T) {
	for _, state := range []string{"up", "pressed"} {
		c := reach(t, state)
		c.out.EOF() // Closed follows in this turn
		late := &fakeReply{journal: &c.journal, name: "late"}
		require.NotZero(t, c.out.Arrive([]byte("head"), []byte("body"), false, late), state)
		c.run()
		require.Equal(t, "r1 failed, late failed, event down", c.journal.take(), state)
		require.Zero(t, c.out.Streams(), state)
		c.world.Close()
	}
}

// The states of an In are up and over: what it does with each frame, and what ends it.
func TestEachCellOfTheAcceptedEnd(t *testing.T) {
	stream := uint32(7)
	open := func(f *far) { f.say(Arrive, FlagMore, stream, append([]byte{3, 0}, "get"...)) }
	whole := func(f *far) { f.say(Arrive, 0, stream, append([]byte{3, 0}, "get"...)) }
	for _, c := range []struct {
		name  string
		begin func(f *far) // a stream, nil: there is none
		do    func(f *far, n *mesh)
		want  string
		over  bool
	}{
		{"arrive", nil, func(f *far, _ *mesh) { open(f) }, "get arrived", false},
		{"arrive whole", nil, func(f *far, _ *mesh) { whole(f) }, "get arrived, get has body", false},
		{"arrive with body", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, 9, append([]byte{1, 0}, "abc"...)) }, "a arrived, a has body bc", false},
		{"head longer than the frame", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, 9, append([]byte{4, 0}, "abc"...)) }, "", true},
		{"malformed head", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, 9, append([]byte{3, 0}, "bad"...)) }, "", true},
		{"answered at once", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, 9, append([]byte{3, 0}, "now"...)) }, "now arrived, sent answer 9 7", false},
		{"last place", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, 200<<placeBits|MaxStreams, append([]byte{1, 0}, "a"...)) }, "a arrived, a has body", false},
		{"place out of range", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, MaxStreams+1, append([]byte{1, 0}, "a"...)) }, "", true},
		{"no stream", nil, func(f *far, _ *mesh) { f.say(Arrive, 0, 0, append([]byte{1, 0}, "a"...)) }, "", true},
		{"second arrive of a place", open, func(f *far, _ *mesh) { whole(f) }, "get lost false", true},
		{"second arrive of a place, later generation", open, func(f *far, _ *mesh) { f.say(Arrive, 0, 1<<placeBits|stream, append([]byte{1, 0}, "a"...)) }, "get lost false", true},
		{"body", open, func(f *far, _ *mesh) {
			f.say(Body, FlagMore, stream, []byte("ab"))
			f.say(Body, 0, stream, []byte("cd"))
		}, "get has body abcd", false},
		{"body of nobody", nil, func(f *far, _ *mesh) { f.say(Body, 0, 9, []byte("ab")) }, "", false},
		{"body of an old generation", open, func(f *far, _ *mesh) { f.say(Body, 0, 3<<placeBits|stream, []byte("ab")) }, "", false},
		{"body behind the end", whole, func(f *far, _ *mesh) { f.say(Body, 0, stream, nil) }, "get lost false", true},
		{"cancel", open, func(f *far, _ *mesh) { f.say(Cancel, 0, stream, []byte{0x9d, 1}) }, "get cancelled 413", false},
		{"cancel behind the end", whole, func(f *far, _ *mesh) { f.say(Cancel, 0, stream, []byte{0, 0}) }, "get cancelled 0", false},
		{"body behind cancel", open, func(f *far, _ *mesh) {
			f.say(Cancel, 0, stream, []byte{0, 0})
			f.say(Body, 0, stream, nil)
		}, "get cancelled 0, get lost false", true},
		{"cancel of three bytes", open, func(f *far, _ *mesh) { f.say(Cancel, 0, stream, []byte{0x9d, 1, 0}) }, "get lost false", true},
		{"lost", open, func(f *far, _ *mesh) { f.say(Lost, FlagOverBudget, stream, nil); f.say(Lost, 0, stream, nil) }, "get lost true", false},
		{"release", whole, func(f *far, _ *mesh) { f.say(Release, 0, stream, nil) }, "get released", false},
		{"release of nobody", nil, func(f *far, _ *mesh) { f.say(Release, 0, stream, nil) }, "", false},
		{"note", nil, func(f *far, _ *mesh) { f.say(Note, 0, 0, []byte("hi")) }, "note hi", false},
		{"malformed note", whole, func(f *far, _ *mesh) { f.say(Note, 0, 0, []byte("bad")) }, "get lost false", true},
		{"note of a stream", whole, func(f *far, _ *mesh) { f.say(Note, 0, 1, []byte("hi")) }, "get lost false", true},
		{"ping", nil, func(f *far, _ *mesh) { f.say(Ping, 0, 0, make([]byte, 8)) }, "sent pong 0 8", false},
		{"ping of seven bytes", nil, func(f *far, _ *mesh) { f.say(Ping, 0, 0, make([]byte, 7)) }, "", true},
		{"pong", nil, func(f *far, _ *mesh) { f.say(Pong, 0, 0, make([]byte, 8)) }, "", false},
		{"answer", whole, func(f *far, _ *mesh) { f.say(Answer, 0, stream, nil) }, "get lost false", true},
		{"abort", whole, func(f *far, _ *mesh) { f.say(Abort, 0, stream, nil) }, "get lost false", true},
		{"hello again", nil, func(f *far, _ *mesh) { f.hello(selfOf(1), Requests) }, "", true},
		{"proof again", nil, func(f *far, _ *mesh) { f.say(Proof, 0, 0, make([]byte, 32)) }, "", true},
		{"kind 0", nil, func(f *far, _ *mesh) { f.say(0, 0, 0, nil) }, "", true},
		{"kind of a later version", whole, func(f *far, _ *mesh) { f.say(kinds, 7, 1<<31, []byte("?")) }, "", false},
		{"64 KiB and a byte", whole, func(f *far, _ *mesh) { f.say(Body, 0, stream, make([]byte, MaxBody+1)) }, "get lost false", true},
		{"answered, then lost", whole, func(f *far, n *mesh) { n.home.last.answer("a"); f.run(); f.say(Lost, 0, stream, nil) }, "sent answer 7 1", false},
		{"answered before its body", open, func(f *far, n *mesh) { n.home.last.answer("a"); f.run(); f.say(Body, 0, stream, nil) }, "sent answer 7 1", false},
		{"aborted", whole, func(f *far, n *mesh) { n.home.last.back.Abort(); f.run() }, "sent abort 7 0", false},
		{"6 s of silence", whole, func(f *far, n *mesh) { n.advance(deadAfter + pingAfter); f.run() }, "get lost false, sent ping, ping, ping", true},
		{"end", whole, func(f *far, _ *mesh) { f.peer.Reset(); f.run() }, "get lost false", true},
		{"half closed", whole, func(f *far, _ *mesh) { f.peer.CloseWrite(); f.run() }, "get lost false", true},
		{"unsent > 64 MiB", whole, func(f *far, n *mesh) {
			f.peer.SetWindow(0)
			n.home.last.answer(strings.Repeat("a", testUnsent+1))
			f.run()
		}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newMesh(t, 1)
			n.unsent = testUnsent
			f := &far{t: t, peer: n.world.DialTo(0, n.door.Accept)}
			f.run = func() {
				n.rest()
				if s := f.frames(); s != "" {
					n.journal.note("sent %s", s)
				}
			}
			f.hello(selfOf(1), Requests)
			f.proveDialer(testKey)
			require.Len(t, n.ins, 1)
			if c.begin != nil {
				c.begin(f)
			}
			n.journal.take()
			c.do(f, n)
			require.Equal(t, c.want, strings.TrimSpace(n.journal.take()))
			require.Equal(t, c.over, f.peer.Closed())
			f.peer.Reset()
			n.rest()
			require.Zero(t, n.ins[0].Streams())
			require.Zero(t, n.ins[0].line.size)
			require.Zero(t, n.door.Unproven())
		})
	}
}

func TestLimitsOfUnsentBytes(t *testing.T) {
	n := newMesh(t, 2)
	out := n.out(0, OutOptions{})
	out.Dial()
	n.run()
	require.Equal(t, 4<<20, out.options.Pressed)
	require.Equal(t, 64<<20, out.options.Unsent)
	require.Equal(t, 64<<20, n.ins[0].options.Unsent)
}
