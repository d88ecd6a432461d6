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

// An idle session that the server ends is lost, and the run goes on.
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

// A server that gives up on who does not read leaves the others alone.
func TestSlowClosed(t *testing.T) {
	t.Parallel()
	addr := serve(t, "echo", engine.Options{MaxQueue: 100_000, Overflow: engine.OverflowClose})
	o, err := runUntil(t, Plan{
		Kind: SlowReaders, Addr: addr, Path: "/engine.io/", Sessions: 3, InFlight: 2, Size: 50,
		Slow: 2, SlowSize: 200_000,
	}, func(o *Outcome) bool { return o.SlowClosed == 2 })
	require.NoError(t, err)
	perfect(t, o)
	require.Equal(t, 2, o.SlowClosed)
}
