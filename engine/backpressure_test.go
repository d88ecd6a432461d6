package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func filler(size int) Message { return Message{Data: []byte(strings.Repeat("x", size))} }

// Every limit, with either policy, on a session that polls too rarely.
func TestOverflow(t *testing.T) {
	limits := []struct {
		name    string
		options Options
		fits    int // messages of 100 bytes
		err     error
	}{
		{"MaxQueue", Options{Queue: Queue{MaxBytes: 1000}}, 4, ErrQueueFull},
		{"MaxQueuePackets", Options{Queue: Queue{MaxPackets: 3}}, 3, ErrQueueFull},
		{"QueueBudget", Options{Queue: Queue{Budget: 3 * 1000}}, 4, ErrBudget}, // 1,000 for each of 3 loops, and an eighth
	}
	for _, limit := range limits {
		for _, policy := range []Overflow{OverflowClose, OverflowDrop} {
			t.Run(limit.name+" "+policy.String(), func(t *testing.T) {
				o := limit.options
				o.Queue.Overflow = policy
				b := newSpec(t, -3, o, nil)
				b.play(hsPolling)
				b.events()
				s := b.session("A")
				for range limit.fits {
					require.NoError(t, s.Send(filler(100)))
				}
				require.Equal(t, limit.fits*(100+packetSize), s.Buffered())
				require.EqualValues(t, s.Buffered(), b.server.Stats().Queued)
				require.ErrorIs(t, s.Send(filler(100)), limit.err)
				require.ErrorIs(t, s.SendPrepared(prepared(filler(100))), map[Overflow]error{OverflowClose: ErrClosed, OverflowDrop: limit.err}[policy])
				if policy == OverflowClose {
					require.Zero(t, s.Buffered(), "memory comes back before the session's loop has its turn")
					b.world.Run()
					require.Equal(t, fmt.Sprintf("close A %q %s", "queue overflow", limit.err), b.events())
					require.EqualValues(t, 1, b.server.Stats().Closed[ReasonOverflow])
				} else {
					require.Equal(t, []string{"200 " + strings.Repeat(`4x{x100}\x1e`, limit.fits-1) + "4x{x100}"},
						b.play("get sid=A"))
					require.NoError(t, s.Send(filler(100)))
					require.Zero(t, b.server.Stats().Closed[ReasonOverflow])
				}
				b.finish()
			})
		}
	}
}

// A client that stops reading is cut off when its queue is full: its
// connection does not linger, and the others do not notice.
func TestOverflowCutsWhoDoesNotRead(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Queue: Queue{MaxBytes: 200_000}}, nil)
		b.play("ws EIO=4&transport=websocket conn=slow", "ws EIO=4&transport=websocket conn=good")
		b.events()
		slow := b.client("slow", "").peer
		slow.SetWindow(0)
		p := prepared(filler(10_000))
		sent := 0
		for ; b.session("A").State() == StateOpen; sent++ {
			require.Less(t, sent, 100)
			_ = b.server.Broadcast(p)
			b.world.Run()
			require.Equal(t, []string{`good: text "4x{x10000}"`}, b.collectFrom(b.client("good", "")))
			require.LessOrEqual(t, b.server.Stats().Queued, int64(200_000+64<<10+batchBytes+10_000), "the limit and what the connection holds")
		}
		require.Greater(t, sent, 20)
		require.Equal(t, `close A "queue overflow" engine: session queue full`, b.events())
		require.True(t, slow.Aborted())
		require.Zero(t, b.server.Stats().Queued)
		_ = b.server.Broadcast(p)
		b.world.Run()
		require.Len(t, b.collectFrom(b.client("good", "")), 1)
		b.finish()
	})
}

// A client that still reads is told, behind what it was given before.
func TestOverflowOfAReaderEndsWithACloseFrame(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{MaxBytes: 1000}}, func(b *bench, e *Events) {
		e.Message = func(s *Session, _ Message) {
			for s.Send(filler(100)) == nil {
			}
		}
	})
	b.play(hsWebSocket)
	b.events()
	b.play("send A before")
	lines := b.play("frame w text 4go")
	require.Equal(t, []string{"w: close", "w: closed"}, lines)
	require.Equal(t, `close A "queue overflow" engine: session queue full`, b.events())
	b.finish()
}

// Clients that do not read use the budget up, except for the reserve, which keeps
// clients that read going.
func TestBudgetSparesWhoReads(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000, Overflow: OverflowDrop}}, nil)
	b.play(hsPolling, hsPolling, "ws EIO=4&transport=websocket conn=good")
	slow, other, good := b.session("A"), b.session("B"), b.session("C")
	for slow.Send(filler(1000)) == nil {
	}
	require.Less(t, slow.Buffered(), 100_000)
	for range 100 {
		require.NoError(t, good.Send(filler(1000)), "its queue is empty each time")
		b.world.Run()
		require.Len(t, b.collectFrom(b.client("good", "")), 1)
	}
	before := b.server.Stats().Queued
	require.Greater(t, before, int64(95_000))
	require.LessOrEqual(t, before, int64(100_000), "who has much waiting gets nothing of the reserve")
	require.NoError(t, other.Send(filler(1000)), "who has little does")
	for other.Send(filler(1000)) == nil {
	}
	require.Greater(t, other.Buffered(), 10_000)
	require.LessOrEqual(t, b.server.Stats().Queued, int64(112_500), "the reserve has an end, too")
	b.play("get sid=A", "get sid=A")
	require.NoError(t, slow.Send(filler(1000)))
	b.finish()
}

// A session with little waiting, whose connection takes nothing, has no part in the
// reserve until its client reads again.
func TestBudgetDoesNotSpareWhoDoesNotRead(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000, Overflow: OverflowDrop}}, nil)
	b.play("ws EIO=4&transport=websocket conn=slow", "ws EIO=4&transport=websocket conn=good", hsPolling)
	slow, good, full := b.session("A"), b.session("B"), b.session("C")
	b.client("slow", "").peer.SetWindow(0)
	require.NoError(t, slow.Send(filler(1000)))
	b.world.Run()
	require.Zero(t, slow.Buffered(), "its connection has it")
	for full.Send(filler(1000)) == nil {
	}
	b.play("frame slow text 4x")
	require.ErrorIs(t, slow.Send(filler(1000)), ErrBudget)
	require.NoError(t, good.Send(filler(1000)))
	b.world.Run()
	require.Len(t, b.collectFrom(b.client("good", "")), 1)

	b.client("slow", "").peer.SetWindow(1 << 20)
	b.world.Run()
	require.NoError(t, slow.Send(filler(1000)))
	b.finish()
}

// Where nobody is to be cut, refused messages do not begin walk after walk.
func TestReliefRestsBetweenWalks(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000, Overflow: OverflowDrop}}, nil)
	b.play(hsPolling)
	s := b.session("A")
	const others = 200_000 // bytes that no session holds
	b.server.shards[0].queued.Add(others)
	require.ErrorIs(t, s.Send(filler(1000)), ErrBudget)
	require.True(t, b.world.Turn(), "a walk is begun")
	b.world.Run()
	require.ErrorIs(t, s.Send(filler(1000)), ErrBudget)
	require.False(t, b.world.Turn(), "no other one at once")
	b.world.Advance(2 * reliefRest)
	require.ErrorIs(t, s.Send(filler(1000)), ErrBudget)
	require.True(t, b.world.Turn())
	b.server.shards[0].queued.Add(-others)
	b.finish()
}

// What has left its session for a connection that does not take it counts, too.
// When it uses the budget up it goes, where no Send would meet it any more.
func TestBudgetIsRelievedOfWhatIsNotTaken(t *testing.T) {
	for _, c := range []struct {
		name     string
		commands []string
		packets  int // of 1,000 bytes
		cut      bool
		ends     bool // the session ends as well
	}{
		{"response to a poll", []string{hsPolling, "window c 0", "send A %s", "get sid=A conn=c"}, 80, true, false},
		{"response with a poll behind it", []string{hsPolling, "window c 0", "send A %s", "get sid=A conn=c", `raw c "GET /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\n\r\n"`}, 40, true, true},
		{"small one", []string{hsPolling, "window c 0", "send A %s", "get sid=A conn=c"}, 1, false, false},
		{"poll that closes", []string{hsPolling, "window c 0", "send A %s", `raw c "GET /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"`}, 80, true, false},
		{"WebSocket", []string{"ws EIO=4&transport=websocket conn=c", "window c 0", "send A %s"}, 80, true, true},
		{"WebSocket that closes", []string{"ws EIO=4&transport=websocket conn=c", "window c 0", "send A %s", "close c 1000"}, 60, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000}, CompressionThreshold: -1}, nil)
			for _, command := range c.commands {
				if strings.Contains(command, "%s") {
					command = fmt.Sprintf(command, strings.Repeat(strings.Repeat("x", 1000)+" ", c.packets))
				}
				b.play(command)
			}
			held := b.server.Stats().Queued
			require.GreaterOrEqual(t, held, int64(1000*c.packets))
			b.play(hsPolling, hsPolling, hsPolling, hsPolling, hsPolling, hsPolling, hsPolling)
			for i := 1; b.server.Stats().Queued <= 100_000; i++ { // by many that have little waiting each
				require.NoError(t, b.sessions[1+i%7].Send(filler(1000)))
			}
			b.world.Run()
			require.Equal(t, c.cut, b.client("c", "").peer.Aborted())
			require.Equal(t, c.ends, strings.Contains(b.events(), `close A "queue overflow" `+ErrBudget.Error()))
			if c.cut {
				require.EqualValues(t, 1, b.server.Stats().Limits[LimitQueueBudget])
				require.LessOrEqual(t, b.server.Stats().Queued, 101_000+int64(packetSize)-held)
			} else {
				require.Positive(t, b.server.Stats().Limits[LimitQueueBudget], "others have more waiting")
			}
			b.play(hsPolling)
			require.NoError(t, b.sessions[len(b.sessions)-1].Send(filler(1000)))
			b.finish()
		})
	}
}

// The marks are told once each, in turn, on the session's loop.
func TestWaterMarks(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Queue: Queue{MaxBytes: 10_000, HighWater: 1000, LowWater: 300}, MaxPayload: 300}, func(b *bench, e *Events) {
			e.HighWater = func(s *Session, buffered int) { b.heard("high", s, fmt.Sprint(buffered)) }
			e.LowWater = func(s *Session) { b.heard("low", s, "") }
		})
		b.play(hsPolling)
		b.events()
		s := b.session("A")
		send := func(n int) {
			for range n {
				require.NoError(t, s.Send(filler(100)))
			}
			b.world.Run()
		}
		send(4)
		require.Empty(t, b.events(), "912 bytes")
		send(1)
		require.Equal(t, "high A 1140", b.events())
		send(5)
		require.Empty(t, b.events(), "told already")
		b.play("get sid=A", "get sid=A", "get sid=A", "get sid=A")
		require.Empty(t, b.events(), "two packets a poll leave 456 bytes")
		b.play("get sid=A")
		require.Equal(t, "low A; drain A", b.events())
		send(5)
		require.Equal(t, "high A 1140", b.events())
		b.finish()
	})
}
