package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// slowly has a message that is a duration take that long.
func (b *bench) slowly(e *Events) {
	message := e.Message
	e.Message = func(s *Session, m Message) {
		if d, err := time.ParseDuration(string(m.Data)); err == nil {
			b.world.Jump(d)
			return
		}
		message(s, m)
	}
}

// write sends a text frame to the connection without letting the loop run.
func (b *bench) write(name, text string) {
	b.client(name, "").peer.Write(wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(text)))
}

// A callback that takes longer than the whole heartbeat costs nobody the session:
// whoever was not asked is asked first, with all of PingTimeout from then on.
func TestPingThatIsLateIsNoClientsFault(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent %v", silent), func(t *testing.T) {
			b := newSpec(t, 1, Options{}, (*bench).slowly)
			b.play("ws EIO=4&transport=websocket conn=slow", "ws EIO=4&transport=websocket conn=w",
				"get EIO=4&transport=polling", "get sid=C conn=p")
			b.log = nil
			b.write("slow", "41h")
			b.world.Run()
			require.ElementsMatch(t, []string{`w: text "2"`, "p: 200 2", `slow: text "2"`}, b.play("advance 50ms"))
			b.play("advance 19900ms")
			require.Empty(t, b.events())
			if silent {
				b.play("advance 100ms")
				require.Equal(t, 3, strings.Count(b.events(), `"ping timeout"`))
			} else {
				b.play("frame w text 3", "frame slow text 3", "post sid=C 3", "advance 20s")
				require.Empty(t, b.events())
			}
			b.finish()
		})
	}
}

// What waits in a socket while a callback takes long is read before its sender
// is late, on every transport and in every revision, and whatever the loop of
// the connection.
func TestHeartbeatThatWaitsUnreadIsInTime(t *testing.T) {
	for _, c := range []struct {
		name      string
		open      []string
		heartbeat func(b *bench)
	}{
		{"WebSocket", []string{"ws EIO=4&transport=websocket conn=w", "advance 25s"},
			func(b *bench) { b.write("w", "3") }},
		{"WebSocket, revision 3", []string{"ws EIO=3&transport=websocket conn=w", "advance 25s"},
			func(b *bench) { b.write("w", "2") }},
		{"polling", []string{"get EIO=4&transport=polling", "get sid=A conn=g", "advance 25s"},
			func(b *bench) { b.send(request{method: "POST", body: "3"}) }},
		{"polling, revision 3", []string{"get EIO=3&transport=polling", "advance 25s"},
			func(b *bench) { b.send(request{method: "POST", body: "1:2"}) }},
		{"first request", []string{"get EIO=4&transport=polling", "advance 25s"},
			func(b *bench) { b.send(request{method: "GET"}) }},
	} {
		for _, loops := range []int{1, 2, -2, 3} {
			t.Run(fmt.Sprintf("%s/%d loops", c.name, loops), func(t *testing.T) {
				b := newSpec(t, loops, Options{Timeouts: Timeouts{FirstRequest: 40 * time.Second}}, (*bench).slowly)
				b.play(c.open...)
				b.dial = dialAway
				b.play("ws EIO=4&transport=websocket conn=slow")
				b.log = nil
				b.write("slow", "460s")
				c.heartbeat(b)
				b.world.Run()
				b.play("advance 60ms") // the alarms of all that was due have rung
				require.NotContains(t, b.events(), "close A")
				b.play("advance 10m")
				require.Contains(t, b.events(), `close A "ping timeout"`)
				b.finish()
			})
		}
	}
}

// The rest of a request that waits in its socket while a callback takes long is
// read before the request is too slow.
func TestRequestThatWaitsUnreadIsInTime(t *testing.T) {
	b := newSpec(t, 1, Options{}, (*bench).slowly)
	b.play("ws EIO=4&transport=websocket conn=slow", `raw r "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHo"`, "advance 9s")
	b.write("slow", "43s")
	b.client("r", "").peer.Write([]byte("st: x\r\n\r\n"))
	b.world.Run()
	require.Contains(t, strings.Join(b.play("advance 60ms"), "\n"), "r: 200 0")
	b.finish()
}

// send makes a request for session A without letting the loop run.
func (b *bench) send(r request) {
	s := b.session("A")
	r.target = fmt.Sprintf("/engine.io/?EIO=%s&transport=polling&sid=%s", revisionText(s.revision), s.ID())
	r.length = r.method == "POST"
	b.dial(b, s.ID()).Write(r.bytes())
}

// Callbacks of 1.5 s, one after another, do not stop the clock: idle clients are
// pinged in time.
func TestSlowCallbacksDoNotStopTheClock(t *testing.T) {
	b := newSpec(t, 1, Options{}, (*bench).slowly)
	b.play("ws EIO=4&transport=websocket conn=slow", "ws EIO=4&transport=websocket conn=w")
	b.log = nil
	last := b.world.Now()
	for pings := 0; pings < 4; {
		b.write("slow", "41500ms")
		b.world.Turn()
		for _, line := range b.collect() {
			switch line {
			case `w: text "2"`:
				require.LessOrEqual(t, b.world.Now()-last, 25*time.Second+2*1500*time.Millisecond)
				last = b.world.Now()
				pings++
				b.write("w", "3")
			case `slow: text "2"`:
				b.write("slow", "3")
			}
		}
		require.Less(t, b.world.Now()-last, 30*time.Second, "no ping")
	}
	require.Empty(t, b.events())
	b.finish()
}

// A client that waits because the application is slow is pinged all the same, or
// it would leave. Its answers wait unread; from when they are read on it has all
// of PingTimeout again.
func TestPausedClientsArePinged(t *testing.T) {
	for _, c := range []struct {
		name       string
		open       []string
		fill, pong string
		again      []string
		ping       string
	}{
		{"WebSocket", []string{"ws EIO=4&transport=websocket conn=w"}, "frame w text 4x", "frame w text 3", nil, `w: text "2"`},
		{"polling", []string{"get EIO=4&transport=polling"}, "post sid=A 4x conn=d", "post sid=A 3 conn=e", []string{"get sid=A conn=g"}, "g: 200 2"},
	} {
		for _, answers := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/answers %v", c.name, answers), func(t *testing.T) {
				b := newHeld(t, 1, Options{Limits: Limits{MaxPending: 1}}, func(_ *bench, e *Events) { e.Admit = nil })
				b.begin(c.open...)
				b.play(c.fill)
				require.True(t, b.session("A").has(publicPaused))
				b.play(c.again...)
				b.play("advance 24900ms")
				for range 6 {
					require.Equal(t, []string{c.ping}, b.play("advance 200ms"))
					b.play(c.again...)
					require.Empty(t, b.play("advance 24800ms"))
				}
				b.rest()
				b.play("advance 1ms")
				require.False(t, b.session("A").has(publicPaused))
				b.log = nil
				b.play("advance 19900ms")
				require.NotContains(t, b.events(), "close")
				if answers {
					b.play(c.pong)
					b.rest()
					b.play("advance 20s")
					require.NotContains(t, b.events(), "close")
				}
				b.play("advance 46s")
				b.rest()
				require.Contains(t, b.events(), `close A "ping timeout"`)
				b.finish()
			})
		}
	}
}

// Pings do not pile up for a paused client that takes none.
func TestPausedClientThatTakesNothing(t *testing.T) {
	b := newHeld(t, 1, Options{Limits: Limits{MaxPending: 1}}, func(_ *bench, e *Events) { e.Admit = nil })
	b.begin("get EIO=4&transport=polling")
	b.play("post sid=A 4x conn=d", "advance 10m")
	require.Equal(t, packetSize, b.session("A").Buffered())
	require.Equal(t, []string{"g: 200 2"}, b.play("get sid=A conn=g"))
	b.rest()
	b.play("advance 10m")
	b.rest()
	b.finish()
}

// However short the heartbeat is, the server is never early: a client that uses
// up its time to the last millisecond lives, at whatever moment of the wheel's
// tick. It is late by a tick at most.
func TestShortHeartbeatsAreNotCutShort(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			b := newSpec(t, 1, Options{PingInterval: 200 * time.Millisecond, PingTimeout: timeout}, nil)
			step := b.server.Driver().LoopOptions().Tick
			b.play("advance 3ms", "ws EIO=3&transport=websocket conn=w", "ws EIO=4&transport=websocket conn=v")
			b.log = nil
			asked, last := time.Duration(0), b.world.Now()
			for end := last + 20*time.Second; b.world.Now() < end; b.world.Advance(time.Millisecond) {
				var lines []string
				if b.world.Now()-last == 200*time.Millisecond+timeout-time.Millisecond {
					lines = b.play("frame w text 2")
					last = b.world.Now()
				}
				if slices.Contains(append(lines, b.collect()...), `v: text "2"`) {
					asked = b.world.Now()
				}
				if asked != 0 && b.world.Now()-asked == timeout-time.Millisecond {
					b.play("frame v text 3")
					asked = 0
				}
			}
			require.Empty(t, b.events())
			b.world.Advance(200*time.Millisecond + timeout + 2*step)
			require.Contains(t, b.events(), `close A "ping timeout"`)
			b.world.Advance(200*time.Millisecond + timeout)
			b.finish()
		})
	}
}

// Sessions that an inquiry finds silent end a portion at a time: others do not wait
// for all of their callbacks.
func TestInquiriesAreAShareOfTime(t *testing.T) {
	const sessions = 40
	ended := 0
	b := newSpec(t, 2, Options{Timeouts: Timeouts{FirstRequest: 30 * time.Second, SlowCallback: -1}}, func(b *bench, e *Events) {
		closed := e.Close
		e.Close = func(s *Session, r Reason, err error) {
			closed(s, r, err)
			ended++
			b.world.Spend(walkTime / 4)
		}
	})
	b.dial = func(b *bench, _ string) *looptest.Peer { return b.world.DialLoop(0) }
	for range sessions {
		b.play("get EIO=4&transport=polling")
	}
	b.play("advance 29900ms")
	require.Zero(t, ended)
	for turns, last := 0, 0; ended < sessions; last = ended {
		turns++
		require.Less(t, turns, 1000)
		b.world.Spend(10 * time.Millisecond)
		b.world.Turn()
		require.LessOrEqual(t, ended-last, walkLook)
	}
	b.finish()
}
