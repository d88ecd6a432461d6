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
// clock each.
type slowApp struct {
	*echo
	taken []string
	on    func(s *Session, text string)
}

func newSlowApp(t *testing.T, o Options) *slowApp {
	app := new(slowApp)
	o.Limits.Exempt = oneAddress
	server, err := New(o, Events{Message: func(s *Session, m Message) {
		app.taken = append(app.taken, string(m.Data))
		app.world.Jump(time.Millisecond)
		if app.on != nil {
			app.on(s, string(m.Data))
		}
	}})
	require.NoError(t, err)
	app.echo = &echo{tb: t, server: server}
	app.world = looptest.NewWorld(1, server.options.loop(), server.Driver().Accept)
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
	for _, transport := range []string{"WebSocket", "POST"} {
		t.Run(transport, func(t *testing.T) {
			app := newSlowApp(t, o)
			idle := app.websocket()
			began := app.world.Loops()[0].Now()
			busy := app.world.Dial()
			if transport == "POST" {
				busy.Write(app.post(app.polling(busy), numbered(5000)))
			} else {
				busy = app.websocket()
				busy.Write(textFrames(numbered(5000)))
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
		candidate := app.world.Dial()
		candidate.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + id, headers: upgradeHeaders}.bytes())
		candidate.Write(frame(ws.OpText, "2probe"))
		candidate.Write(frame(ws.OpText, "5"))
		candidate.Write(frame(ws.OpText, "4last"))
		app.world.Run()
		require.Equal(t, append(numbered(messages), "last"), app.taken)
		require.Contains(t, string(peer.Read()), "200 OK")
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
