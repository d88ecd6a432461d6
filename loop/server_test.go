//go:build linux

package loop_test

import (
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// echo answers what it gets.
type echo struct{ conn *loop.Conn }

func (e *echo) Data(p []byte) { e.conn.Write(p) }
func (e *echo) Drained()      {}
func (e *echo) EOF()          { e.conn.Close() }
func (e *echo) Closed(error)  {}

func acceptEcho(c *loop.Conn) loop.Handler { return &echo{c} }

// server is a running reactor for plain net clients.
type server struct {
	*loop.Reactor
	t       *testing.T
	address string
	served  chan error
}

func serve(t *testing.T, o loop.Options, accept func(*loop.Conn) loop.Handler) *server {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	r, err := loop.Open(o, accept)
	require.NoError(t, err)
	s := &server{Reactor: r, t: t, served: make(chan error, 1)}
	s.address = s.listen("127.0.0.1:0")
	go func() { s.served <- r.Serve() }()
	return s
}

func (s *server) listen(address string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(s.t, err)
	require.NoError(s.t, s.Listen(l, nil))
	return l.Addr().String()
}

func (s *server) stop() {
	s.t.Helper()
	s.Stop()
	require.NoError(s.t, s.ended())
	for _, l := range s.Loops() {
		require.Equal(s.t, l.Conns(), l.Arriving(), "what is left of loop %d are places that were not used", l.Index())
	}
}

func (s *server) ended() error {
	s.t.Helper()
	select {
	case err := <-s.served:
		return err
	case <-time.After(30 * time.Second):
		require.FailNow(s.t, "Serve does not return")
		return nil
	}
}

func (s *server) dial() net.Conn {
	s.t.Helper()
	return dial(s.t, "tcp", s.address)
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

func requireEcho(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := c.Write([]byte(text))
	require.NoError(t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(100 * time.Microsecond) {
		if time.Since(start) > 30*time.Second {
			require.FailNow(t, "does not happen", what)
		}
	}
}
