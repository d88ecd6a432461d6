package engine

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// byHand is an Executor whose tasks run when a test says so, one after another.
type byHand struct {
	tasks []func()
}

func (e *byHand) Submit(task func()) error {
	e.tasks = append(e.tasks, task)
	return nil
}

// step runs the next task, if there is one.
func (e *byHand) step() bool {
	if len(e.tasks) == 0 {
		return false
	}
	task := e.tasks[0]
	e.tasks = e.tasks[1:]
	task()
	return true
}

// newHeld is a bench with an Executor that does nothing until rest.
func newHeld(t *testing.T, loops int, o Options, change func(b *bench, e *Events)) *bench {
	o.Executor = new(byHand)
	b := newSpec(t, loops, o, change)
	b.held = true
	return b
}

// begin lets the application hear of what has opened.
func (b *bench) begin(commands ...string) {
	b.t.Helper()
	for _, command := range commands {
		b.play(command)
		b.rest()
		b.collect()
	}
	b.log = nil
}

// What scripts say of the server without an Executor is true with one.
func TestScriptsOnExecutor(t *testing.T) {
	runScripts(t, func() *byHand { return new(byHand) })
}

// Events wait for the Executor and come in order, with the end as the last.
func TestExecutorKeepsOrder(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newHeld(t, loops, Options{}, func(_ *bench, e *Events) { e.Admit = nil })
		b.play("ws EIO=4&transport=websocket conn=w")
		for i := range 3 * maxBatch {
			b.play(fmt.Sprintf("frame w text 4%d", i))
		}
		b.play("frame w binary 0102", "frame w text 4", "close w")
		require.Empty(t, b.events())
		require.EqualValues(t, (3*maxBatch+4)*eventSize+10+2*(3*maxBatch-10)+2, b.server.Stats().Pending)
		b.rest()
		want := []string{"open A"}
		for i := range 3 * maxBatch {
			want = append(want, fmt.Sprintf(`message A "%d"`, i))
		}
		want = append(want, "message A binary 0102", `message A ""`, `close A "transport close"`)
		require.Equal(t, strings.Join(want, "; "), b.events())
		require.Zero(t, b.server.Stats().Pending)
		b.finish()
	})
}

// The session's other events keep their places among the messages.
func TestExecutorKeepsOrderOfAllEvents(t *testing.T) {
	var b *bench
	heard := func(event string) func(*Session) { return func(s *Session) { b.heard(event, s, "") } }
	b = newHeld(t, 1, Options{Queue: Queue{HighWater: 1000, LowWater: 10}}, func(_ *bench, e *Events) {
		e.Admit = nil
		e.Heartbeat, e.Upgrading, e.LowWater = heard("heartbeat"), heard("upgrading"), heard("low")
		e.HighWater = func(s *Session, n int) { b.heard("high", s, fmt.Sprint(n > 1000)) }
	})
	b.play(hsPolling)
	b.rest()
	s := b.session("A")
	b.play("get sid=A conn=p", "post sid=A 4one", "ws sid=A conn=w", "frame w text 2probe", "frame w text 5", "frame w text 4two")
	b.play("advance 26s", "frame w text 3", "window w 0", "send A repeat=,100000,x repeat=,2000,y", "frame w text 4three")
	require.NoError(t, s.SendWith(Message{}, SendOptions{Sent: func() { b.heard("sent", s, "") }}))
	b.play("window w 1000000", "frame w text 4four", "close w")
	require.Equal(t, "open A", b.events())
	b.rest()
	require.Equal(t, `message A "one"; upgrading A; upgrade A; message A "two"; heartbeat A; high A true; message A "three"; `+
		`low A; drain A; sent A; message A "four"; close A "transport close"`, b.events())
	b.finish()
}

// On a WebSocket nothing more is read while the application is behind; what was
// sent arrives when it has caught up.
func TestExecutorPausesWebSocket(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newHeld(t, loops, Options{Limits: Limits{MaxPending: 4 * eventSize}}, func(_ *bench, e *Events) { e.Admit = nil })
		b.begin(hsWebSocket)
		w := b.client("w", "").peer
		for i := range 20 {
			w.Write(frame(ws.OpText, fmt.Sprint("4", i)))
			b.work()
		}
		require.NotZero(t, w.Unread())
		require.Equal(t, 16*len(frame(ws.OpText, "4xx"))-6, w.Unread())
		require.Less(t, b.server.Stats().Pending, int64(6*eventSize))
		require.EqualValues(t, 1, b.server.Stats().Limits[LimitPending])
		b.rest()
		require.Zero(t, w.Unread())
		for i := range 20 {
			require.Contains(t, b.log[i], fmt.Sprintf(`message A "%d"`, i))
		}
		b.finish()
	})
}

// A client that is not read from cannot be heard: the heartbeat waits, and has its
// time when reading continues.
func TestExecutorPauseSparesHeartbeat(t *testing.T) {
	for _, revision := range []int{3, 4} {
		for _, answers := range []bool{true, false} {
			b := newHeld(t, 1, Options{Limits: Limits{MaxPending: 1}}, func(_ *bench, e *Events) { e.Admit = nil })
			b.begin(fmt.Sprintf("ws EIO=%d&transport=websocket conn=w", revision))
			b.play("frame w text 4slow", "advance 24s")
			for range 10 {
				b.play("advance 20s")
			}
			require.Equal(t, StateOpen, b.session("A").State())
			if answers {
				b.play(map[int]string{3: "frame w text 2", 4: "frame w text 3"}[revision])
			}
			b.held = false
			b.rest()
			b.play("advance 19s")
			require.Equal(t, StateOpen, b.session("A").State())
			b.play("advance 2s")
			require.Equal(t, answers, b.session("A").State() == StateOpen, "revision %d", revision)
			b.finish()
		}
	}
}

// On polling a post is answered when the application has caught up.
func TestExecutorHoldsPost(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		o := Options{Limits: Limits{MaxPending: 2 * eventSize}}
		b := newHeld(t, loops, o, func(_ *bench, e *Events) { e.Admit = nil })
		b.begin(hsPolling)
		require.Equal(t, []string{"200 ok"}, b.play("post sid=A 4a"))
		require.Empty(t, b.play(`post sid=A conn=p "4b\x1e4c"`))
		require.Equal(t, []string{"g: 200 4hello"}, b.play("get sid=A conn=g", "send A hello"))
		require.Empty(t, b.events())
		b.rest()
		require.Equal(t, `message A "a"; message A "b"; message A "c"`, b.events())
		require.Equal(t, []string{"p: 200 ok", "200 ok"}, append(b.collect(), b.play("post sid=A 4d")...))

		// A client that does not wait for the answer breaks the protocol's rule.
		require.Empty(t, b.play(`post sid=A conn=p "4e\x1e4f"`))
		require.ElementsMatch(t, []string{"p: 200 ok", "400"}, b.play("post sid=A 4g"))
		b.rest()
		require.Equal(t, `message A "d"; message A "e"; message A "f"; close A "transport error" `+ErrDataOverlap.Error(), b.events())

		// One whose connection breaks is gone.
		b.begin(hsPolling)
		require.Empty(t, b.play(`post sid=B conn=q "4a\x1e4b"`, "reset q"))
		b.rest()
		require.Equal(t, `message B "a"; message B "b"; close B "transport error" `+ErrDataLost.Error(), b.events())

		// One that the server closes hears that its messages were taken.
		b.begin(hsPolling)
		require.Empty(t, b.play(`post sid=C conn=r "4a\x1e4b"`))
		b.session("C").CloseNow()
		require.Equal(t, []string{"r: 200 ok"}, b.collect())
		b.rest()
		require.Equal(t, `close C "forced close"`, b.events(), "the application has closed it: it hears no more messages")

		// One that probes a WebSocket has closed its poll and waits for the answer: it
		// gets the answer, once, or it could neither go over nor be pinged.
		b.begin(hsPolling)
		require.Empty(t, b.play(`post sid=D conn=s "4a\x1e4b"`))
		require.ElementsMatch(t, []string{`v: 101`, `v: text "3probe"`, "s: 200 ok"},
			b.play("ws sid=D conn=v", "frame v text 2probe"))
		require.Empty(t, b.play(`post sid=D conn=t "4e"`, "frame v text 2probe")[1:], "but one of a session")
		require.Equal(t, []string{"t: 200 ok"}, b.play("frame v text 5"))
		b.client("v", "").peer.Write(frame(ws.OpText, "4c"))
		b.work()
		require.NotZero(t, b.client("v", "").peer.Unread())
		b.rest()
		require.Equal(t, `message D "a"; message D "b"; message D "e"; upgrade D; message D "c"`, b.events())

		// A client that probes again and again gets no further.
		b.begin(hsPolling)
		require.Empty(t, b.play(`post sid=E conn=x "4a\x1e4b"`))
		require.Contains(t, b.play("ws sid=E conn=y", "frame y text 2probe"), "x: 200 ok")
		require.NotContains(t, b.play(`post sid=E conn=z "4c"`, "reset y", "ws sid=E conn=y2", "frame y2 text 2probe"), "z: 200 ok")
		b.rest()
		require.Equal(t, `message E "a"; message E "b"; message E "c"`, b.events())
		b.finish()
	})
}

// Beyond the budget a session is closed that more comes from; from half of it on
// clients have to wait, and one that has too much waiting is closed.
func TestExecutorBudget(t *testing.T) {
	budget := int64(200 * eventSize)
	b := newHeld(t, 1, Options{Limits: Limits{PendingBudget: budget, MaxPending: 1 << 20}}, func(_ *bench, e *Events) { e.Admit = nil })
	b.begin("ws EIO=4&transport=websocket conn=greedy", "ws EIO=4&transport=websocket conn=fair")
	burst := func(n int) {
		b.client("greedy", "").peer.Write([]byte(strings.Repeat(string(frame(ws.OpText, "4x")), n))) // one read
		b.work()
	}
	burst(150)
	b.play("frame fair text 4hi", "frame fair text 4waits")
	require.NotZero(t, b.client("fair", "").peer.Unread())
	b.rest()
	events := b.events()
	require.Equal(t, 150, strings.Count(events, `message A "x"`))
	require.Contains(t, events, `message B "hi"`)
	require.Contains(t, events, `message B "waits"`)
	require.Zero(t, b.server.Stats().Pending)

	burst(300)
	require.Equal(t, StateClosed, b.session("A").State())
	require.EqualValues(t, 1, b.server.Stats().Limits[LimitPendingBudget])
	require.EqualValues(t, eventSize, b.server.Stats().Pending, "its end alone")
	b.play("frame fair text 4again")
	b.rest()
	require.Equal(t, StateOpen, b.session("B").State())
	require.Equal(t, `close A "queue overflow" `+ErrPendingBudget.Error()+`; message B "again"`, b.events())
	require.Zero(t, b.server.Stats().Pending)
	b.finish()
}

// A session that begins when the budget is used up is closed. The application could
// not be told that it came, and is not told that it went.
func TestExecutorBudgetRefusesOpen(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newHeld(t, loops, Options{Limits: Limits{PendingBudget: 1}}, func(_ *bench, e *Events) { e.Admit = nil })
		b.play(hsPolling, hsPolling, hsWebSocket)
		require.EqualValues(t, 2, b.server.Stats().Limits[LimitPendingBudget])
		b.ends[ReasonOverflow] += 2 // the server counts them all the same
		b.rest()
		opened := map[string]bool{}
		for _, line := range b.log {
			event, name, _ := strings.Cut(line, " ")
			name, _, _ = strings.Cut(name, " ")
			if event == "open" {
				opened[name] = true
			}
			require.True(t, opened[name], "%s without open", line)
		}
		require.Len(t, opened, 1)
		require.Zero(t, b.server.Stats().Pending)
		b.finish()
	})
}

// A session with much to do does not keep others waiting.
func TestExecutorIsFair(t *testing.T) {
	b := newHeld(t, 1, Options{}, func(_ *bench, e *Events) { e.Admit = nil })
	b.begin("ws EIO=4&transport=websocket conn=a", "ws EIO=4&transport=websocket conn=b")
	b.client("a", "").peer.Write([]byte(strings.Repeat(string(frame(ws.OpText, "4x")), 10*maxBatch)))
	b.work()
	b.play("frame b text 4y")
	b.rest()
	at := 0
	for i, line := range b.log {
		if strings.HasPrefix(line, "message B") {
			at = i
		}
	}
	require.LessOrEqual(t, at, maxBatch)
	require.Len(t, b.log, 10*maxBatch+1)
	b.finish()
}

// One whose callbacks take long keeps others waiting for one of them.
func TestExecutorIsFairInTime(t *testing.T) {
	b := newHeld(t, 1, Options{}, func(_ *bench, e *Events) { e.Admit = nil })
	b.begin("ws EIO=4&transport=websocket conn=a", "ws EIO=4&transport=websocket conn=b")
	now := time.Now()
	b.server.dispatch.clock = func() time.Time { return now }
	b.on = func(event, name string) {
		if event == "message" && name == "A" {
			now = now.Add(maxTurn)
		}
	}
	b.play("frames a 4one 4two 4three", "frames b 4x 4y")
	b.rest()
	require.Equal(t, `message A "one"; message B "x"; message B "y"; message A "two"; message A "three"`, b.events())
	b.finish()
}

// A panic costs its own session: what waits of it is dropped, except the end.
func TestExecutorPanic(t *testing.T) {
	for _, withClose := range []bool{true, false} {
		log := new(counter)
		b := newHeld(t, 2, Options{Logger: slog.New(log)}, func(_ *bench, e *Events) {
			e.Admit = nil
			if !withClose {
				e.Close = nil
			}
		})
		b.begin("ws EIO=4&transport=websocket conn=a", "ws EIO=4&transport=websocket conn=b")
		b.on = func(event, name string) {
			if event == "message" && name == "A" {
				panic("the application's fault")
			}
		}
		for i := range 2 * maxBatch {
			b.play(fmt.Sprintf("frame a text 4%d", i))
		}
		b.play("frame b text 4x")
		b.rest()
		want := `message A "0"; message B "x"`
		if withClose {
			want += `; close A "transport error" ` + ErrCallbackPanic.Error()
		}
		require.Equal(t, want, b.events())
		require.Equal(t, StateClosed, b.session("A").State())
		require.EqualValues(t, 1, log.lines.Load())
		require.True(t, b.server.dispatch.idle())
		b.play("frame b text 4y")
		b.rest()
		require.Equal(t, `message B "y"`, b.events())
		if withClose {
			b.finish()
		}
	}
}

// A panic before Open costs the session its Open and, as without an Executor, not its
// Close.
func TestExecutorPanicBeforeOpen(t *testing.T) {
	for _, shake := range []string{hsPolling, hsWebSocket} {
		log := new(counter)
		b := newHeld(t, 1, Options{Logger: slog.New(log)}, func(b *bench, e *Events) {
			b.hearPackets(e)
			e.Admit = nil
		})
		b.on = func(event, _ string) {
			if event == "create" {
				panic("the application's fault")
			}
		}
		b.play(shake)
		b.rest()
		require.Contains(t, b.events(), `close ? "transport error" `+ErrCallbackPanic.Error())
		require.EqualValues(t, 1, log.lines.Load())
		require.True(t, b.server.dispatch.idle())
		b.on = nil
		b.finish()
	}
}

// A panic in Close itself.
func TestExecutorPanicInClose(t *testing.T) {
	log := new(counter)
	b := newHeld(t, 1, Options{Logger: slog.New(log)}, func(_ *bench, e *Events) { e.Admit = nil })
	b.begin(hsWebSocket)
	b.on = func(event, _ string) { panic(event) }
	b.play("close w")
	b.rest()
	require.EqualValues(t, 1, log.lines.Load())
	b.on = nil
	b.finish()
}

// After the application's own Close no messages come, as without an Executor.
func TestExecutorCloseInCallback(t *testing.T) {
	for _, now := range []bool{false, true} {
		b := newHeld(t, 1, Options{}, func(_ *bench, e *Events) { e.Admit = nil })
		b.begin(hsWebSocket)
		b.on = func(event, _ string) {
			switch {
			case event != "message":
			case now:
				b.session("A").CloseNow()
			default:
				b.session("A").Close()
			}
		}
		b.play("frames w 4a 4b 4c")
		b.rest()
		require.Equal(t, `message A "a"; close A "forced close"`, b.events())
		b.on = nil
		b.finish()
	}
}

// Admit may take its time on the Executor.
func TestExecutorAdmit(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, upgrade := range []bool{false, true} {
			log := new(counter)
			var admit func(a *Admission) error
			b := newHeld(t, loops, Options{Logger: slog.New(log), Limits: Limits{MaxAdmitting: 3}}, func(b *bench, e *Events) {
				e.Admit = func(a *Admission) error { return admit(a) }
				opened := e.Open
				e.Open = func(s *Session, r *Request) {
					opened(s, r)
					require.Equal(t, "ada", r.Query("name"))
				}
			})
			command, refused := "get EIO=4&transport=polling&name=ada show=X-Why conn=", 403
			if upgrade {
				command, refused = "ws EIO=4&transport=websocket&name=ada show=X-Why conn=", 400
			}
			ask := func(name string) string {
				require.Empty(t, b.play(command+name))
				b.rest()
				return strings.Join(b.collect(), "|")
			}
			admit = func(a *Admission) error {
				a.SetValue(a.Query("name"))
				a.ResponseHeader().Set("X-Why", "because")
				return nil
			}
			require.Contains(t, ask("a"), "[X-Why: because]")
			b.rest()
			require.Equal(t, "ada", b.session("A").Value())

			admit = func(a *Admission) error { return Refuse("not you") }
			require.Contains(t, ask("b"), fmt.Sprint("b: ", refused))

			var later *Verdict
			admit = func(a *Admission) error { later = a.Later(); return nil }
			require.Empty(t, ask("c"))
			later.Accept()
			require.NotEmpty(t, b.collect())
			b.rest()
			require.Equal(t, StateOpen, b.session("B").State())

			require.Zero(t, log.lines.Load())
			admit = func(a *Admission) error { panic("the application's fault") }
			require.Contains(t, ask("d"), fmt.Sprint("d: ", refused))
			require.EqualValues(t, 1, log.lines.Load())

			// The application is not asked about a client whose time is up while it waits.
			asked := 0
			admit = func(a *Admission) error { asked++; return nil }
			require.Empty(t, b.play(command+"e"))
			require.Contains(t, strings.Join(b.play("advance 11s"), "|"), "e: 503")
			b.rest()
			require.Zero(t, asked)
			b.finish()
		}
	})
}

// Nothing is kept for a session of which nothing waits.
func TestExecutorKeepsNothing(t *testing.T) {
	b := newHeld(t, 1, Options{}, func(_ *bench, e *Events) { e.Admit = nil })
	b.begin(hsWebSocket)
	b.play("frame w text 4x")
	require.Len(t, b.server.dispatch.inboxes, 1)
	b.rest()
	require.Empty(t, b.server.dispatch.inboxes)
	require.Nil(t, b.session("A").extra)
	require.Zero(t, OnLoan())
	b.finish()
}

// The time in which a callback may send is not over when the loop continues.
func TestExecutorSendsFromCallbacks(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newHeld(t, loops, Options{PingInterval: time.Hour}, func(_ *bench, e *Events) { e.Admit = nil })
		b.echo = true
		b.begin(hsWebSocket, hsPolling)
		b.play("frames w 4a 4b 4c", "post sid=B 4x", "get sid=B conn=p")
		b.rest()
		require.ElementsMatch(t, []string{`w: text "4a"`, `w: text "4b"`, `w: text "4c"`, "p: 200 4x"}, b.collect())
		b.finish()
	})
}
