package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each session is closed at the first tick after its own moment, and not before.
func TestDrainGivesEachSessionItsTurn(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		const each, delay, over = 150, 5 * time.Second, 20 * time.Second
		b := newSpec(t, loops, Options{PingInterval: time.Hour}, nil)
		for i := range each {
			b.play(hsPolling)
			b.play(fmt.Sprintf("ws EIO=4&transport=websocket conn=w%d", i))
		}
		b.server.beginDrain(delay, over)
		b.world.Run()
		begin, tick := b.world.Now(), b.options.tick()
		turns := map[*Session]time.Duration{}
		moments := map[time.Duration]bool{}
		for _, s := range b.sessions {
			at, ok := s.drainAt()
			require.True(t, ok)
			require.GreaterOrEqual(t, at, begin+delay)
			require.Less(t, at, begin+delay+over)
			turns[s] = at
			moments[at] = true
		}
		require.Greater(t, len(moments), each, "moments of %d sessions", 2*each)
		for b.world.Now() < begin+delay+over+tick {
			b.world.Advance(10 * time.Millisecond)
			for s, at := range turns {
				switch open := s.State() == StateOpen; {
				case at > b.world.Now():
					require.True(t, open, "closed %v before its turn", at-b.world.Now())
				case at+tick <= b.world.Now():
					require.False(t, open, "open %v after its turn", b.world.Now()-at)
				}
			}
		}
		b.finish()
	})
}

func TestShareOfThePeriod(t *testing.T) {
	const d = 1000 * time.Second
	for _, c := range []struct {
		first [4]byte
		want  time.Duration
	}{
		{[4]byte{}, 0},
		{[4]byte{0x40}, d / 4},
		{[4]byte{0x80}, d / 2},
		{[4]byte{0xc0}, d * 3 / 4},
	} {
		var s secret
		copy(s[:], c.first[:])
		require.Equal(t, c.want, s.share(d))
		require.Zero(t, s.share(0))
	}
	last := secret{0xff, 0xff, 0xff, 0xff}
	require.Less(t, last.share(d), d)
	require.Greater(t, last.share(d), d-time.Millisecond)
	require.Less(t, last.share(time.Nanosecond), time.Nanosecond)
}

// A second drain does not move anybody's turn.
func TestDrainTwice(t *testing.T) {
	b := newBench(t, 2, Options{})
	b.play(hsPolling, hsWebSocket)
	b.server.beginDrain(time.Second, 0)
	b.world.Run()
	b.server.beginDrain(time.Hour, time.Hour)
	b.play("advance 2s")
	for _, s := range b.sessions {
		require.NotEqual(t, StateOpen, s.State())
	}
	b.finish()
}

// What the application does to a session that the drain is closing is the
// application's.
func TestCloseNowDuringDrain(t *testing.T) {
	b := newBench(t, 1, Options{})
	b.play(hsPolling, hsPolling, "drain 0s 0s")
	b.session("A").CloseNow()
	b.session("B").Close()
	b.play("get sid=B")
	require.Equal(t, `open A; open B; close A "forced close"; close B "server shutting down"`, b.events())
	b.finish()
}

// Clients that are told 503 while the server drains are told to come back at different
// times within the drain's period, whatever they were refused for.
func TestRetryAfter(t *testing.T) {
	const sessions = 40
	for _, c := range []struct {
		name string
		ask  func(b *bench, i int) *http.Response
	}{
		{"a handshake", func(b *bench, _ int) *http.Response { return b.fetch("GET", "EIO=4&transport=polling") }},
		{"a poll for which there is no room", func(b *bench, i int) *http.Response {
			return b.fetch("GET", "EIO=4&transport=polling&sid="+b.sessions[i].ID())
		}},
		{"a request through net/http", func(b *bench, _ int) *http.Response {
			w := httptest.NewRecorder()
			b.server.ServeHTTP(w, httptest.NewRequest("GET", "/engine.io/?EIO=4&transport=polling", nil))
			return w.Result()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, 1, Options{Limits: Limits{MaxPolls: 1}}, nil)
			for range sessions + 1 {
				b.play(hsPolling)
			}
			b.server.beginDrain(time.Second, 30*time.Second)
			b.world.Run()
			poll := b.world.Dial()
			poll.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling&sid=" + b.sessions[sessions].ID()}.bytes())
			b.world.Run()
			seen := map[int]bool{}
			for i := range sessions {
				r := c.ask(b, i)
				require.Equal(t, 503, r.StatusCode)
				seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
				require.NoError(t, err)
				require.GreaterOrEqual(t, seconds, 1)
				require.LessOrEqual(t, seconds, 31)
				seen[seconds] = true
			}
			require.Greater(t, len(seen), 10, "different times of 40")
			poll.Reset()
			b.finish()
		})
	}
}

// Clients that are told 503 for another reason come back soon.
func TestRetryAfterOverload(t *testing.T) {
	p := newParking(t, 1, Options{Limits: Limits{MaxAdmitting: 1}})
	p.play(hsPolling + " conn=first")
	require.Equal(t, []string{"503 [Retry-After: 1] [no Connection] Service Unavailable"}, p.play(hsPolling+" show=Retry-After,Connection"))
	p.verdicts[0].Accept()
	p.finish()
}

// A client that waits for a verdict when the drain begins is told 503, whatever the
// verdict is.
func TestDrainWhileParked(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		p := newParking(t, loops, Options{})
		require.Empty(t, p.play(hsPolling+" conn=p", hsWebSocket))
		p.server.beginDrain(time.Hour, 0)
		require.Equal(t, []string{"p: 503 Service Unavailable", "p: closed", "w: 503 Service Unavailable", "w: closed"}, p.collect())
		p.verdicts[0].Accept()
		p.verdicts[1].Accept()
		p.world.Run()
		require.Empty(t, p.events())
		p.finish()
	})
}

// The delay and the period fit in three quarters of what the context leaves.
func TestDrainPace(t *testing.T) {
	for _, c := range []struct {
		name                string
		delay, period, left time.Duration
		sessions            int
		minDelay, maxDelay  time.Duration
		minOver, maxOver    time.Duration
	}{
		{"as asked", time.Second, time.Minute, 0, 5, time.Second, time.Second, time.Minute, time.Minute},
		{"as asked, with room", time.Second, time.Minute, time.Hour, 5, time.Second, time.Second, time.Minute, time.Minute},
		{"by the number of sessions", 0, 0, 0, 25_000, 0, 0, 2500 * time.Millisecond, 2500 * time.Millisecond},
		{"period cut", time.Hour, 10 * time.Hour, 4 * time.Hour, 5, time.Hour, time.Hour, 119 * time.Minute, 2 * time.Hour},
		{"both cut", 10 * time.Hour, time.Hour, 4 * time.Hour, 5, 179 * time.Minute, 3 * time.Hour, 0, 0},
		{"no time left", time.Hour, time.Hour, -time.Hour, 5, 0, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 1, Options{Drain: Drain{Delay: c.delay, Period: c.period}})
			b.server.shards[0].loop.AddResidents(c.sessions)
			ctx := t.Context()
			if c.left != 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithDeadline(ctx, time.Now().Add(c.left))
				defer cancel()
			}
			delay, over := b.server.pace(ctx)
			require.GreaterOrEqual(t, delay, c.minDelay)
			require.LessOrEqual(t, delay, c.maxDelay)
			require.GreaterOrEqual(t, over, c.minOver)
			require.LessOrEqual(t, over, c.maxOver)
			b.server.shards[0].loop.AddResidents(-c.sessions)
			b.finish()
		})
	}
}

// patience is for one thing that comes from elsewhere, on a machine that has
// others to do.
const patience = 30 * time.Second

// until tries again until done says so.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "does not happen: %s", what)
	}
}

// A polling client that opens a connection for each request is served until it
// has heard of its end, and only then the port is closed.
func TestShutdownServesNewConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	server, ended := serveOn(t, Options{Loops: 2, HealthPath: "/healthz", Logger: slog.New(slog.DiscardHandler)}, Events{}, listener)
	once := func(target string) *http.Response { // on a connection of its own
		w := dialWire(t, address)
		defer w.conn.Close()
		return w.get(target)
	}
	first := dialWire(t, address)
	session := first.open()
	require.NoError(t, first.conn.Close())
	require.Equal(t, 200, once("/healthz").StatusCode)

	down := make(chan error, 1)
	go func() { down <- server.Shutdown(t.Context()) }()
	until(t, "not ready", func() bool { return once("/healthz").StatusCode == 503 })
	require.Equal(t, 200, once("/healthz/live").StatusCode)
	refused := once("/engine.io/?EIO=4&transport=polling")
	require.Equal(t, 503, refused.StatusCode)
	require.Equal(t, "1", refused.Header.Get("Retry-After"))
	r := once("/engine.io/?EIO=4&transport=polling&sid=" + session)
	require.Equal(t, 200, r.StatusCode)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Contains(t, []string{"1", "6\x1e1"}, string(body)) // it waited for its turn, or came after it

	require.NoError(t, <-down)
	require.ErrorIs(t, <-ended, ErrServerClosed)
	_, err = net.Dial("tcp", address)
	require.Error(t, err)
}

// Without a session the delay lasts all the same: load balancers still send
// clients. The context ends it.
func TestShutdownDelayWithoutSessions(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	server, ended := serveOn(t, Options{Loops: 1, Drain: Drain{Delay: time.Hour}, Logger: slog.New(slog.DiscardHandler)}, Events{}, listener)
	require.NotEmpty(t, dialWire(t, address).open())
	for s := range server.Sessions() {
		s.CloseNow()
	}
	until(t, "no session", func() bool { return server.Stats().Sessions == 0 })

	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(ctx) }()
	until(t, "drains", func() bool { return dialWire(t, address).request("EIO=4&transport=polling").StatusCode == 503 })
	require.Empty(t, down)
	cancel()
	require.ErrorIs(t, <-down, context.Canceled)
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

// After StopAccepting the port is free, and open connections are served as
// before, new sessions included.
func TestStopAccepting(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	server, ended := serveOn(t, Options{Loops: 2, Logger: slog.New(slog.DiscardHandler)}, Events{}, listener)
	kept := dialWire(t, address)
	first := kept.open()
	server.StopAccepting()
	successor, err := net.Listen("tcp", address)
	require.NoError(t, err)
	require.NoError(t, successor.Close())
	require.NotEqual(t, first, kept.open())

	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(ctx) }()
	r := kept.request("EIO=4&transport=polling&sid=" + first)
	require.Equal(t, 200, r.StatusCode)
	require.False(t, r.Close)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Contains(t, []string{"1", "6\x1e1"}, string(body)) // it waited for its turn, or came after it
	cancel()                                                   // the second session has nobody to poll for it
	require.ErrorIs(t, <-down, context.Canceled)
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

// At the end nobody waits for the client of an idle connection to close it, unless it may
// still have a session's last messages to read, or the server has only been told to
// close its sessions.
func TestIdleConnectionsAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		play  []string
		end   func(*Server)
		waits bool
	}{
		{"no session", []string{hsPolling + " conn=idle", "close-session A", "get sid=A"}, (*Server).endConnections, false},
		{"refused", []string{"get path=/nowhere conn=idle"}, (*Server).endConnections, false},
		{"a post", []string{hsPolling, "post sid=A 4hello conn=idle"}, (*Server).endConnections, false},
		{"a session's last messages", []string{hsPolling, "send A last", "close-session A", "get sid=A conn=idle", "get sid=A conn=idle"}, (*Server).endConnections, true},
		{"the end of a poll", []string{hsPolling, "get sid=A conn=idle", "close-session A"}, (*Server).endConnections, true},
		{"another request after that", []string{hsPolling, "get sid=A conn=idle", "close-session A", "get path=/nowhere conn=idle"}, (*Server).endConnections, false},
		{"a server that goes on", []string{"get path=/nowhere conn=idle"}, (*Server).CloseSessions, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, 1, Options{}, nil)
			b.play(c.play...)
			idle := b.client("idle", "").peer
			require.False(t, idle.EOF())
			c.end(b.server)
			b.world.Run()
			require.True(t, idle.EOF())
			require.Equal(t, c.waits, !idle.Closed())
			b.world.Advance(6 * time.Second)
			require.True(t, idle.Closed())
		})
	}
}

// StopAccepting of a server that does not serve does nothing.
func TestStopAcceptingBeforeServe(t *testing.T) {
	server, err := New(Options{}, Events{})
	require.NoError(t, err)
	server.StopAccepting()
	require.NoError(t, server.Shutdown(t.Context()))
}

// A Shutdown does not wait forever when the loops have ended for another reason.
func TestShutdownAfterTheLoops(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, ended := serveOn(t, Options{Loops: 1, Logger: slog.New(slog.DiscardHandler)}, Events{}, listener)
	require.NotEmpty(t, dialWire(t, listener.Addr().String()).open())
	server.mu.Lock()
	server.reactor.Stop()
	server.mu.Unlock()
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.NoError(t, server.Shutdown(t.Context()))
}

// The phase of a server only goes up.
func TestPhase(t *testing.T) {
	var p phase
	require.False(t, p.draining())
	p.reach(phaseEnding)
	p.reach(phaseDraining)
	require.True(t, p.draining())
	require.True(t, p.ending())
}
