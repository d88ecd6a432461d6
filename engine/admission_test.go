package engine

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// parking is a bench whose handshakes all wait for their verdicts, in the order
// in which they came.
type parking struct {
	*bench
	verdicts []*Verdict
}

func newParking(t *testing.T, loops int, o Options) *parking {
	p := &parking{}
	p.bench = newSpec(t, loops, o, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			p.verdicts = append(p.verdicts, a.Later())
			return nil
		}
	})
	return p
}

// onGoroutine runs f where an application's own work would be done.
func onGoroutine(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// onLoops runs test on one, two and three loops.
func onLoops(t *testing.T, test func(t *testing.T, loops int)) {
	for _, loops := range []int{1, 2, -3} {
		t.Run(fmt.Sprintf("%d loops", max(loops, -loops)), func(t *testing.T) { test(t, loops) })
	}
}

// What the client is told when Admit returns an error, at once or later.
func TestAdmitRefuses(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, c := range []struct{ text, json, plain string }{
			{"no", `"no"`, "no"},
			{"", `"Forbidden"`, "Forbidden"},
			{`say "please"`, `"say \"please\""`, `say "please"`},
			{"nö <b>", `"nö <b>"`, "nö <b>"},
			{"a\r\nb", `"a\r\nb"`, `a\x0d\x0ab`},
		} {
			for _, later := range []bool{false, true} {
				var heard []string
				b := newSpec(t, loops, Options{}, func(_ *bench, e *Events) {
					e.Admit = func(a *Admission) error {
						a.SetValue(1)
						a.SetID("never")
						if !later {
							a.ResponseHeader().Set("X-Why", "because")
							return Refuse(c.text)
						}
						v := a.Later()
						require.Same(t, v, a.Later())
						v.ResponseHeader().Set("X-Why", "because")
						onGoroutine(func() { v.Refuse(Refuse(c.text)) })
						v.Accept()
						return nil
					}
					e.ConnectionError = func(_ *Request, e *HandshakeError) { heard = append(heard, fmt.Sprint(e.Code, e.Message)) }
				})
				for _, revision := range []string{"4", "3"} {
					require.Equal(t, []string{`403 [x-why: because] {"code":4,"message":` + c.json + `}`},
						b.play("get EIO="+revision+"&transport=polling show=x-why"))
					name := "w" + revision
					require.Equal(t, []string{name + ": 400 [x-why: because] " + c.plain, name + ": closed"},
						b.play("ws EIO="+revision+"&transport=websocket show=x-why conn="+name))
				}
				require.Equal(t, []string{"4Forbidden", "4Forbidden", "4Forbidden", "4Forbidden"}, heard)
				require.Empty(t, b.events())
				require.Zero(t, b.server.Stats().Sessions)
				b.finish()
			}
		}
	})
}

// An error outweighs Later; what the verdict says then is too late.
func TestAdmitRefusesAfterLater(t *testing.T) {
	var verdict *Verdict
	b := newSpec(t, 1, Options{}, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			verdict = a.Later()
			return Refuse("no")
		}
	})
	require.Equal(t, []string{`403 {"code":4,"message":"no"}`}, b.play(hsPolling))
	verdict.Accept()
	require.Empty(t, b.collect())
	require.Equal(t, []string{"w: 400 no", "w: closed"}, b.play(hsWebSocket))
	verdict.Accept()
	require.Empty(t, b.collect())
	require.Empty(t, b.events())
	b.finish()
}

// A verdict that comes at once, or from another goroutine while the client
// waits: with value, id and header fields, on both transports.
func TestLaterAccepts(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, when := range []string{"direct", "at once", "later"} {
			for _, command := range []string{hsPolling + " conn=w", hsWebSocket} {
				var verdict *Verdict
				b := newSpec(t, loops, Options{}, func(_ *bench, e *Events) {
					e.Admit = func(a *Admission) error {
						if when == "direct" {
							a.SetValue("the value")
							a.SetID("the id")
							a.ResponseHeader().Add("X-One", "1")
							a.ResponseHeader().Add("X-One", "2")
							return nil
						}
						verdict = a.Later()
						if when == "at once" {
							accept(verdict)
						}
						return nil
					}
				})
				got := b.play(command + " show=x-one")
				if when == "later" {
					require.Empty(t, got)
					b.world.Advance(9 * time.Second)
					require.Empty(t, b.collect())
					require.Zero(t, b.server.Stats().Sessions)
					onGoroutine(func() { accept(verdict) })
					got = b.collect()
				}
				require.NotEmpty(t, got)
				require.Regexp(t, `^w: (200|101) \[x-one: 1\] \[x-one: 2\]`, got[0])
				require.Equal(t, "open A", b.events())
				require.Equal(t, "the id", b.session("A").ID())
				require.Equal(t, "the value", b.session("A").Value())
				if verdict != nil {
					verdict.Refuse(Refuse("changed my mind"))
					verdict.Accept()
				}
				require.Empty(t, b.collect())
				require.Equal(t, 1, b.server.Stats().Sessions)
				b.finish()
			}
		}
	})
}

func accept(v *Verdict) {
	v.SetValue("the value")
	v.SetID("the id")
	v.ResponseHeader().Add("X-One", "1")
	v.ResponseHeader().Add("X-One", "2")
	v.Accept()
}

// A client that goes while it waits leaves nothing behind. One that only ends its
// direction, behind a handshake by polling, may be there to read the response.
func TestLaterLost(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, end := range []string{"reset w", "fin w"} {
			for _, command := range []string{hsPolling + " conn=w", hsWebSocket} {
				for _, before := range []bool{false, true} {
					p := newParking(t, loops, Options{})
					require.Empty(t, p.play(command))
					if before { // both are seen in one turn
						p.verdicts[0].Accept()
					}
					p.play(end)
					onGoroutine(p.verdicts[0].Accept)
					p.verdicts[0].Refuse(Refuse("no"))
					p.world.Advance(time.Minute)
					log := p.events()
					require.Equal(t, strings.Count(log, "open"), strings.Count(log, "close A")+p.server.Stats().Sessions)
					if !before && (end == "reset w" || command == hsWebSocket) {
						require.Empty(t, log)
						require.Zero(t, p.server.Stats().Sessions)
					}
					for _, sh := range p.server.shards {
						require.Zero(t, sh.parked)
					}
					p.finish()
				}
			}
		}
	})
}

// A client that waits too long is told 503. The connection of a poll continues, and
// the late verdict has no hold on what comes after.
func TestAdmitTimeout(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		p := newParking(t, loops, Options{Timeouts: Timeouts{Admit: 3 * time.Second}})
		require.Empty(t, p.play(hsPolling+" conn=p", hsWebSocket, "advance 2.8s"))
		require.Equal(t, []string{"p: 503 Service Unavailable", "w: 503 Service Unavailable", "w: closed"}, p.play("advance 300ms"))
		require.Empty(t, p.play(hsPolling+" conn=p"))
		p.verdicts[0].Accept()
		p.verdicts[1].Accept()
		require.Empty(t, p.collect())
		require.Empty(t, p.play("advance 2.8s"), "a time of its own")
		p.verdicts[2].Accept()
		require.Len(t, p.collect(), 1)
		require.Equal(t, "open A", p.events())
		require.Equal(t, 1, p.server.Stats().Sessions)
		p.finish()
	})
}

// More than MaxAdmitting are told 503 at once, and the room is used again.
func TestMaxAdmitting(t *testing.T) {
	for _, c := range []struct{ loops, limit, room int }{{1, 1, 1}, {1, 2, 2}, {2, 4, 4}, {3, 1, 3}, {3, 6, 6}} {
		for _, form := range []string{"get EIO=4&transport=polling conn=", "ws EIO=4&transport=websocket conn="} {
			p := newParking(t, c.loops, Options{Limits: Limits{MaxAdmitting: c.limit}})
			for i := range c.room {
				require.Empty(t, p.play(fmt.Sprint(form, i)), "%v", c)
			}
			got := p.play(form + "more")
			require.NotEmpty(t, got)
			require.Equal(t, "more: 503 Service Unavailable", got[0], "%v", c)
			for _, v := range p.verdicts {
				v.Refuse(nil)
			}
			require.NotEmpty(t, p.collect())
			for i := range c.room {
				require.Empty(t, p.play(fmt.Sprint(form, "again", i)), "%v", c)
			}
			for i := range c.room {
				p.play(fmt.Sprint("reset again", i))
			}
			// The application is still at work for them: they count until it
			// has decided, or until their time is up.
			got = p.play(form + "third")
			require.Equal(t, "third: 503 Service Unavailable", got[0], "%v", c)
			p.world.Advance(10 * time.Second)
			for i := range c.room {
				require.Empty(t, p.play(fmt.Sprint(form, "fourth", i)), "%v", c)
			}
			p.world.Run()
			for i := range c.room {
				p.play(fmt.Sprint("reset fourth", i))
			}
			for _, v := range p.verdicts {
				v.Refuse(nil)
			}
			for i := range c.room {
				require.Empty(t, p.play(fmt.Sprint(form, "fifth", i)), "%v", c)
			}
			require.Empty(t, p.events())
			p.finish()
		}
	}
}

// What comes behind a waiting handshake is handled behind it, in order.
func TestPipelinedBehindParked(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		p := newParking(t, loops, Options{})
		p.echo = true
		handshake := request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket", headers: upgradeHeaders}.bytes()
		c := p.client("w", "")
		c.methods = append(c.methods, "GET")
		c.peer.Write(append(append(handshake, frame(ws.OpText, "4one")...), frame(ws.OpText, "4two")...))
		require.Empty(t, p.collect())
		third := frame(ws.OpText, "4three")
		c.peer.Write(third[:3])
		require.Empty(t, p.collect())
		c.peer.Write(third[3:])
		require.Empty(t, p.collect())
		onGoroutine(p.verdicts[0].Accept)
		got := p.collect()
		require.Equal(t, []string{"w: 101", `w: text "4one"`, `w: text "4two"`, `w: text "4three"`}, append(got[:1:1], got[2:]...))
		require.Equal(t, `open A; message A "one"; message A "two"; message A "three"`, p.events())
		p.finish()

		p = newParking(t, loops, Options{})
		p.echo = true
		target := "/engine.io/?EIO=4&transport=polling"
		c = p.client("p", "")
		c.methods = append(c.methods, "GET", "POST", "POST", "GET")
		c.peer.Write(append(request{method: "GET", target: target}.bytes(),
			request{method: "POST", target: target + "&sid=mine", length: true, body: "4one"}.bytes()...))
		require.Empty(t, p.collect())
		second := request{method: "POST", target: target + "&sid=mine", length: true, body: "4two"}.bytes()
		c.peer.Write(second[:len(second)-2])
		require.Empty(t, p.collect())
		onGoroutine(func() {
			p.verdicts[0].SetID("mine")
			p.verdicts[0].Accept()
		})
		require.Len(t, p.collect(), 2)
		c.peer.Write(second[len(second)-2:])
		c.peer.Write(request{method: "GET", target: target + "&sid=mine"}.bytes())
		require.Equal(t, []string{"p: 200 ok", `p: 200 4one\x1e4two`}, p.collect())
		require.Equal(t, `open A; message A "one"; message A "two"; drain A`, p.events())
		p.finish()
	})
}

// Frames of a WebSocket that was refused go nowhere; a poll's connection continues.
func TestPipelinedBehindRefused(t *testing.T) {
	p := newParking(t, 1, Options{})
	c := p.client("w", "")
	c.peer.Write(append(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket", headers: upgradeHeaders}.bytes(), frame(ws.OpText, "4one")...))
	require.Empty(t, p.collect())
	p.verdicts[0].Refuse(Refuse("no"))
	require.Equal(t, []string{"w: 400 no", "w: closed"}, p.collect())

	poll := request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}.bytes()
	p.client("p", "").peer.Write(append(poll, poll...))
	require.Empty(t, p.collect())
	p.verdicts[1].Refuse(Refuse("no"))
	require.Equal(t, []string{`p: 403 {"code":4,"message":"no"}`}, p.collect())
	require.Len(t, p.verdicts, 3, "the second request is asked about in its turn")
	p.verdicts[2].Accept()
	require.Len(t, p.collect(), 1)
	require.Equal(t, "open A", p.events())
	p.finish()
}

// A client that floods while it waits is cut off.
func TestFloodBehindParked(t *testing.T) {
	for _, command := range []string{hsPolling + " conn=w", hsWebSocket} {
		p := newParking(t, 1, Options{})
		require.Empty(t, p.play(command))
		p.client("w", "").peer.Write(make([]byte, p.options.Limits.MaxPipelined))
		require.Empty(t, p.collect())
		p.client("w", "").peer.Write(make([]byte, 1))
		require.Equal(t, []string{"w: aborted"}, p.collect())
		p.verdicts[0].Accept()
		p.world.Run()
		require.Empty(t, p.events())
		require.Zero(t, p.server.shards[0].parked)
		p.finish()
	}
}

// A server that is closing lets no one in, whatever the verdict.
func TestShutdownWhileParked(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, accept := range []string{"never", "before", "after"} {
			p := newParking(t, loops, Options{})
			require.Empty(t, p.play(hsPolling+" conn=p", hsWebSocket))
			decide := func(when string) {
				if accept == when {
					p.verdicts[0].Accept()
					p.verdicts[1].Accept()
				}
			}
			decide("before") // its task runs when the server is closing already
			p.server.CloseSessions()
			decide("after")
			require.Equal(t, []string{"p: 503 Service Unavailable", "p: closed", "w: 503 Service Unavailable", "w: closed"}, p.collect())
			require.Empty(t, p.events())
			p.finish()
		}
	})
}

// What is refused after Admit has the fields that Admit has added.
func TestResponseHeaderOfRefusal(t *testing.T) {
	b := newSpec(t, 1, Options{Revisions: []Revision{Revision4}}, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			a.ResponseHeader().Set("X-One", "1")
			return nil
		}
	})
	require.Equal(t, []string{`400 [x-one: 1] {"code":5,"message":"Unsupported protocol version"}`}, b.play("get EIO=3&transport=polling show=x-one"))
	require.Equal(t, []string{"w: 400 [x-one: 1] Unsupported protocol version", "w: closed"}, b.play("ws EIO=3&transport=websocket show=x-one conn=w"))
	b.finish()
}

func TestPanicInAdmitAfterLater(t *testing.T) {
	log := new(counter)
	var verdict *Verdict
	b := newSpec(t, 1, Options{Logger: slog.New(log)}, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			verdict = a.Later()
			panic("the application's fault")
		}
	})
	require.Equal(t, []string{`403 {"code":4,"message":"Forbidden"}`}, b.play(hsPolling))
	verdict.Accept()
	require.Empty(t, b.collect())
	require.Equal(t, []string{"w: 400 Forbidden", "w: closed"}, b.play(hsWebSocket))
	verdict.Accept()
	require.Empty(t, b.collect())
	require.Empty(t, b.events())
	require.EqualValues(t, 1, log.lines.Load())
	b.finish()
}

// What is done to an Admission after Admit has returned reaches no session, and reads
// no other client's request, which is parsed into the same place.
func TestAdmissionIsOverWhenAdmitHasReturned(t *testing.T) {
	for _, c := range []struct {
		name     string
		executor bool
		answer   func(*Admission) error
	}{
		{"admitted", false, func(*Admission) error { return nil }},
		{"refused", false, func(*Admission) error { return Refuse("no") }},
		{"postponed", false, func(a *Admission) error { a.Later(); return nil }},
		{"panicked", false, func(*Admission) error { panic("the application's fault") }},
		{"admitted by a worker", true, func(*Admission) error { return nil }},
		{"postponed by a worker", true, func(a *Admission) error { a.Later(); return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var kept *Admission
			events := func(_ *bench, e *Events) {
				e.Admit = func(a *Admission) error {
					if kept != nil {
						return nil
					}
					kept = a
					require.Equal(t, "mine", a.Query("token"))
					a.SetValue("in time")
					return c.answer(a)
				}
			}
			begin := newSpec
			if c.executor {
				begin = newHeld
			}
			b := begin(t, 1, Options{Logger: slog.New(new(counter))}, events)
			b.play(hsPolling + "&token=mine conn=first header=Authorization:mine")
			b.rest()
			b.play(hsPolling + "&token=theirs conn=second header=Authorization:theirs")
			b.rest()

			const message = "engine: an Admission is used after Events.Admit has returned; use the Verdict of Later"
			require.PanicsWithValue(t, message, func() { kept.SetValue("too late") })
			require.PanicsWithValue(t, message, func() { kept.SetID("too late") })
			require.PanicsWithValue(t, message, func() { kept.ResponseHeader() })
			require.PanicsWithValue(t, message, func() { kept.Later() })
			require.Empty(t, kept.Query("token")+kept.Header("Authorization")+kept.Target()+kept.Clone().Path()+kept.HTTP().URL.RawQuery)
			require.Empty(t, kept.Headers())
			require.Zero(t, kept.RemoteAddr())
			require.Nil(t, kept.conn)
			for _, s := range b.sessions {
				require.Contains(t, []any{"in time", nil}, s.Value())
			}
			if kept.verdict != nil && !c.executor {
				kept.verdict.Accept()
				b.collect()
				require.Equal(t, "in time", b.session("B").Value())
			}
			b.finish()
		})
	}
}

// A clone is read on another goroutine while its connection serves on.
func TestRequestClone(t *testing.T) {
	var clone *Request
	b := newSpec(t, 1, Options{}, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error {
			if clone == nil {
				clone = a.Clone()
			}
			return nil
		}
	})
	b.play(hsPolling + `&token=a%20b "header=Authorization: Bearer x" conn=p`)
	done := make(chan string)
	go func() {
		text := ""
		for range 100 {
			text = fmt.Sprint(clone.Method(), " ", clone.Target(), " ", clone.Path(), " ", clone.Query("token"), " ",
				clone.Header("authorization"), " ", clone.Headers().Get("Host"), " ", clone.RemoteAddr())
		}
		done <- text
	}()
	for range 100 {
		b.play(`get EIO=4&transport=polling&token=zzzzz "header=Authorization: Basic yyyyyyy" conn=p`)
	}
	require.Equal(t, "GET /engine.io/?EIO=4&transport=polling&token=a%20b /engine.io/ a b Bearer x turbine "+b.clients[0].peer.Addr().String(), <-done)
	b.finish()
}

// Verdicts that come from many goroutines at once, while clients come, go and
// run out of time: a session for each that was let in, none for others.
func TestVerdictsFromGoroutines(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		const clients = 120
		verdicts := make(chan *Verdict, 2*clients)
		b := newSpec(t, loops, Options{Timeouts: Timeouts{Admit: time.Second}}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				verdicts <- a.Later()
				return nil
			}
		})
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				for v := range verdicts {
					v.SetValue(i)
					v.ResponseHeader().Set("X-By", fmt.Sprint(i))
					var both sync.WaitGroup
					both.Go(v.Accept)
					both.Go(func() { v.Refuse(Refuse("no")) })
					both.Wait()
				}
			})
		}
		for i := range clients {
			form := []string{"get EIO=4&transport=polling conn=c", "ws EIO=4&transport=websocket conn=c"}[i%2]
			b.play(fmt.Sprint(form, i))
			switch i % 5 {
			case 3:
				b.play(fmt.Sprint("reset c", i))
			case 4:
				b.world.Advance(time.Second)
			}
		}
		for len(verdicts) > 0 {
			b.world.Run()
		}
		close(verdicts)
		group.Wait()
		b.collect()
		b.world.Advance(2 * time.Second)
		for _, s := range b.sessions {
			require.NotNil(t, s.Value())
		}
		open := 0
		for _, s := range b.sessions {
			if s.State() != StateClosed {
				open++
			}
		}
		require.Equal(t, open, b.server.Stats().Sessions)
		for _, sh := range b.server.shards {
			require.Zero(t, sh.parked)
		}
		b.finish()
	})
}
