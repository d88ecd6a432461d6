package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Close ends sessions and connections at once, drops what is queued, and leaves
// nothing; a second Close, and one before Serve, do nothing.
func TestServerCloseEndsEverythingAtOnce(t *testing.T) {
	type end struct {
		reason Reason
		err    error
	}
	for _, c := range []struct {
		name     string
		loops    int
		executor bool
	}{
		{"one loop", 1, false},
		{"two loops", 2, false},
		{"with an Executor", 2, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			const sessions = 6
			ends := make(chan end, sessions)
			o := Options{Loops: c.loops, Logger: slog.New(slog.DiscardHandler)}
			if c.executor {
				o.Executor = NewExecutor(4)
			}
			server, address, ended := serveWith(t, o,
				Events{Close: func(_ *Session, reason Reason, err error) { ends <- end{reason, err} }})
			clients := make([]*wire, sessions)
			for i := range clients {
				clients[i] = dialWire(t, address)
				if i%2 == 0 {
					clients[i].websocket()
				} else {
					clients[i].open()
				}
			}
			until(t, "all have opened", func() bool { return server.Stats().Sessions == sessions })
			for s := range server.Sessions() {
				require.NoError(t, s.Send(Message{Data: []byte("not taken by polling clients")}))
			}

			require.NoError(t, server.Close())
			require.ErrorIs(t, <-ended, ErrServerClosed)
			until(t, "every session was told", func() bool { return len(ends) == sessions })
			for range sessions {
				require.Equal(t, end{ReasonShutdown, context.Canceled}, <-ends)
			}
			require.Zero(t, server.Stats().Sessions)
			require.Zero(t, server.Stats().Conns)
			require.NoError(t, server.Close(), "again")
			for _, client := range clients {
				client.hangUp()
			}
			until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		})
	}
	t.Run("before Serve", func(t *testing.T) {
		for _, loops := range []int{1, 2} {
			server, err := New(Options{Loops: loops}, Events{})
			require.NoError(t, err)
			require.NoError(t, server.Close(), fmt.Sprint(loops))
		}
	})
}

// A callback that blocks holds Close up for a bounded time only.
func TestServerCloseWhileACallbackBlocks(t *testing.T) {
	g := newGate()
	server, address, ended := serveWith(t, Options{Loops: 1, Timeouts: Timeouts{SlowCallback: -1}},
		Events{Message: func(*Session, Message) { g.pass() }})
	client := dialWire(t, address)
	client.websocket()
	require.NoError(t, client.write("4block"))
	until(t, "it blocks", func() bool { return g.waiting.Load() == 1 })
	require.NoError(t, server.Close())
	require.Zero(t, g.past.Load())
	require.Empty(t, ended)
	close(g.open)
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

// Close may come while Serve has hardly begun: it ends the loops before, or while,
// they run their first turn, and what was published then is told to Done.
func TestServerCloseWhileServeBegins(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	for range 200 {
		server, err := New(Options{Loops: 2, Logger: slog.New(slog.DiscardHandler)}, Events{})
		require.NoError(t, err)
		listener, err := Listen("127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		var asked, dones atomic.Int32
		for asked.Load() == 0 && len(served) == 0 { // until it serves
			if server.PublishTo(Audience{Done: func(int, int) { dones.Add(1) }}, say("x")) == nil {
				asked.Add(1)
			}
		}
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, ErrServerClosed)
		require.Equal(t, asked.Load(), dones.Load())
	}
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
}
