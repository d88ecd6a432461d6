package engine_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

// A Shutdown without patience reports the end of every session, however many.
func TestCutOfMany(t *testing.T) {
	const sessions, batch = 100_000 / race.Less, 100
	var closed atomic.Int64
	server, err := engine.New(engine.Options{Loops: 1, Limits: engine.Limits{MaxSessions: sessions}, Timeouts: engine.Timeouts{FirstRequest: time.Minute}, Logger: slog.New(slog.DiscardHandler)},
		engine.Events{Close: func(*engine.Session, engine.Reason, error) { closed.Add(1) }})
	require.NoError(t, err)
	l, err := engine.Listen("127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := dial(l.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	r := bufio.NewReader(conn)
	for range sessions / batch {
		_, err := io.WriteString(conn, strings.Repeat("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n", batch))
		require.NoError(t, err)
		for range batch {
			response, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, response.Body)
		}
	}
	require.Equal(t, sessions, server.Stats().Sessions)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.Canceled)
	require.ErrorIs(t, <-served, engine.ErrServerClosed)
	require.EqualValues(t, sessions, closed.Load())
	require.Zero(t, server.Stats().Sessions)
}
