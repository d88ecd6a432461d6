//go:build linux

package loop_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/internal/invariants"
	"turbine/internal/race"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/loop/looptest/contract"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// kernels are what tests of TLS run on: in memory the handshakes are part of the
// loop's turns, on sockets they have goroutines next to it.
var kernels = map[string]contract.Start{"world": contract.WorldMachine, "sockets": startReactor}

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// tlsBench is a machine whose connections speak TLS.
type tlsBench struct {
	contract.Machine
	t         *testing.T
	tls       *loop.TLS
	authority *certs.Authority
	client    *tls.Config // to be cloned
	opened    atomic.Int32
	ended     atomic.Int32 // Closed of those

	mu  sync.Mutex
	met []loop.TLSLimit
}

// logged is what a logger was told.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startTLS starts an echo over TLS. When the test ends nothing may be left of it.
func startTLS(t *testing.T, start contract.Start, change func(*tlsBench, *loop.TLSOptions)) *tlsBench {
	t.Helper()
	goroutinesBefore := runtime.NumGoroutine()
	t.Cleanup(func() {
		goroutines(t, goroutinesBefore)
		require.Zero(t, pool.Outstanding(), "buffers not released")
	})
	b := &tlsBench{t: t, authority: certs.New(t)}
	o := loop.TLSOptions{
		Config: &tls.Config{Certificates: []tls.Certificate{b.authority.Issue(t, "server", nil).TLS(t)}, NextProtos: []string{"http/1.1"}},
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
	b.client = &tls.Config{RootCAs: b.authority.Pool(), ServerName: "localhost", NextProtos: []string{"http/1.1"}}
	b.tls = loop.NewTLS(o)
	quiet := loop.Options{Tick: 10 * time.Millisecond, Linger: time.Second, Logger: slog.New(slog.DiscardHandler)}
	b.Machine = start(t, 2, quiet, b.tls.Accept(func(c *loop.Conn) loop.Handler {
		b.opened.Add(1)
		return &countedEcho{echo{c}, &b.ended}
	}))
	t.Cleanup(func() {
		b.Stop()
		require.Equal(t, b.opened.Load(), b.ended.Load(), "each Handler is told once that it is over")
	})
	return b
}

type countedEcho struct {
	echo
	ended *atomic.Int32
}

func (e *countedEcho) Closed(error) { e.ended.Add(1) }

func (b *tlsBench) until(what string, done func() bool) {
	b.t.Helper()
	for start := time.Now(); !done(); b.Step() {
		if time.Since(start) > 30*time.Second {
			require.FailNow(b.t, "does not happen", "%s; %+v", what, b.tls.Stats())
		}
	}
}

// stats waits for them.
func (b *tlsBench) stats(what string, done func(loop.TLSStats) bool) {
	b.t.Helper()
	b.until(what, func() bool { return done(b.tls.Stats()) })
}

// quietly waits until no connection is left.
func (b *tlsBench) quietly() {
	b.t.Helper()
	b.until("all connections are gone", func() bool {
		n := 0
		for _, l := range b.Loops() {
			n += l.Conns()
		}
		return n == 0 && b.tls.Stats().Now == 0
	})
}

// shake dials and does a handshake as config says; nil is the usual client.
func (b *tlsBench) shake(inner looptest.Client, config *tls.Config) *looptest.TLSClient {
	if config == nil {
		config = b.client
	}
	c := looptest.NewTLSClient(inner, config, b.Step)
	c.Shake()
	return c
}

// echoes sends want and requires it back.
func (b *tlsBench) echoes(c *looptest.TLSClient, want []byte) {
	b.t.Helper()
	var got []byte
	rest := want
	b.until("an echo", func() bool {
		rest = rest[c.Send(rest):]
		got = append(got, c.Recv(64<<10)...)
		require.False(b.t, c.Broken(), "%v after %d bytes", c.Err(), len(got))
		return len(got) >= len(want)
	})
	require.True(b.t, bytes.Equal(want, got), "%d bytes, want %d", len(got), len(want))
}

// leave ends the connection in good order, both ways.
func (b *tlsBench) leave(c *looptest.TLSClient) {
	b.t.Helper()
	c.CloseWrite()
	b.until("close_notify", func() bool {
		require.Empty(b.t, c.Recv(1))
		require.NoError(b.t, c.Err())
		return c.EOF()
	})
}

// split lets bytes through in pieces of at most size in each direction, and the
// machine work in between.
type split struct {
	looptest.Client
	size int
	step func()
}

func (s *split) Send(p []byte) int {
	sent := 0
	for sent < len(p) {
		n := s.Client.Send(p[sent:min(sent+s.size, len(p))])
		if n == 0 {
			break
		}
		sent += n
		s.step()
	}
	return sent
}

func (s *split) Recv(n int) []byte { return s.Client.Recv(min(n, s.size)) }

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// Whatever pieces the bytes come in, they arrive, in the way that saves memory
// and in the way that knows nothing of crypto/tls.
func TestTLSEchoSplitEverywhere(t *testing.T) {
	require.True(t, loop.TLSBuffersKnown(), "crypto/tls has changed: idle connections take twice the memory")
	sizes := map[int]int{1: 3_000, 7: 40_000, 100: 300_000, 5000: 300_000, 40_000: 300_000}
	for kernel, start := range kernels {
		for version, number := range versions {
			for size, total := range sizes {
				for _, known := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/%d/%v", kernel, version, size, known), func(t *testing.T) {
						if !known {
							defer loop.ForgetTLSBuffers()()
						}
						b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Hour })
						step := b.Step
						if kernel == "sockets" {
							step = runtime.Gosched
						}
						config := b.client.Clone()
						config.MaxVersion = number
						c := b.shake(&split{b.Dial(), size, step}, config)
						require.NoError(t, c.Err())
						require.Equal(t, number, c.State().Version)
						require.Equal(t, "http/1.1", c.State().NegotiatedProtocol)
						b.echoes(c, []byte("hello"))
						b.echoes(c, noise(total))
						b.leave(c)
						b.quietly()
						b.Stop()
					})
				}
			}
		}
	}
}

// A client's first message comes with the end of its handshake, and its goodbye
// with its last.
func TestTLSEverythingAtOnce(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			b := startTLS(t, start, nil)
			held := &hold{Client: b.Dial()}
			c := b.shake(held, nil) // its Finished waits
			require.NoError(t, c.Err())
			want := noise(200_000)
			for rest := want; len(rest) > 0; {
				n, err := c.Conn().Write(rest[:min(len(rest), 10_000)])
				require.NoError(t, err)
				rest = rest[n:]
			}
			require.NoError(t, c.Conn().CloseWrite())
			held.open = true
			var got []byte
			b.until("the echo and the goodbye", func() bool {
				got = append(got, c.Recv(64<<10)...)
				require.NoError(t, c.Err())
				return c.EOF()
			})
			require.True(t, bytes.Equal(want, got), "%d bytes, want %d", len(got), len(want))
			held.CloseWrite()
			b.quietly()
		})
	}
}

// hold lets the first message of a handshake through and then nothing, until it
// is opened.
type hold struct {
	looptest.Client
	sent int
	open bool
}

func (h *hold) Send(p []byte) int {
	if h.sent > 0 && !h.open {
		return 0
	}
	n := h.Client.Send(p)
	h.sent += n
	return n
}

// What a client sends is cut at every so many bytes of the handshake, and it
// vanishes, ends, or falls silent there.
func TestTLSHandshakeAbortedEverywhere(t *testing.T) {
	ends := map[string]func(*testing.T, *tlsBench, looptest.Client){
		"reset": func(_ *testing.T, _ *tlsBench, c looptest.Client) { c.Reset() },
		"end":   func(_ *testing.T, _ *tlsBench, c looptest.Client) { c.CloseWrite() },
		"silent": func(_ *testing.T, b *tlsBench, c looptest.Client) {
			b.until("it is given up", func() bool { c.Recv(10_000); return c.EOF() || c.Broken() })
			c.Reset()
		},
	}
	for kernel, start := range kernels {
		step := map[string]int{"world": 13, "sockets": 97}[kernel]
		for version, number := range versions {
			for name, end := range ends {
				t.Run(kernel+"/"+version+"/"+name, func(t *testing.T) {
					whole := handshakeSize(t, number)
					require.Greater(t, whole, 100)
					b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) {
						o.Timeout = time.Hour
						if name == "silent" {
							o.Timeout = 100 * time.Millisecond
						}
					})
					config := b.client.Clone()
					config.MinVersion, config.MaxVersion = number, number
					for at := 0; at < whole; at += step {
						cut := &cutAfter{Client: b.Dial(), left: at}
						b.shake(cut, config)
						end(t, b, cut.Client)
						b.quietly()
					}
					require.Zero(t, b.opened.Load())
					require.Zero(t, b.tls.Stats().Done)
				})
			}
		}
	}
}

// handshakeSize is how much a client sends in a handshake that nothing disturbs.
func handshakeSize(t *testing.T, version uint16) int {
	t.Helper()
	b := startTLS(t, contract.WorldMachine, nil)
	config := b.client.Clone()
	config.MinVersion, config.MaxVersion = version, version
	counted := &cutAfter{Client: b.Dial(), left: math.MaxInt}
	require.NoError(t, b.shake(counted, config).Err())
	b.Stop()
	return math.MaxInt - counted.left
}

// cutAfter sends so many bytes. Then it is broken to whatever uses it, so that the
// handshake ends there.
type cutAfter struct {
	looptest.Client
	left int
}

func (c *cutAfter) Send(p []byte) int {
	n := c.Client.Send(p[:min(len(p), c.left)])
	c.left -= n
	return n
}

func (c *cutAfter) Broken() bool { return c.left <= 0 || c.Client.Broken() }

// Only bytes of TLS get anywhere, and a client that speaks HTTP is told why.
func TestNoTLS(t *testing.T) {
	answer := []byte("speak TLS")
	for kernel, start := range kernels {
		for _, c := range []struct {
			name, in string
			answered bool
		}{
			{"HTTP", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
			{"a byte", "\x00\x01\x02\x03\x04", false},
			{"an alert first", "\x15\x03\x01\x00\x02\x01\x00", false},
			{"SSLv2", "\x80\x2e\x01\x00\x02\x00\x15\x00\x00", false},
			{"another version", "\x16\x04\x01\x00\x05\x01\x00", false},
			{"an empty record", "\x16\x03\x01\x00\x00", false},
			{"too long a record", "\x16\x03\x01\x40\x01", false},
			{"no handshake in the record", "\x16\x03\x01\x00\x05hello", false},
			{"a client hello of nothing", "\x16\x03\x01\x00\x04\x01\x00\x00\x00", false},
		} {
			for _, size := range []int{1, 1000} {
				t.Run(fmt.Sprintf("%s/%s/%d", kernel, c.name, size), func(t *testing.T) {
					b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) {
						o.Plain = func(first []byte) []byte {
							require.GreaterOrEqual(t, len(first), 5)
							if bytes.HasPrefix(first, []byte("GET /")) {
								return answer
							}
							return nil
						}
					})
					inner := b.Dial()
					(&split{inner, size, b.Step}).Send([]byte(c.in))
					b.stats("a failure", func(s loop.TLSStats) bool { return s.Failed == 1 })
					var got []byte
					b.until("the end", func() bool {
						got = append(got, inner.Recv(1000)...)
						return inner.EOF() || inner.Broken()
					})
					if c.answered {
						require.False(t, inner.Broken())
						require.Equal(t, answer, got)
						require.EqualValues(t, 1, b.tls.Stats().Plain)
					} else {
						require.NotContains(t, string(got), string(answer))
						require.Zero(t, b.tls.Stats().Plain)
					}
					inner.CloseWrite()
					b.quietly()
					require.Zero(t, b.opened.Load())
				})
			}
		}
	}
}

// A handshake that fails is told to the client by its alert, counted, and logged.
func TestTLSRefusals(t *testing.T) {
	other := certs.New(t)
	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	for kernel, start := range kernels {
		for _, c := range []struct {
			name   string
			server func(*tlsBench, *tls.Config)
			client func(*testing.T, *tlsBench, *tls.Config)
			is     string // what the client finds
			log    string // what the server finds
		}{
			{name: "too old a version", is: "protocol version not supported", log: "unsupported versions",
				client: func(_ *testing.T, _ *tlsBench, c *tls.Config) {
					c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
				}},
			{name: "another protocol alone", is: "no application protocol", log: "unsupported application protocols",
				client: func(_ *testing.T, _ *tlsBench, c *tls.Config) { c.NextProtos = []string{"h2"} }},
			{name: "an authority that the client does not know", is: "unknown authority", log: "bad certificate",
				client: func(_ *testing.T, _ *tlsBench, c *tls.Config) { c.RootCAs = other.Pool() }},
			{name: "another name", is: "not example.com", log: "bad certificate",
				client: func(_ *testing.T, _ *tlsBench, c *tls.Config) { c.ServerName = "example.com" }},
			{name: "an expired certificate", is: "expired", log: "bad certificate",
				server: func(b *tlsBench, c *tls.Config) {
					c.Certificates = []tls.Certificate{b.authority.Issue(b.t, "old", expired).TLS(b.t)}
				}},
			{name: "no certificate of the client", is: "certificate required", log: "didn't provide a certificate",
				server: func(b *tlsBench, c *tls.Config) {
					c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, b.authority.Pool()
				}},
			{name: "a stranger's certificate", is: "unknown certificate authority", log: "unknown authority",
				server: func(b *tlsBench, c *tls.Config) {
					c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, b.authority.Pool()
				},
				client: func(t *testing.T, _ *tlsBench, c *tls.Config) {
					pair := other.Issue(t, "stranger", nil).TLS(t)
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
				}},
			{name: "a client's expired certificate", is: "expired certificate", log: "expired",
				server: func(b *tlsBench, c *tls.Config) {
					c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, b.authority.Pool()
				},
				client: func(t *testing.T, b *tlsBench, c *tls.Config) {
					pair := b.authority.Issue(t, "late", expired).TLS(t)
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
				}},
			{name: "a callback that fails", is: "internal error", log: "no certificate today",
				server: func(_ *tlsBench, c *tls.Config) {
					c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no certificate today") }
				}},
			{name: "a callback that panics", is: "EOF", log: "panic in a handler: help",
				server: func(_ *tlsBench, c *tls.Config) {
					c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("help") }
				}},
		} {
			t.Run(kernel+"/"+c.name, func(t *testing.T) {
				var log logged
				b := startTLS(t, start, func(b *tlsBench, o *loop.TLSOptions) {
					o.Logger = slog.New(slog.NewTextHandler(&log, nil))
					if c.server != nil {
						c.server(b, o.Config)
					}
				})
				config := b.client.Clone()
				if c.client != nil {
					c.client(t, b, config)
				}
				client := b.shake(b.Dial(), config)
				b.until("the client finds out", func() bool { client.Recv(1); return client.Broken() })
				require.ErrorContains(t, client.Err(), c.is)
				b.stats("the server does", func(s loop.TLSStats) bool { return s.Failed == 1 })
				b.until("it says so", func() bool { return strings.Contains(log.String(), c.log) })
				client.CloseWrite()
				b.quietly()
				require.Zero(t, b.opened.Load())
			})
		}
	}
}

// now is the time of the loop that has the first connection.
func (b *tlsBench) now() (now time.Duration) {
	b.t.Helper()
	done := make(chan struct{})
	l := b.Loops()[0]
	require.NoError(b.t, l.Post(loop.Func(func() { now = l.Now(); close(done) })))
	b.until("a task", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	return now
}

func (b *tlsBench) limits() []loop.TLSLimit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]loop.TLSLimit(nil), b.met...)
}

// So many handshakes may be under way. One more takes the place of the oldest, and
// each that ends leaves its place to another.
func TestTLSHandshakesUnderWay(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.MaxHandshakes, o.Timeout = 3, time.Hour })
			first := clientHello(t)
			var waiting []looptest.Client
			for range 3 {
				c := b.Dial()
				require.Equal(t, len(first), c.Send(first))
				b.until("it waits for its client", func() bool { return len(c.Recv(1)) > 0 })
				waiting = append(waiting, c)
			}
			b.stats("three are under way", func(s loop.TLSStats) bool { return s.Now == 3 })
			one := b.Dial()
			require.Equal(t, len(first)-1, one.Send(first[:len(first)-1])) // not whole yet: it takes no place
			over := b.Dial()
			over.Send(first)
			oldest := waiting[0]
			b.until("the oldest is closed", func() bool { oldest.Recv(64 << 10); return oldest.EOF() || oldest.Broken() })
			require.Equal(t, []loop.TLSLimit{loop.TLSHandshakes}, b.limits())
			require.Zero(t, b.tls.Stats().Failed, "it is no failure of the handshake")
			require.Equal(t, 3, b.tls.Stats().Now)

			over.Reset()
			b.stats("there is a place", func(s loop.TLSStats) bool { return s.Now == 2 })
			c := b.shake(b.Dial(), nil)
			require.NoError(t, c.Err())
			b.echoes(c, []byte("hello"))
			b.stats("it has left its place", func(s loop.TLSStats) bool { return s.Now == 2 })
		})
	}
}

// clientHello is a client's first message.
func clientHello(t *testing.T) []byte {
	t.Helper()
	var sink recorder
	c := looptest.NewTLSClient(&sink, &tls.Config{ServerName: "localhost"}, func() {})
	c.Shake()
	require.Error(t, c.Err())
	require.NotEmpty(t, sink.sent)
	return sink.sent
}

// recorder remembers what is sent and answers nothing.
type recorder struct{ sent []byte }

func (r *recorder) Send(p []byte) int { r.sent = append(r.sent, p...); return len(p) }
func (r *recorder) Recv(int) []byte   { return nil }
func (r *recorder) CloseWrite()       {}
func (r *recorder) Reset()            {}
func (r *recorder) EOF() bool         { return true }
func (r *recorder) Broken() bool      { return false }
func (r *recorder) Addr() string      { return "" }

// A client that takes too long is closed, wherever it stops, however slowly it sends.
func TestTLSTimeout(t *testing.T) {
	first := clientHello(t)
	for kernel, start := range kernels {
		for _, c := range []struct {
			name string
			in   []byte
			want loop.TLSLimit
		}{
			{"nothing", nil, loop.TLSSilence},
			{"a byte", first[:1], loop.TLSTimeout},
			{"almost the first message", first[:len(first)-1], loop.TLSTimeout},
			{"the first message", first, loop.TLSTimeout},
		} {
			t.Run(kernel+"/"+c.name, func(t *testing.T) {
				b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Second })
				inner := b.Dial()
				inner.Send(c.in)
				b.until("it is too late", func() bool { return len(b.limits()) > 0 })
				require.Equal(t, []loop.TLSLimit{c.want}, b.limits())
				b.quietly()
				require.Zero(t, b.tls.Stats().Failed)
			})
		}
		t.Run(kernel+"/byte by byte", func(t *testing.T) {
			// A byte a tick does not get to the end in time, and the first of them comes in
			// time on a busy machine.
			b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Second })
			inner := b.Dial()
			sent := inner.Send(first[:1])
			last := b.now()
			b.until("it is closed", func() bool {
				if now := b.now(); now > last && sent < len(first) && len(b.limits()) == 0 {
					inner.Send(first[sent : sent+1])
					last, sent = now+10*time.Millisecond, sent+1
				}
				inner.Recv(1)
				return inner.EOF() || inner.Broken()
			})
			require.Equal(t, []loop.TLSLimit{loop.TLSTimeout}, b.limits())
			require.Less(t, sent, len(first))
			b.quietly()
		})
	}
}

// A server that ends does not wait for handshakes for long.
func TestHurryTLS(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Hour })
			silent, begun := b.Dial(), b.Dial()
			begun.Send(clientHello(t))
			b.stats("it has begun", func(s loop.TLSStats) bool { return s.Now == 1 })
			open := b.shake(b.Dial(), nil)
			b.echoes(open, []byte("hello"))
			for _, l := range b.Loops() {
				require.NoError(t, l.Post(loop.Func(func() {
					for slot := range l.Slots() {
						if owner := l.Owner(slot); owner != nil {
							loop.HurryTLS(owner, 50*time.Millisecond)
						}
					}
				})))
			}
			for _, c := range []looptest.Client{silent, begun} {
				b.until("it is closed", func() bool { c.Recv(10_000); return c.EOF() || c.Broken() })
			}
			b.echoes(open, []byte("still there"))
			b.leave(open)
			b.quietly()
		})
	}
}

// The end of the stream is told with close_notify and without, but not inside a
// record: that is no end that anybody meant.
func TestTLSEnds(t *testing.T) {
	for kernel, start := range kernels {
		for version, number := range versions {
			for name, c := range map[string]struct {
				leave func(*tlsBench, *looptest.TLSClient, looptest.Client)
				good  bool
			}{
				"close_notify alone": {func(_ *tlsBench, c *looptest.TLSClient, _ looptest.Client) { _ = c.Conn().CloseWrite() }, true},
				"close_notify":       {func(_ *tlsBench, c *looptest.TLSClient, _ looptest.Client) { c.CloseWrite() }, true},
				"FIN alone":          {func(_ *tlsBench, _ *looptest.TLSClient, c looptest.Client) { c.CloseWrite() }, true},
				"FIN inside a record": {func(b *tlsBench, _ *looptest.TLSClient, c looptest.Client) {
					require.Equal(b.t, 8, c.Send([]byte("\x17\x03\x03\x00\x20abc")))
					c.CloseWrite()
				}, false},
				"what cannot be decrypted": {func(b *tlsBench, _ *looptest.TLSClient, c looptest.Client) {
					c.Send([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32)))
				}, false},
				"no record": {func(b *tlsBench, _ *looptest.TLSClient, c looptest.Client) {
					c.Send([]byte("GET / HTTP/1.1\r\n\r\n"))
				}, false},
			} {
				t.Run(kernel+"/"+version+"/"+name, func(t *testing.T) {
					b := startTLS(t, start, nil)
					config := b.client.Clone()
					config.MaxVersion = number
					inner := b.Dial()
					client := b.shake(inner, config)
					require.NoError(t, client.Err())
					b.echoes(client, []byte("hello"))
					c.leave(b, client, inner)
					b.until("the other side's end", func() bool { client.Recv(100); return client.EOF() || client.Broken() })
					require.Equal(t, c.good, client.EOF(), "%v", client.Err())
					inner.CloseWrite()
					b.quietly()
				})
			}
		}
	}
}

// A client that was here resumes its session of TLS, by a ticket.
func TestTLSResumption(t *testing.T) {
	for kernel, start := range kernels {
		for version, number := range versions {
			t.Run(kernel+"/"+version, func(t *testing.T) {
				b := startTLS(t, start, nil)
				config := b.client.Clone()
				config.MinVersion, config.MaxVersion = number, number
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for i := range 3 {
					c := b.shake(b.Dial(), config)
					require.NoError(t, c.Err())
					require.Equal(t, i > 0, c.State().DidResume)
					b.echoes(c, []byte("hello")) // with TLS 1.3 the ticket comes with it
					b.leave(c)
					b.quietly()
				}
				require.EqualValues(t, 3, b.tls.Stats().Done)
				require.EqualValues(t, 2, b.tls.Stats().Resumed)
			})
		}
	}
}

// Handshakes in great number, of which many go wrong, leave nothing behind and
// do no harm to clients that are there.
func TestTLSHandshakeFlood(t *testing.T) {
	b := startTLS(t, startReactor, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Minute; o.MaxHandshakes = 50 })
	resident := b.shake(b.Dial(), nil)
	require.NoError(t, resident.Err())
	first := clientHello(t)
	for round := range 10 {
		var crowd []looptest.Client
		for i := range 60 {
			c := b.Dial()
			switch (round + i) % 4 {
			case 0:
				c.Send(first)
			case 1:
				c.Send(first)
				c.Reset()
			case 2:
				c.Send(first[:100])
			case 3:
				c.Send(append([]byte(nil), bytes.Repeat(first, 3)...))
			}
			crowd = append(crowd, c)
		}
		b.echoes(resident, noise(10_000))
		require.LessOrEqual(t, b.tls.Stats().Now, 50)
		for _, c := range crowd {
			c.Reset()
		}
	}
	b.leave(resident)
	b.quietly()
	require.EqualValues(t, 1, b.opened.Load())
}

// Loops that end take their handshakes along, those that run and those that wait.
func TestStopInsideTLSHandshakes(t *testing.T) {
	for kernel, start := range kernels {
		t.Run(kernel, func(t *testing.T) {
			for range 5 {
				b := startTLS(t, start, nil)
				for i := range 40 {
					c := b.Dial()
					c.Send(clientHello(t))
					if i%3 == 0 {
						b.Step()
					}
				}
				b.Stop()
				eventually(t, "no handshake is left", func() bool { return b.tls.Stats().Now == 0 })
				require.Zero(t, b.opened.Load())
			}
		})
	}
}

// The state of the connection's TLS is there from accept on.
func TestConnTLS(t *testing.T) {
	var states []*tls.ConnectionState
	authority := certs.New(t)
	server := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}})
	var conn *loop.Conn
	m := contract.WorldMachine(t, 1, loop.Options{}, server.Accept(func(c *loop.Conn) loop.Handler {
		conn = c
		require.True(t, c.Secure())
		states = append(states, c.TLS())
		return &echo{c}
	}))
	inner := m.Dial()
	c := looptest.NewTLSClient(inner, &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"}, m.Step)
	c.Shake()
	require.NoError(t, c.Err())
	m.Step()
	require.Len(t, states, 1)
	require.Equal(t, "localhost", states[0].ServerName)
	require.True(t, states[0].HandshakeComplete)
	c.Reset()
	m.Step()
	require.Nil(t, conn.TLS())
	m.Stop()

	plain := contract.WorldMachine(t, 1, loop.Options{}, func(c *loop.Conn) loop.Handler { conn = c; return &echo{c} })
	plain.Dial()
	plain.Step()
	require.False(t, conn.Secure())
	require.Nil(t, conn.TLS())
	plain.Stop()
}

// An echo over TLS allocates nothing in the server.
func TestTLSEchoDoesNotAllocate(t *testing.T) {
	b := startTLS(t, contract.WorldMachine, nil)
	c := b.shake(b.Dial(), nil)
	require.NoError(t, c.Err())
	message := []byte("4hello")
	requireFewAllocations(t, func() {
		c.Send(message)
		for len(c.Recv(len(message))) == 0 {
			b.Step()
		}
	})
}

// requireFewAllocations requires that a round trip costs the loop's end no allocation.
func requireFewAllocations(t *testing.T, trip func()) {
	t.Helper()
	if race.Enabled || invariants.Enabled {
		t.Skip("there is more on the heap")
	}
	for range 100 {
		trip()
	}
	require.LessOrEqual(t, testing.AllocsPerRun(1000, trip), 2.0, "those of the other end, which asks crypto/tls for records that are not there")
}

// Nobody waits for the rest of what cannot become a record.
func TestTLSBadRecordsAreSeenByTheirHeaders(t *testing.T) {
	for _, header := range []string{"\x17\x03\x03\x48\x01", "\x17\x04\x03\x00\x20", "GET /"} {
		for _, size := range []int{1, 100} {
			b := startTLS(t, contract.WorldMachine, nil)
			inner := b.Dial()
			c := b.shake(inner, nil)
			require.NoError(t, c.Err())
			b.echoes(c, []byte("hello"))
			(&split{inner, size, b.Step}).Send([]byte(header))
			b.until("an end", func() bool { c.Recv(1); return c.Broken() })
			require.ErrorContains(t, c.Err(), "remote error: tls:", "the alert says why")
			inner.CloseWrite()
			b.quietly()
		}
	}
}
