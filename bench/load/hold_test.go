//go:build linux

package load

import (
	"testing"
	"time"

	"turbine/engine"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// Every kind answers heartbeats: the server's patience is shorter than the run. A
// session that did not answer would be lost.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	o := engine.Options{PingInterval: 50 * time.Millisecond, PingTimeout: 2 * time.Second}
	echoes, broadcasts := serve(t, "echo", o), serve(t, "broadcast", o)
	for name, p := range map[string]Plan{
		"idle":           {Kind: Idle, Sessions: 20},
		"idle, upgraded": {Kind: Idle, Sessions: 20, Via: Upgraded},
		"echo":           {Kind: Echo, Sessions: 5, Size: 20},
		"open loop":      {Kind: OpenLoop, Sessions: 5, Size: 20, Rate: 100},
		"poll cycle":     {Kind: PollCycle, Sessions: 5, Size: 20},
		"broadcast":      {Kind: Broadcast, Sessions: 5, Size: 20},
		"storm":          {Kind: Storm, Sessions: 5, InFlight: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.Addr, p.Path = echoes, "/engine.io/"
			if p.Kind == Broadcast {
				p.Addr = broadcasts
			}
			ready := 0
			var began time.Time
			p.Ready = func() { ready++; began = time.Now() }
			over := o.PingInterval + o.PingTimeout
			o, err := runUntil(t, p, func(*Outcome) bool { return ready > 0 && time.Since(began) > 3*over/2 })
			require.NoError(t, err)
			require.Empty(t, o.Faults)
			require.Zero(t, o.Lost)
			require.Zero(t, o.Wrong)
			require.Equal(t, 1, ready)
			if p.Kind != Storm { // which is over before
				require.GreaterOrEqual(t, o.Heartbeats, int64(p.Sessions))
			}
			if p.Kind == Idle {
				require.Equal(t, p.Sessions, o.Opened)
				require.Positive(t, o.Operations)
				require.Nil(t, o.Latency)
			}
		})
	}
}

// An idle session that the server ends is lost, and the run continues.
func TestIdleLost(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, same)
	p := s.plan(Idle)
	p.Ready = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			_ = ws.WriteFrame(c, ws.NewCloseFrame(nil))
			break
		}
	}
	o, err := runUntilWrong(t, p)
	require.NoError(t, err)
	require.Equal(t, 3, o.Opened)
	require.Equal(t, 1, o.Lost)
	require.Contains(t, o.Faults[0], "close frame")

	p.Ready = s.closeAll
	o, err = runUntil(t, p, func(o *Outcome) bool { return o.Lost == 3 })
	require.NoError(t, err)
	require.Equal(t, 3, o.Lost)
	require.Contains(t, o.Faults[3], "no session is left")
}

// Watched sessions tell how far apart the server's pings are, and which of them
// waited for longer than a client does.
func TestWatchedHeartbeats(t *testing.T) {
	t.Parallel()
	addr := serve(t, "echo", engine.Options{PingInterval: 50 * time.Millisecond, PingTimeout: time.Minute})
	for _, c := range []struct {
		says              string
		sessions          int
		interval, timeout time.Duration // what the clients expect
		starved           int
	}{
		{"in time", 3, 50 * time.Millisecond, time.Minute, 0},
		{"with nobody else", 0, 50 * time.Millisecond, time.Minute, 0},
		{"every gap is too long", 3, time.Millisecond, time.Millisecond, 4},
	} {
		p := Plan{
			Kind: Heartbeats, Addr: addr, Path: "/engine.io/", Sessions: c.sessions, InFlight: 2, Size: 50, Watched: 4,
			PingInterval: c.interval, PingTimeout: c.timeout, Ready: func() {},
		}
		o, err := runUntilGaps(t, p, 20)
		require.NoError(t, err, c.says)
		require.Zero(t, o.Lost+int(o.Wrong), c.says)
		require.Equal(t, c.starved, o.Starved, c.says)
		require.Len(t, o.Faults, c.starved, c.says)
		require.Equal(t, c.sessions > 0, o.Operations > 0, c.says)
		require.GreaterOrEqual(t, o.Latency.TotalCount(), int64(20), c.says)
		require.GreaterOrEqual(t, o.Latency.Max(), int64(40_000), c.says) // below, by the wheel's tick
	}
}

// runUntilGaps is runUntil until so many gaps between pings were measured.
func runUntilGaps(t *testing.T, p Plan, gaps int64) (Outcome, error) {
	t.Helper()
	p.Duration = time.Minute
	r, err := newRunner(p)
	require.NoError(t, err)
	r.kind = &until{r.kind, r, func(*Outcome) bool { return r.latency.TotalCount() >= gaps }}
	r.grace = int64(time.Minute)
	return r.run(t.Context())
}

// A server that pings nobody also has gaps.
func TestWatchedWithoutPings(t *testing.T) {
	t.Parallel()
	p := Plan{
		Kind: Heartbeats, Addr: serve(t, "echo", engine.Options{}), Path: "/engine.io/", Sessions: 1, InFlight: 1, Size: 50, Watched: 4,
		PingInterval: time.Millisecond, PingTimeout: time.Millisecond,
	}
	var began time.Time
	p.Ready = func() { began = time.Now() }
	o, err := runUntil(t, p, func(*Outcome) bool { return !began.IsZero() && time.Since(began) > 5*time.Millisecond })
	require.NoError(t, err)
	require.Equal(t, 4, o.Starved)
	require.EqualValues(t, 4, o.Latency.TotalCount())
}

// A server that gives up on clients that do not read leaves the others alone.
func TestSlowClosed(t *testing.T) {
	t.Parallel()
	addr := serve(t, "echo", engine.Options{Queue: engine.Queue{MaxBytes: 100_000, Overflow: engine.OverflowClose}})
	o, err := runUntil(t, Plan{
		Kind: SlowReaders, Addr: addr, Path: "/engine.io/", Sessions: 3, InFlight: 2, Size: 50,
		Slow: 2, SlowSize: 200_000,
	}, func(o *Outcome) bool { return o.SlowClosed == 2 })
	require.NoError(t, err)
	perfect(t, o)
	require.Equal(t, 2, o.SlowClosed)
}
