package engine

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// A crossing is two servers, each in a World of its own, and the way between them: the
// Peers of the first, which brings what it is told to the Home of the other, in order, when
// cross is called.
type crossing struct {
	t          *testing.T
	edge, home *bench
	link       int // the loop of home that takes requests
	piece      int // the most bytes of a body at a time; 0 is all
	full       bool
	unknown    bool
	last       Stream
	trips      map[Stream]*trip
	there      []func(Home, *loop.Loop)
	back       []func()
	calls      []string
	malformed  error // of the last answer
}

// A trip is a request on its way: the Back of its Guest.
type trip struct {
	c     *crossing
	on    *loop.Loop
	reply Reply
	guest *Guest
	over  bool
}

const edgeNode, homeNode NodeID = 0x0a0b0c0d, 0xfedcba98

// newCrossing makes both servers with the same options and events. link is the loop at
// home, of so many, on which requests arrive; sessions that open by b.ask(0, ...) live on 0.
func newCrossing(t *testing.T, loops, link int, o Options, change func(b *bench, e *Events)) *crossing {
	c := &crossing{t: t, link: link, trips: map[Stream]*trip{}}
	o.Node = &Node{ID: homeNode}
	c.home = newSpec(t, loops, o, change)
	o.Node = &Node{ID: edgeNode, Peers: c}
	c.edge = newSpec(t, loops, o, change)
	return c
}

// eachLink runs test with the link on the loop of the sessions, and on another.
func eachLink(t *testing.T, test func(t *testing.T, loops, link int)) {
	for _, at := range [][2]int{{1, 0}, {2, 1}} {
		t.Run(fmt.Sprintf("link on %d of %d", at[1], at[0]), func(t *testing.T) { test(t, at[0], at[1]) })
	}
}

func (c *crossing) Knows(n NodeID) bool { return n == homeNode && !c.unknown }

func (c *crossing) Conns() int { return 0 }

func (c *crossing) Relay(*loop.Conn, NodeID, Relay) { c.t.Error("Relay is not for polling") }

func (c *crossing) called(format string, args ...any) {
	c.calls = append(c.calls, fmt.Sprintf(format, args...))
}

// said are the calls since the last time.
func (c *crossing) said() (calls []string) {
	calls, c.calls = c.calls, nil
	return calls
}

func (c *crossing) Arrive(on *loop.Loop, to NodeID, head, body []byte, whole bool, reply Reply) Stream {
	require.Equal(c.t, homeNode, to)
	if c.full {
		c.called("no room")
		return 0
	}
	c.called("arrive %v %d", whole, len(body))
	c.last++
	tr := &trip{c: c, on: on, reply: reply}
	c.trips[c.last] = tr
	head, body = bytes.Clone(head), bytes.Clone(body)
	c.there = append(c.there, func(h Home, at *loop.Loop) {
		var err error
		tr.guest, err = h.Arrive(at, head, tr)
		require.NoError(c.t, err)
		if whole {
			c.bring(tr.guest, body)
		}
	})
	return c.last
}

// bring gives the Guest a body, in pieces that are overwritten behind it.
func (c *crossing) bring(g *Guest, body []byte) {
	for last := false; !last; {
		n := len(body)
		if c.piece > 0 {
			n = min(n, c.piece)
		}
		last = n == len(body)
		piece := bytes.Clone(body[:n])
		g.Body(piece, last)
		for i := range piece {
			piece[i] = '!'
		}
		body = body[n:]
	}
}

func (c *crossing) guest(s Stream, do func(g *Guest)) {
	tr := c.trips[s]
	require.NotNil(c.t, tr)
	c.there = append(c.there, func(Home, *loop.Loop) { do(tr.guest) })
}

func (c *crossing) Complete(_ *loop.Loop, _ NodeID, s Stream, body *pool.Buf) {
	c.called("complete %d", body.Len())
	body.Retain()
	c.guest(s, func(g *Guest) {
		c.bring(g, body.Bytes())
		body.Release()
	})
}

func (c *crossing) Cancel(_ *loop.Loop, _ NodeID, s Stream, status int) {
	c.called("cancel %d", status)
	c.guest(s, func(g *Guest) { g.Cancel(status) })
}

func (c *crossing) Lost(_ *loop.Loop, _ NodeID, s Stream, overBudget bool) {
	c.called("lost %v", overBudget)
	c.trips[s].over = true
	c.guest(s, func(g *Guest) { g.Lost(overBudget) })
}

func (c *crossing) Note(_ *loop.Loop, to NodeID, p []byte) {
	require.Equal(c.t, homeNode, to)
	c.called("note %d", p[0])
	p = bytes.Clone(p)
	c.there = append(c.there, func(h Home, at *loop.Loop) { require.NoError(c.t, h.Note(at, p)) })
}

func (tr *trip) end(what string, tell func()) {
	tr.c.called("%s", what)
	tr.c.back = append(tr.c.back, func() {
		if !tr.over {
			tr.over = true
			_ = tr.on.Post(loop.Func(tell))
		}
	})
}

func (tr *trip) Answer(b *pool.Buf) {
	p := bytes.Clone(b.Bytes())
	copy(b.Prepend(12), "frame header") // the link's: there is room for it
	tr.end("answer", func() { tr.c.malformed = tr.reply.Answer(p) })
}

func (tr *trip) Abort() { tr.end("abort", tr.reply.Abort) }

// fail is what the end of a link does to the requests of the edge.
func (c *crossing) fail() {
	c.there, c.back = nil, nil
	for _, tr := range c.trips {
		if !tr.over {
			tr.over = true
			_ = tr.on.Post(loop.Func(tr.reply.Failed))
			if tr.guest != nil {
				_ = tr.guest.on.Post(loop.Func(func() { tr.guest.Lost(false) }))
			}
		}
	}
	c.edge.world.Run()
	c.home.world.Run()
}

// goThere lets what the edge has said reach home, and home work.
func (c *crossing) goThere() {
	c.edge.world.Run()
	h, err := c.home.server.Home()
	require.NoError(c.t, err)
	at := h.Loops()[c.link]
	for _, f := range c.there {
		require.NoError(c.t, at.Post(loop.Func(func() { f(h, at) })))
	}
	c.there = nil
	c.home.world.Run()
}

// cross lets both sides come to rest.
func (c *crossing) cross() {
	for busy := true; busy; {
		c.goThere()
		busy = len(c.back) > 0
		for _, f := range c.back {
			f()
		}
		c.back = nil
		c.edge.world.Run()
		busy = busy || len(c.there) > 0
	}
}

// open begins a polling session at home and returns it with its id.
func (c *crossing) open(query string) *Session {
	status, body := c.home.ask(0, "GET", "transport=polling"+query, "")
	require.Equal(c.t, 200, status, "%s", body)
	return c.home.sessions[len(c.home.sessions)-1]
}

// send sends a request for the session on a connection of its own, and lets nobody work.
func (c *crossing) send(b *bench, s *Session, method, query, body string, headers ...string) *looptest.Peer {
	peer := b.world.DialLoop(0)
	c.sendOn(peer, s, method, query, body, headers...)
	return peer
}

func (c *crossing) sendOn(peer *looptest.Peer, s *Session, method, query, body string, headers ...string) {
	peer.Write(request{method: method, target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID() + query, headers: headers, body: body, length: method == "POST"}.bytes())
}

// get and post are whole requests at the edge: status and body of the response.
func (c *crossing) get(s *Session) string { return c.answer(c.send(c.edge, s, "GET", "", "")) }

func (c *crossing) post(s *Session, body string) string {
	return c.answer(c.send(c.edge, s, "POST", "", body))
}

// answer is status and body of the response that has come, "" for none.
func (c *crossing) answer(peer *looptest.Peer) string {
	r, body := c.response(peer)
	if r == nil {
		return ""
	}
	return fmt.Sprint(r.StatusCode, " ", body)
}

func (c *crossing) response(peer *looptest.Peer) (*http.Response, string) {
	c.cross()
	p := peer.Read()
	if len(p) == 0 {
		return nil, ""
	}
	in := bufio.NewReader(bytes.NewReader(p))
	r, err := http.ReadResponse(in, nil)
	require.NoError(c.t, err)
	body, err := io.ReadAll(r.Body)
	require.NoError(c.t, err)
	require.Zero(c.t, in.Buffered(), "more than one response: %q", p)
	return r, string(body)
}

// closes are the events of home that say how sessions ended.
func (c *crossing) closes() (lines []string) {
	c.cross()
	log := c.home.log
	c.home.log = nil
	for _, line := range log {
		if strings.HasPrefix(line, "close ") {
			lines = append(lines, line)
		}
	}
	return lines
}

func (c *crossing) finish() {
	c.cross()
	c.home.server.CloseSessions()
	c.edge.server.CloseSessions()
	c.cross()
	c.home.world.Advance(c.home.options.Timeouts.Close)
	c.cross()
	for range c.there {
		c.t.Error("something is left on the way")
	}
	c.home.finish()
	c.edge.finish()
}
