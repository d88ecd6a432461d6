package engine

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

const unknownSession = `400 {"code":1,"message":"Session ID unknown"}`

// T285: a poll at another node returns what waits at home, or comes later.
func TestAwayPoll(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		c := newCrossing(t, loops, link, Options{}, nil)
		s := c.open("")
		require.NoError(t, s.Send(Text("before")))
		require.Equal(t, "200 4before", c.get(s))
		peer := c.send(c.edge, s, "GET", "", "")
		require.Empty(t, c.answer(peer))
		require.NoError(t, s.Send(Text("after")))
		require.NoError(t, s.Send(Binary([]byte{1})))
		require.Equal(t, "200 4after\x1ebAQ==", c.answer(peer))
		c.sendOn(peer, s, "POST", "", "4on the same connection")
		require.Equal(t, "200 ok", c.answer(peer))
		require.Empty(t, c.closes())
		c.finish()
	})
}

// T286: posts at another node reach the session; several packets and nodes in turn keep
// the order, however the bodies are cut.
func TestAwayPost(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, piece := range []int{0, 1, 7} {
			c := newCrossing(t, loops, link, Options{}, nil)
			c.piece = piece
			s := c.open("")
			c.home.log = nil
			var want []string
			for i := range 6 {
				body := fmt.Sprintf("4%d\x1e4%d more", i, i)
				if i%2 == 0 {
					require.Equal(t, "200 ok", c.post(s, body))
				} else {
					require.Equal(t, "200 ok", c.answer(c.send(c.home, s, "POST", "", body)))
				}
				want = append(want, fmt.Sprintf(`message A "%d"`, i), fmt.Sprintf(`message A "%d more"`, i))
			}
			// A body that comes in pieces to the edge itself, then one in chunks.
			head := request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), headers: []string{"Content-Length: 6"}}
			peer := c.edge.world.DialLoop(0)
			peer.Write(head.bytes())
			c.cross()
			for _, b := range []byte("4piece") {
				require.Zero(t, peer.Buffered())
				peer.Write([]byte{b})
				c.cross()
			}
			require.Equal(t, "200 ok", c.answer(peer))
			head.headers = []string{"Transfer-Encoding: chunked"}
			peer.Write(append(head.bytes(), "3\r\n4ch\r\n4\r\nunks\r\n0\r\n\r\n"...))
			require.Equal(t, "200 ok", c.answer(peer))
			require.Equal(t, append(want, `message A "piece"`, `message A "chunks"`), c.home.log)
			require.Empty(t, c.closes())
			c.finish()
		}
	})
}

// T287: a second poll or post meets the first one at home, whichever node each is at.
func TestAwayOverlap(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, at := range []string{"edge edge", "edge home", "home edge"} {
			c := newCrossing(t, loops, link, Options{}, nil)
			side := map[string]*bench{"edge": c.edge, "home": c.home}
			first, second, _ := strings.Cut(at, " ")
			s := c.open("")
			one := c.send(side[first], s, "GET", "", "")
			require.Empty(t, c.answer(one))
			require.Equal(t, "400 ", c.answer(c.send(side[second], s, "GET", "", "")), at)
			require.Equal(t, "200 1", c.answer(one), at)
			require.Equal(t, []string{`close A "transport error" ` + ErrPollOverlap.Error()}, c.closes(), at)

			s = c.open("")
			one = side[first].world.DialLoop(0)
			one.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), headers: []string{"Content-Length: 6"}, body: "4a"}.bytes())
			c.cross()
			require.Equal(t, "400 ", c.answer(c.send(side[second], s, "POST", "", "4b")), at)
			c.cross()
			require.True(t, one.Aborted(), at)
			require.Equal(t, []string{`close B "transport error" ` + ErrDataOverlap.Error()}, c.closes(), at)
			c.finish()
		}
	})
}

// T288: a session that ends at home says so to the poll at another node, and a client that
// gives up its poll there ends its session.
func TestAwayEnds(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		c := newCrossing(t, loops, link, Options{}, nil)
		s := c.open("")
		peer := c.send(c.edge, s, "GET", "", "")
		c.cross()
		s.Close()
		require.Equal(t, "200 1", c.answer(peer))
		require.Equal(t, unknownSession, c.get(s))

		s = c.open("")
		s.Close()
		require.Equal(t, "200 6\x1e1", c.get(s))
		c.closes()

		for _, end := range []struct {
			name  string
			leave func(p *looptest.Peer)
			said  []string
		}{
			{"reset", (*looptest.Peer).Reset, []string{"arrive true 0", "lost false", "note 1"}},
			{"end of stream", (*looptest.Peer).CloseWrite, []string{"arrive true 0", "cancel 0", "abort"}},
		} {
			c.said()
			s = c.open("")
			peer := c.send(c.edge, s, "GET", "", "")
			c.cross()
			end.leave(peer)
			require.Equal(t, []string{"close " + c.home.name(s) + ` "transport error" ` + ErrPollLost.Error()}, c.closes(), end.name)
			require.Equal(t, end.said, c.said(), end.name)
			require.True(t, peer.EOF(), end.name)
		}
		for _, whole := range []bool{true, false} { // a post whose client is lost
			c.said()
			s = c.open("")
			peer := c.edge.world.DialLoop(0)
			peer.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), headers: []string{"Content-Length: 6"}, body: "4abcde"[:3]}.bytes())
			c.goThere()
			if whole {
				peer.Write([]byte("cde"))
				c.edge.world.Run()
			}
			peer.Reset()
			if whole {
				require.Empty(t, c.closes(), "it came whole")
			} else {
				require.Equal(t, []string{"close " + c.home.name(s) + ` "transport error" ` + ErrDataLost.Error()}, c.closes())
			}
		}
		c.finish()
	})
}

// A client that ends its direction behind a request gets what it has asked for, as on one
// node.
func TestAwayHalfClosed(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		c := newCrossing(t, loops, link, Options{}, nil)
		s := c.open("")
		require.NoError(t, s.Send(Text("hi")))
		for _, method := range []string{"GET", "POST"} {
			peer := c.send(c.edge, s, method, "", map[string]string{"POST": "4x"}[method])
			peer.CloseWrite()
			require.Equal(t, map[string]string{"GET": "200 4hi", "POST": "200 ok"}[method], c.answer(peer))
			require.True(t, peer.EOF())
		}
		require.Empty(t, c.closes())
		c.finish()
	})
}

// T289: heartbeats work while polls and posts go from node to node.
func TestAwayHeartbeat(t *testing.T) {
	c := newCrossing(t, 2, 1, Options{PingInterval: time.Second, PingTimeout: time.Second}, nil)
	s := c.open("")
	side := []*bench{c.edge, c.home}
	for i := range 6 {
		peer := c.send(side[i%2], s, "GET", "", "")
		require.Empty(t, c.answer(peer))
		c.home.world.Advance(1050 * time.Millisecond)
		require.Equal(t, "200 2", c.answer(peer))
		require.Equal(t, "200 ok", c.answer(c.send(side[(i+1)%2], s, "POST", "", "3")))
	}
	require.Equal(t, StateOpen, s.State())
	c.home.world.Advance(3 * time.Second)
	require.Equal(t, []string{`close A "ping timeout"`}, c.closes())
	c.finish()
}

// T290: ids that nobody has are refused where they come, and no id goes from node to node
// twice.
func TestAwayUnknownIDs(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		var told []string
		c := newCrossing(t, loops, link, Options{}, func(_ *bench, e *Events) {
			e.ConnectionError = func(r *Request, e *HandshakeError) {
				told = append(told, fmt.Sprint(r.Query("tag"), " ", e.Code, " ", e.Detail))
			}
		})
		s := c.open("")
		other := s.home()
		other.secret[3]++
		node := s.home()
		node.node++
		for id, calls := range map[string][]string{
			strings.Repeat("A", 20):          nil,
			strings.Repeat("A", 27):          nil,
			strings.Repeat("A", 32):          nil,
			string(appendSID(nil, node)):     nil, // a node that nobody knows
			"own~AAAAAQ":                     nil,
			string(appendSID(nil, other)):    {"arrive true 0", "answer"},
			"nobody~" + s.ID()[:5] + "A":     {"arrive true 0", "answer"},
			"no+body%21~" + s.ID()[:5] + "A": {"arrive true 0", "answer"},
		} {
			peer := c.edge.world.DialLoop(0)
			peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling&tag=x&sid=" + id}.bytes())
			require.Equal(t, unknownSession, c.answer(peer), id)
			require.Equal(t, calls, c.said(), id)
			plain, err := url.QueryUnescape(id)
			require.NoError(t, err)
			require.Equal(t, []string{"x 1 " + plain}, told, "told where the request is")
			told = nil
		}
		require.Equal(t, StateOpen, s.State())
		c.unknown = true
		require.Equal(t, unknownSession, c.get(s))
		require.Empty(t, c.said())
		require.EqualValues(t, 0, c.home.server.Stats().Refused[CauseSID], "counted where the client is")
		require.EqualValues(t, 9, c.edge.server.Stats().Refused[CauseSID])
		c.finish()
	})
}

// A refusal at home is the edge's answer, as on one node.
func TestAwayRefusals(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		var told []string
		o := Options{Access: Access{Bind: BindHeader("User")}}
		c := newCrossing(t, loops, link, o, func(_ *bench, e *Events) {
			e.ConnectionError = func(_ *Request, e *HandshakeError) {
				told = append(told, strings.TrimRight(fmt.Sprint(e.Code, " ", e.Name, " ", e.Detail, " ", e.Previous), " "))
			}
		})
		s := c.open("")
		for _, r := range []struct {
			query, header, answer, told string
			cause                       Cause
		}{
			{"", "User: b", `403 {"code":4,"message":"Forbidden"}`, "4 BINDING_MISMATCH", CauseBinding},
			{"&EIO=3", "A: b", `400 {"code":3,"message":"Bad request"}`, "3 PROTOCOL_MISMATCH 3 4", CauseRevisionMismatch},
			{"&EIO=5", "A: b", `400 {"code":3,"message":"Bad request"}`, "3 PROTOCOL_MISMATCH 0 4", CauseRevisionMismatch},
			{"&transport=websocket", "A: b", `400 {"code":3,"message":"Bad request"}`, "3 TRANSPORT_MISMATCH websocket polling", CauseTransportMismatch},
		} {
			for _, side := range []*bench{c.home, c.edge} {
				told = nil
				before := side.server.Stats().Refused[r.cause]
				require.Equal(t, r.answer, c.answer(c.send(side, s, "GET", r.query, "", r.header)))
				require.Equal(t, []string{r.told}, told)
				require.Equal(t, before+1, side.server.Stats().Refused[r.cause])
			}
		}
		require.NoError(t, s.Send(Text("still here")))
		require.Equal(t, "200 4still here", c.get(s))
		require.Empty(t, c.closes())
		c.finish()
	})
}

// A binding is the same on every node.
func TestAwayBinding(t *testing.T) {
	c := newCrossing(t, 1, 0, Options{Access: Access{Bind: BindHeader("User")}}, nil)
	peer := c.home.world.DialLoop(0)
	peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling", headers: []string{"User: a"}}.bytes())
	c.cross()
	s := c.home.sessions[0]
	require.Equal(t, "200 ok", c.answer(c.send(c.edge, s, "POST", "", "4x", "User: a")))
	require.Equal(t, `403 {"code":4,"message":"Forbidden"}`, c.answer(c.send(c.edge, s, "POST", "", "4x")))
	c.finish()
}

// The rest of a response is the edge's: its header fields, and what the client's request
// has said.
func TestAwayResponseHead(t *testing.T) {
	o := Options{
		Cookie: &Cookie{EveryResponse: true}, CompressionThreshold: 1,
		Access: Access{CORS: &CORS{Origins: []string{"https://a"}}},
	}
	c := newCrossing(t, 1, 0, o, func(b *bench, e *Events) {
		e.Headers = func(_ *Request, h http.Header) { h.Set("Loops", fmt.Sprint(b.server.node() == edgeNode)) }
	})
	s := c.open("")
	heads := map[*bench]http.Header{}
	for _, side := range []*bench{c.home, c.edge} {
		require.NoError(t, s.Send(Text(strings.Repeat("hi", 40))))
		r, _ := c.response(c.send(side, s, "GET", "", "", "Origin: https://a", "Accept-Encoding: gzip", "User-Agent: x Trident/7"))
		require.Equal(t, 200, r.StatusCode)
		heads[side] = r.Header
	}
	require.Equal(t, "true", heads[c.edge].Get("Loops"))
	require.Equal(t, "gzip", heads[c.edge].Get("Content-Encoding"))
	require.Contains(t, heads[c.edge].Get("Set-Cookie"), s.ID())
	for _, h := range heads {
		h.Del("Loops")
		h.Del("Date")
	}
	require.Equal(t, heads[c.home], heads[c.edge])

	peer := c.edge.world.DialLoop(0)
	peer.Write(request{method: "GET", version: "1.0", headers: []string{"Connection: keep-alive"}, target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID()}.bytes())
	require.NoError(t, s.Send(Text("x")))
	r, body := c.response(peer)
	require.Equal(t, "keep-alive 4x", r.Header.Get("Connection")+" "+body)
	for method, want := range map[string]string{"PUT": "500 ", "HEAD": "500 "} {
		require.Equal(t, want, c.answer(c.send(c.edge, s, method, "", "")))
	}
	c.finish()
}

// JSONP works across nodes, in both directions.
func TestAwayJSONP(t *testing.T) {
	c := newCrossing(t, 1, 0, Options{}, nil)
	s := c.open("&j=7")
	require.Equal(t, "200 ok", c.answer(c.send(c.edge, s, "POST", "&j=7", "d="+url.QueryEscape("4a b"))))
	require.NoError(t, s.Send(Text("hi")))
	require.Equal(t, `200 ___eio[7]("4hi");`, c.answer(c.send(c.edge, s, "GET", "&j=7", "")))
	require.Contains(t, c.home.log, `message A "a b"`)
	c.finish()
}

// Without room for it the client of a request is told when to come again, and its session
// ends: both sides know.
func TestAwayWithoutRoom(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, method := range []string{"GET", "POST"} {
			for _, chosen := range []string{"", "own id"} {
				c := newCrossing(t, loops, link, Options{}, func(_ *bench, e *Events) {
					e.Admit = func(a *Admission) error {
						a.SetID(chosen)
						return nil
					}
				})
				s := c.open("")
				c.full = true
				peer := c.edge.world.DialLoop(0)
				peer.Write(request{method: method, target: "/engine.io/?EIO=4&transport=polling&sid=" + url.QueryEscape(s.ID()), body: map[string]string{"POST": "4x"}[method], length: method == "POST"}.bytes())
				r, body := c.response(peer)
				require.Equal(t, "503 1 Service Unavailable", fmt.Sprint(r.StatusCode, " ", r.Header.Get("Retry-After"), " ", body))
				require.False(t, r.Close)
				require.Equal(t, []string{"no room", "note 1"}, c.said())
				require.Equal(t, []string{`close A "transport error" ` + ErrPollLost.Error()}, c.closes())

				s = c.open("")
				peer.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + url.QueryEscape(s.ID()), headers: []string{"Content-Length: 9"}, body: "4x"}.bytes())
				r, _ = c.response(peer)
				require.Equal(t, 503, r.StatusCode)
				require.True(t, r.Close, "its body would be the next request")
				c.finish()
			}
		}
	})
}

// What becomes of a request is unknown when its link ends: the client is told that there
// is no session, and there is none.
func TestAwayFailed(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, arrived := range []bool{false, true} {
			c := newCrossing(t, loops, link, Options{}, nil)
			s := c.open("")
			peer := c.send(c.edge, s, "GET", "", "")
			if c.edge.world.Run(); arrived {
				c.cross()
			}
			c.fail()
			require.Equal(t, unknownSession, c.answer(peer))
			require.Equal(t, []string{`close A "transport error" ` + ErrPollLost.Error()}, c.closes())
			require.Equal(t, []string{"arrive true 0", "note 1"}, c.said())

			s = c.open("")
			peer.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), headers: []string{"Content-Length: 9"}, body: "4x"}.bytes())
			if c.edge.world.Run(); arrived {
				c.cross()
			}
			c.fail()
			require.Equal(t, unknownSession, c.answer(peer))
			require.True(t, peer.EOF(), "its body was cut off")
			require.Len(t, c.closes(), 1)
			c.finish()
		}
	})
}

// An answer that meets the end of its client's connection on the way has messages that
// nobody gets: the session ends, as on one node.
func TestAwayAnswerCrossesLost(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		c := newCrossing(t, loops, link, Options{}, nil)
		s := c.open("")
		require.NoError(t, s.Send(Text("hi")))
		peer := c.send(c.edge, s, "GET", "", "")
		c.goThere()
		require.Equal(t, []string{"arrive true 0", "answer"}, c.said())
		peer.Reset()
		require.Equal(t, []string{`close A "transport error" ` + ErrPollLost.Error()}, c.closes())
		c.finish()
	})
}

// The note of a session on WebSocket comes too late to matter.
func TestAwayGoneAfterUpgrade(t *testing.T) {
	c := newCrossing(t, 1, 0, Options{}, nil)
	c.open("")
	s := c.home.session("A")
	c.home.play("ws EIO=4&transport=websocket&sid=A conn=w", "frame w text 2probe", "frame w text 5")
	require.True(t, s.Upgraded())
	h, err := c.home.server.Home()
	require.NoError(t, err)
	for _, note := range []string{"\x01" + s.ID(), "\x03" + s.ID(), "\x01nobody", "\x01nobody~AAAAAQ"} {
		require.NoError(t, h.Note(h.Loops()[0], []byte(note)))
	}
	c.cross()
	require.Equal(t, StateOpen, s.State())
	require.ErrorIs(t, h.Note(h.Loops()[0], []byte{1}), ErrMalformed)
	require.NoError(t, h.Note(h.Loops()[0], []byte("\x02"+s.ID())))
	c.cross()
	require.NotEqual(t, StateOpen, s.State(), "it retires")
	c.finish()
}

// Bodies that cannot be used are judged where they are, and end the session as on one
// node: only one that is too large leaves it open.
func TestAwayBodies(t *testing.T) {
	chunk := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("4", n)) }
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, b := range []struct {
			name   string
			header string
			body   string
			wait   time.Duration
			piece  int
			budget int64
			home   int // its MaxPayload
			answer string
			close  string
		}{
			{name: "length over the edge's limit", header: "Content-Length: 100001", answer: "413 "},
			{name: "chunks over the edge's limit", header: "Transfer-Encoding: chunked", body: chunk(60_000) + chunk(60_000), answer: "413 "},
			{name: "broken chunks", header: "Transfer-Encoding: chunked", body: "zz\r\n", answer: "400 ", close: ErrDataLost.Error()},
			{name: "too slow", header: "Content-Length: 9", body: "4x", wait: time.Minute, answer: "408 ", close: ErrDataLost.Error()},
			{name: "over home's limit", header: "Content-Length: 200", body: strings.Repeat("4", 200), home: 100, answer: "413 "},
			{name: "over home's limit in pieces", header: "Content-Length: 200", body: strings.Repeat("4", 200), home: 100, piece: 30, answer: "413 "},
			{name: "pieces over the budget", header: "Content-Length: 70000", body: strings.Repeat("4", 70_000), budget: 1000, piece: 5000, answer: "503 1", close: ErrDataLost.Error()},
			{name: "undecodable", header: "Content-Length: 2", body: "zz", answer: "400 ", close: "x"},
		} {
			c := newCrossing(t, loops, link, Options{MaxPayload: 100_000}, nil)
			if b.home > 0 {
				c.home.server.options.MaxPayload = b.home
			}
			c.piece = b.piece
			s := c.open("")
			if b.budget > 0 {
				c.home.server.shares.bodies = b.budget
			}
			peer := c.edge.world.DialLoop(0)
			peer.Write(append(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), headers: []string{b.header}}.bytes(), b.body...))
			c.cross()
			c.edge.world.Advance(b.wait)
			r, body := c.response(peer)
			require.NotNil(t, r, b.name)
			require.Equal(t, b.answer, fmt.Sprint(r.StatusCode, " ", r.Header.Get("Retry-After"), body), b.name)
			closes := c.closes()
			require.Equal(t, b.close != "", len(closes) == 1, "%s: %v", b.name, closes)
			require.Zero(t, c.home.server.shards[link].bodies, b.name)
			c.finish()
		}
	})
}

// A node that drains sends its clients elsewhere, and answers polls that wait for sessions
// of other nodes.
func TestAwayDrain(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		c := newCrossing(t, loops, link, Options{}, nil)
		s := c.open("")
		peer := c.send(c.edge, s, "GET", "", "")
		require.Empty(t, c.answer(peer))
		c.edge.server.phase.reach(phaseDraining)
		c.guest(c.last, (*Guest).Release)
		r, body := c.response(peer)
		require.Equal(t, "6", body)
		require.True(t, r.Close)
		for _, query := range []string{"", "&EIO=3"} { // a refusal as well
			r, _ = c.response(c.send(c.edge, s, "POST", query, "4x"))
			require.True(t, r.Close)
		}
		c.guest(c.last, (*Guest).Release) // is over
		require.Empty(t, c.closes())

		peer = c.send(c.edge, s, "GET", "", "")
		require.Empty(t, c.answer(peer))
		c.home.server.phase.reach(phaseDraining) // home's own drain: a guest's connection is kept alive for all it knows
		c.home.server.handedOver.Store(true)
		require.False(t, s.strays())
		c.finish()
	})
}

// MaxPolls counts where the session is.
func TestAwayMaxPolls(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		c := newCrossing(t, loops, link, Options{Limits: Limits{MaxPolls: 1}}, nil)
		one, two := c.open(""), c.open("")
		require.Empty(t, c.answer(c.send(c.edge, one, "GET", "", "")))
		require.Equal(t, "503 ", c.get(two))
		require.Equal(t, []string{`close B "transport error" ` + ErrTooManyPolls.Error()}, c.closes())
		c.finish()
	})
}

// An answer that is not one ends its request, and the link hears of it.
func TestAwayMalformedAnswer(t *testing.T) {
	c := newCrossing(t, 1, 0, Options{}, nil)
	s := c.open("")
	peer := c.send(c.edge, s, "GET", "", "")
	c.cross()
	tr := c.trips[c.last]
	tr.over = true
	require.NoError(t, tr.on.Post(loop.Func(func() {
		require.ErrorIs(t, tr.reply.Answer([]byte("HTTP/1.1 200 OK\r\n\r\n")), ErrMalformed)
		require.NoError(t, tr.reply.Answer(appendResponse(nil, &homeAnswer{status: 200}))) // what comes then is dropped
		tr.reply.Failed()
		tr.reply.Abort()
	})))
	require.Equal(t, unknownSession, c.answer(peer))
	require.Len(t, c.closes(), 1)
	c.finish()
}

// After its end a Guest does nothing, and says nothing.
func TestGuestAfterItsEnd(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, method := range []string{"GET", "POST"} {
			for _, end := range []string{"answered", "lost"} {
				c := newCrossing(t, loops, link, Options{}, nil)
				s := c.open("")
				if method == "GET" && end == "answered" {
					require.NoError(t, s.Send(Text("x")))
				}
				peer := c.send(c.edge, s, method, "", map[string]string{"POST": "4x"}[method])
				if end == "lost" && method == "POST" { // before its body
					peer = c.edge.world.DialLoop(0)
					peer.Write(request{method: method, target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), headers: []string{"Content-Length: 6"}}.bytes())
				}
				c.cross()
				if end == "lost" {
					peer.Reset()
				}
				c.cross()
				c.said()
				open := s.State()
				for _, do := range []func(g *Guest){
					func(g *Guest) { g.Body([]byte("4y"), true) }, func(g *Guest) { g.Cancel(413) }, func(g *Guest) { g.Cancel(0) },
					func(g *Guest) { g.Lost(true) }, (*Guest).Release, (*Guest).aborted, (*Guest).abandon,
				} {
					c.guest(c.last, do)
					c.cross()
				}
				require.Empty(t, c.said())
				require.Equal(t, open, s.State())
				c.finish()
			}
		}
	})
}

// A task that is broken off at home ends the client's request, and a POST that is lost
// before its body came is known to its session.
func TestGuestWithoutItsBody(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, link int) {
		for _, c := range []struct {
			name string
			do   func(g *Guest)
			said []string
			err  error
		}{
			{"lost", func(g *Guest) { g.Lost(false) }, nil, ErrDataLost},
			{"lost over budget", func(g *Guest) { g.Lost(true) }, nil, ErrBudget},
			{"cancelled", func(g *Guest) { g.Cancel(400) }, []string{"answer"}, ErrDataLost},
			{"too large", func(g *Guest) { g.Cancel(413) }, []string{"answer"}, nil},
			{"too slow", func(g *Guest) { g.Cancel(408) }, []string{"answer"}, ErrDataLost},
			{"an odd status", func(g *Guest) { g.Cancel(-7) }, []string{"answer"}, ErrDataLost},
			{"ended", func(g *Guest) { g.Cancel(0) }, []string{"abort"}, ErrDataLost},
			{"abandoned", (*Guest).abandon, []string{"abort"}, nil},
		} {
			x := newCrossing(t, loops, link, Options{}, nil)
			s := x.open("")
			h, err := x.home.server.Home()
			require.NoError(t, err)
			on := h.Loops()[link]
			tr := &trip{c: x, over: true, reply: noReply{}}
			require.NoError(t, on.Post(loop.Func(func() {
				g, err := h.Arrive(on, appendArrival(nil, &arrival{method: methodPOST, revision: Revision4, transport: Polling, whole: true, id: []byte(s.ID())}), tr)
				require.NoError(t, err)
				c.do(g)
			})))
			x.cross()
			require.Equal(t, c.said, x.said(), c.name)
			if c.err == nil {
				require.Empty(t, x.closes(), c.name)
			} else {
				require.Equal(t, []string{fmt.Sprintf(`close A %q %v`, reasonOf(c.err).String(), c.err)}, x.closes(), c.name)
			}
			x.finish()
		}
	})
}

// noReply is for what nobody waits for.
type noReply struct{}

func (noReply) Answer([]byte) error { return nil }
func (noReply) Abort()              {}
func (noReply) Failed()             {}

// Home is of servers with a node alone, and refuses heads that make no sense.
func TestHome(t *testing.T) {
	alone := newBench(t, 1, Options{})
	_, err := alone.server.Home()
	require.Error(t, err)
	alone.finish()
	b := newBench(t, 2, Options{Node: &Node{ID: 5}})
	h, err := b.server.Home()
	require.NoError(t, err)
	require.Equal(t, b.world.Loops(), h.Loops())
	for _, head := range [][]byte{nil, {1}, bytes.Repeat([]byte{1}, arrivalSize), bytes.Repeat([]byte{9}, 50)} {
		g, err := h.Arrive(h.Loops()[0], head, nil)
		require.ErrorIs(t, err, ErrMalformed)
		require.Nil(t, g)
	}
	b.finish()
}

// An id that is too long for an arrival is refused when a session begins.
func TestLongIDsOfNodes(t *testing.T) {
	for n, status := range map[int]int{maxChosenID - nodeSuffixLength: 200, maxChosenID - nodeSuffixLength + 1: 400} {
		c := newCrossing(t, 1, 0, Options{}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				a.SetID(strings.Repeat("x", n))
				return nil
			}
		})
		got, _ := c.home.ask(0, "GET", "transport=polling", "")
		require.Equal(t, status, got)
		if status == 200 {
			s := c.home.sessions[0]
			require.NoError(t, s.Send(Text("hi")))
			require.Equal(t, "200 4hi", c.get(s))
		}
		c.finish()
	}
}

// A request that is refused for its body keeps the error's status on its way.
func TestBodyErrors(t *testing.T) {
	for _, e := range []*httpparse.Error{httpparse.ErrBodyBytes, errBodyBudget, errTimeout} {
		require.Same(t, e, bodyError(e.Status))
	}
	require.Equal(t, 400, bodyError(65535).Status)
}
