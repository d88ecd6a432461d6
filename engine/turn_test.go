package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"turbine/loop/looptest"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// slowApp is a server whose callbacks for messages take a millisecond of the fake
// clock each, or another time.
type slowApp struct {
	*echo
	cost  time.Duration
	taken []string
	on    func(s *Session, text string)
}

func newSlowApp(t *testing.T, o Options) *slowApp {
	app := &slowApp{cost: time.Millisecond}
	o.Limits.Exempt = oneAddress
	server, err := New(o, Events{Message: func(s *Session, m Message) {
		app.taken = append(app.taken, string(m.Data))
		app.world.Jump(app.cost)
		if app.on != nil {
			app.on(s, string(m.Data))
		}
	}})
	require.NoError(t, err)
	app.echo = &echo{tb: t, server: server}
	app.world = looptest.NewWorld(1, server.options.loop(&server.bounds), server.Driver().Accept)
	server.Driver().UseLoops(app.world.Loops())
	t.Cleanup(app.world.Close)
	return app
}

// numbered are the texts of n messages.
func numbered(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprint(i))
	}
	return texts
}

func textFrames(texts []string) (p []byte) {
	for _, text := range texts {
		p = append(p, frame(ws.OpText, "4"+text)...)
	}
	return p
}

// post is a POST of messages to the session of id.
func (app *slowApp) post(id string, texts []string) []byte {
	return request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + id,
		body: "4" + strings.Join(texts, "\x1e4"), length: true}.bytes()
}

// turns runs the World to its end, in turns that take no more than mayTake messages:
// sockets, and the tasks behind them, have one portion each.
func (app *slowApp) turns(mayTake int) {
	for before := len(app.taken); app.world.Turn(); before = len(app.taken) {
		require.LessOrEqual(app.tb, len(app.taken)-before, mayTake, "messages in one turn")
	}
}

func TestClientsMessagesAreAShareOfTime(t *testing.T) {
	const messages = 1000
	deflate := Options{PerMessageDeflate: &PerMessageDeflate{}}
	for _, c := range []struct {
		name    string
		options Options
		send    func(app *slowApp) *looptest.Peer
		answer  string
	}{
		{"WebSocket", Options{}, func(app *slowApp) *looptest.Peer {
			peer := app.websocket()
			peer.Write(textFrames(numbered(messages)))
			return peer
		}, ""},
		{"WebSocket with compression", deflate, func(app *slowApp) *looptest.Peer {
			peer := app.world.Dial()
			peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket",
				headers: append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, upgradeHeaders...)}.bytes())
			app.world.Run()
			require.Contains(t, string(peer.Read()), "permessage-deflate")
			peer.Write(textFrames(numbered(messages)))
			return peer
		}, ""},
		{"POST", Options{}, func(app *slowApp) *looptest.Peer {
			peer := app.world.Dial()
			id := app.polling(peer)
			peer.Write(app.post(id, numbered(messages)))
			return peer
		}, "HTTP/1.1 200 OK"},
		{"POST with a malformed packet at its end", Options{}, func(app *slowApp) *looptest.Peer {
			peer := app.world.Dial()
			id := app.polling(peer)
			peer.Write(app.post(id, append(numbered(messages), "\x1e9")))
			return peer
		}, "HTTP/1.1 400 Bad Request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newSlowApp(t, c.options)
			peer := c.send(app)
			app.turns(4 * turnLook)
			require.Equal(t, numbered(messages), app.taken[:messages])
			require.LessOrEqual(t, len(app.taken), messages+1)
			require.Zero(t, app.server.shard(app.world.Loops()[0]).bodies, "what waits counts no more")
			require.True(t, strings.HasPrefix(string(peer.Read()), c.answer))
		})
	}
}

func TestOthersArePingedBesideSlowCallbacks(t *testing.T) {
	o := Options{PingInterval: time.Second, PingTimeout: 800 * time.Millisecond}
	for _, transport := range []string{"WebSocket", "POST", "upgrade behind a POST"} {
		t.Run(transport, func(t *testing.T) {
			app := newSlowApp(t, o)
			idle := app.websocket()
			began := app.world.Loops()[0].Now()
			busy := app.world.Dial()
			switch transport {
			case "WebSocket":
				busy = app.websocket()
				busy.Write(textFrames(numbered(5000)))
			default:
				id := app.polling(busy)
				busy.Write(app.post(id, numbered(5000)))
				if transport != "POST" {
					app.world.Turn()
					app.upgrade(id)
				}
			}
			pings := 0
			for app.world.Turn() {
				if p := string(idle.Read()); strings.HasSuffix(p, "2") {
					pings++
					late := app.world.Loops()[0].Now() - began - time.Duration(pings)*o.PingInterval
					require.Less(t, late, 200*time.Millisecond, "ping %d is late", pings)
					idle.Write(frame(ws.OpText, "3"))
				}
			}
			require.Len(t, app.taken, 5000)
			require.GreaterOrEqual(t, pings, 4)
		})
	}
}

// gaps runs the World until all is quiet, beside a client that answers pings at once,
// also while a callback runs. It returns the client's largest time without a ping.
func (app *slowApp) gaps(client *looptest.Peer) (largest time.Duration) {
	now := func() time.Duration { return app.world.Loops()[0].Look() }
	last := now()
	look := func() {
		largest = max(largest, now()-last)
		if p := string(client.Read()); strings.HasSuffix(p, "2") {
			client.Write(frame(ws.OpText, "3"))
			last = now()
		}
	}
	app.on = func(*Session, string) { look() }
	for app.world.Turn() {
		look()
	}
	return largest
}

// A loop that has met slow callbacks looks at the clock behind each of them.
func TestSlowCallbacksEndATurnEach(t *testing.T) {
	for _, quick := range []int{0, 2 * turnWary} { // messages that took no time before
		app := newSlowApp(t, Options{PingInterval: time.Second, PingTimeout: 4 * time.Second})
		idle, busy := app.websocket(), app.websocket()
		app.cost = 0
		busy.Write(textFrames(numbered(quick)))
		app.world.Run()
		app.cost = 300 * time.Millisecond
		busy.Write(textFrames(numbered(100)))
		require.Less(t, app.gaps(idle), time.Second+(turnLook+2)*app.cost, "while callbacks begin to be slow")
		busy.Write(textFrames(numbered(100)))
		require.Less(t, app.gaps(idle), time.Second+3*app.cost, "and once the loop knows")
		require.Len(t, app.taken, quick+200)
	}
}

// A look at all sockets may take longer than a client waits for a ping. Its pongs are
// unread so long, and it is pinged all the same.
func TestPingsDoNotWaitForPongsThatAreUnread(t *testing.T) {
	o := Options{PingInterval: 2 * time.Second, PingTimeout: time.Second}
	for name, timeout := range map[string]time.Duration{"shorter": time.Second, "longer": 5 * time.Second} {
		t.Run("a timeout "+name+" than the interval", func(t *testing.T) {
			o.PingTimeout = timeout
			app := newSlowApp(t, o)
			app.cost = 100 * time.Millisecond
			idle, busy := app.websocket(), make([]*looptest.Peer, 150)
			for i := range busy {
				busy[i] = app.websocket()
			}
			for _, peer := range busy { // one look takes 15 s
				peer.Write(textFrames(numbered(2)))
			}
			require.LessOrEqual(t, app.gaps(idle), max(o.PingInterval, o.PingTimeout)+o.PingTimeout/2+3*app.cost)
			require.Len(t, app.taken, 300)
			require.False(t, idle.EOF(), "the client has answered")
		})
	}
}

// upgrade opens a WebSocket for the session of id and makes it its transport, without
// waiting for an answer. Messages follow.
func (app *slowApp) upgrade(id string, texts ...string) *looptest.Peer {
	candidate := app.world.Dial()
	candidate.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + id, headers: upgradeHeaders}.bytes())
	candidate.Write(frame(ws.OpText, "2probe"))
	candidate.Write(frame(ws.OpText, "5"))
	candidate.Write(textFrames(texts))
	return candidate
}

func TestPostThatWaitsForItsTurn(t *testing.T) {
	const messages = 300
	begin := func(t *testing.T) (app *slowApp, id string, peer *looptest.Peer) {
		app = newSlowApp(t, Options{})
		peer = app.world.Dial()
		id = app.polling(peer)
		peer.Write(app.post(id, numbered(messages)))
		for len(app.taken) == 0 {
			require.True(t, app.world.Turn())
		}
		require.Less(t, len(app.taken), messages)
		return app, id, peer
	}
	t.Run("another POST meanwhile is an overlap", func(t *testing.T) {
		app, id, peer := begin(t)
		other := app.world.Dial()
		other.Write(app.post(id, []string{"overlap"}))
		app.world.Run()
		require.Contains(t, string(other.Read()), "400 Bad Request")
		require.NotContains(t, app.taken, "overlap")
		require.Contains(t, string(peer.Read()), "HTTP/1.1")
	})
	t.Run("a session that ends drops what is left", func(t *testing.T) {
		app, _, _ := begin(t)
		app.on = func(s *Session, _ string) { s.CloseNow() }
		app.turns(4 * turnLook)
		require.Less(t, len(app.taken), messages)
		require.Zero(t, app.server.shard(app.world.Loops()[0]).bodies)
		require.Zero(t, app.server.Stats().Sessions)
	})
	t.Run("what comes by WebSocket comes behind it", func(t *testing.T) {
		app, id, peer := begin(t)
		app.upgrade(id, "last", "behind")
		app.turns(4 * turnLook)
		require.Equal(t, append(numbered(messages), "last", "behind"), app.taken)
		require.Contains(t, string(peer.Read()), "200 OK")
		require.Zero(t, app.server.shard(app.world.Loops()[0]).bodies)
	})
	t.Run("the end of the WebSocket comes behind it", func(t *testing.T) {
		app, id, _ := begin(t)
		app.upgrade(id, "last").CloseWrite()
		app.world.Run()
		require.Equal(t, append(numbered(messages), "last"), app.taken)
		require.Zero(t, app.server.Stats().Sessions)
	})
	t.Run("a client that upgrades gets its answer once", func(t *testing.T) {
		app, id, peer := begin(t)
		candidate := app.world.Dial()
		candidate.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + id, headers: upgradeHeaders}.bytes())
		candidate.Write(frame(ws.OpText, "2probe"))
		for !strings.Contains(string(peer.Read()), "200 OK") {
			require.True(t, app.world.Turn())
		}
		require.Less(t, len(app.taken), messages)
		peer.Write(app.post(id, numbered(messages)))
		for len(app.taken) < messages {
			require.True(t, app.world.Turn())
			require.Empty(t, peer.Read())
		}
		app.turns(4 * turnLook)
		require.Equal(t, append(numbered(messages), numbered(messages)...), app.taken)
		require.Contains(t, string(peer.Read()), "200 OK")
		require.Zero(t, app.server.shard(app.world.Loops()[0]).bodies)
	})
	t.Run("a malformed rest ends the WebSocket", func(t *testing.T) {
		app := newSlowApp(t, Options{})
		peer := app.world.Dial()
		id := app.polling(peer)
		peer.Write(app.post(id, append(numbered(messages), "\x1e9")))
		for len(app.taken) == 0 {
			require.True(t, app.world.Turn())
		}
		candidate := app.upgrade(id, "never")
		app.world.Run()
		require.Equal(t, numbered(messages), app.taken[:messages])
		require.NotContains(t, app.taken, "never")
		require.Zero(t, app.server.Stats().Sessions)
		require.True(t, candidate.EOF())
		require.Zero(t, app.server.shard(app.world.Loops()[0]).bodies)
	})
	t.Run("a connection that is lost loses the session", func(t *testing.T) {
		app, _, peer := begin(t)
		peer.Reset()
		app.world.Run()
		require.Zero(t, app.server.Stats().Sessions)
		require.Zero(t, app.server.shard(app.world.Loops()[0]).bodies)
	})
}

// What connections have sent and their loop had no time for is memory that others
// go without.
func TestUnreadBytesCountForBodyBudget(t *testing.T) {
	const hostile = 40
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compression %v", compressed), func(t *testing.T) {
			o := Options{Limits: Limits{BodyBudget: 256 << 10}}
			if compressed {
				o.PerMessageDeflate = &PerMessageDeflate{}
			}
			app := newSlowApp(t, o)
			shard, most := app.server.shard(app.world.Loops()[0]), int64(0)
			app.on = func(*Session, string) { most = max(most, shard.bodies) }
			headers := upgradeHeaders
			if compressed {
				headers = append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, upgradeHeaders...)
			}
			var peers []*looptest.Peer
			for range hostile + 1 {
				peer := app.world.Dial()
				peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket", headers: headers}.bytes())
				app.world.Run()
				require.Contains(t, string(peer.Read()), "101")
				peers = append(peers, peer)
			}
			good := peers[hostile]
			for _, peer := range peers[:hostile] {
				peer.Write(textFrames(strings.Split(strings.Repeat("x", 6000), "")))
			}
			good.Write(textFrames([]string{"good"}))
			for range 2 * hostile {
				app.world.Turn()
			}
			require.LessOrEqual(t, most, app.server.shares.bodies+64<<10)
			require.Greater(t, most, app.server.shares.bodies/2)
			require.Contains(t, app.taken, "good")
			cut := 0
			for _, peer := range peers[:hostile] {
				if strings.Contains(string(peer.Read()), "\x03\xf5") { // close code 1013
					cut++
				}
			}
			require.Positive(t, cut)
			require.NotContains(t, string(good.Read()), "\x03\xf5")
			app.on = nil
			for _, peer := range peers {
				peer.Reset()
			}
			app.world.Run()
			require.Zero(t, shard.bodies)
		})
	}
}
