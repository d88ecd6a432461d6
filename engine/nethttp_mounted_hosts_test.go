package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// Two servers with the same path share an http.Server, and a proxy has requests
// for both on one connection.
func TestMountedServersOfTwoHosts(t *testing.T) {
	other, err := engine.New(engine.Options{Loops: 1, Timeouts: engine.Timeouts{Close: time.Second}, Logger: slog.New(slog.DiscardHandler)}, echoEvents)
	require.NoError(t, err)
	both := func(s *engine.Server) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("a.example/engine.io/", s)
		mux.Handle("b.example/engine.io/", other)
		return mux
	}
	leavesNothing(t)
	m := mount(t, engine.Options{}, echoEvents, both, plain)
	c := dialLine(t, m.address())
	ask := func(method, host, query, body string) string {
		c.say("%s /engine.io/?EIO=4&transport=polling%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", method, query, host, len(body), body)
		response, text := c.hear(method)
		return fmt.Sprint(response.StatusCode, " ", text)
	}
	open := func(host string) string {
		body := ask("GET", host, "", "")
		require.Equal(t, "200 0{", body[:6])
		_, rest, _ := strings.Cut(body, `"sid":"`)
		sid, _, _ := strings.Cut(rest, `"`)
		return sid
	}
	a, b := open("a.example"), open("b.example")
	require.Equal(t, 1, m.Stats().Sessions)
	require.Equal(t, 1, other.Stats().Sessions)
	for range 2 {
		require.Equal(t, "200 ok", ask("POST", "a.example", "&sid="+a, "4x"))
		require.Equal(t, "200 ok", ask("POST", "b.example", "&sid="+b, "4y"))
		require.Equal(t, "200 4x", ask("GET", "a.example", "&sid="+a, ""))
		require.Equal(t, "200 4y", ask("GET", "b.example", "&sid="+b, ""))
	}
	for _, s := range []*engine.Server{m.Server, other} {
		for session := range s.Sessions() {
			session.CloseNow()
		}
	}
	require.NoError(t, c.Close())
	ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
	defer cancel()
	require.NoError(t, other.Shutdown(ctx))
}
