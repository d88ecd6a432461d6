package engine_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// running is a server that ends with its test, and leaves nothing.
type running struct {
	*engine.Server
	t       *testing.T
	address string
	served  chan error
}

// newServer makes a server with what tests expect where o does not say otherwise.
func newServer(t *testing.T, o engine.Options, e engine.Events) *engine.Server {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Loops == 0 {
		o.Loops = 2
	}
	if o.Timeouts.Close == 0 {
		o.Timeouts.Close = 2 * time.Second
	}
	leavesNothing(t)
	server, err := engine.New(o, e)
	require.NoError(t, err)
	return server
}

func run(t *testing.T, o engine.Options, e engine.Events) *running {
	t.Helper()
	server := newServer(t, o, e)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &running{Server: server, t: t, address: l.Addr().String(), served: make(chan error, 1)}
	go func() { s.served <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		require.ErrorIs(t, <-s.served, engine.ErrServerClosed)
		stats := server.Stats()
		require.Zero(t, stats.Sessions)
		require.Zero(t, stats.Conns)
		holdsNothing(t, server)
	})
	return s
}

// holdsNothing waits until no request outside the engine holds anything.
func holdsNothing(t *testing.T, s *engine.Server) {
	t.Helper()
	eventually(t, "all was given back", func() error { return same([4]int{}, engine.Outside(s)) })
}

// watched is the test whose goroutines are counted.
var watched string

// leavesNothing fails the test if goroutines are left at its end that were not
// there when it was first called.
func leavesNothing(t *testing.T) {
	if watched == t.Name() {
		return
	}
	watched = t.Name()
	goroutines := runtime.NumGoroutine()
	t.Cleanup(func() {
		watched = ""
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		eventually(t, "no goroutine is left", func() error { return atMost(goroutines, runtime.NumGoroutine()) })
	})
}

// line is a client's connection, written and read by hand.
type line struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func dialLine(t *testing.T, address string) *line {
	t.Helper()
	conn, err := dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &line{Conn: conn, t: t, r: bufio.NewReader(conn)}
}

func (c *line) say(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c, format, args...)
	require.NoError(c.t, err)
}

// hear reads one response, past interim ones, with its body.
func (c *line) hear(method string) (*http.Response, string) {
	c.t.Helper()
	for {
		response, err := http.ReadResponse(c.r, &http.Request{Method: method})
		require.NoError(c.t, err)
		if response.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(response.Body)
		require.NoError(c.t, err)
		return response, string(body)
	}
}

// get asks for a page and returns its status and body.
func (c *line) get(path string) string {
	c.t.Helper()
	c.say("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	response, body := c.hear("GET")
	return strconv.Itoa(response.StatusCode) + " " + body
}

// ended reads to the end of the stream and returns what was left.
func (c *line) ended() string {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	return string(rest)
}
