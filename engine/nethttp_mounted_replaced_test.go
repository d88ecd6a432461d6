package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A program that replaces its http.Server again and again, each with clients that
// ask for other things on connections that were taken, keeps nothing of those that
// ended, and of one whose clients stay only as long as they do.
func TestMountedServerIsReplaced(t *testing.T) {
	const replaced = 200
	m := mount(t, engine.Options{}, echoEvents, under(""), plain)
	handler := under("")(m.Server)
	require.Equal(t, "400", dialLine(t, m.address()).get("/engine.io/?transport=polling")[:3]) // the loops run
	for _, c := range []struct {
		name string
		end  func(*http.Server) error
	}{
		{"closed", (*http.Server).Close},
		{"shut down", func(h *http.Server) error { return h.Shutdown(context.Background()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			goroutines := runtime.NumGoroutine()
			for range replaced {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				h := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
				served := make(chan error, 1)
				go func() { served <- h.Serve(l) }()
				conn := dialLine(t, l.Addr().String())
				require.Equal(t, "400", conn.get("/engine.io/?transport=polling")[:3])
				require.Equal(t, "200 a page", conn.get("/page"))
				require.NoError(t, c.end(h))
				require.ErrorIs(t, <-served, http.ErrServerClosed)
				require.Equal(t, "200 a page", conn.get("/page"), "a connection that was taken outlives the listener")
				require.NoError(t, conn.Close())
			}
			eventually(t, "all were let go of", func() error {
				return errors.Join(same(1, engine.Surroundings(m.Server)), atMost(goroutines, runtime.NumGoroutine()))
			})
		})
	}
}

// The http.Server is known as long as a connection of it is there, whatever became
// of the others, and again when the next one comes.
func TestMountedServerIsKnownByItsConnections(t *testing.T) {
	m := mount(t, engine.Options{}, echoEvents, under(""), plain)
	known := func(n int) {
		t.Helper()
		eventually(t, "servers that are known", func() error { return same(n, engine.Surroundings(m.Server)) })
	}
	known(0)
	for range 3 {
		first, second := dialLine(t, m.address()), dialLine(t, m.address())
		require.Equal(t, "400", first.get("/engine.io/?transport=polling")[:3])
		require.Equal(t, "400", second.get("/engine.io/?transport=polling")[:3])
		known(1)
		require.NoError(t, first.Close())
		eventually(t, "one has gone", func() error { return same(1, m.Stats().Conns) })
		require.Equal(t, "200 a page", second.get("/page"))
		known(1)

		// A session's WebSocket asks for nothing else: it keeps no http.Server.
		conn, r, status := m.webSocket("/engine.io/?EIO=4&transport=websocket", "")
		require.Equal(t, 101, status)
		require.NoError(t, expectText(r, "0{"))
		require.NoError(t, second.Close())
		known(0)
		require.NoError(t, conn.Close())
		eventually(t, "the session has gone", func() error { return same(0, m.Stats().Sessions) })
	}
}

// A request that waits for its turn, or has just got it, when its client leaves
// gives its place back although nothing is left of the http.Server it came by.
func TestMountedServerIsLetGoOfWithRequests(t *testing.T) {
	release := make(chan struct{})
	holding := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hold" {
				<-release
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	m := mount(t, engine.Options{Limits: engine.Limits{MaxFallback: 1}}, echoEvents, under("", holding), plain)
	var conns []*line
	for range 10 {
		conn := dialLine(t, m.address())
		require.Equal(t, "400", conn.get("/engine.io/?transport=polling")[:3])
		conn.say("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
		conns = append(conns, conn)
	}
	eventually(t, "one is served, and nine wait", func() error {
		return same([4]int{1, 9, 0, 0}, engine.Outside(m.Server))
	})
	for _, conn := range conns {
		require.NoError(t, conn.Conn.(*net.TCPConn).SetLinger(0))
		require.NoError(t, conn.Close())
	}
	eventually(t, "nothing is left but what the handler holds", func() error {
		return errors.Join(same(0, engine.Surroundings(m.Server)), same([4]int{1, 0, 0, 0}, engine.Outside(m.Server)))
	})
	close(release)
	holdsNothing(t, m.Server)
	conn := dialLine(t, m.address())
	require.Equal(t, "400", conn.get("/engine.io/?transport=polling")[:3])
	require.Equal(t, "200 a page", conn.get("/page"))
}
