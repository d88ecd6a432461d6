package engine

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Shutdown returns at its context's end although a callback holds up a loop. The
// loops end, and Serve returns, when the callback does, and no goroutine is left.
func TestShutdownWhileACallbackBlocks(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			g := newGate()
			server, address, ended := serveWith(t, Options{Loops: loops, Timeouts: Timeouts{SlowCallback: -1}},
				Events{Message: func(*Session, Message) { g.pass() }})
			clients := make([]*wire, 2*loops)
			for i := range clients {
				clients[i] = dialWire(t, address)
				clients[i].websocket()
			}
			require.NoError(t, clients[0].write("4block"))
			until(t, "it blocks", func() bool { return g.waiting.Load() == 1 })

			ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
			defer cancel()
			down := make(chan error, 1)
			go func() { down <- server.Shutdown(ctx) }()
			until(t, "Shutdown returns", func() bool { return len(down) > 0 })
			require.ErrorIs(t, <-down, context.DeadlineExceeded)
			require.Zero(t, g.past.Load())
			require.Empty(t, ended)

			close(g.open)
			require.ErrorIs(t, <-ended, ErrServerClosed)
			require.Zero(t, server.Stats().Sessions)
			for _, c := range clients {
				c.hangUp()
			}
			until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		})
	}
}
