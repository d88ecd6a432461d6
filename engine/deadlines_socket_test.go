package engine

import (
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// Clients in closed loop whose messages take a millisecond each do not keep the
// pings of idle clients back. Time is counted in such messages: before, 16 pings
// left for each 100 of them.
func TestPingsLeaveBesideBusyClients(t *testing.T) {
	const idle, busy = 400, 100
	var messages, first, last atomic.Int64
	server, address, ended := serveWith(t,
		Options{Loops: 1, PingInterval: 1500 * time.Millisecond, PingTimeout: 20 * time.Second, Timeouts: Timeouts{SlowCallback: time.Hour}, Logger: slog.New(slog.DiscardHandler)},
		Events{Message: func(s *Session, m Message) {
			for now := time.Now(); time.Since(now) < time.Millisecond; {
				continue
			}
			messages.Add(1)
			_ = s.Send(m)
		}})
	var quiet, loud []*wire
	begun := time.Now()
	for range idle {
		w := dialWire(t, address)
		w.websocket()
		quiet = append(quiet, w)
	}
	dueIn := time.Since(begun) // a busy machine takes longer for them, and so do their pings
	for range busy {
		w := dialWire(t, address)
		w.websocket()
		loud = append(loud, w)
	}
	var pinged atomic.Int64
	for _, w := range quiet {
		go func() {
			if w.text() != "2" {
				return
			}
			now := messages.Load()
			first.CompareAndSwap(0, now)
			if pinged.Add(1) == idle {
				last.Store(now)
			}
			_ = w.write("3")
		}()
	}
	done := make(chan struct{}, busy)
	for _, w := range loud {
		go func() {
			defer func() { done <- struct{}{} }()
			for pinged.Load() < idle && w.write("4x") == nil {
				for text := w.text(); text != "4x"; text = w.text() {
					if text == "" || w.write("3") != nil {
						return
					}
				}
			}
		}()
	}
	for range busy {
		<-done
	}
	require.EqualValues(t, idle, pinged.Load())
	require.Equal(t, idle+busy, server.Stats().Sessions)
	require.Less(t, last.Load()-first.Load(), 1000+dueIn.Milliseconds(), "messages between the first ping and the last")
	server.CloseSessions()
	for _, w := range append(quiet, loud...) {
		w.hangUp()
	}
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

// While a callback blocks one loop, the pong of a polling session may wait there
// although the session lives on another loop: it is read before the session is
// late.
func TestPongThatWaitsOnAnotherLoop(t *testing.T) {
	g := newGate()
	var ends atomic.Int32
	server, address, ended := serveWith(t,
		Options{Loops: 2, PingInterval: 100 * time.Millisecond, PingTimeout: 3 * time.Second, Timeouts: Timeouts{SlowCallback: time.Hour}, Logger: slog.New(slog.DiscardHandler)},
		Events{
			Message: func(*Session, Message) { g.pass() },
			Close:   func(*Session, Reason, error) { ends.Add(1) },
		})
	home := func(sid string) int {
		id, ok := parseSID([]byte(sid), false)
		require.True(t, ok)
		return id.home()
	}
	// sessions on both loops, each made on a connection of its own
	var made [2][]*wire
	var ids [2][]string
	for len(made[0]) == 0 || len(made[1]) < 3 {
		w := dialWire(t, address)
		sid := w.open()
		made[home(sid)] = append(made[home(sid)], w)
		ids[home(sid)] = append(ids[home(sid)], sid)
	}
	// The session under test lives on loop 1, and its posts come over the
	// connection of loop 0.
	session, silent := ids[1][0], ids[1][1]
	for i, sid := range []string{session, silent} {
		body, err := io.ReadAll(made[1][i].request("EIO=4&transport=polling&sid=" + sid).Body)
		require.NoError(t, err)
		require.Equal(t, "2", string(body), "its ping")
	}
	_, err := made[1][2].conn.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + ids[0][0], body: "4block", length: true}.bytes())
	require.NoError(t, err)
	until(t, "loop 0 is blocked", func() bool { return g.waiting.Load() == 1 })
	_, err = made[0][0].conn.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + session, body: "3", length: true}.bytes())
	require.NoError(t, err)
	until(t, "time passes on loop 1", func() bool {
		now := make(chan bool, 1)
		s := server.Find(session)
		require.NotNil(t, s)
		_ = s.loop.Post(loop.Func(func() { now <- s.loop.Now() >= s.nextBeat+100*time.Millisecond }))
		return <-now
	})
	require.Zero(t, ends.Load(), "nobody is late while a loop has not read")
	close(g.open)
	r, err := http.ReadResponse(made[0][0].in, nil)
	require.NoError(t, err)
	answer, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "ok", string(answer))
	require.NotNil(t, server.Find(session))
	until(t, "the silent one ends", func() bool { return server.Find(silent) == nil })
	for s := range server.Sessions() {
		s.CloseNow()
	}
	for _, w := range append(made[0], made[1]...) {
		w.hangUp()
	}
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-ended, ErrServerClosed)
}
