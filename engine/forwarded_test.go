package engine

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// fronted is a server that trusts 192.0.2.0/24, 10.0.0.0/8 and 2001:db8:f::/48,
// and the end of a connection to it, from 192.0.2.1 unless told otherwise.
func fronted(t testing.TB, o Options, from string) (*Server, *loop.Conn) {
	t.Helper()
	o.Proxies.Trusted = append(theWorld[:1:1], netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48"))
	server, err := New(o, Events{})
	require.NoError(t, err)
	var conn *loop.Conn
	world := looptest.NewWorld(1, server.Driver().LoopOptions(), func(c *loop.Conn) loop.Handler { conn = c; return deaf{} })
	world.Dial()
	world.Run()
	require.NotNil(t, conn)
	if from != "" {
		conn.SetRemoteAddr(netip.MustParseAddrPort(from))
	}
	return server, conn
}

// What a request says of its client is believed from a trusted proxy alone, and
// in the field that the options name.
func TestRemoteAddrOfRequest(t *testing.T) {
	const socket = "socket" // the connection's own address
	headers := corsRequest("X-Real-IP: 198.51.100.3\nX-Forwarded-For: 198.51.100.1")
	for _, c := range []struct {
		name    string
		options Options
		from    string // if not the World's address, which is trusted
		want    string
	}{
		{"a proxy", Options{}, "", "198.51.100.1:0"},
		{"a chosen field", Options{Proxies: Proxies{ClientHeader: "X-Real-IP"}}, "", "198.51.100.3:0"},
		{"a chosen field is missing", Options{Proxies: Proxies{ClientHeader: "Forwarded"}}, "", socket},
		{"a stranger", Options{}, "203.0.113.66:1", socket},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, conn := fronted(t, c.options, c.from)
			want := c.want
			if want == socket {
				want = conn.RemoteAddr().String()
			}
			require.Equal(t, want, server.clientAddr(headers, conn).String())
			require.Equal(t, want, server.newRequest(headers, conn).RemoteAddr().String())
		})
	}
}

// Where a trusted proxy says that the client came over TLS, or not, pages of the
// other scheme are another origin's; where nobody says, both are the server's own.
func TestOriginByForwardedScheme(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Proxies: Proxies{Trusted: theWorld}}, nil)
		for _, c := range []struct {
			origin, proto string
			want          int
		}{
			{"https://turbine", "https", 200},
			{"http://turbine", "http", 200},
			{"http://turbine", "https", 403},
			{"https://turbine", "http", 403},
			{"https://other", "https", 403},
			{"http://turbine", "", 200},
			{"https://turbine", "", 200},
		} {
			headers := []string{"Origin: " + c.origin}
			if c.proto != "" {
				headers = append(headers, "X-Forwarded-Proto: "+c.proto)
			}
			require.Equal(t, c.want, b.fetch("GET", "EIO=4&transport=polling", headers...).StatusCode, "%v", c)
		}
		b.finish()
	})
}

// The client's address is what admission, Open, middlewares, Bind and the session
// see, over all transports and loops.
func TestForwardedAddressEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		seen, ids := map[string]string{}, 0
		note := func(where string) func(*Request) {
			return func(r *Request) { seen[where] = r.RemoteAddr().String() }
		}
		b := newSpec(t, loops, Options{
			Proxies: Proxies{Trusted: theWorld},
			Access:  Access{Bind: func(r *Request) string { note("bind")(r); return BindIP(r) }},
			GenerateID: func(r *Request) (string, error) {
				note("id")(r)
				ids++
				return fmt.Sprint("own", ids), nil
			},
			Middleware: []wrapper{func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen["middleware"] = r.RemoteAddr; next.ServeHTTP(w, r) })
			}},
		}, func(_ *bench, e *Events) {
			opened := e.Open
			e.Admit = func(a *Admission) error { note("admit")(a.Request); return nil }
			e.Headers = func(r *Request, _ http.Header) { note("headers")(r) }
			e.ConnectionError = func(r *Request, _ *HandshakeError) { note("error")(r) }
			e.Open = func(s *Session, r *Request) {
				note("open")(r)
				seen["session"] = s.RemoteAddr().String()
				opened(s, r)
			}
		})
		for _, command := range []string{hsPolling, hsWebSocket} {
			clear(seen)
			lines := b.play(command + ` "header=X-Forwarded-For: 203.0.113.66, 198.51.100.7:4711"`)
			require.NotContains(t, lines[0], "40", "%v", lines)
			want := map[string]string{}
			for _, where := range []string{"bind", "id", "middleware", "admit", "headers", "open", "session"} {
				want[where] = "198.51.100.7:4711"
			}
			require.Equal(t, want, seen, command)
		}
		clear(seen)
		b.play(`get EIO=5&transport=polling "header=X-Forwarded-For: 198.51.100.7:4711"`)
		require.Equal(t, "198.51.100.7:4711", seen["error"])

		// The session is bound to its client: others of the same proxy are not
		// let in, nor are clients that say the same on their own.
		require.Equal(t, 403, b.fetch("GET", "EIO=4&transport=polling&sid="+b.sessions[0].ID(), "X-Forwarded-For: 198.51.100.8").StatusCode)
		require.Equal(t, 403, b.fetch("GET", "EIO=4&transport=polling&sid="+b.sessions[0].ID()).StatusCode)
		b.play(`post sid=A 4hello "header=X-Forwarded-For: 198.51.100.7"`)
		require.Contains(t, b.events(), `message A "hello"`)
		b.finish()
	})
}

// The rate of handshakes is each client's, and a client that claims to be another
// gains nothing.
func TestHandshakeRateByForwardedAddress(t *testing.T) {
	b := newSpec(t, 1, Options{Proxies: Proxies{Trusted: theWorld}, Limits: Limits{Exempt: nobody, HandshakeRate: 1}}, nil)
	status := func(forwarded string) int {
		return b.fetch("GET", "EIO=4&transport=polling", "X-Forwarded-For: "+forwarded).StatusCode
	}
	for _, client := range []string{"198.51.100.7", "198.51.100.8"} {
		for range 10 {
			require.Equal(t, 200, status(client))
		}
		require.Equal(t, 429, status(client))
		require.Equal(t, 429, status("203.0.113.66, "+client), "spoofed")
	}
	require.Equal(t, 200, status("unknown"), "the proxy itself is bound by nothing")
	b.finish()

	b = newSpec(t, 1, Options{Limits: Limits{Exempt: nobody, HandshakeRate: 1}}, nil)
	for i := range 10 {
		require.Equal(t, 200, status(fmt.Sprint("198.51.100.", i)))
	}
	require.Equal(t, 429, status("198.51.100.99"), "nobody is trusted")
	b.finish()
}

// A WebSocket through a proxy is a connection of its client's: it counts for
// that, and what is over the limit is told so, before the 101.
func TestWebSocketsCountForForwardedAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for _, c := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", path}} {
		t.Run(c.network, func(t *testing.T) {
			server, err := New(Options{Loops: 2, Limits: Limits{MaxConnsPerIP: 2, Exempt: nobody}, Proxies: Proxies{Trusted: loopback, TrustUnixSockets: true}}, Events{})
			require.NoError(t, err)
			l, err := net.Listen(c.network, c.address)
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			var dialled []net.Conn
			dial := func() *wire {
				conn, err := net.Dial(c.network, l.Addr().String())
				require.NoError(t, err)
				dialled = append(dialled, conn)
				require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
				return &wire{t, conn, bufio.NewReader(conn)}
			}
			open := func(client string) (*wire, int) {
				w := dial()
				headers := append([]string{"X-Forwarded-For: " + client}, upgradeHeaders...)
				return w, w.request("EIO=4&transport=websocket", headers...).StatusCode
			}
			for range 3 {
				first, status := open("198.51.100.7")
				require.Equal(t, 101, status)
				_, status = open("198.51.100.7:99")
				require.Equal(t, 101, status)
				_, status = open("198.51.100.7")
				require.Equal(t, 429, status)
				require.Positive(t, server.Stats().Refused[CauseConns])
				_, status = open("2001:db8::7")
				require.Equal(t, 101, status)
				require.NoError(t, first.conn.Close())
				require.Eventually(t, func() bool {
					_, status = open("198.51.100.7")
					return status == 101
				}, 30*time.Second, time.Millisecond, "room again")

				// Nor does the session that cannot be upgraded end for it.
				w := dial()
				sid := w.open()
				over := dial()
				require.Equal(t, 429, over.request("EIO=4&transport=websocket&sid="+sid, append([]string{"X-Forwarded-For: 198.51.100.7"}, upgradeHeaders...)...).StatusCode)
				_, err := w.conn.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + sid, body: "4hello", length: true}.bytes())
				require.NoError(t, err)
				answer, err := http.ReadResponse(w.in, nil)
				require.NoError(t, err)
				require.Equal(t, 200, answer.StatusCode, "the session goes on")
				for _, conn := range dialled {
					_ = conn.Close()
				}
				require.Eventually(t, func() bool { return server.Stats().Conns == 0 }, 30*time.Second, time.Millisecond)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = server.Shutdown(ctx) // cuts off polling sessions
			require.ErrorIs(t, <-served, ErrServerClosed)
		})
	}
}

// Ordinary requests through a trusted proxy allocate no more than others: their
// address is looked at where somebody wants it.
func TestForwardedAllocs(t *testing.T) {
	server, conn := fronted(t, Options{}, "")
	r := corsRequest("Host: turbine\nOrigin: https://turbine\nX-Forwarded-For: 198.51.100.7\nX-Forwarded-Proto: https")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		require.True(t, server.originAllowed(r, conn, false))
	}))
}
