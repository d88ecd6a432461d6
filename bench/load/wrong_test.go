//go:build linux

package load

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

func TestRaw(t *testing.T) {
	for name, k := range map[string]Kind{
		"echo": Echo, "open loop": OpenLoop, "handshake": WebSocketHandshake, "connect": Connect, "storm": Storm,
	} {
		t.Run(name, func(t *testing.T) {
			o, err := runUntil(t, serveRaw(t, same).plan(k), func(o *Outcome) bool { return o.Operations >= 50 })
			require.NoError(t, err)
			perfect(t, o)
		})
	}
}

// A message may come in fragments, with a ping in between.
func TestFragments(t *testing.T) {
	pong := make(chan string, 1000)
	p := serveRaw(t, func(_ int, f ws.Frame) []ws.Frame {
		if f.Header.OpCode == ws.OpPong {
			pong <- string(f.Payload)
			return []ws.Frame{}
		}
		return []ws.Frame{
			ws.NewFrame(f.Header.OpCode, false, f.Payload[:10]),
			ws.NewPingFrame([]byte("there?")),
			ws.NewFrame(ws.OpContinuation, false, nil),
			ws.NewFrame(ws.OpContinuation, true, f.Payload[10:]),
		}
	}).plan(Echo)
	p.Sessions, p.InFlight = 1, 1
	o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 3 })
	require.NoError(t, err)
	perfect(t, o)
	require.Equal(t, "there?", <-pong)
}

// What a server can do wrong with messages, each from the first on.
var faults = map[string]struct {
	reply func(f ws.Frame) []ws.Frame
	says  string // among the faults
	lost  bool
}{
	"another byte": {func(f ws.Frame) []ws.Frame {
		f.Payload[40] ^= 1
		return []ws.Frame{f}
	}, "wrong content", false},
	"cut short": {func(f ws.Frame) []ws.Frame {
		return []ws.Frame{ws.NewTextFrame(f.Payload[:len(f.Payload)-1])}
	}, "wrong content", false},
	"too long": {func(f ws.Frame) []ws.Frame {
		return []ws.Frame{ws.NewTextFrame(append(f.Payload, '.'))}
	}, "wrong content", false},
	"binary": {func(f ws.Frame) []ws.Frame {
		return []ws.Frame{ws.NewBinaryFrame(f.Payload)}
	}, "wrong content", false},
	"another session's": {func(f ws.Frame) []ws.Frame {
		f.Payload[15] ^= 7
		return []ws.Frame{f}
	}, "wrong content", false},
	"twice":        {func(f ws.Frame) []ws.Frame { return []ws.Frame{f, f} }, "", false},
	"never":        {func(ws.Frame) []ws.Frame { return []ws.Frame{} }, "were never echoed", false},
	"the end":      {func(ws.Frame) []ws.Frame { return nil }, "was lost", true},
	"close frame":  {func(ws.Frame) []ws.Frame { return []ws.Frame{ws.NewCloseFrame(nil)} }, "close frame", true},
	"masked":       {func(f ws.Frame) []ws.Frame { return []ws.Frame{ws.MaskFrame(f)} }, "broken frame", true},
	"compressed":   {func(f ws.Frame) []ws.Frame { f.Header.Rsv = 4; return []ws.Frame{f} }, "broken frame", true},
	"other opcode": {func(f ws.Frame) []ws.Frame { f.Header.OpCode = 5; return []ws.Frame{f} }, "opcode 5", true},
}

func TestFaults(t *testing.T) {
	for _, k := range []Kind{Echo, OpenLoop} {
		for name, fault := range faults {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				load := runUntilWrong
				if name == "never" {
					load = runSoon
				}
				o, err := load(t, serveRaw(t, func(_ int, f ws.Frame) []ws.Frame { return fault.reply(f) }).plan(k))
				require.NoError(t, err)
				require.Contains(t, strings.Join(o.Faults, "\n"), fault.says)
				require.Equal(t, fault.lost, o.Lost > 0, o.Faults)
				if !fault.lost {
					require.Positive(t, o.Wrong)
				}
			})
		}
	}
}

// One message among many is found missing, doubled or out of order.
func TestOneFault(t *testing.T) {
	t.Parallel()
	var kept ws.Frame
	for name, c := range map[string]struct {
		reply func(n int, f ws.Frame) []ws.Frame
		wrong int64
		says  string
	}{
		"lost": {func(n int, f ws.Frame) []ws.Frame {
			if n == 20 {
				return []ws.Frame{}
			}
			return same(n, f)
		}, 1, "message 21 instead of 20: 1 lost"},
		"doubled": {func(n int, f ws.Frame) []ws.Frame {
			if n == 20 {
				return []ws.Frame{f, f}
			}
			return same(n, f)
		}, 1, "message 20 came again"},
		"swapped": {func(n int, f ws.Frame) []ws.Frame {
			switch n {
			case 20:
				kept = f
				return []ws.Frame{}
			case 21:
				return []ws.Frame{f, kept}
			}
			return same(n, f)
		}, 2, "message 20 came again"},
		"broken": {func(n int, f ws.Frame) []ws.Frame {
			if n == 20 {
				f.Payload[30]++
			}
			return same(n, f)
		}, 1, "wrong content instead of message 20"},
	} {
		t.Run(name, func(t *testing.T) {
			p := serveRaw(t, c.reply).plan(Echo)
			p.Sessions, p.InFlight = 1, 4
			o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations > 50 })
			require.NoError(t, err)
			require.Equal(t, c.wrong, o.Wrong, o.Faults)
			require.Contains(t, strings.Join(o.Faults, "\n"), c.says)
			require.Greater(t, o.Operations, int64(21), "it goes on")
		})
	}
}

func TestWrongAccept(t *testing.T) {
	t.Parallel()
	s := serveUpgrade(t, func(c net.Conn) error {
		_, err := c.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: nonsense\r\n\r\n"))
		return err
	}, same)
	o, err := runUntilWrong(t, s.plan(WebSocketHandshake))
	require.NoError(t, err)
	require.Positive(t, o.Wrong)
	require.Zero(t, o.Operations)
	require.Contains(t, o.Faults[0], "Sec-WebSocket-Accept")

	o, err = runSoon(t, s.plan(Echo))
	require.ErrorIs(t, err, errNothing)
	require.Positive(t, o.Wrong)
}

// A close frame must also be answered.
func TestNotClosed(t *testing.T) {
	t.Parallel()
	s := serveUpgrade(t, func(c net.Conn) error {
		_ = upgradeRaw(c)
		return mute(c)
	}, same)
	p := s.plan(WebSocketHandshake)
	p.Duration = time.Second
	o, err := runSoon(t, p)
	require.NoError(t, err)
	require.EqualValues(t, 2, o.Operations)
	require.EqualValues(t, 2, o.Wrong)
	require.Contains(t, o.Faults[0], "never opened and closed")
}

func TestBroadcastFaults(t *testing.T) {
	t.Parallel()
	// A server that echoes is none that broadcasts: two of three get nothing.
	p := serveRaw(t, same).plan(Broadcast)
	o, err := runSoon(t, p)
	require.NoError(t, err)
	require.EqualValues(t, 2, o.Wrong)
	require.Contains(t, o.Faults[0], "2 deliveries never came")

	// One that changes what it gives.
	p = serveRaw(t, func(_ int, f ws.Frame) []ws.Frame { f.Payload[33]++; return []ws.Frame{f} }).plan(Broadcast)
	p.Sessions = 1
	o, err = runUntilWrong(t, p)
	require.NoError(t, err)
	require.Positive(t, o.Wrong)
	require.Contains(t, o.Faults[0], "wrong content")

	// One that ends the session which sends.
	p = serveRaw(t, func(int, ws.Frame) []ws.Frame { return nil }).plan(Broadcast)
	o, err = runUntilWrong(t, p)
	require.NoError(t, err)
	require.Equal(t, 1, o.Lost)
}

// A storm meets a server that is not there for a while.
func TestStormRetries(t *testing.T) {
	t.Parallel()
	// An address of its own: a client of another test might get the port meanwhile.
	s := serveRawOn(t, "127.0.0.9:0", upgradeRaw, same)
	addr := s.listener.Addr().String()
	p := s.plan(Storm)
	refused, back := make(chan struct{}), make(chan error, 1)
	once := sync.OnceFunc(func() { close(refused) })
	p.Ready = func() {
		s.listener.Close()
		go func() {
			<-refused
			time.Sleep(moment)
			l, err := net.Listen("tcp", addr)
			if err == nil {
				s.serve(l)
			}
			back <- err
		}()
	}
	o, err := runUntil(t, p, func(o *Outcome) bool { // it ends by itself
		if o.Retries > 0 {
			once()
		}
		return false
	})
	once()
	require.NoError(t, <-back)
	require.NoError(t, err)
	require.EqualValues(t, p.Sessions, o.Operations)
	require.Positive(t, o.Retries)
	require.Zero(t, o.Lost)
	require.Contains(t, o.Faults[0], "refused")
	require.GreaterOrEqual(t, o.Latency.Min(), moment.Microseconds()*9/10, "the time of the outage counts") // in steps of the histogram
}

func TestStormLost(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, same)
	p := s.plan(Storm)
	p.Ready = func() { s.listener.Close() }
	o, err := Run(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, p.Sessions, o.Lost)
	require.Zero(t, o.Operations)
}

// mute reads what comes, and says nothing.
func mute(c net.Conn) error {
	_, _ = io.Copy(io.Discard, c)
	return io.EOF
}

func TestConnectLate(t *testing.T) {
	t.Parallel()
	s := serveUpgrade(t, mute, same)
	o, err := Run(t.Context(), s.plan(Connect))
	require.NoError(t, err)
	require.Zero(t, o.Operations)
	require.Contains(t, o.Faults[0], "3 sessions did not open in time")
}

// A server that says nothing ends a run, not the patience of whoever waits.
func TestNoProgress(t *testing.T) {
	t.Parallel()
	s := serveRaw(t, func(int, ws.Frame) []ws.Frame { return []ws.Frame{} })
	p := s.plan(Echo)
	p.Duration = time.Hour
	o, err := runSoon(t, p)
	require.NoError(t, err)
	require.Contains(t, strings.Join(o.Faults, "\n"), "no progress")
	require.EqualValues(t, p.Sessions*p.InFlight, o.Wrong)
	require.Less(t, o.Elapsed, p.Duration)

	_, err = runSoon(t, serveUpgrade(t, mute, same).plan(Echo))
	require.ErrorIs(t, err, errNothing)
	require.ErrorContains(t, err, "no progress")
}

func TestContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	p := serveRaw(t, same).plan(Echo)
	p.Duration = time.Minute
	_, err := Run(ctx, p)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestNobodyListens(t *testing.T) {
	s := serveRaw(t, same)
	p := s.plan(Echo)
	s.stop()
	o, err := runSoon(t, p)
	require.ErrorIs(t, err, errNothing)
	require.ErrorContains(t, err, "refused")
	require.Positive(t, o.Retries)
}

func TestPlans(t *testing.T) {
	good := Plan{Addr: "127.0.0.1:1", Sessions: 1, Size: 1, Duration: 1}
	for says, change := range map[string]func(p *Plan){
		"Duration":      func(p *Plan) { p.Duration = 0 },
		"Size":          func(p *Plan) { p.Size = 0 },
		"Sessions":      func(p *Plan) { p.Sessions = 0 },
		"Rate":          func(p *Plan) { p.Kind = OpenLoop },
		"Slow":          func(p *Plan) { p.Kind = SlowReaders },
		"polling":       func(p *Plan) { p.Kind, p.Dialect = PollCycle, Raw },
		"knows no":      func(p *Plan) { p.Via, p.Dialect = Upgraded, Raw },
		"negative":      func(p *Plan) { p.InFlight = -1 },
		"no kind":       func(p *Plan) { p.Kind = 99 },
		"IPv4 address ": func(p *Plan) { p.Addr = "localhost:1" },
		"no IPv4":       func(p *Plan) { p.LocalHosts = []string{"::1"} },
	} {
		p := good
		change(&p)
		_, err := Run(t.Context(), p)
		require.ErrorContains(t, err, says)
	}
}
