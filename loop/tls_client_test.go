//go:build linux

package loop_test

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/loop/looptest/contract"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// clientBench is a machine whose connections speak TLS as clients. What dials it is
// the server.
type clientBench struct {
	*tlsBench
	server *tls.Config // to be cloned
	name   string      // that the peer's certificate has to show

	failures []error // guarded by tlsBench.mu
}

// startTLSClient starts an echo over TLS whose other end is TLS's server. When the test
// ends nothing may be left of it, and each connection was told of as open or as failed.
func startTLSClient(t *testing.T, start contract.Start, change func(*clientBench, *loop.TLSOptions)) *clientBench {
	t.Helper()
	goroutinesBefore := runtime.NumGoroutine()
	t.Cleanup(func() {
		goroutines(t, goroutinesBefore)
		require.Zero(t, pool.Outstanding(), "buffers not released")
	})
	b := &clientBench{tlsBench: &tlsBench{t: t, authority: certs.New(t)}, name: "localhost"}
	b.server = &tls.Config{Certificates: []tls.Certificate{b.authority.Issue(t, "server", nil).TLS(t)}}
	o := loop.TLSOptions{
		Config: &tls.Config{RootCAs: b.authority.Pool()},
		Logger: slog.New(slog.DiscardHandler),
		Met: func(_ *loop.Loop, limit loop.TLSLimit) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.met = append(b.met, limit)
		},
	}
	if change != nil {
		change(b, &o)
	}
	b.tls = loop.NewTLS(o)
	quiet := loop.Options{Tick: 10 * time.Millisecond, Linger: time.Second, Logger: slog.New(slog.DiscardHandler)}
	b.Machine = start(t, 2, quiet, b.tls.Client(b.name, func(c *loop.Conn) loop.Handler {
		b.opened.Add(1)
		return &countedEcho{echo{c}, &b.ended}
	}, func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.failures = append(b.failures, err)
	}))
	t.Cleanup(func() {
		b.Stop()
		require.Equal(t, b.opened.Load(), b.ended.Load(), "each Handler is told once that it is over")
	})
	return b
}

// serve accepts one of the machine's connections as TLS's server; nil is the usual
// config. Its handshake may fail.
func (b *clientBench) serve(inner looptest.Client, config *tls.Config) *looptest.TLSClient {
	if config == nil {
		config = b.server
	}
	s := looptest.NewTLSServer(inner, config, b.Step)
	s.Shake()
	return s
}

func (b *clientBench) failed() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.failures)
}

// fails waits for the one failure and returns it.
func (b *clientBench) fails() error {
	b.t.Helper()
	b.until("it fails", func() bool { return len(b.failed()) > 0 })
	require.Len(b.t, b.failed(), 1)
	return b.failed()[0]
}

// Whatever pieces the bytes come in, a loop that is TLS's client gets them, in the way
// that saves memory and in the way that knows nothing of crypto/tls.
func TestTLSClientEchoSplitEverywhere(t *testing.T) {
	sizes := map[int]int{1: 500, 7: 5_000, 5000: 100_000}
	for kernel, start := range kernels {
		for version, number := range versions {
			for size, total := range sizes {
				for _, known := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/%d/%v", kernel, version, size, known), func(t *testing.T) {
						if !known {
							defer loop.ForgetTLSBuffers()()
						}
						b := startTLSClient(t, start, func(_ *clientBench, o *loop.TLSOptions) { o.Timeout = time.Hour })
						step := b.Step
						if kernel == "sockets" {
							step = runtime.Gosched
						}
						config := b.server.Clone()
						config.MinVersion, config.MaxVersion = number, number
						s := b.serve(&split{b.Dial(), size, step}, config)
						require.NoError(t, s.Err())
						require.Equal(t, number, s.State().Version)
						require.Equal(t, "localhost", s.State().ServerName)
						b.echoes(s, []byte("hello"))
						b.echoes(s, noise(total))
						b.leave(s)
						b.quietly()
						b.Stop()
						require.Empty(t, b.failed())
						require.EqualValues(t, 1, b.tls.Stats().Done)
					})
				}
			}
		}
	}
}

// flight is what a server sends in a handshake that nothing disturbs.
func flight(t *testing.T, version uint16) []byte {
	t.Helper()
	b := startTLSClient(t, contract.WorldMachine, nil)
	config := b.server.Clone()
	config.MinVersion, config.MaxVersion, config.SessionTicketsDisabled = version, version, true
	taped := &tape{Client: b.Dial()}
	require.NoError(t, b.serve(taped, config).Err())
	b.Stop()
	return taped.sent
}

// tape remembers what is sent.
type tape struct {
	looptest.Client
	sent []byte
}

func (r *tape) Send(p []byte) int {
	n := r.Client.Send(p)
	r.sent = append(r.sent, p[:n]...)
	return n
}

// cuts are the ends of the records of p, the bytes around them, and some between.
func cuts(p []byte, every int) (at []int) {
	for i := 0; i < len(p); i += every {
		at = append(at, i)
	}
	for n := 0; n+5 <= len(p); {
		n += 5 + int(p[n+3])<<8 + int(p[n+4])
		at = append(at, n-1, n, n+1, n+5)
	}
	slices.Sort(at)
	return slices.DeleteFunc(slices.Compact(at), func(i int) bool { return i >= len(p) })
}

// What a server sends is cut at each of its records and in between, and it vanishes,
// ends, or falls silent there: the client is told once that it has failed.
func TestTLSClientHandshakeCutEverywhere(t *testing.T) {
	ends := map[string]struct {
		end func(*clientBench, looptest.Client)
		is  string
	}{
		"reset": {func(_ *clientBench, c looptest.Client) { c.Reset() }, "reset|broken pipe"},
		"end":   {func(_ *clientBench, c looptest.Client) { c.CloseWrite() }, "ended inside the handshake"},
		"silent": {func(b *clientBench, c looptest.Client) {
			b.until("it is given up", func() bool { c.Recv(10_000); return c.EOF() || c.Broken() })
			c.Reset()
		}, loop.ErrTLSTimeout.Error()},
	}
	for version, number := range versions {
		whole := flight(t, number)
		require.Greater(t, len(whole), 500)
		for kernel, start := range kernels {
			for name, end := range ends {
				t.Run(kernel+"/"+version+"/"+name, func(t *testing.T) {
					b := startTLSClient(t, start, func(_ *clientBench, o *loop.TLSOptions) {
						o.Timeout = time.Hour
						if name == "silent" {
							o.Timeout = 50 * time.Millisecond
						}
					})
					config := b.server.Clone()
					config.MinVersion, config.MaxVersion, config.SessionTicketsDisabled = number, number, true
					at := cuts(whole, map[string]int{"world": 97, "sockets": 499}[kernel])
					// The last bytes are of a signature, which has a byte more or less.
					at = slices.DeleteFunc(at, func(i int) bool { return i > len(whole)-10 })
					for i, n := range at {
						cut := &cutAfter{Client: b.Dial(), left: n}
						b.serve(cut, config)
						end.end(b, cut.Client)
						b.until("it fails", func() bool { return len(b.failed()) > i })
						require.Len(t, b.failed(), i+1, "cut at %d", n)
						require.Regexp(t, end.is, b.failed()[i].Error(), "cut at %d", n)
						b.quietly()
					}
					require.Zero(t, b.opened.Load())
					require.Zero(t, b.tls.Stats().Done)
				})
			}
		}
	}
}

// A handshake that fails is told to the peer by an alert, and here with its cause.
func TestTLSClientRefusals(t *testing.T) {
	other := certs.New(t)
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	for kernel, start := range kernels {
		for _, c := range []struct {
			name   string
			client func(*clientBench, *loop.TLSOptions)
			server func(*testing.T, *clientBench, *tls.Config)
			is     string // what failed is told
			far    string // what the server finds
		}{
			{name: "an authority that is not ours", is: "unknown authority", far: "bad certificate",
				server: func(t *testing.T, _ *clientBench, c *tls.Config) {
					c.Certificates = []tls.Certificate{other.Issue(t, "server", nil).TLS(t)}
				}},
			{name: "another name", is: "not node-2.example", far: "bad certificate",
				client: func(b *clientBench, _ *loop.TLSOptions) { b.name = "node-2.example" }},
			{name: "no name at all", is: "ServerName", far: "EOF",
				client: func(b *clientBench, _ *loop.TLSOptions) { b.name = "" }},
			{name: "an expired certificate", is: "expired", far: "bad certificate",
				server: func(t *testing.T, b *clientBench, c *tls.Config) {
					c.Certificates = []tls.Certificate{b.authority.Issue(t, "old", expired).TLS(t)}
				}},
			{name: "too old a version", is: "protocol version", far: "unsupported versions",
				server: func(_ *testing.T, _ *clientBench, c *tls.Config) {
					c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
				}},
			{name: "no protocol in common", is: "no application protocol", far: "unsupported application protocols",
				client: func(_ *clientBench, o *loop.TLSOptions) { o.Protocols = []string{"turbine"} },
				server: func(_ *testing.T, _ *clientBench, c *tls.Config) { c.NextProtos = []string{"h2"} }},
			{name: "a protocol that the Handler does not speak", is: "another protocol", far: "",
				client: func(_ *clientBench, o *loop.TLSOptions) {
					o.Protocols, o.Config.NextProtos = []string{"turbine"}, []string{"acme-tls/1"}
				},
				server: func(_ *testing.T, _ *clientBench, c *tls.Config) { c.NextProtos = []string{"acme-tls/1"} }},
			{name: "a callback that fails", is: "not this one", far: "bad certificate",
				client: func(_ *clientBench, o *loop.TLSOptions) {
					o.Config.VerifyConnection = func(tls.ConnectionState) error { return errors.New("not this one") }
				}},
			{name: "a callback that panics", is: "panic in a handler: help", far: "EOF",
				client: func(_ *clientBench, o *loop.TLSOptions) {
					o.Config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { panic("help") }
				}},
		} {
			t.Run(kernel+"/"+c.name, func(t *testing.T) {
				var log logged
				b := startTLSClient(t, start, func(b *clientBench, o *loop.TLSOptions) {
					o.Logger = slog.New(slog.NewTextHandler(&log, nil))
					if c.client != nil {
						c.client(b, o)
					}
				})
				config := b.server.Clone()
				if c.server != nil {
					c.server(t, b, config)
				}
				s := b.serve(b.Dial(), config)
				require.ErrorContains(t, b.fails(), c.is)
				b.until("the server finds out", func() bool { s.Recv(1); return s.Broken() || s.EOF() })
				if c.far != "" {
					require.ErrorContains(t, s.Err(), c.far)
					require.EqualValues(t, 1, b.tls.Stats().Failed)
					require.Contains(t, log.String(), "TLS handshake failed")
				}
				s.CloseWrite()
				b.quietly()
				require.Len(t, b.failed(), 1)
				require.Zero(t, b.opened.Load())
			})
		}
	}
}

// What answers a client hello with something else has failed.
func TestTLSClientOfNoTLS(t *testing.T) {
	for kernel, start := range kernels {
		for _, answer := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\x03\x03\x00\x02\x02\x28", "\x16\x03\x03\x00\x04\x02\x00\x00\x00", "\x00"} {
			t.Run(fmt.Sprintf("%s/%.5q", kernel, answer), func(t *testing.T) {
				b := startTLSClient(t, start, func(_ *clientBench, o *loop.TLSOptions) { o.Timeout = time.Second })
				inner := b.Dial()
				b.until("a client hello", func() bool { return len(inner.Recv(10_000)) > 0 })
				require.Equal(t, len(answer), inner.Send([]byte(answer)))
				require.Error(t, b.fails())
				b.until("the end", func() bool { inner.Recv(100); return inner.EOF() || inner.Broken() })
				inner.CloseWrite()
				b.quietly()
				require.Len(t, b.failed(), 1)
				require.Zero(t, b.opened.Load())
			})
		}
	}
}

// remoteKey is a key that is not the standard library's.
type remoteKey struct{ crypto.Signer }

// A client shows the certificate that its config has, whoever keeps its key.
func TestTLSClientShowsCertificate(t *testing.T) {
	shows := map[string]func(*tls.Config, tls.Certificate){
		"of the config": func(c *tls.Config, pair tls.Certificate) { c.Certificates = []tls.Certificate{pair} },
		"of a callback": func(c *tls.Config, pair tls.Certificate) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		},
		"of a callback, with a foreign key": func(c *tls.Config, pair tls.Certificate) {
			pair.PrivateKey = remoteKey{pair.PrivateKey.(crypto.Signer)}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		},
		"of Use": nil,
	}
	for kernel, start := range kernels {
		for version, number := range versions {
			for name, show := range shows {
				t.Run(kernel+"/"+version+"/"+name, func(t *testing.T) {
					b := startTLSClient(t, start, func(b *clientBench, o *loop.TLSOptions) {
						if show != nil {
							show(o.Config, b.authority.Issue(t, "node-1", nil).TLS(t))
						}
					})
					if show == nil {
						b.tls.Use(&tls.Config{RootCAs: b.authority.Pool(), Certificates: []tls.Certificate{b.authority.Issue(t, "node-1", nil).TLS(t)}})
					}
					config := b.server.Clone()
					config.MaxVersion, config.ClientAuth, config.ClientCAs = number, tls.RequireAndVerifyClientCert, b.authority.Pool()
					s := b.serve(b.Dial(), config)
					require.NoError(t, s.Err())
					require.Equal(t, "node-1", s.State().PeerCertificates[0].Subject.CommonName)
					b.echoes(s, noise(1000))
					b.leave(s)
					b.quietly()
				})
			}
		}
	}
}

// A server that wants a certificate of a client that has none says so: before the
// handshake is done with TLS 1.2, behind it with TLS 1.3.
func TestTLSClientWithoutCertificate(t *testing.T) {
	for kernel, start := range kernels {
		for version, number := range versions {
			t.Run(kernel+"/"+version, func(t *testing.T) {
				b := startTLSClient(t, start, nil)
				config := b.server.Clone()
				config.MaxVersion, config.ClientAuth, config.ClientCAs = number, tls.RequireAndVerifyClientCert, b.authority.Pool()
				s := b.serve(b.Dial(), config)
				require.ErrorContains(t, s.Err(), "didn't provide a certificate")
				if number == tls.VersionTLS12 {
					require.ErrorContains(t, b.fails(), "remote error: tls:")
				} else {
					b.until("its Handler is told", func() bool { return b.ended.Load() == 1 })
					require.Empty(t, b.failed())
				}
				s.CloseWrite()
				b.quietly()
			})
		}
	}
}

// A server that takes too long is given up, wherever it stops.
func TestTLSClientTimeout(t *testing.T) {
	for kernel, start := range kernels {
		for name, c := range map[string]struct {
			in   string
			want loop.TLSLimit
		}{
			"nothing":       {"", loop.TLSSilence},
			"a byte":        {"\x16", loop.TLSTimeout},
			"half a record": {"\x16\x03\x03\x00\x7a\x02\x00", loop.TLSTimeout},
		} {
			t.Run(kernel+"/"+name, func(t *testing.T) {
				b := startTLSClient(t, start, func(_ *clientBench, o *loop.TLSOptions) { o.Timeout = 100 * time.Millisecond })
				inner := b.Dial()
				inner.Send([]byte(c.in))
				require.ErrorIs(t, b.fails(), loop.ErrTLSTimeout)
				require.Equal(t, []loop.TLSLimit{c.want}, b.limits())
				inner.Reset()
				b.quietly()
				require.Zero(t, b.tls.Stats().Failed, "it is a limit, no failure")
			})
		}
	}
}

// A client's handshake has a place like a server's, and may lose it to another.
func TestTLSClientHandshakesUnderWay(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			b := startTLSClient(t, start, func(_ *clientBench, o *loop.TLSOptions) { o.MaxHandshakes, o.Timeout = 2, time.Hour })
			var silent []looptest.Client
			for i := range 2 {
				c := b.Dial()
				b.until("a client hello", func() bool { return len(c.Recv(10_000)) > 0 })
				b.stats("it has a place", func(s loop.TLSStats) bool { return s.Now == i+1 })
				silent = append(silent, c)
			}
			s := b.serve(b.Dial(), nil)
			require.NoError(t, s.Err())
			require.ErrorIs(t, b.fails(), loop.ErrTLSTooMany)
			b.until("the oldest is closed", func() bool { silent[0].Recv(100); return silent[0].EOF() || silent[0].Broken() })
			require.False(t, silent[1].Broken() || silent[1].EOF())
			b.echoes(s, []byte("hello"))
		})
	}
}

// Loops that end take their handshakes along, and say so.
func TestStopInsideTLSClientHandshakes(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			b := startTLSClient(t, start, nil)
			for i := range 20 {
				c := b.Dial()
				if i%2 == 0 {
					b.until("a client hello", func() bool { return len(c.Recv(10_000)) > 0 })
				}
			}
			b.Step()
			b.Stop()
			eventually(t, "no handshake is left", func() bool { return b.tls.Stats().Now == 0 })
			require.Zero(t, b.opened.Load())
			require.NotEmpty(t, b.failed())
			for _, err := range b.failed() {
				require.ErrorIs(t, err, loop.ErrStopped)
			}
		})
	}
}

// A server's tickets may be longer than a record. One that is longer than any that
// means something is not collected.
func TestTLSClientTickets(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		good bool
	}{"short": {100, true}, "longer than a record": {24 << 10, true}, "too long": {60 << 10, false}} {
		t.Run(name, func(t *testing.T) {
			b := startTLSClient(t, contract.WorldMachine, func(_ *clientBench, o *loop.TLSOptions) {
				o.Config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			})
			config := b.server.Clone()
			config.MinVersion = tls.VersionTLS13
			config.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return make([]byte, c.size), nil }
			config.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil }
			for range 2 {
				s := b.serve(&split{b.Dial(), 5000, b.Step}, config)
				require.NoError(t, s.Err())
				if !c.good {
					b.until("it is closed", func() bool { s.Recv(1); return s.Broken() || s.EOF() })
					s.Reset()
					b.quietly()
					return
				}
				b.echoes(s, []byte("hello"))
				b.leave(s)
				b.quietly()
			}
		})
	}
}

// exporter is what both ends of a connection derive from its keys.
func exporter(t *testing.T, c *loop.Conn) string {
	t.Helper()
	p, err := c.TLS().ExportKeyingMaterial("EXPORTER-turbine-test", []byte("context"), 32)
	require.NoError(t, err)
	return string(p)
}

// exporting is an echo that tells what is derived from its connection's keys.
type exporting struct {
	echo
	told chan<- string
}

func (e *exporting) Data(p []byte) { e.told <- "data " + string(p) }
func (e *exporting) EOF()          { e.conn.Close() }

// A connection that was dialed becomes one of a certain loop. What its two ends derive
// from its keys is the same, and of each connection something else, also where a session
// of TLS is resumed.
func TestTLSClientOfDialedConnections(t *testing.T) {
	for version, number := range versions {
		t.Run(version, func(t *testing.T) {
			goroutinesBefore := runtime.NumGoroutine()
			t.Cleanup(func() { goroutines(t, goroutinesBefore); require.Zero(t, pool.Outstanding()) })
			authority := certs.New(t)
			pair := authority.Issue(t, "node", nil).TLS(t)
			both := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{
				Certificates: []tls.Certificate{pair}, RootCAs: authority.Pool(), ClientCAs: authority.Pool(),
				ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: number, MaxVersion: number,
				ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}})
			accepted, dialed, failures := make(chan string, 10), make(chan string, 10), make(chan error, 10)
			m := startReactor(t, 2, loop.Options{Logger: slog.New(slog.DiscardHandler)}, both.Accept(func(c *loop.Conn) loop.Handler {
				accepted <- exporter(t, c)
				require.Equal(t, "node", c.TLS().PeerCertificates[0].Subject.CommonName)
				c.Write([]byte("welcome")) // with it TLS 1.3 has brought the ticket
				return &exporting{echo{c}, accepted}
			})).(*reactorMachine)
			seen := map[string]bool{}
			for i := range 3 {
				l := m.Loops()[i%2]
				c := dial(t, "tcp", m.address)
				address := c.LocalAddr().String()
				require.NoError(t, l.Take(c.(loop.Socket), both.Client("localhost", func(c *loop.Conn) loop.Handler {
					require.Same(t, l, c.Loop())
					require.Equal(t, m.address, c.RemoteAddr().String())
					require.Equal(t, address, c.LocalAddr().String())
					require.Equal(t, i > 0, c.TLS().DidResume)
					dialed <- exporter(t, c)
					return &exporting{echo{c}, dialed}
				}, func(err error) { failures <- err })))
				var ends [2]string
				for i, told := range []chan string{accepted, dialed} { // what comes behind is for later
					select {
					case ends[i] = <-told:
					case err := <-failures:
						require.NoError(t, err)
					}
				}
				require.Equal(t, ends[0], ends[1])
				require.False(t, seen[ends[0]])
				seen[ends[0]] = true
				require.Equal(t, "data welcome", <-dialed)
			}
			m.Stop()
			require.Empty(t, failures)
		})
	}
}

// What cannot be taken is not lost: the caller is told.
func TestTakeFails(t *testing.T) {
	m := startReactor(t, 1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, acceptEcho).(*reactorMachine)
	never := func(*loop.Conn) loop.Handler { panic("accept was called") }
	closed := dial(t, "tcp", m.address)
	require.NoError(t, closed.Close())
	require.Error(t, m.Loops()[0].Take(closed.(loop.Socket), never))
	late := dial(t, "tcp", m.address)
	m.Stop()
	require.ErrorIs(t, m.Loops()[0].Take(late.(loop.Socket), never), loop.ErrStopped)
	_, err := late.Write([]byte("x"))
	require.Error(t, err, "it is closed")
}

// The other end is crypto/tls as a server on a goroutine, and the bytes are many.
func TestTLSClientOfCryptoTLS(t *testing.T) {
	authority := certs.New(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}})
	require.NoError(t, err)
	want := noise(3 << 20)
	var serving sync.WaitGroup
	serving.Go(func() {
		defer listener.Close()
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		serving.Go(func() { _, _ = c.Write(want) })
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err == nil && bytes.Equal(want, got) {
			_, _ = c.Write([]byte("!"))
		}
	})
	client := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{RootCAs: authority.Pool()}})
	m := startReactor(t, 1, loop.Options{}, nil).(*reactorMachine)
	ended, failed := make(chan struct{}), make(chan error, 1)
	var last byte
	require.NoError(t, m.Loops()[0].Take(dial(t, "tcp", listener.Addr().String()).(loop.Socket), client.Client("127.0.0.1", func(c *loop.Conn) loop.Handler {
		return &closing{echo{c}, &last, ended}
	}, func(err error) { failed <- err })))
	select {
	case <-ended:
	case err := <-failed:
		require.NoError(t, err)
	}
	require.Equal(t, byte('!'), last)
	serving.Wait()
	m.Stop()
}

// closing is an echo that remembers the last byte and says that it is over.
type closing struct {
	echo
	last  *byte
	ended chan<- struct{}
}

func (e *closing) Data(p []byte) { *e.last = p[len(p)-1]; e.echo.Data(p) }
func (e *closing) Closed(error)  { close(e.ended) }

// An echo over TLS allocates nothing in the client either.
func TestTLSClientEchoDoesNotAllocate(t *testing.T) {
	b := startTLSClient(t, contract.WorldMachine, nil)
	s := b.serve(b.Dial(), nil)
	require.NoError(t, s.Err())
	message := []byte(strings.Repeat("x", 64))
	b.echoes(s, message)
	requireFewAllocations(t, func() {
		s.Send(message)
		for len(s.Recv(len(message))) == 0 {
			b.Step()
		}
	})
}
