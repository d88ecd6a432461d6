package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// In revision 4 the server pings, one interval after the other. The ping timeout
// is much longer here than anybody waits: it must not have a say in when the next
// ping comes.
func TestPings(t *testing.T) {
	t.Parallel()
	const interval = 200 * time.Millisecond
	s := serve(t, "--ping-interval", interval.String(), "--ping-timeout", "1h")
	notEarly := func(t *testing.T, begin time.Time, pings int) {
		t.Helper()
		require.GreaterOrEqual(t, time.Since(begin), time.Duration(pings)*interval*9/10) // timers may be coarse
	}
	t.Run("websocket", func(t *testing.T) {
		begin := time.Now()
		ws, _ := s.websocket(t, 4)
		for i := range 4 {
			ws.receives("2")
			notEarly(t, begin, i+1)
			ws.send("3")
		}
		ws.echoes()
	})
	t.Run("polling", func(t *testing.T) {
		begin := time.Now()
		p := s.poll4(t)
		for i := range 4 {
			p.polls("2")
			notEarly(t, begin, i+1)
			p.ok(p.post("3"))
		}
		p.echoes()
	})
	t.Run("upgraded", func(t *testing.T) {
		begin := time.Now()
		p := s.poll4(t)
		p.polls("2")
		p.ok(p.post("3"))
		ws := s.dial(t)
		ws.upgrade(p.with("websocket"))
		ws.send("5")
		for i := range 3 {
			ws.receives("2")
			notEarly(t, begin, i+2)
			ws.send("3")
		}
		ws.echoes()
	})
}

// Who says nothing for the interval and the timeout loses the session. The
// timeout is for a client on a loaded machine to poll in. A server on such a machine may
// ping again before it ends a session: what the client has said may be unread.
func TestSilence(t *testing.T) {
	t.Parallel()
	const allowed = 3200 * time.Millisecond
	s := serve(t, "--ping-interval", "200ms", "--ping-timeout", "3s")
	notEarly := func(t *testing.T, since time.Time) {
		t.Helper()
		require.GreaterOrEqual(t, time.Since(since), allowed*9/10)
	}
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		begin := time.Now()
		ws, session := s.websocket(t, 4)
		ws.receives("2")
		ws.closesBehindPings()
		notEarly(t, begin)
		session.gone()
	})
	t.Run("websocket in revision 3", func(t *testing.T) {
		t.Parallel()
		begin := time.Now()
		ws, session := s.websocket(t, 3)
		ws.closes(noStatus)
		notEarly(t, begin)
		session.gone()
	})
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		begin := time.Now()
		p := s.poll4(t)
		p.polls("2")
		require.Equal(t, "1", p.endsBehindPings())
		notEarly(t, begin)
		p.gone()
	})
	t.Run("polling in revision 3", func(t *testing.T) {
		t.Parallel()
		begin := time.Now()
		p := s.poll3(t)
		p.polls("1:1")
		notEarly(t, begin)
		p.gone()
	})
	// The reference server forgets the timeout here.
	t.Run("upgraded in revision 3", func(t *testing.T) {
		t.Parallel()
		p := s.poll3(t)
		ws := s.dial(t)
		ws.upgrade(p.with("websocket"))
		ws.send("5")
		ws.closes(noStatus)
		p.gone()
	})
	t.Run("upgraded between ping and pong", func(t *testing.T) {
		t.Parallel()
		p := s.poll4(t)
		p.polls("2")
		ws := s.dial(t)
		ws.upgrade(p.with("websocket"))
		ws.send("5")
		ws.closesBehindPings()
		p.gone()
	})
}
