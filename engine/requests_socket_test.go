package engine_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/requests"

	"github.com/stretchr/testify/require"
)

// TestRequestsOverSockets sends the rows of internal/requests to a server on
// two loops, each on a connection of its own with another request behind it.
func TestRequestsOverSockets(t *testing.T) {
	cases, err := requests.Load()
	require.NoError(t, err)
	s := &requestServer{messages: map[string][]string{}}
	server, err := engine.New(engine.Options{Loops: 2, Timeouts: engine.Timeouts{Close: time.Second}, Logger: slog.New(slog.DiscardHandler)}, engine.Events{Open: s.open, Message: s.message})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	for _, c := range cases {
		t.Run(c.Topic+"/"+c.Name, func(t *testing.T) { s.play(t, &c) })
	}

	ctx, cancel := context.WithTimeout(t.Context(), socketPatience)
	defer cancel()
	require.NoError(t, server.Shutdown(ctx))
	require.ErrorIs(t, <-served, engine.ErrServerClosed)
	stats := server.Stats()
	require.Zero(t, stats.Sessions)
	require.Zero(t, stats.Conns)
	require.Zero(t, stats.Queued)
}

// requestServer is the application of the test.
type requestServer struct {
	addr     string
	mu       sync.Mutex
	last     string              // id of the session that opened last
	opened   int                 // sessions
	messages map[string][]string // by session
}

func (s *requestServer) open(session *engine.Session, _ *engine.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = session.ID()
	s.opened++
}

func (s *requestServer) message(session *engine.Session, m engine.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages[session.ID()] = append(s.messages[session.ID()], string(m.Data))
}

func (s *requestServer) sessions() (opened int, last string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened, s.last
}

const socketPatience = 30 * time.Second // for one answer; far more than a loaded machine needs

func (s *requestServer) dial(t *testing.T) *net.TCPConn {
	conn, err := net.DialTimeout("tcp", s.addr, socketPatience)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(socketPatience)))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

const behind = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"

func (s *requestServer) play(t *testing.T, c *requests.Case) {
	conn := s.dial(t)
	r := bufio.NewReader(conn)
	_, err := io.WriteString(conn, behind)
	require.NoError(t, err)
	require.Equal(t, 200, status(t, r, "GET"))
	before, sid := s.sessions()

	in := string(c.Request(sid))
	if c.Fate != requests.Wait && c.Fate != requests.Switch {
		in += behind
	}
	sent := make(chan struct{})
	go func() { // a server that has refused need not take it all
		defer close(sent)
		_, _ = io.WriteString(conn, in)
	}()
	opened := 0
	if c.Status != 0 {
		require.Equal(t, c.Status, status(t, r, c.Method()))
	}
	if c.Opens {
		opened++
	}
	if c.Fate == requests.Keep {
		require.Equal(t, 200, status(t, r, "GET"))
		opened++
	}
	<-sent
	if c.Fate != requests.Close {
		require.NoError(t, conn.CloseWrite())
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		require.True(t, errors.Is(err, syscall.ECONNRESET), "%v", err)
	}
	if c.Fate != requests.Switch {
		require.Empty(t, string(rest))
	}
	after, _ := s.sessions()
	require.Equal(t, opened, after-before, "sessions opened")
	s.mu.Lock()
	defer s.mu.Unlock()
	var want []string
	if c.Payload != "" {
		want = []string{c.Payload[1:]}
	}
	require.Equal(t, want, s.messages[sid])
}

// status reads a response, but not an interim one, and returns its status.
func status(t *testing.T, r *bufio.Reader, method string) int {
	for {
		response, err := http.ReadResponse(r, &http.Request{Method: method})
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		if response.StatusCode != 100 {
			require.GreaterOrEqual(t, response.ContentLength, int64(0), "%d %q has no length", response.StatusCode, body)
			return response.StatusCode
		}
	}
}
