//go:build linux

package load

import (
	"context"
	"net"
	"testing"
	"time"

	"turbine/engine"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
)

// serve runs a real server until the test ends.
func serve(t *testing.T, app string, o engine.Options) string {
	t.Helper()
	var server *engine.Server
	events := engine.Events{Message: func(s *engine.Session, m engine.Message) {
		if app == "broadcast" {
			p, _ := engine.Prepare(m) // what came from a client can be sent
			_ = server.Broadcast(p)
			return
		}
		_ = s.Send(m)
	}}
	server = newServer(t, o, events)
	return listen(t, server)
}

func newServer(t *testing.T, o engine.Options, events engine.Events) *engine.Server {
	t.Helper()
	o.Loops = 1
	server, err := engine.New(o, events)
	require.NoError(t, err)
	return server
}

// listen serves until the test ends.
func listen(t *testing.T, server *engine.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		// Sessions that were left alone do not close in good order.
		ctx, cancel := context.WithTimeout(context.Background(), moment)
		defer cancel()
		_ = server.Shutdown(ctx)
		require.ErrorIs(t, <-served, engine.ErrServerClosed)
	})
	return l.Addr().String()
}

const moment = 50 * time.Millisecond

func perfect(t *testing.T, o Outcome) {
	t.Helper()
	require.Empty(t, o.Faults)
	require.Zero(t, o.Wrong)
	require.Zero(t, o.Lost)
	require.Zero(t, o.Retries)
	require.Positive(t, o.Operations)
	require.Positive(t, o.Elapsed)
	require.Positive(t, o.ClientCPU)
}

func TestEveryKind(t *testing.T) {
	echoes := serve(t, "echo", engine.Options{})
	hosts := []string{"127.0.0.2", "127.0.0.3"}
	for name, p := range map[string]Plan{
		"echo":              {Kind: Echo, Sessions: 10, InFlight: 1, Size: 128},
		"echo, many":        {Kind: Echo, Sessions: 10, InFlight: 16, Size: 128, LocalHosts: hosts},
		"echo, binary":      {Kind: Echo, Sessions: 3, InFlight: 4, Size: 200, Binary: true},
		"echo, one byte":    {Kind: Echo, Sessions: 3, InFlight: 4, Size: 1},
		"echo, large":       {Kind: Echo, Sessions: 3, InFlight: 4, Size: 70_000},
		"echo, upgraded":    {Kind: Echo, Via: Upgraded, Sessions: 10, InFlight: 2, Size: 20},
		"open loop":         {Kind: OpenLoop, Sessions: 7, Size: 64, Rate: 5000},
		"open loop, sleeps": {Kind: OpenLoop, Sessions: 7, Size: 64, Rate: 2000, Sleeps: true},
		"open loop, burst":  {Kind: OpenLoop, Via: Upgraded, Sessions: 2, Size: 64, Rate: 50_000},
		"poll handshake":    {Kind: PollHandshake, InFlight: 4},
		"... new":           {Kind: PollHandshakeNew, InFlight: 4},
		"WS handshake":      {Kind: WebSocketHandshake, InFlight: 4, LocalHosts: hosts},
		"upgrade dance":     {Kind: UpgradeDance, InFlight: 4, Size: 30},
		"poll cycle":        {Kind: PollCycle, Sessions: 5, Size: 128},
		"poll cycle, large": {Kind: PollCycle, Sessions: 2, Size: 300_000},
		"... binary":        {Kind: PollCycle, Sessions: 5, Size: 128, Binary: true},
		"broadcast":         {Kind: Broadcast, Sessions: 20, Size: 128},
		"..., upgraded":     {Kind: Broadcast, Sessions: 20, Size: 128, Via: Upgraded},
		"connect":           {Kind: Connect, Sessions: 50, InFlight: 10, Duration: time.Minute},
		"connect, upgraded": {Kind: Connect, Via: Upgraded, Sessions: 50, InFlight: 10, Duration: time.Minute},
		"storm":             {Kind: Storm, Sessions: 50, InFlight: 10, Duration: time.Minute},
		"storm, upgraded":   {Kind: Storm, Via: Upgraded, Sessions: 50, InFlight: 50, Duration: time.Minute},
		"heartbeats":        {Kind: Heartbeats, Sessions: 5, InFlight: 2, Size: 100, Watched: 5, PingInterval: 25 * time.Second},
		"slow readers":      {Kind: SlowReaders, Sessions: 5, InFlight: 2, Size: 100, Slow: 3, SlowSize: 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.Addr, p.Path = echoes, "/engine.io/"
			if p.Kind == Broadcast {
				p.Addr = serve(t, "broadcast", engine.Options{}) // its own: a broadcast reaches whoever is there
			}
			load := Run
			if p.Duration == 0 { // it does not end by itself
				p.WarmUp = moment / 2
				load = func(_ context.Context, p Plan) (Outcome, error) {
					return runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 50 })
				}
			}
			o, err := load(t.Context(), p)
			require.NoError(t, err)
			perfect(t, o)
			if p.Kind == Heartbeats { // too short a run for one
				require.Nil(t, o.Latency)
				return
			}
			require.NotNil(t, o.Latency)
			t.Logf("%d in %v, p50 %d us, p99 %d us", o.Operations, o.Elapsed, o.Latency.ValueAtQuantile(50), o.Latency.ValueAtQuantile(99))
			switch p.Kind {
			case Connect, Storm:
				require.EqualValues(t, p.Sessions, o.Operations)
			case OpenLoop:
				// Every message due in the measured time is an operation.
				require.InDelta(t, p.Rate*o.Elapsed.Seconds(), o.Operations, 1)
				require.Positive(t, o.Lag.TotalCount())
			case Broadcast:
				require.Positive(t, o.Latency.TotalCount())
			default:
			}
		})
	}
}

func TestWhoseLimitItWas(t *testing.T) {
	histogram := func(us int64) *hdrhistogram.Histogram {
		h := hdrhistogram.New(1, 1000, 3)
		require.NoError(t, h.RecordValue(us))
		return h
	}
	for _, c := range []struct {
		name string
		o    Outcome
		want bool
	}{
		{"both wait", Outcome{Elapsed: 100, ClientCPU: 90, ServerCPU: 80}, false},
		{"the generator has no time left", Outcome{Elapsed: 100, ClientCPU: 97, ServerCPU: 80}, true},
		{"nor has the server", Outcome{Elapsed: 100, ClientCPU: 97, ServerCPU: 99}, false},
		{"an open loop never sleeps", Outcome{Elapsed: 100, ClientCPU: 100, ServerCPU: 10, busy: true, Latency: histogram(50), Lag: histogram(20)}, false},
		{"an open loop that sends late", Outcome{Elapsed: 100, ClientCPU: 100, ServerCPU: 10, busy: true, Latency: histogram(50), Lag: histogram(26)}, true},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.o.ClientBound()) })
	}
}

// runSoon is Run for what never comes: it waits no longer than a test should.
func runSoon(t *testing.T, p Plan) (Outcome, error) {
	t.Helper()
	r, err := newRunner(p)
	require.NoError(t, err)
	r.patience = int64(2 * time.Second)
	return r.run(t.Context())
}

// runUntil is Run until done says so, however slow the machine is.
func runUntil(t *testing.T, p Plan, done func(o *Outcome) bool) (Outcome, error) {
	t.Helper()
	p.Duration = time.Minute
	r, err := newRunner(p)
	require.NoError(t, err)
	r.kind = &until{r.kind, r, done}
	r.grace = int64(time.Minute) // what is under way comes
	return r.run(t.Context())
}

// runUntilWrong is Run until the first thing goes wrong. The rest may not come.
func runUntilWrong(t *testing.T, p Plan) (Outcome, error) {
	t.Helper()
	p.Duration = time.Minute
	r, err := newRunner(p)
	require.NoError(t, err)
	r.kind = &until{r.kind, r, func(o *Outcome) bool { return o.Wrong > 0 || o.Lost > 0 }}
	return r.run(t.Context())
}

type until struct {
	kind
	r    *runner
	done func(o *Outcome) bool
}

func (u *until) tick() {
	u.kind.tick()
	if u.done(&u.r.out) {
		u.r.finish("")
	}
}
