package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"turbine/internal/race"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// texts are the messages that each WebSocket client was sent, by client.
func (b *bench) texts() map[string][]string {
	b.world.Run()
	got := map[string][]string{}
	for _, line := range b.collect() {
		name, rest, _ := strings.Cut(line, ": ")
		if text, ok := strings.CutPrefix(rest, `text "4`); ok {
			got[name] = append(got[name], strings.TrimSuffix(text, `"`))
		} else {
			got[name] = append(got[name], rest)
		}
	}
	return got
}

// What one caller does reaches each session in the order of the calls, whatever
// the targets and however many sessions are in front.
func TestOneCallersOrder(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(b *bench, s *Session, p func(string) *Prepared)
		want []string // what s gets
	}{
		"Broadcast, Publish": {func(b *bench, _ *Session, p func(string) *Prepared) {
			_ = b.server.Broadcast(p("A"))
			_ = b.server.Publish("g", p("B"))
		}, []string{"A", "B"}},
		"Publish, Broadcast, Publish": {func(b *bench, _ *Session, p func(string) *Prepared) {
			_ = b.server.Publish("g", p("A"))
			_ = b.server.Broadcast(p("B"))
			_ = b.server.Publish("g", p("C"))
		}, []string{"A", "B", "C"}},
		"Publish, Send, Publish": {func(b *bench, s *Session, p func(string) *Prepared) {
			_ = b.server.Publish("g", p("A"))
			require.NoError(t, s.Send(Message{Data: []byte("B")}))
			_ = b.server.Publish("g", p("C"))
		}, []string{"A", "B", "C"}},
		"Publish, sends of all kinds, Broadcast": {func(b *bench, s *Session, p func(string) *Prepared) {
			_ = b.server.Publish("g", p("A"))
			require.NoError(t, s.Send(Message{Data: []byte("B")}))
			require.NoError(t, s.SendPrepared(p("C")))
			require.NoError(t, s.SendWith(Message{Data: []byte("D")}, SendOptions{NoCompress: true, Sent: func() {}}))
			require.NoError(t, s.Send(Message{Data: []byte("E")}))
			_ = b.server.Broadcast(p("F"))
			require.NoError(t, s.Send(Message{Data: []byte("G")}))
		}, []string{"A", "B", "C", "D", "E", "F", "G"}},
		"Publish, Close": {func(b *bench, s *Session, p func(string) *Prepared) {
			_ = b.server.Publish("g", p("A"))
			require.NoError(t, s.Send(Message{Data: []byte("B")}))
			s.Close()
			require.ErrorIs(t, s.Send(Message{Data: []byte("C")}), ErrClosed)
			require.ErrorIs(t, s.SendPrepared(p("C")), ErrClosed)
			s.Close()
			_ = b.server.Publish("g", p("D"))
		}, []string{"A", "B", "close", "closed"}},
		"Send, Join, Publish": {func(b *bench, s *Session, p func(string) *Prepared) {
			_ = b.server.Broadcast(p("A"))
			require.NoError(t, s.Send(Message{Data: []byte("B")}))
			_ = b.server.Publish("h", p("not yet"))
			s.Join("h")
			_ = b.server.Publish("h", p("C"))
			s.Leave("h")
			_ = b.server.Publish("h", p("no more"))
			require.NoError(t, s.Send(Message{Data: []byte("D")}))
		}, []string{"A", "B", "C", "D"}},
		"audiences, Send": {func(b *bench, s *Session, p func(string) *Prepared) {
			only := func(o *Session) bool { return o == s }
			_ = b.server.PublishTo(Audience{Keep: only}, p("A"))
			_ = b.server.PublishTo(Audience{Groups: []string{"g"}, Keep: only}, p("B"))
			_ = b.server.PublishTo(Audience{Groups: []string{"h", "g"}, Sessions: []*Session{s}}, p("B2"))
			require.NoError(t, s.Send(Message{Data: []byte("C")}))
		}, []string{"A", "B", "B2", "C"}},
		"Publish, CloseGroup": {func(b *bench, s *Session, p func(string) *Prepared) {
			_ = b.server.Publish("g", p("A"))
			require.NoError(t, s.Send(Message{Data: []byte("B")}))
			b.server.CloseGroup("g")
			_ = b.server.Publish("g", p("C"))
		}, []string{"A", "B", "close", "closed"}},
		"Broadcast, CloseSessions": {func(b *bench, _ *Session, p func(string) *Prepared) {
			_ = b.server.Broadcast(p("A"))
			b.server.CloseSessions()
		}, []string{"A", "close", "closed"}},
	} {
		for _, sessions := range []int{1, 10, 3 * walkVisits} {
			for loops := 1; loops <= 3; loops += min(race.Less, 2) {
				for _, from := range []string{"a goroutine", "its callback", "another's callback", "a worker"} {
					t.Run(fmt.Sprintf("%s, from %s, %d sessions on %d loops", name, from, sessions, loops), func(t *testing.T) {
						o := Options{}
						if from == "a worker" {
							o.Executor = new(byHand)
						}
						var act func()
						b := newSpec(t, loops, o, func(_ *bench, e *Events) {
							e.Message = func(*Session, Message) { act() }
						})
						names := make([]string, sessions)
						for i := range names {
							names[i] = fmt.Sprint("w", i)
						}
						openMany(b, names...)
						last := b.sessions[sessions-1] // the walks come to it last
						for _, s := range b.sessions[sessions*2/3:] {
							s.Join("g") // so walks over all come later to it than those over the group
						}
						b.world.Run()
						act = func() { c.act(b, last, func(text string) *Prepared { return prepared(Message{Data: []byte(text)}) }) }
						switch from {
						case "a goroutine":
							onGoroutine(act)
						case "another's callback":
							b.client("w0", "").peer.Write(frame(1, "4x"))
						default:
							b.client(fmt.Sprint("w", sessions-1), "").peer.Write(frame(1, "4x"))
						}
						b.world.Run()
						b.rest()
						got := b.texts()
						require.Equal(t, c.want, got[fmt.Sprint("w", sessions-1)])
						for _, shard := range b.server.shards {
							require.Zero(t, shard.publishes.ahead.Load())
							require.Zero(t, shard.queued.Load())
						}
						b.server.CloseSessions()
						b.collect()
						b.rest()
						b.finish()
					})
				}
			}
		}
	}
}

// The same with many in front; the other sessions are spared the wait for them.
func TestOrderBehindTenThousand(t *testing.T) {
	const sessions = 10_000 / race.Less
	b := newSpec(t, 1, Options{Limits: Limits{MaxConns: 2 * sessions}}, nil)
	names := make([]string, sessions)
	for i := range names {
		names[i] = fmt.Sprint("w", i)
	}
	openMany(b, names...)
	for _, s := range b.sessions {
		s.Join("g")
	}
	last := b.sessions[sessions-1]
	b.world.Run()
	_ = b.server.Broadcast(say("A"))
	_ = b.server.Publish("g", say("B"))
	require.NoError(t, last.Send(Message{Data: []byte("C")}))
	_ = b.server.Publish("g", say("D"))
	last.Close()
	got := b.texts()
	require.Equal(t, []string{"A", "B", "D"}, got["w0"])
	require.Equal(t, []string{"A", "B", "C", "D", "close", "closed"}, got[fmt.Sprint("w", sessions-1)])
	b.server.CloseSessions()
	b.collect()
	b.finish()
}

// A session that ends while messages are held for it leaves nothing behind, and
// what is held counts for its limits.
func TestHeldMessagesCountAndEnd(t *testing.T) {
	for _, end := range []func(s *Session){(*Session).CloseNow, func(s *Session) { s.Close() }, nil} {
		b := newSpec(t, 1, Options{Queue: Queue{MaxPackets: 3}}, nil)
		var names []string
		for i := range 200 {
			names = append(names, fmt.Sprint("w", i))
		}
		openMany(b, names...)
		s := b.sessions[199]
		_ = b.server.Broadcast(say("A"))
		for i := range 3 {
			require.NoError(t, s.Send(Message{Data: []byte{'0' + byte(i)}}))
		}
		require.Positive(t, s.Buffered())
		if end != nil {
			end(s)
		} else {
			require.ErrorIs(t, s.Send(Message{}), ErrQueueFull)
		}
		b.world.Run()
		require.Equal(t, StateClosed, s.State())
		require.Zero(t, b.server.shards[0].queued.Load())
		require.Zero(t, b.server.shards[0].publishes.ahead.Load())
		b.got()
		b.finish()
	}
}

// A panic in a filter ends one session's part of a walk; what is behind it in the
// queue has its turn.
func TestPublishQueueOutlivesAPanic(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	openMany(b, "a", "b")
	done := false
	_ = b.server.PublishTo(Audience{Keep: func(s *Session) bool { panic("filter") }, Done: func(taken, refused int) {
		done = taken == 0 && refused == 2
		panic("Done")
	}}, say("A"))
	_ = b.server.Broadcast(say("B"))
	require.NotContains(t, b.got(), `"B"`)
	require.True(t, done)
	openMany(b, "c")
	_ = b.server.Broadcast(say("C"))
	require.Contains(t, b.got(), `c "C"`)
	b.logged.lines.Store(0)
	b.finish()
}

// A walk whose visits take long ends its portion early: others do not wait for
// as many visits as a walk has otherwise.
func TestWalksAreAShareOfTime(t *testing.T) {
	for name, begin := range map[string]func(s *Server, keep func(*Session) bool){
		"listed": func(s *Server, keep func(*Session) bool) {
			_ = s.PublishTo(Audience{Sessions: slices.Collect(s.Sessions()), Keep: keep}, say("x"))
		},
		"Broadcast": func(s *Server, keep func(*Session) bool) { _ = s.PublishTo(Audience{Keep: keep}, say("x")) },
		"Publish": func(s *Server, keep func(*Session) bool) {
			_ = s.PublishTo(Audience{Groups: []string{"g"}, Keep: keep}, say("x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSpec(t, 1, Options{Timeouts: Timeouts{SlowCallback: -1}}, nil)
			names := make([]string, walkVisits)
			for i := range names {
				names[i] = fmt.Sprint("w", i)
			}
			openMany(b, names...)
			for _, s := range b.sessions {
				s.Join("g")
			}
			b.world.Run()
			visits := 0
			begin(b.server, func(*Session) bool {
				visits++
				b.world.Spend(walkTime / 4)
				return true
			})
			for last := 0; visits < walkVisits; last = visits {
				b.world.Turn()
				require.LessOrEqual(t, visits-last, walkLook)
			}
			require.Len(t, b.texts(), walkVisits)
			b.finish()
		})
	}
}

// However much is sent behind a walk, it is let go of as fast as it came: what one
// session is sent without a word to others in between has one entry. So a client that
// sends without a pause, and reads, outlives a Broadcast, and nobody waits for long.
func TestSendsBehindAWalkAreLetGoTogether(t *testing.T) {
	for _, kind := range []string{"frames", "Sent", "prepared"} {
		t.Run(kind, func(t *testing.T) {
			const idle, floods, rounds, burst = 600, 4, 40 / min(race.Less, 4), 1_000
			p := prepared(Message{Data: []byte("p")})
			sent := 0
			b := newSpec(t, 1, Options{}, func(b *bench, e *Events) {
				e.Message = func(s *Session, m Message) {
					switch kind {
					case "frames":
						_ = s.Send(m)
					case "Sent":
						_ = s.SendWith(m, SendOptions{Sent: func() { sent++ }})
					case "prepared":
						_ = s.SendPrepared(p)
					}
				}
			})
			for i := range floods + idle {
				b.play(fmt.Sprintf("ws EIO=4&transport=websocket conn=c%d", i))
			}
			all := bytes.Repeat(frame(ws.OpText, "4a"), burst)
			got := make([]int, floods)
			read := func() {
				for i := range floods {
					got[i] += len(b.clients[i].peer.Read()) / len("\x81\x024a")
				}
			}
			_ = b.server.Broadcast(prepared(Message{Data: []byte("b")}))
			for range rounds {
				for _, c := range b.clients[:floods] {
					c.peer.Write(all)
				}
				b.world.Turn()
				read()
			}
			turns := 0
			for ; b.server.shards[0].publishes.ahead.Load() > 0; turns++ {
				b.world.Turn()
				read()
			}
			require.Less(t, turns, 5)
			b.world.Run()
			read()
			for i, s := range b.sessions[:floods] {
				require.Equal(t, StateOpen, s.State())
				require.Equal(t, rounds*burst+1, got[i], "with the one of the Broadcast")
			}
			if kind == "Sent" {
				require.Equal(t, floods*rounds*burst, sent)
			}
			b.finish()
		})
	}
}
