package engine

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Messages count on the transport that carries them, whatever form they have on it, with
// the bytes that the application sees.
func TestStatsCountMessages(t *testing.T) {
	two := func(messages, bytes int64) Traffic { return Traffic{messages, bytes} }
	for _, c := range []struct {
		name     string
		options  Options
		commands []string
		on       Transport
		in, out  Traffic
	}{
		{"a post", Options{}, []string{hsPolling, "post sid=A 4hello"}, Polling, two(1, 5), Traffic{}},
		{"a post of three, one of them binary, and one empty", Options{}, []string{hsPolling, `post sid=A "4hello\x1ebAQID\x1e4"`}, Polling, two(3, 8), Traffic{}},
		{"a post with a heartbeat", Options{}, []string{hsPolling, `post sid=A "3\x1e4a"`}, Polling, two(1, 1), Traffic{}},
		{"a post of revision 3", Options{}, []string{"get EIO=3&transport=polling", "post sid=A 6:4hello2:4x"}, Polling, two(2, 6), Traffic{}},
		{"a poll that waits", Options{}, []string{hsPolling, "get sid=A conn=p", "send A hello"}, Polling, Traffic{}, two(1, 5)},
		{"a poll for three", Options{}, []string{hsPolling, `send A hello "" yy`, "sendbin A 010203", "get sid=A"}, Polling, Traffic{}, two(4, 10)},
		{"a poll, compressed", Options{}, []string{hsPolling, "send A repeat=,5000,x", "get sid=A header=Accept-Encoding:gzip"}, Polling, Traffic{}, two(1, 5000)},
		{"a poll of revision 3 as base64", Options{}, []string{"get EIO=3&transport=polling&b64=1", "sendbin A 010203", "get sid=A"}, Polling, Traffic{}, two(1, 3)},
		{"a noop is no message", Options{}, []string{hsPolling, "get sid=A conn=p", "ws sid=A conn=w", "frame w text 2probe"}, Polling, Traffic{}, Traffic{}},
		{"nor is what nobody fetches", Options{}, []string{hsPolling, "send A hello"}, Polling, Traffic{}, Traffic{}},
		{"what a broadcast brings", Options{}, []string{hsPolling, hsPolling, "broadcast hello", "get sid=A", "get sid=B"}, Polling, Traffic{}, two(2, 10)},
		{"an initial packet", Options{InitialPacket: &Message{Data: []byte("welcome")}}, []string{hsPolling}, Polling, Traffic{}, two(1, 7)},
		{"a frame", Options{}, []string{hsWebSocket, "frame w text 4hello"}, WebSocket, two(1, 5), Traffic{}},
		{"frames together", Options{}, []string{hsWebSocket, "frames w 4a 4bb 3 4ccc"}, WebSocket, two(3, 6), Traffic{}},
		{"a binary frame", Options{}, []string{hsWebSocket, "frame w binary 010203"}, WebSocket, two(1, 3), Traffic{}},
		{"a binary frame of revision 3", Options{}, []string{"ws EIO=3&transport=websocket conn=w", "frame w binary 04010203"}, WebSocket, two(1, 3), Traffic{}},
		{"frames out", Options{}, []string{hsWebSocket, `send A hello "" yy`, "sendbin A 010203"}, WebSocket, Traffic{}, two(4, 10)},
		{"frames out that wait together", Options{}, []string{hsWebSocket, "window w 0", "send A repeat=,100000,x", "send A hello yy repeat=,200,z", "window w 4000000"}, WebSocket, Traffic{}, two(4, 100_207)},
		{"binary frames out of revision 3", Options{}, []string{"ws EIO=3&transport=websocket conn=w", "sendbin A 010203", "sendbin A 04"}, WebSocket, Traffic{}, two(2, 4)},
		{"binary as base64", Options{}, []string{"ws EIO=4&transport=websocket&b64=1 conn=w", "sendbin A 010203"}, WebSocket, Traffic{}, two(1, 3)},
		{"a large frame out", Options{}, []string{hsWebSocket, "send A repeat=,70000,x"}, WebSocket, Traffic{}, two(1, 70_000)},
		{"a compressed frame out", Options{PerMessageDeflate: &PerMessageDeflate{}}, []string{hsWebSocket + " header=Sec-WebSocket-Extensions:permessage-deflate", "send A repeat=,5000,x"}, WebSocket, Traffic{}, two(1, 5000)},
		{"a broadcast of frames", Options{}, []string{hsWebSocket, "broadcast hello", "broadcastbin 010203"}, WebSocket, Traffic{}, two(2, 8)},
		{"an initial packet on WebSocket", Options{InitialPacket: &Message{Data: []byte("welcome")}}, []string{hsWebSocket}, WebSocket, Traffic{}, two(1, 7)},
		{"pings of WebSocket and of the protocol", Options{}, []string{hsWebSocket, "frame w ping x", "advance 25s", "frame w text 3"}, WebSocket, Traffic{}, Traffic{}},
		{"what comes when the session closes", Options{}, []string{hsPolling, "send A x", "close-session A", "post sid=A 4late"}, Polling, Traffic{}, Traffic{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, loops int) {
				b := newSpec(t, loops, c.options, nil)
				b.play(c.commands...)
				b.tick()
				other := Polling + WebSocket - c.on
				s := b.server.Stats()
				require.Equal(t, c.in, s.ByTransport[c.on].In, "in")
				require.Equal(t, c.out, s.ByTransport[c.on].Out, "out")
				require.Zero(t, s.ByTransport[other].In, "in on %v", other)
				require.Zero(t, s.ByTransport[other].Out, "out on %v", other)
				b.finish()
			})
		})
	}
}

// tick lets the loops show what they have counted.
func (b *bench) tick() { b.world.Advance(b.options.tick()) }

// A session counts where it is carried, and its messages where they went: an upgrade
// moves the session and leaves its counts.
func TestStatsFollowAnUpgrade(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, _ *Events) { b.echo = true })
		b.play(hsPolling, "get EIO=3&transport=polling", "ws EIO=3&transport=websocket conn=c", "post sid=A 4one")
		b.tick()
		s := b.server.Stats()
		require.Equal(t, TransportStats{Sessions: RevisionStats{1, 1}, Opened: RevisionCount{1, 1}, In: Traffic{1, 3}}, s.ByTransport[Polling])
		require.Equal(t, TransportStats{Sessions: RevisionStats{Revision3: 1}, Opened: RevisionCount{Revision3: 1}}, s.ByTransport[WebSocket])

		b.play("get sid=A", "ws sid=A conn=w", "frame w text 2probe", "frames w 5 4three")
		b.tick()
		s = b.server.Stats()
		require.Equal(t, TransportStats{
			Sessions: RevisionStats{Revision3: 1}, Opened: RevisionCount{1, 1}, In: Traffic{1, 3}, Out: Traffic{1, 3},
		}, s.ByTransport[Polling])
		require.Equal(t, TransportStats{
			Sessions: RevisionStats{1, 1}, Opened: RevisionCount{Revision3: 1}, In: Traffic{1, 5}, Out: Traffic{1, 5},
		}, s.ByTransport[WebSocket])
		require.Zero(t, s.ByTransport[0], "there is no transport 0")
		require.Equal(t, 3, s.Sessions)
		b.finish()
	})
}

// Whatever becomes of an upgrade, it is counted once, by its end.
func TestStatsCountUpgrades(t *testing.T) {
	for _, c := range []struct {
		name, end string
		done      bool
		failed    UpgradeEnd
	}{
		{"done", "frames w 2probe 5", true, 0},
		{"done without a probe", "frame w text 5", true, 0},
		{"a message instead", "frame w text 4x", false, UpgradeInvalid},
		{"no packet", "frame w text x", false, UpgradeInvalid},
		{"no frame", `raw w "\xff\x80\x00\x00\x00\x00"`, false, UpgradeInvalid},
		{"close frame", "close w 1000", false, UpgradeLost},
		{"reset", "reset w", false, UpgradeLost},
		{"end of stream", "fin w", false, UpgradeLost},
		{"too slow", "advance 10s", false, UpgradeTimeout},
		{"session closed", "post sid=A 1", false, UpgradeSession},
	} {
		t.Run(c.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, loops int) {
				b := newSpec(t, loops, Options{}, nil)
				b.play(hsPolling, "ws sid=A conn=w")
				require.Equal(t, UpgradeStats{Now: 1, Started: 1}, b.server.Stats().Upgrades)
				b.play(c.end)
				want := UpgradeStats{Started: 1}
				if c.done {
					want.Done = 1
				} else {
					want.Failed[c.failed] = 1
				}
				require.Equal(t, want, b.server.Stats().Upgrades)
				b.finish()
			})
		})
	}
}

func TestStatsCountPolls(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		b.play(hsPolling, hsPolling, hsPolling, "get sid=A conn=a", "get sid=B conn=b", "get sid=C conn=c")
		require.Equal(t, 3, b.server.Stats().Polls)
		b.play("send A x")
		require.Equal(t, 2, b.server.Stats().Polls, "one was answered")
		b.play("reset b")
		require.Equal(t, 1, b.server.Stats().Polls, "one was lost")
		b.play("post sid=C 1")
		require.Zero(t, b.server.Stats().Polls, "one has ended with its session")
		b.finish()
	})
}

// What waits is told beside what may wait, and the loop that has most is told apart.
func TestStatsOfWhatWaits(t *testing.T) {
	b := newSpec(t, 3, Options{Queue: Queue{Budget: 30_000}, Limits: Limits{PendingBudget: 40_000}, Executor: new(byHand)}, nil)
	b.play(hsPolling, hsPolling, hsPolling, "send A x", "send B repeat=,1000,x", "send C yy")
	s := b.server.Stats()
	require.EqualValues(t, 3*packetSize+1+1000+2, s.Queued)
	require.EqualValues(t, packetSize+1000, s.QueuedLargest)
	require.EqualValues(t, 30_000, s.QueueBudget)
	require.EqualValues(t, 40_000, s.PendingBudget)
	require.Zero(t, s.Pending)
	require.Len(t, s.Loops, 3)
	var queued []int64
	for _, l := range s.Loops {
		require.Equal(t, 1, l.Sessions)
		queued = append(queued, l.Queued)
	}
	require.ElementsMatch(t, []int64{packetSize + 1, packetSize + 1000, packetSize + 2}, queued)
	b.held = true
	b.play("post sid=A 4hello")
	require.Positive(t, b.server.Stats().Pending)
	b.held = false
	b.finish()
}

// A ping is late by what held up its loop when it was due, and by the rest of a tick.
func TestStatsOfLatePingsAndLoops(t *testing.T) {
	b := newSpec(t, 1, Options{}, func(b *bench, e *Events) {
		messaged := e.Message
		e.Message = func(s *Session, m Message) {
			messaged(s, m)
			b.world.Spend(300 * time.Millisecond)
		}
	})
	b.play(hsWebSocket)
	b.world.Advance(b.options.PingInterval - 40*time.Millisecond)
	before := b.server.Stats()
	require.Zero(t, before.PingLateness.Count(), "none is due")
	require.Positive(t, before.LoopLag.Count())
	require.Equal(t, before.LoopLag.Count(), before.LoopLag.Counts[0], "the loop was idle")

	b.play("frame w text 4x") // and the ping is due while the callback runs
	b.world.Run()
	s := b.server.Stats()
	require.EqualValues(t, 1, s.PingLateness.Count())
	require.InDelta(t, 260*time.Millisecond, s.PingLateness.Sum, float64(b.options.tick()))
	late := s.LoopLag.Sum - before.LoopLag.Sum
	require.GreaterOrEqual(t, late, 300*time.Millisecond-b.options.tick())
	require.LessOrEqual(t, late, 300*time.Millisecond)
	require.EqualValues(t, 1, s.LoopLag.Count()-s.LoopLag.Counts[0], "one tick was late")
	b.play("frame w text 3")
	b.finish()
}

// The phase goes one way, and the time counts from when there are loops.
func TestStatsOfAServersLife(t *testing.T) {
	server, err := New(Options{Loops: 2, Limits: Limits{MaxConns: 77}}, Events{})
	require.NoError(t, err)
	s := server.Stats()
	require.Equal(t, PhaseNew, s.Phase)
	require.Zero(t, s.Uptime)
	require.Nil(t, s.Loops)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	w := dialWire(t, listener.Addr().String())
	w.websocket()
	s = server.Stats()
	require.Equal(t, PhaseServing, s.Phase)
	require.Positive(t, s.Uptime)
	require.Len(t, s.Loops, 2)
	require.Equal(t, 77, s.MaxConns)
	require.Equal(t, 1, s.Conns)
	require.Equal(t, AcceptStats{Accepted: 1}, s.Accepts)
	require.Positive(t, s.Descriptors.Used)
	require.GreaterOrEqual(t, s.Descriptors.Limit, s.Descriptors.Used)
	require.Equal(t, s.Descriptors.Limit-s.Descriptors.Used, s.Descriptors.Left())

	server.CloseSessions()
	require.Equal(t, PhaseDraining, server.Stats().Phase)
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-served, ErrServerClosed)
	s = server.Stats()
	require.Equal(t, PhaseEnded, s.Phase)
	requireBalance(t, s)

	never, err := New(Options{}, Events{})
	require.NoError(t, err)
	require.NoError(t, never.Close())
	require.Equal(t, PhaseEnded, never.Stats().Phase, "it cannot serve any more")
}

func TestDescriptorsLeftAreNeverFewerThanNone(t *testing.T) {
	require.Equal(t, 3, DescriptorStats{Used: 7, Limit: 10}.Left())
	require.Zero(t, DescriptorStats{Used: 11, Limit: 10}.Left(), "the limit was lowered")
	require.Zero(t, DescriptorStats{Used: 7}.Left(), "it is not known")
}

// Each names every figure once, in a form that exporters can take, and has the values
// of Stats.
func TestEachHasAllFigures(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling, hsWebSocket, "post sid=A 4hello", "send B hi", "get EIO=5&transport=polling", "get sid=A conn=p")
	b.tick()
	values, counters := map[string]int64{}, map[string]bool{}
	var order []string
	b.server.Stats().Each(func(name, label string, value int64, counter bool) {
		require.Regexp(t, `^[a-z]+(_[a-z]+)*$`, name)
		require.Regexp(t, `^$|^[a-z]+="[^"\\]+"(,[a-z]+="[^"\\]+")*$`, label)
		require.Equal(t, strings.HasSuffix(name, "_total"), counter, name)
		key := name + "{" + label + "}"
		require.NotContains(t, values, key)
		if known, ok := counters[name]; ok {
			require.Equal(t, known, counter, name)
			require.Equal(t, name, order[len(order)-1], "all of a name come together")
		}
		values[key], counters[name] = value, counter
		order = append(order, name)
	})
	for key, want := range map[string]int64{
		`phase{phase="serving"}`: 1, `phase{phase="draining"}`: 0, "loops{}": 1,
		`sessions{transport="polling",revision="4"}`: 1, `sessions{transport="websocket",revision="4"}`: 1, `sessions{transport="websocket",revision="3"}`: 0,
		`sessions_opened_total{transport="polling",revision="4"}`: 1,
		`messages_received_total{transport="polling"}`:            1, `messages_received_bytes_total{transport="polling"}`: 5,
		`messages_sent_total{transport="websocket"}`: 1, `messages_sent_bytes_total{transport="websocket"}`: 2,
		`requests_refused_total{reason="revision"}`: 1, "polls_waiting{}": 1, `loop_sessions{loop="0"}`: 2,
		`sessions_closed_total{reason="ping_timeout"}`: 0, `upgrades_ended_total{outcome="done"}`: 0, `limits_met_total{limit="payload"}`: 0,
	} {
		require.Contains(t, values, key)
		require.Equal(t, want, values[key], key)
	}
	labels := len(values)
	require.Greater(t, labels, NumLimits+NumCauses+NumReasons+NumUpgradeEnds)
	b.finish()
}

// A scrape waits for no loop, even one that does not return from a callback.
func TestStatsWhileALoopIsHeldUp(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	server, address, ended := serveWith(t, Options{Loops: 1, Timeouts: Timeouts{SlowCallback: -1}}, Events{
		Message: func(*Session, Message) { close(inside); <-leave },
	})
	w := dialWire(t, address)
	w.websocket()
	require.NoError(t, w.write("4x"))
	<-inside
	s := server.Stats()
	require.Equal(t, 1, s.Sessions)
	require.Equal(t, 1, s.ByTransport[WebSocket].Sessions.Revision4)
	require.Zero(t, s.ByTransport[WebSocket].In, "it is shown at a tick")
	close(leave)
	require.Eventually(t, func() bool { return server.Stats().ByTransport[WebSocket].In == Traffic{1, 1} }, patience, time.Millisecond)
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

func TestNamesOfFigures(t *testing.T) {
	seen := map[string]bool{}
	unique := func(kind string, names int, name func(i int) string) {
		for i := range names {
			full := kind + name(i)
			require.Regexp(t, `^[a-z]+ [a-z]+(_[a-z]+)*$`, full)
			require.False(t, seen[full], full)
			seen[full] = true
		}
	}
	unique("cause ", NumCauses-1, func(i int) string { return Cause(i + 1).String() })
	unique("end ", NumUpgradeEnds-1, func(i int) string { return UpgradeEnd(i + 1).String() })
	unique("phase ", int(PhaseEnded)+1, func(i int) string { return Phase(i).String() })
	for _, unknown := range []fmt.Stringer{Cause(0), Cause(NumCauses), UpgradeEnd(0), UpgradeEnd(NumUpgradeEnds), PhaseEnded + 1} {
		require.Equal(t, "unknown", unknown.String())
	}
}
