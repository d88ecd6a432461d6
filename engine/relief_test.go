package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"turbine/internal/race"
	"turbine/loop"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// Clients that read nothing and are sent much, in queues of any size, do not keep
// the server from those that read: each of these gets each of its echoes, and no
// session of theirs ends. What is held stays within the budget.
func TestBudgetServesWhoReadsBesideWhoDoesNot(t *testing.T) {
	for _, attack := range []struct {
		name  string
		bytes int // that one hostile client lets come before the next one does so
		form  string
	}{
		{"few large queues", 200_000, "polling"},
		{"queues just spared", 15_000, "polling"},
		{"tiny queues", 1000, "polling"},
		{"blocked WebSockets", 50_000, "ws"},
	} {
		for _, policy := range []Overflow{OverflowClose, OverflowDrop} {
			t.Run(fmt.Sprint(attack.name, "/", policy), func(t *testing.T) {
				const budget, good, rounds = 256 << 10, 30, 16
				b := newSpec(t, 1, Options{Queue: Queue{Budget: budget, Overflow: policy}}, func(_ *bench, e *Events) {
					e.Message = func(s *Session, m Message) { _ = s.Send(m) }
				})
				for i := range good {
					b.play(fmt.Sprintf("ws EIO=4&transport=websocket conn=g%d", i))
				}
				piece := filler(1000)
				sent, spoiled := 0, 0
				for round := range rounds {
					for quota := 50_000; quota > 0; { // 100 Mbit/s of four times the budget, against echoes each 16 ms
						if attack.form == "polling" {
							b.play("get EIO=3&transport=polling")
						} else {
							w := fmt.Sprintf("bad%d-%d", round, quota)
							b.play("ws EIO=4&transport=websocket conn=" + w)
							b.client(w, "").peer.SetWindow(0)
						}
						s := b.sessions[len(b.sessions)-1]
						for n := 0; n < attack.bytes && quota > 0; n += 1000 {
							quota -= 1000
							sent += 1000
							if s.Send(piece) != nil {
								spoiled++
								break
							}
							b.world.Run()
						}
					}
					for range 10 { // and the last bytes that are left
						b.play("get EIO=3&transport=polling")
						if b.sessions[len(b.sessions)-1].Send(filler(1)) != nil {
							break
						}
					}
					for i := range good {
						name := fmt.Sprintf("g%d", i)
						require.Contains(t, b.play("frame "+name+" text 4hi"), name+`: text "4hi"`, "round %d", round)
					}
					b.play("advance 16ms")
					require.LessOrEqual(t, b.server.Stats().Queued, int64(budget+budget/8))
				}
				require.Greater(t, sent, 2*budget)
				for i := range good {
					require.Equal(t, StateOpen, b.sessions[i].State())
				}
				require.Positive(t, b.server.Stats().Limits[LimitQueueBudget])
				t.Logf("%d bytes to hostile clients, %d times refused, %d held", sent, spoiled, b.server.Stats().Queued)
				b.finish()
			})
		}
	}
}

// A WebSocket that is no transport yet and reads nothing is cut as others are: its
// pongs cost no good client anything, and its session continues.
func TestReliefCutsCandidatesThatReadNothing(t *testing.T) {
	const budget, good, hostile = 256 << 10, 10, 20
	b := newSpec(t, 1, Options{Queue: Queue{Budget: budget}}, nil)
	b.echo = true
	for i := range good {
		b.play(fmt.Sprintf("ws EIO=4&transport=websocket conn=g%d", i))
	}
	pings := strings.Repeat(string(frame(ws.OpPing, strings.Repeat("x", ws.MaxControlFramePayloadSize))), 450)
	for i := range hostile {
		b.play(hsPolling)
		name := fmt.Sprintf("u%d", i)
		b.play("ws sid=" + b.name(b.sessions[good+i]) + " conn=" + name)
		b.client(name, "").peer.SetWindow(0)
		b.client(name, "").peer.Write([]byte(pings))
		b.play("advance 16ms")
		for i := range good {
			name := fmt.Sprintf("g%d", i)
			require.Contains(t, b.play("frame "+name+" text 4hi"), name+`: text "4hi"`, "beside %d", i)
		}
		require.LessOrEqual(t, b.server.Stats().Queued, int64(budget+budget/8))
	}
	for _, s := range b.sessions {
		require.Equal(t, StateOpen, s.State())
	}
	require.GreaterOrEqual(t, b.server.Stats().Limits[LimitQueueBudget], int64(hostile/2))
	b.finish()
}

// carrying is the handler of a connection that no session has, and the owner of its slot.
type carrying struct {
	deaf
	conn  *loop.Conn
	slot  loop.Slot
	ended bool
}

func (c *carrying) Alarm()              {}
func (c *carrying) Carried() *loop.Conn { return c.conn }
func (c *carrying) Closed(error) {
	c.ended = true
	c.conn.Loop().Release(c.slot)
	c.conn = nil
}

// A connection that carries another node's bytes to a client that reads nothing is cut as
// others are, and its end costs no session anything.
func TestReliefCutsConnectionsThatCarry(t *testing.T) {
	const budget = 256 << 10
	b := newSpec(t, 1, Options{Queue: Queue{Budget: budget}}, nil)
	b.echo = true
	b.play("ws EIO=4&transport=websocket conn=good")
	var all []*carrying
	for i := range 40 {
		c := &carrying{}
		peer := b.world.DialTo(0, func(conn *loop.Conn) loop.Handler {
			c.conn, c.slot = conn, conn.Loop().Claim(c)
			return c
		})
		peer.SetWindow(0)
		b.world.Run()
		all = append(all, c)
		require.NoError(t, b.world.Loops()[0].Post(loop.Func(func() { c.conn.Write(make([]byte, 20_000)) })))
		b.play("advance 16ms")
		require.LessOrEqual(t, b.server.Stats().Queued, int64(budget+budget/8))
		require.Contains(t, b.play("frame good text 4hi"), `good: text "4hi"`, "beside %d", i)
	}
	ended := 0
	for _, c := range all {
		if c.ended {
			ended++
		}
	}
	require.GreaterOrEqual(t, ended, 40-budget/20_000-1)
	require.EqualValues(t, ended, b.server.Stats().Limits[LimitQueueBudget])
	require.Equal(t, StateOpen, b.sessions[0].State())
	b.finish()
}

// Of queues of one size those that have waited longest go first.
func TestReliefCutsTheOldestOfOneSize(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000}}, nil)
	for range 100 {
		b.play(hsPolling)
	}
	for i, s := range b.sessions {
		if i == 50 {
			b.play("advance 20s")
		}
		require.NoError(t, s.Send(filler(900)))
		b.world.Run()
	}
	for _, s := range b.sessions[:50] {
		if s.State() == StateOpen {
			continue
		}
		for _, young := range b.sessions[50:] {
			require.Equal(t, StateOpen, young.State())
		}
		b.finish()
		return
	}
	require.Fail(t, "nobody was cut")
}

// A client that lags and reads stays, next to smaller queues that nobody reads.
func TestReliefSparesWhoLagsAndReads(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000}, MaxPayload: 2500, Timeouts: Timeouts{FirstRequest: time.Hour}, PingInterval: time.Hour}, nil)
	b.play(hsPolling)
	lags := b.session("A")
	for range 5 {
		require.NoError(t, lags.Send(filler(1000)))
	}
	for i := range 100 {
		b.play(hsPolling)
		require.NoError(t, b.sessions[1+i].Send(filler(900)))
		b.play("get sid=A", "advance 1s")
		require.NoError(t, lags.Send(filler(1000)))
		require.NoError(t, lags.Send(filler(1000)))
	}
	require.Equal(t, StateOpen, lags.State())
	require.Greater(t, lags.Buffered(), 3000, "more than any other has")
	require.Positive(t, b.server.Stats().Limits[LimitQueueBudget])
	b.finish()
}

// A message for many counts once, however many have it waiting, and what a
// session adds for each; it counts no more when the last one has let go of it.
func TestSharedMessageCountsOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, on int) {
		const sessions, size = 1400 / race.Less, 1_000_000
		b := newSpec(t, on, Options{Queue: Queue{Budget: 64 << 20}}, nil)
		for range sessions + 1 {
			b.play("get EIO=4&transport=polling conn=c")
		}
		heap := func() int64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		loops := map[*loop.Loop]bool{}
		for _, s := range b.sessions {
			loops[s.loop] = true
		}
		before := heap()
		p := prepared(Message{Data: []byte(strings.Repeat("x", size))})
		_ = b.server.Broadcast(p)
		b.world.Run()
		held := heap() - before
		queued := b.server.Stats().Queued
		require.LessOrEqual(t, queued, int64(len(loops)*(size+pool16)+(sessions+1)*packetSize))
		require.GreaterOrEqual(t, queued, int64(len(loops)*size+(sessions+1)*packetSize))
		t.Logf("%d counted, %d held", queued, held)
		for _, s := range b.sessions {
			require.Equal(t, StateOpen, s.State())
			require.Equal(t, packetSize+size, s.Buffered(), "what its client has to read")
		}
		require.Len(t, b.play("get sid=A"), 1)
		for _, s := range b.sessions[1:] {
			s.CloseNow()
		}
		b.world.Run()
		require.Zero(t, b.server.Stats().Queued)
		b.finish()
	})
}

// pool16 bounds what encoding adds to a prepared message.
const pool16 = 16

// Everything that lets go of a message for many takes it out of the count once:
// delivery, overflow, ends, on many servers and from many goroutines.
func TestSharedMessageIsLetGoOf(t *testing.T) {
	p := prepared(Message{Binary: true, Data: make([]byte, 5000)})
	for range 2 { // two servers share it
		b := newSpec(t, 1, Options{Queue: Queue{MaxBytes: 12_000}}, nil)
		defer b.finish()
		b.play(hsPolling, hsPolling, hsPolling)
		done := make(chan struct{})
		for _, s := range b.sessions {
			go func() {
				for range 2 {
					_ = s.SendPrepared(p)
				}
				done <- struct{}{}
			}()
		}
		for range b.sessions {
			<-done
		}
		b.world.Run()
		require.EqualValues(t, 6*packetSize+p.weight(), b.server.Stats().Queued)
		require.ErrorIs(t, b.sessions[0].SendPrepared(p), ErrQueueFull)
		require.EqualValues(t, 4*packetSize+p.weight(), b.server.Stats().Queued)
		b.play("get sid=B")
		require.EqualValues(t, 2*packetSize+p.weight(), b.server.Stats().Queued)
		b.sessions[2].CloseNow()
		b.world.Run()
		require.Zero(t, b.server.Stats().Queued)
	}
}
