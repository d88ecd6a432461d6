package enginetest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"
	"turbine/internal/certs"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// A place is where a server runs: in a World, or on a socket.
type place struct {
	name string
	tls  bool
	open func(t *testing.T, o engine.Options, e engine.Events) dialer
}

// dialer opens a session with the server of a place.
type dialer func(o enginetest.Options) *enginetest.Client

var places = []place{
	{"world", false, inWorld}, {"sockets", false, onSocket},
	{"world over TLS", true, inWorld}, {"sockets over TLS", true, onSocket},
}

func inWorld(t *testing.T, o engine.Options, e engine.Events) dialer {
	return enginetest.New(t, o, e).Dial
}

func onSocket(t *testing.T, o engine.Options, e engine.Events) dialer {
	url := serve(t, o, e)
	return func(o enginetest.Options) *enginetest.Client { return enginetest.Dial(t, url, o) }
}

// serve runs a server on a free port.
func serve(t *testing.T, o engine.Options, e engine.Events) (url string) {
	t.Helper()
	server, err := engine.New(o, e)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	scheme, run := "http", server.Serve
	if o.TLS != nil {
		scheme, run = "https", server.ServeTLS
	}
	served := make(chan error, 1)
	go func() { served <- run(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		require.ErrorIs(t, <-served, engine.ErrServerClosed)
	})
	return scheme + "://" + listener.Addr().String() + "/engine.io/"
}

// secure adds TLS to both sides.
func secure(t *testing.T, o *engine.Options, c *enginetest.Options) {
	t.Helper()
	authority := certs.New(t)
	o.TLS = &engine.TLS{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}, MinVersion: tls.VersionTLS12}}
	c.TLS = &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

func nothingOnLoan(t *testing.T) {
	t.Cleanup(func() { require.Zero(t, pool.Outstanding(), "buffers not released") })
}

func text(s string) engine.Message { return engine.Message{Data: []byte(s)} }

func data(p ...byte) engine.Message { return engine.Message{Binary: true, Data: p} }

func echo(s *engine.Session, m engine.Message) { _ = s.Send(m) }

// kinds are all ways in which a client carries messages.
func kinds() (kinds []enginetest.Options) {
	for _, transport := range []engine.Transport{engine.Polling, engine.WebSocket} {
		for _, revision := range []engine.Revision{engine.Revision3, engine.Revision4} {
			for _, base64 := range []bool{false, true} {
				kinds = append(kinds, enginetest.Options{Transport: transport, Revision: revision, Base64: base64})
			}
		}
	}
	return kinds
}

func name(o enginetest.Options) string {
	n := fmt.Sprintf("%v, revision %d", o.Transport, o.Revision)
	if o.Base64 {
		n += ", base64"
	}
	return n
}

func TestEcho(t *testing.T) {
	messages := []engine.Message{
		text("hello"), text(""), text("é€😀\x00"), data(), data(0), data(0, 1, 2, 0x1e, 0xff),
		text(strings.Repeat("€", 23_000)), {Binary: true, Data: bytes.Repeat([]byte{0xfe}, 70_000)},
	}
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			nothingOnLoan(t)
			var heard sync.Map
			var o engine.Options
			var with enginetest.Options
			if p.tls {
				secure(t, &o, &with)
			}
			dial := p.open(t, o, engine.Events{
				Message: func(s *engine.Session, m engine.Message) {
					n, _ := heard.LoadOrStore(s.ID(), 0)
					heard.Store(s.ID(), n.(int)+1)
					echo(s, m)
				},
			})
			for _, kind := range kinds() {
				if p.tls && kind.Base64 {
					continue // TLS does not see it
				}
				t.Run(name(kind), func(t *testing.T) {
					kind.TLS = with.TLS
					c := dial(kind)
					rounds := 1
					if kind.Transport == engine.Polling {
						rounds = 2
					}
					for round := range rounds {
						if round == 1 {
							c.Upgrade()
						}
						for _, m := range messages {
							c.Send(m)
							got := c.Next()
							require.Equal(t, m.Binary, got.Binary)
							require.Equal(t, string(m.Data), string(got.Data))
						}
						for _, m := range messages {
							c.Send(m)
						}
						for _, m := range messages {
							require.Equal(t, string(m.Data), string(c.Next().Data))
						}
					}
					c.None()
					n, _ := heard.Load(c.ID())
					require.Equal(t, rounds*2*len(messages), n)
					require.Equal(t, rounds == 2 || kind.Transport == engine.WebSocket, c.Transport() == engine.WebSocket)
					c.Close()
					require.Equal(t, "closed by the client", c.Closed())
				})
			}
		})
	}
}

// What is on its way in either direction while the transport changes arrives once and
// in order.
func TestUpgradeWithMessagesInFlight(t *testing.T) {
	for _, p := range places {
		if p.tls {
			continue
		}
		for _, revision := range []engine.Revision{engine.Revision3, engine.Revision4} {
			t.Run(fmt.Sprintf("%s, revision %d", p.name, revision), func(t *testing.T) {
				nothingOnLoan(t)
				var mu sync.Mutex
				var got []string // guarded by mu
				sent := 0
				send := func(s *engine.Session, n int) {
					for range n {
						_ = s.Send(text(fmt.Sprint(sent)))
						sent++
					}
				}
				dial := p.open(t, engine.Options{}, engine.Events{
					Open:      func(s *engine.Session, _ *engine.Request) { send(s, 3) },
					Upgrading: func(s *engine.Session) { send(s, 100) },
					Upgrade:   func(s *engine.Session) { send(s, 100) },
					Message: func(s *engine.Session, m engine.Message) {
						mu.Lock()
						got = append(got, string(m.Data))
						mu.Unlock()
						send(s, 2)
					},
				})
				c := dial(enginetest.Options{Revision: revision})
				const before, after = 20, 20
				for i := range before {
					c.Send(text(fmt.Sprint(i)))
				}
				c.Upgrade()
				for i := range after {
					c.Send(text(fmt.Sprint(before + i)))
				}
				for i := range 3 + 100 + 100 + 2*(before+after) {
					require.Equal(t, fmt.Sprint(i), c.NextText())
				}
				c.None()
				mu.Lock()
				defer mu.Unlock()
				require.Len(t, got, before+after)
				for i, m := range got {
					require.Equal(t, fmt.Sprint(i), m)
				}
			})
		}
	}
}

func TestClosedSaysHowTheSessionEnded(t *testing.T) {
	o := engine.Options{MaxPayload: 1000, Queue: engine.Queue{MaxBytes: 3000}}
	for _, test := range []struct {
		name               string
		end                func(c *enginetest.Client)
		polling, webSocket string
		reason             engine.Reason
	}{
		{"the server closes", func(c *enginetest.Client) { c.Send(text("close")) },
			"close packet", "close frame", engine.ReasonForcedClose},
		{"too large", func(c *enginetest.Client) { c.Send(text(strings.Repeat("x", 1001))) },
			"status 413", "close frame 1009", engine.ReasonTransportError},
		{"too much for the queue", func(c *enginetest.Client) { c.Pause(); c.Send(text("flood")); c.Resume() },
			"", "", engine.ReasonOverflow},
		{"goodbye", (*enginetest.Client).Close,
			"closed by the client", "closed by the client", engine.ReasonTransportClose},
		{"goodbye twice", func(c *enginetest.Client) { c.Close(); c.Close(); c.Lose() },
			"closed by the client", "closed by the client", engine.ReasonTransportClose},
	} {
		for _, p := range places {
			for _, kind := range kinds() {
				if p.tls || kind.Base64 {
					continue
				}
				t.Run(test.name+"/"+p.name+"/"+name(kind), func(t *testing.T) {
					nothingOnLoan(t)
					reasons := make(chan engine.Reason, 10)
					dial := p.open(t, o, engine.Events{
						Message: func(s *engine.Session, m engine.Message) {
							switch string(m.Data) {
							case "close":
								s.Close()
							case "flood":
								for s.Send(text(strings.Repeat("x", 900))) == nil {
								}
							}
						},
						Close: func(_ *engine.Session, r engine.Reason, _ error) { reasons <- r },
					})
					c := dial(kind)
					test.end(c)
					how := c.Closed()
					want := test.polling
					if kind.Transport == engine.WebSocket {
						want = test.webSocket
					}
					require.Contains(t, how, want)
					require.Equal(t, test.reason, <-reasons)
					require.Empty(t, reasons)
				})
			}
		}
	}
}

// A client that vanishes is told of by its connections, or by its silence.
func TestLose(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(name(kind), func(t *testing.T) {
			nothingOnLoan(t)
			var reasons []engine.Reason
			w := enginetest.New(t, engine.Options{}, engine.Events{
				Close: func(_ *engine.Session, r engine.Reason, _ error) { reasons = append(reasons, r) },
			})
			c := w.Dial(kind)
			c.Lose()
			want := engine.ReasonTransportError
			if kind.Transport == engine.WebSocket {
				want = engine.ReasonTransportClose
			}
			require.Equal(t, []engine.Reason{want}, reasons)
			require.Equal(t, "lost by the client", c.Closed())

			kind.Paused = true
			c = w.Dial(kind)
			if c.Lose(); kind.Transport == engine.Polling {
				require.Len(t, reasons, 1, "the server has not heard of it")
				w.Advance(time.Minute)
				want = engine.ReasonPingTimeout // no poll has come for Timeouts.FirstRequest
			}
			require.Len(t, reasons, 2)
			require.Equal(t, want, reasons[1])
		})
	}
}

// Over TLS a lost client says no goodbye either.
func TestLoseOverTLS(t *testing.T) {
	var o engine.Options
	var c enginetest.Options
	secure(t, &o, &c)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", o.TLS.Config)
	require.NoError(t, err)
	lost := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			const open = `0{"sid":"a","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(open), open)
			_, err = io.Copy(io.Discard, conn) // nil where the client says goodbye
			_ = conn.Close()
		}
		lost <- err
	}()
	enginetest.Dial(t, "https://"+listener.Addr().String(), c).Lose()
	require.Error(t, <-lost)
	require.NoError(t, listener.Close())
}

// clientTLS trusts nobody.
var clientTLS = &tls.Config{MinVersion: tls.VersionTLS12}
