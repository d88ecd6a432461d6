package engine

import (
	"context"
	"log/slog"
	"net"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// watched is a stage whose watchdog looks when a test says so. The test's
// goroutine is that of the loops.
func watched(t *testing.T, o Options) (*stage, *watchdog, *warnings) {
	log := new(warnings)
	o.Logger, o.Timeouts.SlowCallback = slog.New(log), 20*time.Millisecond
	g := newStage(t, 1, o)
	w := newWatchdog(g.server)
	w.attach()
	t.Cleanup(func() { pprof.SetGoroutineLabels(context.Background()) })
	g.world.Run() // sets the labels
	return g, w, log
}

// Whatever callback holds up its loop is told by its name, with the session where
// there is one and with the stack, and counted.
func TestWatchdogNamesTheCallback(t *testing.T) {
	names := callNames[1:]
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			g, w, log := watched(t, Options{})
			slow := false
			g.each = func(callback string) {
				if callback != name || slow {
					return
				}
				slow = true
				holdUpTheLoop(w, slowLooks)
				require.Empty(t, log.take(), "too early")
				holdUpTheLoop(w, 1)
			}
			g.happen()
			if name == callSubmit.String() { // see TestWatchdogSubmit
				g.finish()
				return
			}
			require.True(t, slow)
			lines := log.take()
			require.Len(t, lines, 1)
			require.Contains(t, lines[0], "WARN a callback holds up its event loop")
			require.Contains(t, lines[0], "callback="+name+" loop=0 held=20ms")
			require.Contains(t, lines[0], "engine.holdUpTheLoop")
			require.Contains(t, lines[0], "suppressed=0")
			of := strings.HasPrefix(name, "Events.") || strings.HasPrefix(name, "SendOptions.") || name == callKeep.String()
			for _, without := range []string{"Admit", "ConnectionError", "Headers"} {
				of = of && !strings.Contains(name, without)
			}
			require.Equal(t, of, slices.ContainsFunc(g.sessions(), func(s *Session) bool {
				require.NotContains(t, lines[0], s.ID())
				return strings.Contains(lines[0], "session="+s.PublicID()+" ")
			}), lines[0])
			require.EqualValues(t, 1, g.server.Stats().Slow)
			g.finish()
		})
	}
}

// holdUpTheLoop is a slow callback, as the watchdog sees it.
func holdUpTheLoop(w *watchdog, looks int) {
	for range looks {
		w.look()
	}
}

// slowSubmit is an Executor that blocks.
type slowSubmit struct {
	byHand
	submit func()
}

func (e *slowSubmit) Submit(task func()) error {
	e.submit()
	return e.byHand.Submit(task)
}

func TestWatchdogSubmit(t *testing.T) {
	e := &slowSubmit{submit: func() {}}
	g, w, log := watched(t, Options{Executor: e})
	e.submit = func() { holdUpTheLoop(w, slowLooks+1) }
	g.play(hsPolling)
	require.Contains(t, strings.Join(log.take(), ""), "callback=Executor.Submit")
	e.submit = func() {}
	g.hand = &e.byHand
	g.finish()
}

// Quick callbacks are not reported, however many there are; one that keeps running is
// reported again when it has taken ten times as long, at most once a second.
func TestWatchdogTells(t *testing.T) {
	g, w, log := watched(t, Options{})
	looks := 2
	g.each = func(callback string) {
		if callback == "Events.Message" {
			holdUpTheLoop(w, looks)
		}
	}
	g.play("ws EIO=4&transport=websocket conn=w")
	message := func() { g.client("w", "").peer.Write(frame(ws.OpText, "4x")); g.work() }
	message()
	message()
	require.False(t, w.look(), "no callback runs")
	require.Zero(t, g.server.Stats().Slow)
	require.Empty(t, log.take())

	looks = 1 + 2*slowLooks*tellAgain
	g.seen = map[string]int{}
	message()
	require.EqualValues(t, 1, g.server.Stats().Slow)
	require.Len(t, log.take(), 1)
	w.began = w.began.Add(-time.Second)
	message()
	require.EqualValues(t, 2, g.server.Stats().Slow)
	require.Contains(t, strings.Join(log.take(), ""), "suppressed=1")
	g.finish()
}

// A callback that has panicked holds up nobody any more.
func TestWatchdogAfterPanic(t *testing.T) {
	for _, name := range callNames[1:callSubmit] {
		g, w, _ := watched(t, Options{})
		at := ""
		g.each = func(callback string) {
			if callback == name {
				at = name
				panic("the application's fault")
			}
		}
		g.happen()
		require.Equal(t, name, at)
		require.False(t, w.look(), name)
		g.each = nil
		g.server.CloseSessions()
		g.world.Advance(time.Minute)
		g.world.Close()
	}
}

// A watchdog that is switched off costs nothing.
func TestWatchdogOff(t *testing.T) {
	server, err := New(Options{Timeouts: Timeouts{SlowCallback: -1}}, Events{})
	require.NoError(t, err)
	require.Nil(t, newWatchdog(server))
	var w *watchdog
	w.start()
	w.end()
}

// heard is a slog.Handler that closes itself when a slow callback is told.
type heard struct {
	warnings
	once sync.Once
	slow chan struct{}
}

func (h *heard) Handle(ctx context.Context, r slog.Record) error {
	err := h.warnings.Handle(ctx, r)
	if strings.Contains(r.Message, "holds up") {
		h.once.Do(func() { close(h.slow) })
	}
	return err
}

// On a real loop: a callback that waits for the record about itself gets it, from
// a watchdog that has slept before and ends with the server.
func TestWatchdogOnSockets(t *testing.T) {
	log := &heard{slow: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := New(Options{Loops: 2, Logger: slog.New(log), Timeouts: Timeouts{SlowCallback: time.Millisecond}}, Events{
		Open: func(*Session, *Request) { waitFor(ctx, log.slow) },
	})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	until(t, "sleeps", func() bool {
		w := server.watchdog.Load()
		return w != nil && w.asleep.Load()
	})
	require.NotEmpty(t, dialWire(t, listener.Addr().String()).open())
	require.NoError(t, ctx.Err())
	line := strings.Join(log.take(), "")
	require.Contains(t, line, "callback=Events.Open")
	require.Contains(t, line, "engine.waitFor")
	require.NotZero(t, server.Stats().Slow)

	gone, stop := context.WithCancel(t.Context())
	stop()
	_ = server.Shutdown(gone)
	require.ErrorIs(t, <-ended, ErrServerClosed)
	select {
	case <-server.watchdog.Load().done:
	default:
		t.Fatal("the watchdog has not ended")
	}
}

// waitFor is a callback that blocks.
func waitFor(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}
