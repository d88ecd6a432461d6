package engine_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/invariants"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// stressClients and stressConns bound the test.
const (
	stressClients = 12
	stressConns   = 120
)

// TestHostileClientsOnManyLoops lets rude clients loose on each other's
// sessions, over real sockets and four loops. It is there for the race detector
// and the invariants: nothing panics, nothing leaks, every session ends once.
func TestHostileClientsOnManyLoops(t *testing.T) { hostileClients(t, nil) }

// The same with an application that is called on goroutines, and falls behind.
func TestHostileClientsOnExecutor(t *testing.T) { hostileClients(t, engine.NewExecutor(3)) }

func hostileClients(t *testing.T, executor engine.Executor) {
	s := &stress{live: map[*engine.Session]bool{}}
	log := new(stressLog)
	server, err := engine.New(engine.Options{
		Loops: 4, PingInterval: 300 * time.Millisecond, PingTimeout: 300 * time.Millisecond,
		Timeouts: engine.Timeouts{Upgrade: 200 * time.Millisecond, Close: 500 * time.Millisecond, Body: 200 * time.Millisecond},
		Queue:    engine.Queue{MaxBytes: 100_000}, Logger: slog.New(log), Executor: executor, Limits: engine.Limits{MaxPending: 2000},
	}, engine.Events{Open: s.open, Message: s.message, Close: s.close})
	require.NoError(t, err)
	s.server = server
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var clients sync.WaitGroup
	for i := range stressClients {
		clients.Go(func() { s.client(l.Addr().String(), rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	clients.Wait()

	ctx, cancel := context.WithTimeout(t.Context(), memoryPatience)
	defer cancel()
	require.NoError(t, server.Shutdown(ctx))
	require.ErrorIs(t, <-served, engine.ErrServerClosed)
	left := server.Stats()
	var ended int64
	for _, n := range left.Closed {
		ended += n
	}
	require.Equal(t, s.opened.Load(), ended, "sessions counted as closed: %v", left.Closed)
	engine.RequireBalance(t, left)
	if executor == nil { // else the application is not told what waited for a session that panicked
		require.Equal(t, s.messages.Load(), left.ByTransport[engine.Polling].In.Messages+left.ByTransport[engine.WebSocket].In.Messages)
	}
	require.Equal(t, [...]int64{0, 0, 0, 0, 0}, [...]int64{
		int64(left.Sessions), int64(left.Conns), left.Queued, left.Pending, int64(left.TLS.Now),
	}, "sessions, connections, bytes queued and pending, TLS handshakes")
	require.Empty(t, s.live)
	require.Zero(t, s.twice.Load(), "sessions closed twice")
	require.Empty(t, log.text())
	if invariants.Enabled {
		require.Zero(t, engine.OnLoan())
	}
	t.Logf("%d sessions, %d messages", s.opened.Load(), s.messages.Load())
}

// stress is an application that does all that a callback may do.
type stress struct {
	server   *engine.Server
	mu       sync.Mutex
	live     map[*engine.Session]bool
	opened   atomic.Int64
	messages atomic.Int64
	twice    atomic.Int64
}

func (s *stress) open(session *engine.Session, _ *engine.Request) {
	s.opened.Add(1)
	s.mu.Lock()
	s.live[session] = true
	s.mu.Unlock()
	_ = session.Send(engine.Message{Data: []byte("hello")})
}

func (s *stress) message(session *engine.Session, m engine.Message) {
	s.messages.Add(1)
	_ = session.Send(m)
	switch {
	case strings.HasPrefix(string(m.Data), "C"):
		session.Close()
	case strings.HasPrefix(string(m.Data), "B"):
		p, _ := engine.Prepare(m) // what came from a client is text
		_ = s.server.Broadcast(p)
	}
}

func (s *stress) close(session *engine.Session, _ engine.Reason, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live[session] {
		s.twice.Add(1)
	}
	delete(s.live, session)
}

// victim is somebody's session id.
func (s *stress) victim() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session := range s.live {
		return session.ID()
	}
	return strings.Repeat("A", 27)
}

func (s *stress) client(address string, r *rand.Rand) {
	for range stressConns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return // the backlog is full
		}
		var reader sync.WaitGroup
		reader.Go(func() { _, _ = io.Copy(io.Discard, c) })
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		for range r.IntN(12) {
			s.request(c, r)
		}
		if r.IntN(3) == 0 {
			_ = c.(*net.TCPConn).SetLinger(0) // a reset
		}
		_ = c.Close()
		reader.Wait()
	}
}

// request writes one request, or the beginning of one, to somebody's session.
func (s *stress) request(c net.Conn, r *rand.Rand) {
	payloads := []string{"4hi", "4C", "4B", "3", "1", "4a\x1e4b\x1e4c", "bAQID", "zz", "4" + strings.Repeat("x", 3000)}
	payload := payloads[r.IntN(len(payloads))]
	revision := 4
	if r.IntN(12) == 0 {
		revision = 3
	}
	query := fmt.Sprintf("/engine.io/?EIO=%d&sid=%s&transport=", revision, s.victim())
	switch r.IntN(8) {
	case 0, 1:
		fmt.Fprintf(c, "GET /engine.io/?EIO=%d&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n", revision)
	case 2, 3:
		fmt.Fprintf(c, "GET %spolling HTTP/1.1\r\nHost: x\r\n\r\n", query)
	case 4:
		fmt.Fprintf(c, "POST %spolling HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", query, len(payload), payload)
	case 5:
		fmt.Fprintf(c, "POST %spolling HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", query, len(payload))
		pause(r)
		fmt.Fprint(c, payload)
	case 6:
		fmt.Fprintf(c, "POST %spolling HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n4a\r\n", query)
		pause(r)
		fmt.Fprint(c, []string{"0\r\n\r\n", "x", ""}[r.IntN(3)])
	case 7:
		s.websocket(c, r, query, payload)
	}
}

func (s *stress) websocket(c net.Conn, r *rand.Rand, query, payload string) {
	upgrade := r.IntN(2) == 0
	if !upgrade {
		query = "/engine.io/?EIO=4&transport="
	}
	fmt.Fprintf(c, "GET %swebsocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", query)
	text := func(p string) {
		_, _ = c.Write(wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(p)))
	}
	if upgrade {
		text("2probe")
		if r.IntN(4) > 0 {
			text("5")
		}
	}
	for range r.IntN(10) {
		text(payload)
		pause(r)
	}
}

// pause lets the loops get in between; how long does not matter to the test.
func pause(r *rand.Rand) { time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond) }

// stressLog keeps what is logged, except the limits that rude clients meet:
// nothing should be.
type stressLog struct {
	mu    sync.Mutex
	lines []string
}

func (h *stressLog) Enabled(context.Context, slog.Level) bool { return true }
func (h *stressLog) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *stressLog) WithGroup(string) slog.Handler            { return h }

func (h *stressLog) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelError {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	line := r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	h.lines = append(h.lines, line)
	return nil
}

func (h *stressLog) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}
