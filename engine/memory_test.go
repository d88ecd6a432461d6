package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/certs"
	"turbine/internal/race"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// What an idle WebSocket session may take of the server's heap, its connection
// and its places in all tables included: docs/design.md, "Budgets".
const (
	budgetBytes   = 350
	budgetObjects = 2.06 // two, and what the slices of the tables round up to

	// Over TLS: 3,400 to 3,600 bytes and 13 to 17 objects are in use.
	budgetTLSBytes   = 5 << 10
	budgetTLSObjects = 25

	// So many that what is not theirs is below the step from a budget to the next object.
	memorySessions    = 2000
	memoryTLSSessions = 500 // a handshake takes a millisecond on either side

	wheelTick    = 50 * time.Millisecond // of the servers here: they have long timeouts
	wheelBuckets = 1024

	memoryPatience = 30 * time.Second // for what a loaded machine does in two
)

// TestIdleSessionMemory measures the server alone: its clients are a process of
// their own. Each session has echoed a message before it is idle.
func TestIdleSessionMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of connections")
	}
	if race.Enabled {
		t.Skip("the race detector has a heap of its own making")
	}
	for _, kind := range []string{"websocket", "upgraded"} {
		t.Run(kind, func(t *testing.T) { measureSessions(t, kind, serving{}, memorySessions, budgetBytes, budgetObjects) })
	}
	t.Run("beside pages", func(t *testing.T) {
		measureSessions(t, "websocket", serving{pages: battery()}, memorySessions, budgetBytes, budgetObjects)
	})
	t.Run("mounted", func(t *testing.T) {
		measureSessions(t, "websocket", serving{mounted: true}, memorySessions, budgetBytes, budgetObjects)
	})
}

// TestIdleTLSSessionMemory is the same over TLS, after a little traffic and after
// a message that fills TLS records, which crypto/tls alone would keep room for.
func TestIdleTLSSessionMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of connections")
	}
	if race.Enabled {
		t.Skip("the race detector has a heap of its own making")
	}
	pair := certs.New(t).Issue(t, "server", nil).TLS(t)
	for _, kind := range []string{"tls12", "tls13", "tls13bulk"} {
		t.Run(kind, func(t *testing.T) {
			measureSessions(t, kind, serving{tls: &engine.TLS{Config: &tls.Config{Certificates: []tls.Certificate{pair}}}}, memoryTLSSessions, budgetTLSBytes, budgetTLSObjects)
		})
	}
}

// serving is what a server has next to it or around it.
type serving struct {
	tls     *engine.TLS
	pages   http.Handler
	mounted bool // in an http.Server
}

func measureSessions(t *testing.T, kind string, how serving, sessions int, bytes, most float64) {
	clients := startClients(t)
	goroutines := runtime.NumGoroutine()
	server, address, served := serveEcho(t, how)
	if how.pages != nil {
		page := dialLine(t, address)
		require.Equal(t, "200 GET /page", page.get("/page"))
		require.NoError(t, page.Close())
	}

	// The first sessions build what all share: buffers, tables, pools.
	clients.do(t, "open %s %s %d", kind, address, 10)
	clients.do(t, "close")
	awaitSessions(t, server, 0)

	serving := runtime.NumGoroutine()
	before, begun := settledHeap(), time.Now()
	clients.do(t, "open %s %s %d", kind, address, sessions)
	awaitSessions(t, server, sessions)
	// A loop has a slice for each tick of its wheel in which alarms were armed, at
	// most 1,024, however many sessions there are: the longer the opening took, the more.
	ticks := float64(min(time.Since(begun)/wheelTick+1, wheelBuckets)) * float64(runtime.GOMAXPROCS(0))
	eventually(t, "no goroutine belongs to a session", func() error {
		return atMost(serving, runtime.NumGoroutine())
	})

	// On a loaded machine the last of a handshake may still be on its way.
	eventually(t, "sessions are within their budgets", func() error {
		after := settledHeap()
		size := (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(sessions)
		objects := (float64(after.HeapObjects) - float64(before.HeapObjects) - ticks) / float64(sessions)
		t.Logf("idle session, %s: %.1f bytes and %.3f objects of heap, without those of %v ticks", kind, size, objects, ticks)
		if size > bytes || objects > most {
			return fmt.Errorf("a session has %.1f bytes and %.3f objects, at most %v and %v are allowed", size, objects, bytes, most)
		}
		return nil
	})

	clients.tell(t, "leave")
	ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
	err := server.Shutdown(ctx)
	cancel()
	require.NoError(t, err)
	clients.await(t)
	require.ErrorIs(t, <-served, engine.ErrServerClosed)
	require.Zero(t, server.Stats().Sessions)
	eventually(t, "Shutdown leaves no goroutine", func() error {
		return atMost(goroutines, runtime.NumGoroutine())
	})
}

// serveEcho starts a server on a free port. Its pings are too rare to disturb,
// and its other deadlines so far off that one alarm serves a session: an alarm
// for a shorter one, long met, stays in the timing wheel until it rings, up to
// a minute after the handshake, which no idle session remembers.
func serveEcho(t *testing.T, how serving) (server *engine.Server, address string, served <-chan error) {
	t.Helper()
	server, err := engine.New(
		engine.Options{
			PingInterval: 10 * time.Minute,
			Timeouts: engine.Timeouts{
				Header:  10 * time.Minute,
				Idle:    10 * time.Minute,
				Upgrade: 10 * time.Minute,

				FirstRequest: 10 * time.Minute,
				TLSHandshake: 10 * time.Minute,
			},
			TLS:      how.tls,
			Fallback: how.pages,
		},
		engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }}, // a lost echo fails the client
	)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	result := make(chan error, 1)
	serve := server.Serve
	switch {
	case how.tls != nil:
		serve = server.ServeTLS
	case how.mounted:
		serve = func(l net.Listener) error { return serveMounted(server, l) }
	}
	go func() { result <- serve(listener) }()
	t.Cleanup(func() { // for a test that failed before its own Shutdown
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ctx)
	})
	return server, listener.Addr().String(), result
}

// serveMounted serves in an http.Server until server has ended.
func serveMounted(server *engine.Server, l net.Listener) error {
	outer := &http.Server{Handler: server, ReadHeaderTimeout: memoryPatience}
	served := make(chan error, 1)
	go func() { served <- outer.Serve(l) }()
	for !engine.Ended(server) {
		time.Sleep(5 * time.Millisecond)
	}
	err := outer.Close()
	if end := <-served; !errors.Is(end, http.ErrServerClosed) {
		return end
	}
	return errors.Join(err, engine.ErrServerClosed)
}

// settledHeap reads the heap when nothing is left to collect: what a sync.Pool
// keeps survives the first collection.
func settledHeap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// awaitSessions waits until the server has n sessions, and one connection for
// each of them.
func awaitSessions(t *testing.T, server *engine.Server, n int) {
	t.Helper()
	eventually(t, "sessions and their connections", func() error {
		stats := server.Stats()
		return errors.Join(same(n, stats.Sessions), same(n, stats.Conns))
	})
}

func same[T comparable](want, got T) error {
	if want != got {
		return fmt.Errorf("%v, want %v", got, want)
	}
	return nil
}

// atMost is for goroutines: one that another test left behind may end meanwhile.
func atMost(limit, got int) error {
	if got > limit {
		return fmt.Errorf("%d, want at most %d", got, limit)
	}
	return nil
}

// eventually tries until check has no error. It starts no goroutine, which
// would be counted.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(memoryPatience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	stacks := make([]byte, 64<<10)
	require.NoError(t, err, "%s\n%s", what, stacks[:runtime.Stack(stacks, true)])
}

// clients is the process that holds the clients: this test binary again, where
// only TestMemoryClients runs. It takes commands line by line and answers each
// with "done" or "failed: " and the cause.
type clients struct {
	commands io.WriteCloser
	answers  *bufio.Reader
}

const clientsVariable = "TURBINE_TEST_MEMORY_CLIENTS"

func startClients(t *testing.T) *clients {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryClients$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), clientsVariable+"=1")
	cmd.Stderr = os.Stderr
	commands, err := cmd.StdinPipe()
	require.NoError(t, err)
	answers, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = commands.Close() // ends the process
		_, _ = io.Copy(io.Discard, answers)
		require.NoError(t, cmd.Wait())
	})
	return &clients{commands: commands, answers: bufio.NewReader(answers)}
}

func (c *clients) do(t *testing.T, format string, args ...any) {
	t.Helper()
	c.tell(t, format, args...)
	c.await(t)
}

func (c *clients) tell(t *testing.T, format string, args ...any) {
	t.Helper()
	_, err := fmt.Fprintf(c.commands, format+"\n", args...)
	require.NoError(t, err)
}

func (c *clients) await(t *testing.T) {
	t.Helper()
	answer, err := c.answers.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "done\n", answer)
}

// TestMemoryClients is no test but the other process of TestIdleSessionMemory.
func TestMemoryClients(t *testing.T) {
	if os.Getenv(clientsVariable) == "" {
		t.Skip("the clients of TestIdleSessionMemory")
	}
	var open []net.Conn
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		words := strings.Fields(commands.Text())
		var err error
		switch words[0] {
		case "open":
			var n int
			_, err = fmt.Sscan(words[3], &n)
			for i := 0; i < n && err == nil; i++ {
				var conn net.Conn
				conn, err = openSession(words[1], words[2])
				open = append(open, conn)
			}
		case "close":
			for _, conn := range open {
				_ = conn.Close()
			}
			open = nil
		case "leave": // as the server asks for it
			for _, conn := range open {
				err = errors.Join(err, expectClose(conn), conn.Close())
			}
			open = nil
		}
		if err != nil {
			fmt.Printf("failed: %v\n", err)
		} else {
			fmt.Println("done")
		}
	}
}

// openSession opens a session on a WebSocket, or brings one there that began
// with polling, and has a message echoed.
func openSession(kind, address string) (net.Conn, error) {
	query := "EIO=4&transport=websocket"
	if strings.HasPrefix(kind, "tls") {
		return openTLSSession(kind, address, query)
	}
	if kind == "upgraded" {
		sid, err := pollHandshake(address)
		if err != nil {
			return nil, err
		}
		query += "&sid=" + sid
	}
	conn, r, err := dialWebSocket(address, query)
	if err != nil {
		return nil, err
	}
	if kind == "upgraded" {
		err = errors.Join(sendText(conn, "2probe"), expectText(r, "3probe"), sendText(conn, "5"))
	} else {
		err = expectText(r, "0{")
	}
	return conn, errors.Join(err, sendText(conn, "4hello"), expectText(r, "4hello"))
}

// pollHandshake opens a session with polling and returns its id.
func pollHandshake(address string) (sid string, err error) {
	conn, err := dial(address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(body), `"sid":"`)
	sid, _, found := strings.Cut(rest, `"`)
	if !found {
		return "", fmt.Errorf("no session id in %d %q", response.StatusCode, body)
	}
	return sid, nil
}

// openTLSSession is openSession over TLS.
func openTLSSession(kind, address, query string) (net.Conn, error) {
	raw, err := dial(address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // #nosec G402 -- nothing is secret
	if strings.HasPrefix(kind, "tls12") {
		config.MaxVersion = tls.VersionTLS12
	}
	conn := tls.Client(raw, config)
	r, err := upgradeConn(conn, address, query)
	if err != nil {
		return nil, err
	}
	err = expectText(r, "0{")
	if strings.HasSuffix(kind, "bulk") {
		message := "4" + strings.Repeat("x", 100_000)
		err = errors.Join(err, sendText(conn, message), expectText(r, message))
	}
	return conn, errors.Join(err, sendText(conn, "4hello"), expectText(r, "4hello"))
}

func dialWebSocket(address, query string) (net.Conn, *bufio.Reader, error) {
	conn, err := dial(address)
	if err != nil {
		return nil, nil, err
	}
	r, err := upgradeConn(conn, address, query)
	return conn, r, err
}

// upgradeConn asks for a WebSocket on conn.
func upgradeConn(conn net.Conn, address, query string) (*bufio.Reader, error) {
	_, err := fmt.Fprintf(conn, "GET /engine.io/?%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", query, address)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.New(response.Status)
	}
	return r, nil
}

func dial(address string) (net.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(memoryPatience))
}

func sendText(conn net.Conn, text string) error {
	_, err := conn.Write(wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(text)))
	return err
}

// expectText reads one frame, whose payload begins with prefix.
func expectText(r *bufio.Reader, prefix string) error {
	header, err := ws.ReadHeader(r)
	if err != nil {
		return err
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return err
	}
	if header.OpCode != ws.OpText || !strings.HasPrefix(string(payload), prefix) {
		return fmt.Errorf("frame %x %q, want text %q", header.OpCode, payload, prefix)
	}
	return nil
}

// expectClose reads the server's close frame and the end of the stream.
func expectClose(conn net.Conn) error {
	rest, err := io.ReadAll(conn)
	if err == nil && !bytes.Equal(rest, wsframe.AppendClose(nil, 0, "")) {
		err = fmt.Errorf("%q at the end, want a close frame", rest)
	}
	return err
}
