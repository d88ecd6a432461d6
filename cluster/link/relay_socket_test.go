//go:build linux

package link_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"turbine/cluster/link"
	"turbine/internal/certs"
	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/loop"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

var relayKey = func() []byte { k := sha256.Sum256([]byte("key of the relays")); return k[:] }()

func relaySelf(node uint32) *link.Self {
	return &link.Self{Cluster: "tests", Node: node, Boot: [16]byte{byte(node)}, Key: relayKey}
}

// relayed are two nodes on sockets: clients of the edge are relayed to an echo at the
// home.
type relayed struct {
	edge    *link.Edge
	door    *link.Door
	clients string        // address of the edge, for clients
	direct  string        // of the home, for clients
	loops   [2]*loop.Loop // of the edge and the home
	reactor *loop.Reactor // of the edge
	stop    func()

	mu     sync.Mutex
	home   string // address of the home's links
	failed []error
	turned []error // why the door let nobody in
	ended  int     // links at the home that have ended
	hellos []string
}

// relayEcho sends back what it gets, also behind the client's end. A line "close" ends
// the connection in good order, "abort" at once.
type relayEcho struct{ conn *loop.Conn }

func (e *relayEcho) Data(p []byte) {
	switch string(p) {
	case "close\n":
		e.conn.Write([]byte("bye\n"))
		e.conn.Close()
	case "abort\n":
		e.conn.Abort()
	default:
		e.conn.Write(p)
		if !e.conn.Ready() {
			e.conn.Pause()
		}
	}
}
func (e *relayEcho) Drained()     { e.conn.Resume() }
func (e *relayEcho) EOF()         { e.conn.Close() }
func (e *relayEcho) Closed(error) {}

// opening opens a relay with a client's first bytes.
type opening struct {
	r    *relayed
	conn *loop.Conn
	node uint32
}

func (o *opening) Data(p []byte) {
	o.r.mu.Lock()
	home := o.r.home
	o.r.mu.Unlock()
	o.r.edge.Open(o.conn, o.node, home, link.Relay{Hello: []byte("hello of " + o.conn.RemoteAddr().String()), First: p, Refusal: []byte("refused\n")})
}
func (o *opening) Drained()     {}
func (o *opening) EOF()         { o.conn.Close() }
func (o *opening) Closed(error) {}

func startRelayed(t testing.TB, secure bool, change func(*link.EdgeOptions)) *relayed {
	t.Helper()
	goroutines, buffers := runtime.NumGoroutine(), pool.Outstanding()
	r := &relayed{}
	quiet := loop.Options{Loops: 1, Logger: slog.New(slog.DiscardHandler), Tick: 20 * time.Millisecond}
	r.door = link.NewDoor(relaySelf(2), func(c *loop.Conn, p link.Peer) loop.Handler {
		if p.Purpose == link.Requests {
			return link.NewIn(c, link.InOptions{Home: replying{}, Ended: func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.ended++
			}})
		}
		return link.AcceptRelay(c, func(c *loop.Conn, hello []byte) (loop.Handler, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.hellos = append(r.hellos, string(hello))
			return &relayEcho{c}, nil
		}, func(err error) { r.turn(err) })
	}, func(_ *loop.Conn, err error) { r.turn(err) })
	accept, dialTLS := r.door.Accept, (*loop.TLS)(nil)
	if secure {
		authority := certs.New(t)
		both := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{
			Certificates: []tls.Certificate{authority.Issue(t, "node", nil).TLS(t)}, RootCAs: authority.Pool(),
			ClientCAs: authority.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		}, Logger: slog.New(slog.DiscardHandler)})
		accept, dialTLS = both.Accept(accept), both
	}
	home, err := loop.Open(quiet, func(c *loop.Conn) loop.Handler { return &relayEcho{c} })
	require.NoError(t, err)
	edge, err := loop.Open(quiet, func(c *loop.Conn) loop.Handler {
		return &opening{r, c, 2}
	})
	require.NoError(t, err)
	r.reactor = edge
	r.loops = [2]*loop.Loop{edge.Loops()[0], home.Loops()[0]}
	listen := func(on *loop.Reactor, accept func(*loop.Conn) loop.Handler) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, on.Listen(l, accept))
		return l.Addr().String()
	}
	r.home, r.direct, r.clients = listen(home, accept), listen(home, nil), listen(edge, nil)
	o := link.EdgeOptions{Self: relaySelf(1), Dial: link.Dial(dialTLS, ""), Loops: edge.Loops(), Failed: func(_ uint32, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failed = append(r.failed, err)
	}}
	if change != nil {
		change(&o)
	}
	r.edge = link.NewEdge(o)
	var serving sync.WaitGroup
	for _, reactor := range []*loop.Reactor{home, edge} {
		serving.Go(func() { _ = reactor.Serve() })
	}
	r.stop = sync.OnceFunc(func() {
		home.Stop()
		edge.Stop()
		serving.Wait()
	})
	t.Cleanup(func() {
		r.stop()
		settled(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
		require.Equal(t, buffers, pool.Outstanding())
		require.Zero(t, r.edge.Stats().Now)
		require.Zero(t, r.edge.Conns())
		require.Zero(t, r.door.Unproven())
	})
	return r
}

// settled waits for something that other goroutines do.
func settled(t testing.TB, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); runtime.Gosched() {
		if time.Since(start) > 30*time.Second {
			buffer := make([]byte, 1<<20)
			require.FailNow(t, "does not happen", "%s\n%s", what, buffer[:runtime.Stack(buffer, true)])
		}
	}
}

func (r *relayed) turn(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turned = append(r.turned, err)
}

// goTo has later relays dial another address.
func (r *relayed) goTo(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.home = address
}

func (r *relayed) dial(t testing.TB) *net.TCPConn { return dialTo(t, r.clients) }

func dialTo(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c.(*net.TCPConn)
}

func say(t testing.TB, c net.Conn, text, want string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
	got := make([]byte, len(want))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// A relay carries what its client and its home say, however much and in whatever order
// they end it.
func TestRelayOnSockets(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		for event, test := range map[string]func(t *testing.T, r *relayed, c *net.TCPConn){
			"much, both ways": func(t *testing.T, _ *relayed, c *net.TCPConn) {
				want := noise(4 << 20)
				var sending sync.WaitGroup
				sending.Go(func() { _, _ = c.Write(want); _ = c.CloseWrite() })
				got, err := io.ReadAll(c)
				sending.Wait()
				require.NoError(t, err)
				require.True(t, bytes.Equal(want, got), "%d bytes", len(got))
			},
			"the client ends": func(t *testing.T, _ *relayed, c *net.TCPConn) {
				require.NoError(t, c.CloseWrite())
				rest, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Empty(t, rest)
			},
			"the client vanishes": func(t *testing.T, _ *relayed, c *net.TCPConn) {
				require.NoError(t, c.SetLinger(0))
				require.NoError(t, c.Close())
			},
			"the home ends": func(t *testing.T, _ *relayed, c *net.TCPConn) {
				say(t, c, "close\n", "bye\n")
				rest, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Empty(t, rest)
			},
			"the home aborts": func(t *testing.T, _ *relayed, c *net.TCPConn) {
				_, err := io.WriteString(c, "abort\n")
				require.NoError(t, err)
				_, _ = io.ReadAll(c)
			},
			"the node is lost": func(t *testing.T, r *relayed, c *net.TCPConn) {
				r.edge.Lost(2)
				_, _ = io.ReadAll(c)
			},
			"the edge leaves": func(t *testing.T, r *relayed, c *net.TCPConn) {
				r.edge.Leave(0)
				rest, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Empty(t, rest)
			},
			"the edge stops": func(_ *testing.T, r *relayed, c *net.TCPConn) {
				r.stop()
				_, _ = io.ReadAll(c)
			},
		} {
			t.Run(name+"/"+event, func(t *testing.T) {
				r := startRelayed(t, secure, nil)
				c := r.dial(t)
				say(t, c, "GET /", "GET /")
				r.mu.Lock()
				require.Equal(t, []string{"hello of " + c.LocalAddr().String()}, r.hellos)
				r.mu.Unlock()
				require.Equal(t, link.RelayStats{Opened: 1, Now: 1}, r.edge.Stats())
				test(t, r, c)
				_ = c.Close()
				settled(t, "the relay is over", func() bool { return r.edge.Stats().Now == 0 && r.edge.Conns() == 0 })
			})
		}
	}
}

// A client that speaks TLS with the edge is relayed as others are, and its end is passed
// on.
func TestRelayOfAClientOverTLS(t *testing.T) {
	for version, number := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(version, func(t *testing.T) {
			authority := certs.New(t)
			server := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "edge", nil).TLS(t)}}})
			r := startRelayed(t, true, nil)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			require.NoError(t, r.reactor.Listen(l, server.Accept(func(c *loop.Conn) loop.Handler { return &opening{r, c, 2} })))
			c := tls.Client(dialTo(t, l.Addr().String()), &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", MaxVersion: number})
			say(t, c, "GET /", "GET /")
			want := noise(2 << 20)
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = c.Write(want); _ = c.CloseWrite() })
			got, err := io.ReadAll(c)
			sending.Wait()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "%d bytes", len(got))
			_ = c.Close()
			settled(t, "the relay is over", func() bool { return r.edge.Stats().Now == 0 && r.edge.Conns() == 0 })
		})
	}
}

// A client whose home cannot be reached is told so.
func TestRelayToNobody(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	for name, c := range map[string]struct {
		address string
		secure  bool
		change  func(*link.EdgeOptions)
		is      error
	}{
		"refused":     {address: closed.Addr().String(), is: syscall.ECONNREFUSED},
		"no address":  {address: "nowhere"},
		"no answer":   {address: silent.Addr().String(), is: link.ErrRelayTime},
		"no TLS":      {address: silent.Addr().String(), secure: true, is: link.ErrRelayTime},
		"another key": {change: func(o *link.EdgeOptions) { o.Self.Key = bytes.Repeat([]byte("x"), 32) }, is: link.ErrProof},
		"another name": {secure: true, change: func(o *link.EdgeOptions) {
			o.Dial = link.Dial(loop.NewTLS(loop.TLSOptions{Config: &tls.Config{}, Logger: slog.New(slog.DiscardHandler)}), "elsewhere.example")
		}},
		"too many dials": {change: func(o *link.EdgeOptions) {
			o.Dial = func(on *loop.Loop, _ string, _ func(*loop.Conn) loop.Handler, failed func(error)) func() {
				_ = on.Post(loop.Func(func() { failed(link.ErrDials) }))
				return func() {}
			}
		}, is: link.ErrDials},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRelayed(t, c.secure, c.change)
			if c.address != "" {
				r.goTo(c.address)
			}
			client := r.dial(t)
			say(t, client, "GET /", "refused\n")
			rest, err := io.ReadAll(client)
			require.NoError(t, err)
			require.Empty(t, rest)
			r.mu.Lock()
			require.Len(t, r.failed, 1)
			if c.is != nil {
				require.ErrorIs(t, r.failed[0], c.is)
			}
			r.mu.Unlock()
			_ = client.Close()
			settled(t, "the relay is over", func() bool { return r.edge.Stats() == link.RelayStats{Failed: 1} })
		})
	}
}

// Clients that vanish while their home is dialed leave nothing behind, and a Dialer
// has so many goroutines and no more.
func TestRelaysThatVanish(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	r := startRelayed(t, false, nil)
	r.goTo(silent.Addr().String())
	for range 50 {
		c := r.dial(t)
		_, err := io.WriteString(c, "GET /")
		require.NoError(t, err)
		require.NoError(t, c.SetLinger(0))
		require.NoError(t, c.Close())
	}
	settled(t, "they are gone", func() bool { return r.edge.Stats().Now == 0 })
}

// idleRelays is how many idle relays TestIdleRelays has.
const idleRelays = 1000

// An idle relay costs its two connections and little more. The log says how much of the
// process's memory that is, both nodes and their clients in it.
func TestIdleRelays(t *testing.T) {
	if race.Enabled || invariants.Enabled || testing.Short() {
		t.Skip("memory is another there")
	}
	r := startRelayed(t, false, nil)
	measure := func() (heap, rss int) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc), resident(t)
	}
	conns := make([]net.Conn, 0, 2*idleRelays)
	open := func(address string, n int) {
		for range n {
			c, err := net.Dial("tcp", address)
			require.NoError(t, err)
			conns = append(conns, c)
			say(t, c, "GET /", "GET /")
		}
	}
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	open(r.clients, 10) // what is there once
	heap0, rss0 := measure()
	open(r.direct, idleRelays)
	heap1, rss1 := measure()
	open(r.clients, idleRelays)
	heap2, rss2 := measure()
	direct, relay := (heap1-heap0)/idleRelays, (heap2-heap1)/idleRelays
	t.Logf("heap of a connection %d B, of a relay, with both ends of it, %d B; resident %d B and %d B", direct, relay, (rss1-rss0)/idleRelays, (rss2-rss1)/idleRelays)
	// Two connections more, of 80 B and a handler's 16, the relay, its slot and its
	// farewell, and what the table of descriptors has grown by.
	require.Less(t, relay-direct, 700)
	require.NotEmpty(t, conns)
}

// resident is the process's resident memory in bytes.
func resident(t testing.TB) int {
	t.Helper()
	p, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(p))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// benchConns is how many connections BenchmarkRelayEcho has: with one alone the loops
// would sleep and wake between any two bytes, and that is what would be measured.
const benchConns = 64

// BenchmarkRelayEcho is an echo of 128 bytes by a relay, and without one, on many
// connections. cpu-ns/echo is of the whole process: both nodes and the clients.
func BenchmarkRelayEcho(b *testing.B) {
	for _, flight := range []int{1, 16} {
		for _, kind := range []string{"direct", "relay", "relay over TLS"} {
			b.Run(kind+"/"+strconv.Itoa(flight), func(b *testing.B) {
				r := startRelayed(b, kind == "relay over TLS", nil)
				address := r.clients
				if kind == "direct" {
					address = r.direct
				}
				var conns []net.Conn
				for range benchConns {
					c := dialTo(b, address)
					require.NoError(b, c.SetDeadline(time.Time{}))
					say(b, c, "GET /", "GET /")
					conns = append(conns, c)
				}
				message := bytes.Repeat([]byte("x"), 128*flight)
				began := cpuTime(b)
				b.ReportAllocs()
				for b.Loop() {
					for _, c := range conns {
						if _, err := c.Write(message); err != nil {
							b.Fatal(err)
						}
					}
					for _, c := range conns {
						if _, err := io.ReadFull(c, message); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N*flight*benchConns), "cpu-ns/echo")
			})
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(errors.Join(err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
