package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The upgrade by hand, as the protocol text has it.
func TestUpgrade(t *testing.T) {
	s := serve(t)
	for _, eio := range []int{4, 3} {
		t.Run(fmt.Sprintf("revision %d", eio), func(t *testing.T) {
			session := s.dial(t).handshake(eio)
			require.Equal(t, []string{"websocket"}, session.Upgrades)
			session.echoes()

			ws := s.dial(t)
			ws.upgrade(session.with("websocket"))
			ws.send("2probe")
			ws.receives("3probe")
			noop := map[int]string{4: "6", 3: "1:6"}[eio]
			session.polls(noop)
			ws.send("5")
			ws.send("4hello €")
			ws.receives("4hello €")

			// The session has left polling, and takes no second WebSocket.
			session.isError(session.get(), 3)
			session.isError(session.post("4x"), 3)
			second := s.dial(t)
			second.upgrade(session.with("websocket"))
			second.closes(noStatus)
			ws.echoes()

			ws.close(status(1000, ""), 1000)
			session.gone()
		})
	}
	s.goesOn(t)
}

// What the client posted and did not fetch before the switch comes over the WebSocket, in order: T199, T208.
func TestUpgradeKeepsMessages(t *testing.T) {
	s := serve(t)
	session := s.poll4(t)
	ws := s.dial(t)
	ws.upgrade(session.with("websocket"))
	ws.send("2probe")
	ws.receives("3probe")
	session.ok(session.post("4a\x1e4b"))
	session.ok(session.post("4c"))
	ws.send("5")
	ws.send("4d")
	for _, m := range []string{"4a", "4b", "4c", "4d"} {
		ws.receives(m)
	}
}

// The upgrade packet alone is enough, and answers a poll that still waits.
func TestUpgradeWithoutProbe(t *testing.T) {
	s := serveOneLoop(t)
	session := s.poll4(t)
	ws := s.dial(t)
	ws.upgrade(session.with("websocket"))
	session.write(s.getRequest(session.query()))
	s.poll4(t) // the poll now waits
	ws.send("5")
	require.Contains(t, []string{`200 "1"`, `200 "6"`}, session.reply("GET").String())
	ws.echoes()
}

// An attempt that fails leaves the session on polling, and the next one may succeed.
func TestFailedUpgrade(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		name  string
		in    string
		codes []int
	}{
		{"ping without data", masked(fin|text, "2"), []int{noStatus}},
		{"another ping", masked(fin|text, "2probeX"), []int{noStatus}},
		{"pong", masked(fin|text, "3probe"), []int{noStatus}},
		{"message", masked(fin|text, "4too early"), []int{noStatus}},
		{"message after the probe", masked(fin|text, "2probe") + masked(fin|text, "4too early"), []int{noStatus}},
		{"garbage", masked(fin|text, "garbage"), []int{noStatus}},
		{"empty", masked(fin|text, ""), []int{noStatus}},
		{"binary", masked(fin|bin, "2probe"), []int{noStatus}},
		{"unmasked", string(frameHead(fin|text, 0, 6)) + "2probe", []int{1002}},
		{"not UTF-8", masked(fin|text, "2\xff"), []int{1007}},
		{"too large", string(frameHead(fin|text, 0x80, maxPayload+1)) + "mask", []int{1009}},
	} {
		t.Run(c.name, func(t *testing.T) {
			session := s.poll4(t)
			ws := s.dial(t)
			ws.upgrade(session.with("websocket"))
			ws.write(c.in)
			if c.name == "message after the probe" {
				ws.receives("3probe")
			}
			ws.closes(c.codes...)
			session.echoes()

			again := s.dial(t)
			again.upgrade(session.with("websocket"))
			again.send("2probe")
			again.receives("3probe")
			again.send("5")
			again.echoes()
		})
	}
	s.goesOn(t)
}

// A WebSocket that is lost while it is probed does not harm the session either.
func TestLostUpgrade(t *testing.T) {
	s := serve(t)
	for _, how := range []string{"close frame", "end", "reset"} {
		session := s.poll4(t)
		ws := s.dial(t)
		ws.upgrade(session.with("websocket"))
		ws.send("2probe")
		ws.receives("3probe")
		switch how {
		case "close frame":
			ws.close(status(1000, ""), 1000)
		case "reset":
			require.NoError(t, ws.conn.(*net.TCPConn).SetLinger(0))
			ws.conn.Close()
		default:
			ws.conn.Close()
		}
		session.echoes()
	}
	s.goesOn(t)
}

// A second WebSocket while the first is being probed is closed, and the first continues.
func TestSecondUpgrade(t *testing.T) {
	s := serve(t)
	session := s.poll4(t)
	first := s.dial(t)
	first.upgrade(session.with("websocket"))
	first.send("2probe")
	first.receives("3probe")
	second := s.dial(t)
	second.upgrade(session.with("websocket"))
	second.closes(noStatus)
	first.send("5")
	first.echoes()
}

// A WebSocket of another revision than the session's is refused.
func TestUpgradeOfOtherRevision(t *testing.T) {
	s := serve(t)
	session := s.poll4(t)
	ws := s.dial(t)
	ws.write(s.upgradeRequest("EIO=3&transport=websocket&sid=" + session.Sid))
	r := ws.reply("GET")
	require.Equal(t, `400 "Bad request"`, r.String())
	ws.ended()
	session.echoes()
}

// Who opens the WebSocket and then says nothing loses it, not the session.
func TestUpgradeTimeout(t *testing.T) {
	const timeout = 2 * time.Second
	s := serve(t, "--upgrade-timeout", timeout.String())
	for _, in := range []string{"", masked(fin|text, "2probe")} {
		session := s.poll4(t)
		ws := s.dial(t)
		begin := time.Now()
		ws.upgrade(session.with("websocket"))
		ws.write(in)
		if in != "" {
			ws.receives("3probe")
		}
		ws.closes(noStatus)
		require.GreaterOrEqual(t, time.Since(begin), timeout*9/10) // timers may be coarse
		session.echoes()
	}
}
