package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In revision 4 the server pings, again one interval after each pong. The ping
// timeout is much longer here: it must not have a say in when the next ping comes.
func TestPings(t *testing.T) {
	const interval = 200 * time.Millisecond
	s := serve(t, "--ping-interval", interval.String(), "--ping-timeout", "8s")
	inTime := func(t *testing.T, since time.Time) {
		t.Helper()
		require.GreaterOrEqual(t, time.Since(since), interval*9/10) // timers may be coarse
		require.Less(t, time.Since(since), interval+2*time.Second)
	}
	t.Run("websocket", func(t *testing.T) {
		begin := time.Now()
		ws, _ := s.websocket(t, 4)
		for range 4 {
			ws.receives("2")
			inTime(t, begin)
			begin = time.Now()
			ws.send("3")
		}
		ws.echoes()
	})
	t.Run("polling", func(t *testing.T) {
		begin := time.Now()
		p := s.poll4(t)
		for range 4 {
			p.polls("2")
			inTime(t, begin)
			begin = time.Now()
			p.ok(p.post("3"))
		}
		p.echoes()
	})
	t.Run("upgraded", func(t *testing.T) {
		p := s.poll4(t)
		p.polls("2")
		p.ok(p.post("3"))
		begin := time.Now()
		ws := s.dial(t)
		ws.upgrade(p.with("websocket"))
		ws.send("5")
		for range 3 {
			ws.receives("2")
			inTime(t, begin)
			begin = time.Now()
			ws.send("3")
		}
		ws.echoes()
	})
}

// Who says nothing for the interval and the timeout loses the session.
func TestSilence(t *testing.T) {
	const allowed = 500 * time.Millisecond
	s := serve(t, "--ping-interval", "200ms", "--ping-timeout", "300ms")
	inTime := func(t *testing.T, since time.Time) {
		t.Helper()
		require.GreaterOrEqual(t, time.Since(since), allowed*9/10)
		require.Less(t, time.Since(since), allowed+2*time.Second)
	}
	t.Run("websocket", func(t *testing.T) {
		begin := time.Now()
		ws, session := s.websocket(t, 4)
		ws.receives("2")
		ws.closes(noStatus)
		inTime(t, begin)
		session.gone()
	})
	t.Run("websocket in revision 3", func(t *testing.T) {
		begin := time.Now()
		ws, session := s.websocket(t, 3)
		ws.closes(noStatus)
		inTime(t, begin)
		session.gone()
	})
	t.Run("polling", func(t *testing.T) {
		begin := time.Now()
		p := s.poll4(t)
		p.polls("2")
		p.polls("1")
		inTime(t, begin)
		p.gone()
	})
	t.Run("polling in revision 3", func(t *testing.T) {
		begin := time.Now()
		p := s.poll3(t)
		p.polls("1:1")
		inTime(t, begin)
		p.gone()
	})
	// The reference server forgets the timeout here.
	t.Run("upgraded in revision 3", func(t *testing.T) {
		p := s.poll3(t)
		ws := s.dial(t)
		ws.upgrade(p.with("websocket"))
		begin := time.Now()
		ws.send("5")
		ws.closes(noStatus)
		require.Less(t, time.Since(begin), allowed+2*time.Second)
		p.gone()
	})
	t.Run("upgraded between ping and pong", func(t *testing.T) {
		p := s.poll4(t)
		p.polls("2")
		ws := s.dial(t)
		ws.upgrade(p.with("websocket"))
		ws.send("5")
		begin := time.Now()
		ws.closes(noStatus)
		require.Less(t, time.Since(begin), allowed+2*time.Second)
		p.gone()
	})
}
