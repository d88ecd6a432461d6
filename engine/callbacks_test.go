package engine

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// hearAll logs every event of a session by name, and those of requests.
func (b *bench) hearAll(e *Events) {
	b.hearPackets(e)
	note := func(text string) {
		b.log = append(b.log, text)
		if b.on != nil {
			b.on(text, "")
		}
	}
	e.Admit = func(*Admission) error { note("admit"); return nil }
	e.InitialHeaders = func(*Request, http.Header) { note("initial") }
	e.Headers = func(*Request, http.Header) { note("headers") }
	e.ConnectionError = func(_ *Request, e *HandshakeError) { note(fmt.Sprint("error ", e.Code)) }
}

// Engine.IO specification, 2.3: the open packet is on its way, and the header
// fields are said, before Open. What Open sends is made behind it.
func TestHandshakeOrder(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, initial := range []*Message{nil, {Data: []byte("hi")}} {
			b := newSpec(t, loops, Options{InitialPacket: initial}, func(b *bench, e *Events) {
				b.hearAll(e)
				create := e.PacketCreate
				e.PacketCreate = func(s *Session, p Packet) {
					if p.Type == 0 {
						p.Data = nil // the JSON
					}
					create(s, p)
				}
				open := e.Open
				e.Open = func(s *Session, r *Request) {
					open(s, r)
					require.NoError(t, s.SendWith(Message{Data: []byte("x")}, SendOptions{Sent: func() { b.heard("sent", s, "x") }}))
				}
			})
			create, count := "create ? open; ", 1
			if initial != nil {
				create, count = create+"create ? message hi; ", 2
			}
			begin := fmt.Sprintf("admit; initial; headers; %sflush ? %d; flushed ? 0; open %%s; create %%[1]s message x", create, count)
			b.play(hsPolling)
			require.Equal(t, fmt.Sprintf(begin, "A"), b.events())
			b.play("get sid=A")
			require.Equal(t, "headers; flush A 1; sent A x; flushed A 0; drain A", b.events())
			b.play(hsWebSocket)
			require.Equal(t, fmt.Sprintf(begin, "B")+"; flush B 1; flushed B 0; sent B x", b.events())
			b.play("ws sid=A conn=x")
			require.Equal(t, "headers", b.events())
			b.play("get EIO=4&transport=none", "ws EIO=4&transport=websocket&sid=none conn=y")
			require.Equal(t, "error 0; error 1", b.events())
			b.finish()
		}
	})
}

// The whole life of a session in events.
func TestLifeInEvents(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) { b.hearPackets(e) })
		b.play(hsPolling)
		b.events()
		for _, c := range []struct{ command, events string }{
			{"post sid=A 4hi", `packet A message hi; message A "hi"`},
			{"get sid=A conn=p", ""},
			{"advance 25s", "create A ping; flush A 1; flushed A 0"},
			{"post sid=A 3", "packet A pong; heartbeat A"},
			{"send A one two", "create A message one; create A message two"},
			{"ws sid=A conn=w", ""},
			{"frame w text 2probe", "upgrading A"},
			{"frame w text 5", "upgrade A; flush A 2; flushed A 0; drain A"},
			{"frame w text 4up", `packet A message up; message A "up"`},
			{"send A three", "create A message three; flush A 1; flushed A 0"},
			{"close-session A", `close A "forced close"`},
			{"send A four", ""},
		} {
			b.play(c.command)
			require.Equal(t, c.events, b.events(), c.command)
		}
		b.finish()
	})
}

// No event comes after Close, whatever ends the session and with whatever
// waiting, and none before Open but those of the open packet.
func TestCloseIsLast(t *testing.T) {
	ends := []string{"close-session A", "post sid=A 1", "post sid=A x", "get sid=A", "reset p", "advance 50s", "shutdown", "post sid=A \"4a\\x1e1\\x1e4b\""}
	wsEnds := []string{"close-session A", "frame w text 1", "frame w text x", "close w 1000", "reset w", "fin w", "advance 50s", "shutdown"}
	onLoops(t, func(t *testing.T, loops int) {
		test := func(end string, setup ...string) {
			b := newSpec(t, loops, Options{}, func(b *bench, e *Events) { b.hearPackets(e) })
			b.play(setup...)
			for range 3 {
				_ = b.sendWith("A", "x")
			}
			b.play(end, "send A late")
			_ = b.sendWith("A", "late")
			b.world.Advance(b.options.Timeouts.Close + time.Minute)
			b.collect()
			require.Regexp(t, `close A "[^;]*$`, b.events(), "%s after %q", end, setup)
			b.finish()
			require.Empty(t, b.events())
		}
		for _, end := range ends {
			test(end, hsPolling)
			test(end, hsPolling, "get sid=A conn=p")
			test(end, hsPolling, "ws sid=A conn=w", "frame w text 2probe")
		}
		for _, end := range wsEnds {
			test(end, hsWebSocket)
			test(end, hsWebSocket, "window w 0")
			test(end, hsPolling, "get sid=A conn=p", "ws sid=A conn=w", "frame w text 2probe", "frame w text 5")
		}
	})
}

// A panic in a callback costs exactly its session, in good order: Close comes
// once and last, and one line is logged.
func TestPanicInEvents(t *testing.T) {
	polling, webSocket := "get EIO=4&transport=polling", "ws EIO=4&transport=websocket conn=b"
	polling3, webSocket3 := "get EIO=3&transport=polling", "ws EIO=3&transport=websocket conn=b"
	for _, c := range []struct {
		event   string
		setup   []string
		trigger []string
	}{
		{"create", nil, []string{polling}},
		{"create", nil, []string{webSocket}},
		{"flush", nil, []string{polling}},
		{"flush", nil, []string{webSocket}},
		{"flushed", nil, []string{polling}},
		{"flushed", nil, []string{webSocket}},
		{"packet", []string{polling}, []string{`post sid=B "4one\x1e4two"`}},
		{"packet", []string{polling, "get sid=B conn=p"}, []string{`post sid=B "4one\x1e4two"`}},
		{"packet", []string{webSocket}, []string{"frames b 4one 4two"}},
		{"packet", []string{webSocket}, []string{"frame b text 1"}},
		{"create", []string{polling, "get sid=B conn=p"}, []string{"frame other text 4x", "advance 25s"}},
		{"create", []string{webSocket}, []string{"advance 25s"}},
		{"create", []string{polling3}, []string{"post sid=B 1:2"}},
		{"create", []string{webSocket3}, []string{"frames b 2 4x"}},
		{"flush", []string{polling}, []string{"send B x", "get sid=B"}},
		{"flush", []string{polling, "get sid=B conn=p"}, []string{"send B x"}},
		{"flush", []string{webSocket}, []string{"send B x"}},
		{"flush", []string{polling3}, []string{"send B x", "get sid=B"}},
		{"flushed", []string{polling}, []string{"send B x", "get sid=B"}},
		{"flushed", []string{polling, "get sid=B conn=p"}, []string{"send B x"}},
		{"flushed", []string{webSocket}, []string{"send B x"}},
		{"heartbeat", []string{polling, "get sid=B conn=p", "advance 25s"}, []string{"post sid=B 3"}},
		{"heartbeat", []string{webSocket, "advance 25s"}, []string{"frames b 3 4x"}},
		{"heartbeat", []string{polling3, "get sid=B conn=p"}, []string{"post sid=B 1:2"}},
		{"heartbeat", []string{webSocket3}, []string{"frames b 2 4x"}},
		{"upgrading", []string{polling, "ws sid=B conn=b"}, []string{"frames b 2probe 5 4x"}},
		{"upgrading", []string{polling, "get sid=B conn=p", "ws sid=B conn=b"}, []string{"frames b 2probe 5 4x"}},
		{"sent", []string{polling}, []string{"get sid=B"}},
		{"sent", []string{polling, "get sid=B conn=p"}, nil},
		{"sent", []string{webSocket}, nil},
		{"sent", []string{polling, "ws sid=B conn=b", "frame b text 2probe"}, []string{"frame b text 5"}},
	} {
		for _, loops := range []int{1, 2, -3} {
			t.Run(fmt.Sprintf("%s %q %q/%d", c.event, c.setup, c.trigger, max(loops, -loops)), func(t *testing.T) {
				log := new(counter)
				b := newSpec(t, loops, Options{Logger: slog.New(log)}, func(b *bench, e *Events) { b.hearPackets(e) })
				b.play("ws EIO=4&transport=websocket conn=other")
				b.play(c.setup...)
				if len(c.setup) > 0 { // the other one keeps its heart
					b.play("frame other text 3")
				}
				b.events()
				panics, armed := 0, len(c.setup) > 0
				b.on = func(event, name string) {
					if event == c.event && name != "A" && (name == "B" || !armed) {
						panics++
						panic("the application's fault")
					}
				}
				if c.event == "sent" {
					require.NoError(t, b.sendWith("B", "one"))
					require.NoError(t, b.sendWith("B", "two"))
					b.world.Run()
				}
				b.play(c.trigger...)
				got := b.events()
				name := "B"
				if !armed {
					name = "?"
					require.NotContains(t, got, "; open", "not after its end")
				}
				require.Equal(t, 1, panics, got)
				require.Equal(t, 1, strings.Count(got, "close "+name), got)
				var own []string
				for _, event := range strings.Split(got, "; ") {
					if strings.Fields(event)[1] == name {
						own = append(own, event)
					}
				}
				require.Equal(t, `close `+name+` "transport error" engine: panic in a callback`, own[len(own)-1], got)
				require.EqualValues(t, 1, log.lines.Load(), "lines in the log")

				b.on = nil
				b.collect()
				b.play("frame other text 4still", "send A here")
				require.Contains(t, b.events(), `message A "still"`)
				require.Equal(t, 1, b.server.Stats().Sessions)
				for s := range b.closes {
					require.Zero(t, s.Buffered())
					require.Equal(t, StateClosed, s.State())
				}
				b.finish()
				require.EqualValues(t, 1, log.lines.Load(), "lines in the log")
			})
		}
	}
}

// A panic in Headers or InitialHeaders costs the fields, one in ConnectionError
// nothing but the line in the log.
func TestPanicInRequestEvents(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, event := range []string{"initial", "headers", "error 0"} {
			log := new(counter)
			b := newSpec(t, loops, Options{Logger: slog.New(log)}, func(b *bench, e *Events) { b.hearAll(e) })
			b.on = func(heard, _ string) {
				if heard == event {
					panic("the application's fault")
				}
			}
			require.True(t, strings.HasPrefix(b.play(hsPolling)[0], "200 0{"))
			require.Equal(t, `400 {"code":0,"message":"Transport unknown"}`, b.play("get EIO=4&transport=none")[0])
			require.Equal(t, "w: 101", b.play(hsWebSocket)[0])
			require.Equal(t, 2, b.server.Stats().Sessions)
			require.Positive(t, log.lines.Load())
			b.finish()
		}
	})
}

// Sent comes once a message and in order, across an upgrade at any moment.
func TestSentAcrossUpgrade(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		steps := []string{"get sid=A conn=p", "ws sid=A conn=w", "frame w text 2probe", "frame w text 5", "advance 1s"}
		for at := range steps {
			b := newSpec(t, loops, Options{}, nil)
			b.play(hsPolling)
			b.events()
			n := 0
			send := func() {
				for range 3 {
					require.NoError(t, b.sendWith("A", fmt.Sprint("x", n)))
					n++
				}
			}
			var got []string
			for i, step := range steps {
				if i == at {
					send()
				}
				got = append(got, b.play(step)...)
				if i > at {
					send()
				}
			}
			got = append(got, b.collect()...)
			var sent []string
			for _, event := range b.log {
				if text, ok := strings.CutPrefix(event, "sent A "); ok {
					sent = append(sent, text)
				}
			}
			require.Len(t, sent, n, "%d: %q", at, got)
			all := strings.Join(got, "\n")
			for i, text := range sent {
				require.Equal(t, fmt.Sprint("x", i), text)
			}
			require.Equal(t, n, strings.Count(all, "4x"), "%q", got)
			b.finish()
		}
	})
}

// On a WebSocket, Sent waits for the operating system to take the message.
func TestSentWaitsForReader(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		b.play(hsWebSocket, "window w 0")
		b.events()
		require.NoError(t, b.sendWith("A", "one"))
		require.NoError(t, b.sendWith("A", "two"))
		b.world.Run()
		require.Empty(t, b.events())
		b.play("window w 100000")
		require.Equal(t, "sent A one; sent A two", strings.ReplaceAll(b.events(), "; drain A", ""))
		b.finish()
	})
}

// An orderly end lets what was sent before be said to be sent, in order, and
// before Close.
func TestSentBeforeClose(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, slow := range []bool{false, true} {
			b := newSpec(t, loops, Options{}, nil)
			b.play(hsWebSocket)
			if slow {
				b.play("window w 0")
			}
			b.events()
			require.NoError(t, b.sendWith("A", "one"))
			require.NoError(t, b.sendWith("A", "two"))
			b.session("A").Close()
			require.Equal(t, StateOpen, b.session("A").State())
			b.world.Run()
			if slow {
				require.Empty(t, b.events())
				require.Equal(t, StateClosing, b.session("A").State())
				b.play("window w 100000")
			}
			require.Equal(t, `sent A one; sent A two; close A "forced close"`, strings.ReplaceAll(b.events(), "; drain A", ""))
			b.finish()

			b = newSpec(t, loops, Options{}, nil)
			b.play(hsPolling)
			b.events()
			require.NoError(t, b.sendWith("A", "one"))
			b.session("A").Close()
			b.world.Run()
			require.Equal(t, []string{"200 4one", `200 6\x1e1`}, b.play("get sid=A", "get sid=A"))
			require.Equal(t, `sent A one; drain A; close A "forced close"`, b.events())
			b.finish()
		}
	})
}

// A Sent that sends, and one that closes.
func TestSentSends(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, form := range []string{hsPolling, hsWebSocket} {
			b := newSpec(t, loops, Options{}, nil)
			b.play(form)
			left := 3
			s := b.session("A")
			var again func()
			again = func() {
				b.heard("sent", s, fmt.Sprint(left))
				if left--; left == 0 {
					s.Close()
				}
				_ = s.SendWith(Message{Data: []byte("x")}, SendOptions{Sent: again})
			}
			b.events()
			require.NoError(t, s.SendWith(Message{Data: []byte("x")}, SendOptions{Sent: again}))
			b.world.Run()
			for range 4 {
				if form == hsPolling && s.State() != StateClosed {
					b.play("get sid=A conn=p")
				}
			}
			b.collect()
			require.Equal(t, `sent A 3; sent A 2; sent A 1; close A "forced close"`, strings.ReplaceAll(b.events(), "; drain A", ""), form)
			b.finish()
		}
	})
}

// What a session says about itself, in each state.
func TestSessionTells(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, nil)
		b.play(hsPolling + " conn=p")
		s := b.session("A")
		tell := func() string {
			return fmt.Sprint(s.State(), " ", s.Transport(), " ", s.Upgraded(), " ", s.Buffered(), " ", s.Revision(), " ", s.RemoteAddr())
		}
		address := func(name string) string { return b.client(name, "").peer.Addr().String() }
		require.Equal(t, "open polling false 0 4 "+address("p"), tell())
		b.play("send A abc", "send A d")
		require.Equal(t, fmt.Sprint("open polling false ", 2*packetSize+4, " 4 "+address("p")), tell())
		b.play("ws sid=A conn=w", "frame w text 2probe")
		require.Equal(t, fmt.Sprint("open polling false ", 2*packetSize+4, " 4 "+address("p")), tell())
		b.play("frame w text 5")
		require.Equal(t, "open websocket true 0 4 "+address("w"), tell())
		b.play("window w 0", "send A repeat=,70000,a b", "close-session A")
		require.Equal(t, fmt.Sprint("closing websocket true ", packetSize+len("\x81\x024b"), " 4 "+address("w")), tell())
		b.play("window w 1000000")
		require.Equal(t, "closed websocket true 0 4 invalid AddrPort", tell())
		b.play("ws EIO=3&transport=websocket conn=x")
		s = b.session("B")
		require.Equal(t, "open websocket false 0 3 "+address("x"), tell())
		require.Equal(t, "unknown", State(0).String())
		b.finish()
	})
}

// A panic in PacketCreate below the application's own Send: the session of the
// callback that sent is closed, nothing is left on loan, and a broadcast reaches
// the sessions behind.
func TestPanicBelowSend(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, how := range []string{"callback", "prepared", "broadcast"} {
			log := new(counter)
			b := newSpec(t, loops, Options{Logger: slog.New(log)}, func(b *bench, e *Events) {
				e.PacketCreate = func(s *Session, p Packet) {
					if b.name(s) == "B" && p.Type == 4 {
						panic("the application's fault")
					}
				}
				message := e.Message
				e.Message = func(s *Session, m Message) {
					message(s, m)
					if how == "prepared" {
						_ = s.SendPrepared(prepared(m))
					} else {
						_ = s.Send(m)
					}
				}
			})
			for i := range 4 {
				b.play(fmt.Sprint("ws EIO=4&transport=websocket conn=c", i))
			}
			b.events()
			switch how {
			case "broadcast":
				_ = b.server.Broadcast(prepared(Message{Data: []byte("x")}))
			default:
				for i := range 4 {
					b.client(fmt.Sprint("c", i), "").peer.Write(frame(1, "4x"))
				}
			}
			require.ElementsMatch(t, []string{`c0: text "4x"`, "c1: close", "c1: closed", `c2: text "4x"`, `c3: text "4x"`}, b.collect(), how)
			require.Contains(t, b.events(), `close B "transport error" engine: panic in a callback`)
			require.Equal(t, 3, b.server.Stats().Sessions)
			require.EqualValues(t, 1, log.lines.Load())
			b.finish()
		}
	})
}
