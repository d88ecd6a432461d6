package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/engine"
	"turbine/internal/certs"
	"turbine/loop/looptest"
	"turbine/loop/looptest/contract"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// secured is a server on a free port that speaks TLS, an echo.
type secured struct {
	*engine.Server
	t         *testing.T
	authority *certs.Authority
	dir       string // of cert.pem and key.pem
	address   string
	served    []<-chan error
	logMu     sync.Mutex
	log       bytes.Buffer // guarded by logMu
}

func (s *secured) Write(p []byte) (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.Write(p)
}

func (s *secured) logged() string {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.String()
}

// secure starts one with a certificate of its own from files. When the test ends
// nothing may be left.
func secure(t *testing.T, o engine.Options, e engine.Events) *secured {
	t.Helper()
	before := runtime.NumGoroutine()
	s := &secured{t: t, authority: certs.New(t), dir: t.TempDir()}
	if o.TLS == nil {
		o.TLS = &engine.TLS{}
	}
	if o.TLS.Config == nil {
		o.TLS.CertFile, o.TLS.KeyFile = s.authority.Issue(t, "first", nil).Write(t, s.dir)
	}
	if o.TLS.ClientCAFile == "own" {
		o.TLS.ClientCAFile = filepath.Join(s.dir, "ca.pem")
		require.NoError(t, os.WriteFile(o.TLS.ClientCAFile, s.authority.PEM, 0o600))
	}
	if e.Message == nil {
		e.Message = func(s *engine.Session, m engine.Message) { _ = s.Send(m) }
	}
	o.Loops, o.Logger = 2, slog.New(slog.NewTextHandler(s, nil))
	var err error
	s.Server, err = engine.New(o, e)
	require.NoError(t, err)
	s.address = s.serveOn(s.ServeTLS)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
		defer cancel()
		s.CloseSessions()
		for session := range s.Sessions() {
			session.CloseNow()
		}
		require.NoError(t, s.Shutdown(ctx))
		for _, served := range s.served {
			require.ErrorIs(t, <-served, engine.ErrServerClosed)
		}
		require.Zero(t, engine.OnLoan(), "buffers not released")
		require.Zero(t, s.Stats().TLS.Now)
		eventually(t, "goroutines", func() error { return atMost(before, runtime.NumGoroutine()) })
	})
	return s
}

// serveOn has serve serve a listener on a free port, until the test ends.
func (s *secured) serveOn(serve func(net.Listener) error) (address string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	result := make(chan error, 1)
	go func() { result <- serve(l) }()
	s.served = append(s.served, result)
	return l.Addr().String()
}

func (s *secured) config() *tls.Config {
	return &tls.Config{RootCAs: s.authority.Pool(), ServerName: "localhost"}
}

// dial connects, with s.config() for nil.
func (s *secured) dial(config *tls.Config) (*tls.Conn, error) {
	if config == nil {
		config = s.config()
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: memoryPatience}, "tcp", s.address, config)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c, c.SetDeadline(time.Now().Add(30 * time.Second))
}

// A wire is a byte stream of a test to a server.
type wire struct {
	io.ReadWriter
	r *bufio.Reader
}

func newWire(rw io.ReadWriter) *wire { return &wire{rw, bufio.NewReaderSize(rw, 64<<10)} }

func (w *wire) request(t *testing.T, method, query, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	head := method + " /engine.io/?EIO=4&" + query + " HTTP/1.1\r\nHost: localhost\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if method == "POST" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	_, err := io.WriteString(w, head+"\r\n"+body)
	require.NoError(t, err)
	r, err := http.ReadResponse(w.r, &http.Request{Method: method})
	require.NoError(t, err)
	text, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r, string(text)
}

// handshake begins a polling session and returns its id.
func (w *wire) handshake(t *testing.T) string {
	t.Helper()
	r, body := w.request(t, "GET", "transport=polling", "")
	require.Equal(t, 200, r.StatusCode, body)
	_, rest, ok := strings.Cut(body, `{"sid":"`)
	require.True(t, ok, body)
	return rest[:27]
}

// upgrade opens a WebSocket.
func (w *wire) upgrade(t *testing.T, query string) {
	t.Helper()
	r, body := w.request(t, "GET", query, "", "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	require.Equal(t, 101, r.StatusCode, body)
}

func (w *wire) send(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, wsutil.WriteClientMessage(w, ws.OpText, []byte(text)))
}

func (w *wire) expect(t *testing.T, text string) {
	t.Helper()
	stream := struct {
		io.Reader
		io.Writer
	}{w.r, w}
	got, err := wsutil.ReadServerText(stream)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(got), text), "%.50q, want %.50q", got, text)
}

// echo is what every way of talking to the server must stand: a session by
// polling, one on WebSocket, and one that switches on a connection of its own.
func echo(t *testing.T, dial func() *wire, sizes []int) {
	t.Helper()
	poll := dial()
	sid := poll.handshake(t)
	query := "transport=polling&sid=" + sid
	direct := dial()
	direct.upgrade(t, "transport=websocket")
	direct.expect(t, `0{"sid":"`)
	for _, n := range sizes {
		text := "4" + strings.Repeat("abcdefg", n/7+1)[:n]
		_, answer := poll.request(t, "POST", query, text)
		require.Equal(t, "ok", answer)
		_, answer = poll.request(t, "GET", query, "")
		require.True(t, text == answer, "%d bytes, want %d", len(answer), len(text))
		direct.send(t, text)
		direct.expect(t, text)
	}
	for range 2 { // on both loops: one of the two moves to the session's
		sid := poll.handshake(t)
		upgraded := dial()
		upgraded.upgrade(t, "transport=websocket&sid="+sid)
		upgraded.send(t, "2probe")
		upgraded.expect(t, "3probe")
		upgraded.send(t, "5")
		upgraded.send(t, "4"+strings.Repeat("x", sizes[len(sizes)-1]))
		upgraded.expect(t, "4xx")
		upgraded.send(t, "1")
	}
	_, answer := poll.request(t, "POST", query, "1")
	require.Equal(t, "ok", answer)
	direct.send(t, "1")
}

var splits = []int{1, 7, 100, 5000, 40_000}

// sizesFor are those of messages that are echoed in pieces of that size.
func sizesFor(split int) []int {
	switch split {
	case 1:
		return []int{0, 1, 1000}
	case 7:
		return []int{1, 20_000}
	}
	return []int{1, 1000, 16_383, 16_384, 300_000}
}

// TestTLSEchoMatrix echoes over TLS with the bytes split everywhere, on sockets.
func TestTLSEchoMatrix(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, size := range splits {
			t.Run(fmt.Sprintf("%s/%d", tls.VersionName(version), size), func(t *testing.T) {
				s := secure(t, engine.Options{}, engine.Events{})
				config := s.config()
				config.MinVersion, config.MaxVersion = version, version
				config.NextProtos = []string{"h2", "http/1.1"}
				echo(t, func() *wire {
					raw, err := net.Dial("tcp", s.address)
					require.NoError(t, err)
					t.Cleanup(func() { _ = raw.Close() })
					require.NoError(t, raw.SetDeadline(time.Now().Add(60*time.Second)))
					c := tls.Client(&splitConn{raw, size}, config)
					require.NoError(t, c.Handshake())
					require.Equal(t, "http/1.1", c.ConnectionState().NegotiatedProtocol)
					require.Equal(t, version, c.ConnectionState().Version)
					return newWire(c)
				}, sizesFor(size))
			})
		}
	}
}

// splitConn writes, and reads, so many bytes at a time at most.
type splitConn struct {
	net.Conn
	size int
}

func (c *splitConn) Write(p []byte) (sent int, err error) {
	for len(p) > 0 && err == nil {
		var n int
		n, err = c.Conn.Write(p[:min(len(p), c.size)])
		sent += n
		p = p[n:]
	}
	return sent, err
}

func (c *splitConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), c.size)]) }

// TestTLSEchoMatrixInTheWorld is the same in memory, where each piece is a turn
// of its own.
func TestTLSEchoMatrixInTheWorld(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, size := range splits {
			t.Run(fmt.Sprintf("%s/%d", tls.VersionName(version), size), func(t *testing.T) {
				authority := certs.New(t)
				config := &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", MinVersion: version, MaxVersion: version}
				never := 24 * time.Hour // a step of the machine is 10 ms, and a byte takes one
				server, err := engine.New(engine.Options{
					TLS:          &engine.TLS{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}},
					PingInterval: never, Timeouts: engine.Timeouts{
						TLSHandshake: never, Header: never, Body: never, Idle: never,
						Upgrade: never, FirstRequest: never,
					},
				}, engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }})
				require.NoError(t, err)
				m := contract.WorldMachine(t, 2, server.Driver().LoopOptions(), server.Driver().AcceptTLS)
				server.Driver().UseLoops(m.Loops())
				echo(t, func() *wire {
					c := looptest.NewTLSClient(&splitClient{m.Dial(), size, m.Step}, config, m.Step)
					c.Shake()
					require.NoError(t, c.Err())
					return newWire(&worldWire{c, m.Step})
				}, sizesFor(size))
				m.Stop()
				require.Zero(t, server.Stats().Sessions)
				require.Zero(t, engine.OnLoan(), "buffers not released")
			})
		}
	}
}

// splitClient is a splitConn in a World.
type splitClient struct {
	looptest.Client
	size int
	step func()
}

func (s *splitClient) Send(p []byte) (sent int) {
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

func (s *splitClient) Recv(n int) []byte { return s.Client.Recv(min(n, s.size)) }

// worldWire is a client of a World as a stream that waits.
type worldWire struct {
	client *looptest.TLSClient
	step   func()
}

func (w *worldWire) Read(p []byte) (int, error) {
	for range 1_000_000 {
		if got := w.client.Recv(len(p)); len(got) > 0 {
			return copy(p, got), nil
		}
		if w.client.EOF() {
			return 0, io.EOF
		}
		if w.client.Broken() {
			return 0, w.client.Err()
		}
		w.step()
	}
	return 0, os.ErrDeadlineExceeded
}

func (w *worldWire) Write(p []byte) (sent int, err error) {
	for sent < len(p) {
		n := w.client.Send(p[sent:])
		if sent += n; n == 0 {
			if w.client.Broken() {
				return sent, w.client.Err()
			}
			w.step()
		}
	}
	return sent, nil
}

// Plain and TLS listeners live side by side, on the same loops.
func TestPlainAndTLS(t *testing.T) {
	s := secure(t, engine.Options{}, engine.Events{})
	address := s.serveOn(s.Serve)
	raw, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = raw.Close() })
	require.NoError(t, raw.SetDeadline(time.Now().Add(30*time.Second)))
	plain := newWire(raw)
	c, err := s.dial(nil)
	require.NoError(t, err)
	over := newWire(c)
	sid := plain.handshake(t)
	_, answer := over.request(t, "POST", "transport=polling&sid="+sid, "4hello")
	require.Equal(t, "ok", answer, "it is one server")
	_, answer = plain.request(t, "GET", "transport=polling&sid="+sid, "")
	require.Equal(t, "4hello", answer)
}

// What is asked of a Server without Options.TLS is refused.
func TestNoTLSOptions(t *testing.T) {
	server, err := engine.New(engine.Options{}, engine.Events{})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, server.ServeTLS(l), "Options.TLS is not set")
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err, "the listener is closed")
	require.ErrorContains(t, server.ReloadTLS(), "Options.TLS is not set")
	require.ErrorContains(t, server.ListenAndServeTLS("127.0.0.1:0"), "Options.TLS is not set")
}

// A client that speaks HTTP where TLS is spoken is told so, and a client that speaks
// nothing known is not answered. Both are counted, and logged once a second at most.
func TestPlainHTTPOnTheTLSPort(t *testing.T) {
	s := secure(t, engine.Options{}, engine.Events{})
	began := time.Now()
	for _, method := range []string{"GET / HTTP/1.1", "POST /engine.io/ HTTP/1.1", "HEAD / HTTP/1.0", "OPTIONS * HTTP/1.1"} {
		raw, err := net.Dial("tcp", s.address)
		require.NoError(t, err)
		require.NoError(t, raw.SetDeadline(time.Now().Add(30*time.Second)))
		_, err = io.WriteString(raw, method+"\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		r, err := http.ReadResponse(bufio.NewReader(raw), &http.Request{Method: "GET"})
		require.NoError(t, err)
		require.Equal(t, 400, r.StatusCode)
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, "Client sent an HTTP request to an HTTPS server.\n", string(body))
		require.NoError(t, raw.Close())
	}
	for range 20 {
		raw, err := net.Dial("tcp", s.address)
		require.NoError(t, err)
		require.NoError(t, raw.SetDeadline(time.Now().Add(30*time.Second)))
		_, err = raw.Write(bytes.Repeat([]byte{0xff}, 1000))
		require.NoError(t, err)
		body, _ := io.ReadAll(raw)
		require.Empty(t, body)
		require.NoError(t, raw.Close())
	}
	require.EqualValues(t, 24, s.Stats().TLS.Failed)
	require.EqualValues(t, 4, s.Stats().TLS.Plain)
	require.LessOrEqual(t, strings.Count(s.logged(), "TLS handshake failed"), 1+int(time.Since(began)/time.Second), "one a second")
	require.Contains(t, s.logged(), "first bytes are no TLS handshake")
}

// The client's certificate is there for admission and middlewares; on a plain
// connection there is no TLS.
func TestRequestTLS(t *testing.T) {
	seen := make(chan string, 10)
	name := func(state *tls.ConnectionState) string {
		switch {
		case state == nil:
			return "plain"
		case len(state.PeerCertificates) == 0:
			return "nobody"
		}
		return state.PeerCertificates[0].Subject.CommonName
	}
	for _, c := range []struct {
		auth tls.ClientAuthType
		show bool
		want string
	}{
		{0, true, "ann"}, // to have a ClientCAFile asks for a certificate
		{tls.RequireAndVerifyClientCert, true, "ann"},
		{tls.VerifyClientCertIfGiven, true, "ann"},
		{tls.VerifyClientCertIfGiven, false, "nobody"},
	} {
		t.Run(fmt.Sprint(c.auth, c.show), func(t *testing.T) {
			s := secure(t, engine.Options{
				TLS: &engine.TLS{ClientCAFile: "own", ClientAuth: c.auth},
				Middleware: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						seen <- "middleware " + name(r.TLS)
						next.ServeHTTP(w, r)
					})
				}},
			}, engine.Events{
				Admit: func(a *engine.Admission) error {
					clone := a.Clone()
					seen <- "admit " + name(a.TLS()) + " " + name(clone.TLS())
					return nil
				},
			})
			config := s.config()
			if c.show {
				config.Certificates = []tls.Certificate{s.authority.Issue(t, "ann", nil).TLS(t)}
			}
			conn, err := s.dial(config)
			require.NoError(t, err)
			newWire(conn).handshake(t)
			require.Equal(t, "middleware "+c.want, <-seen)
			require.Equal(t, "admit "+c.want+" "+c.want, <-seen)

			address := s.serveOn(s.Serve)
			plain, err := net.Dial("tcp", address)
			require.NoError(t, err)
			newWire(plain).handshake(t)
			require.Equal(t, "middleware plain", <-seen)
			require.Equal(t, "admit plain plain", <-seen)
			require.NoError(t, plain.Close())
		})
	}
}

// Without a certificate, where one is asked for, nobody gets in.
func TestClientCertificateIsRequired(t *testing.T) {
	s := secure(t, engine.Options{TLS: &engine.TLS{ClientCAFile: "own"}}, engine.Events{})
	stranger := certs.New(t).Issue(t, "stranger", nil).TLS(t)
	for _, show := range []func(*tls.CertificateRequestInfo) (*tls.Certificate, error){
		nil,
		func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil },
	} {
		config := s.config()
		config.GetClientCertificate = show
		c, err := s.dial(config)
		if err == nil { // with TLS 1.3 it hears of it later
			_, err = c.Read(make([]byte, 1))
		}
		require.ErrorContains(t, err, "remote error: tls:")
	}
	eventually(t, "both are counted", func() error { return same(2, int(s.Stats().TLS.Failed)) })
	require.Zero(t, s.Stats().TLS.Done)
}

// Over TLS the scheme is known: a page that was not loaded over TLS is of another
// origin, and a cookie is kept off plain connections.
func TestOriginAndCookieOverTLS(t *testing.T) {
	s := secure(t, engine.Options{Cookie: &engine.Cookie{}}, engine.Events{})
	for origin, status := range map[string]int{
		"https://localhost": 200, "https://localhost:443": 200, "https://LOCALHOST": 200,
		"http://localhost": 403, "http://localhost:443": 403, "https://localhost:8443": 403, "https://example.com": 403, "null": 403,
	} {
		c, err := s.dial(nil)
		require.NoError(t, err)
		r, _ := newWire(c).request(t, "GET", "transport=polling", "", "Origin: "+origin)
		require.Equal(t, status, r.StatusCode, origin)
		if status == 200 {
			require.Contains(t, r.Header.Get("Set-Cookie"), "; Secure")
		}
	}
	address := s.serveOn(s.Serve)
	for _, origin := range []string{"http://localhost", "https://localhost"} { // a proxy in front knows
		raw, err := net.Dial("tcp", address)
		require.NoError(t, err)
		r, _ := newWire(raw).request(t, "GET", "transport=polling", "", "Origin: "+origin)
		require.Equal(t, 200, r.StatusCode, origin)
		require.NotContains(t, r.Header.Get("Set-Cookie"), "Secure")
		require.NoError(t, raw.Close())
	}
}

// After a reload new handshakes have the new certificate. Connections continue, and
// so do the sessions of TLS.
func TestReloadTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := secure(t, engine.Options{}, engine.Events{})
			config := s.config()
			config.MinVersion, config.MaxVersion = version, version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			old, err := s.dial(config)
			require.NoError(t, err)
			w := newWire(old)
			sid := w.handshake(t)

			served := func() string {
				c, err := s.dial(nil)
				require.NoError(t, err)
				return c.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			require.Equal(t, "first", served())
			certFile, keyFile := s.authority.Issue(t, "second", nil).Write(t, s.dir)
			require.Equal(t, "first", served(), "files count when they are read")
			require.NoError(t, s.ReloadTLS())
			require.Equal(t, "second", served())

			_, answer := w.request(t, "POST", "transport=polling&sid="+sid, "4hello")
			require.Equal(t, "ok", answer)
			resumed, err := s.dial(config)
			require.NoError(t, err)
			require.True(t, resumed.ConnectionState().DidResume)
			newWire(resumed).handshake(t)

			// A pair that does not fit, or is only half there, changes nothing.
			key, err := os.ReadFile(keyFile)
			require.NoError(t, err)
			for _, bad := range [][2][]byte{
				{s.authority.Issue(t, "third", nil).Cert, key},
				{[]byte("-----BEGIN CERTIFICATE-----\nMIIB"), key},
				{nil, key},
				{s.authority.Issue(t, "third", nil).Cert, nil},
			} {
				require.NoError(t, os.WriteFile(certFile, bad[0], 0o600))
				require.NoError(t, os.WriteFile(keyFile, bad[1], 0o600))
				err := s.ReloadTLS()
				require.ErrorContains(t, err, "engine: reload TLS: certificate "+certFile+" with key "+keyFile)
				require.Equal(t, "second", served())
			}
			require.NoError(t, os.Remove(certFile))
			require.ErrorIs(t, s.ReloadTLS(), os.ErrNotExist)
			require.Equal(t, "second", served())
			s.authority.Issue(t, "fourth", nil).Write(t, s.dir)
			require.NoError(t, s.ReloadTLS())
			require.Equal(t, "fourth", served())
		})
	}
}

// A reload also reads the authorities again: a client of an authority that is no longer
// among them is refused, also with a ticket from before.
func TestReloadTLSAuthorities(t *testing.T) {
	s := secure(t, engine.Options{TLS: &engine.TLS{ClientCAFile: "own"}}, engine.Events{})
	other := certs.New(t)
	mine, theirs := s.authority.Issue(t, "mine", nil).TLS(t), other.Issue(t, "theirs", nil).TLS(t)
	cache := tls.NewLRUClientSessionCache(1)
	enter := func(pair *tls.Certificate, cache tls.ClientSessionCache) error {
		config := s.config()
		config.ClientSessionCache = cache
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
		c, err := s.dial(config)
		if err == nil {
			_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		return err
	}
	require.NoError(t, enter(&mine, cache))
	require.Error(t, enter(&theirs, nil))
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "ca.pem"), other.PEM, 0o600))
	require.NoError(t, s.ReloadTLS())
	require.NoError(t, enter(&theirs, nil))
	require.Error(t, enter(&mine, nil))
	require.Error(t, enter(&mine, cache))

	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "ca.pem"), []byte("nothing"), 0o600))
	require.ErrorContains(t, s.ReloadTLS(), "ca.pem: no PEM certificate in it")
	require.NoError(t, enter(&theirs, nil))
}

// A certificate that clients will refuse is served all the same, with a loud word.
func TestCertificateDates(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		want   string
	}{
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }, "level=ERROR msg=\"TLS certificate has expired; clients will refuse it\""},
		{"too early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }, "level=ERROR msg=\"TLS certificate is not valid yet; clients will refuse it\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := secure(t, engine.Options{}, engine.Events{})
			require.NotContains(t, s.logged(), "ERROR")
			s.authority.Issue(t, "bad", c.change).Write(t, s.dir)
			require.NoError(t, s.ReloadTLS())
			require.Contains(t, s.logged(), c.want)
			_, err := s.dial(nil)
			require.ErrorContains(t, err, "certificate has expired or is not yet valid")
			careless := s.config()
			careless.InsecureSkipVerify = true
			conn, err := s.dial(careless)
			require.NoError(t, err)
			newWire(conn).handshake(t)
		})
	}
}

// The callbacks of a Config work, that of certificates and that of configs.
func TestTLSConfigCallbacks(t *testing.T) {
	authority := certs.New(t)
	pair := authority.Issue(t, "called", nil).TLS(t)
	for name, config := range map[string]*tls.Config{
		"GetCertificate": {GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }},
		"GetConfigForClient": {GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if hello.Conn.RemoteAddr().(*net.TCPAddr).IP.IsLoopback() {
				return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}, nil
			}
			return nil, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := secure(t, engine.Options{TLS: &engine.TLS{Config: config, MinVersion: tls.VersionTLS13}}, engine.Events{})
			c, err := s.dial(&tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"})
			require.NoError(t, err)
			require.Equal(t, "called", c.ConnectionState().PeerCertificates[0].Subject.CommonName)
			newWire(c).handshake(t)
		})
	}
}

// A certificate authority that validates with acme-tls/1 (RFC 8737) is shown the
// certificate for its challenge and then closed; what comes besides is served, and
// HTTP/2 is not. The config is as autocert.Manager.TLSConfig makes it.
func TestTLSALPNChallenge(t *testing.T) {
	authority := certs.New(t)
	usual, challenge := authority.Issue(t, "usual", nil).TLS(t), authority.Issue(t, "challenge", nil).TLS(t)
	own := &tls.Config{
		NextProtos: []string{"h2", "http/1.1", "acme-tls/1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == "acme-tls/1" {
				return &challenge, nil
			}
			return &usual, nil
		},
	}
	for name, config := range map[string]*tls.Config{
		"Config":             own,
		"GetConfigForClient": {GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return own, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			s := secure(t, engine.Options{TLS: &engine.TLS{Config: config}}, engine.Events{})
			dial := func(protocols ...string) (*tls.Conn, error) {
				return s.dial(&tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", NextProtos: protocols})
			}
			c, err := dial("acme-tls/1")
			require.NoError(t, err)
			require.Equal(t, "acme-tls/1", c.ConnectionState().NegotiatedProtocol)
			require.Equal(t, "challenge", c.ConnectionState().PeerCertificates[0].Subject.CommonName)
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)

			c, err = dial("h2", "http/1.1")
			require.NoError(t, err)
			require.Equal(t, "http/1.1", c.ConnectionState().NegotiatedProtocol)
			require.Equal(t, "usual", c.ConnectionState().PeerCertificates[0].Subject.CommonName)
			newWire(c).handshake(t)

			c, err = dial()
			require.NoError(t, err)
			newWire(c).handshake(t)

			_, err = dial("h2")
			require.ErrorContains(t, err, "no application protocol")
		})
	}
	require.Equal(t, []string{"h2", "http/1.1", "acme-tls/1"}, own.NextProtos, "the application's config is not changed")
}

// MinVersion is kept to.
func TestTLSMinVersion(t *testing.T) {
	for _, c := range []struct {
		min, offered uint16
		ok           bool
	}{
		{0, tls.VersionTLS11, false}, {0, tls.VersionTLS12, true}, {tls.VersionTLS13, tls.VersionTLS12, false}, {tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		s := secure(t, engine.Options{TLS: &engine.TLS{MinVersion: c.min}}, engine.Events{})
		config := s.config()
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, c.offered
		_, err := s.dial(config)
		require.Equal(t, c.ok, err == nil, "%v of at least %v: %v", c.offered, c.min, err)
	}
}

// The limits of handshakes are counted and logged like all others.
func TestTLSLimits(t *testing.T) {
	t.Run("tls_handshakes", func(t *testing.T) {
		s := secure(t, engine.Options{Limits: engine.Limits{MaxTLSHandshakes: 1}}, engine.Events{})
		first := firstMessage(t)
		open := func() net.Conn {
			c, err := net.Dial("tcp", s.address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = c.Close() })
			require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
			_, err = c.Write(first)
			require.NoError(t, err)
			return c
		}
		one := open()
		_, err := one.Read(make([]byte, 1)) // the server's part has come
		require.NoError(t, err)
		other := open()
		_, err = other.Read(make([]byte, 1))
		require.NoError(t, err, "it has the place")
		_, _ = io.ReadAll(one) // until the server closes
		require.EqualValues(t, 1, s.Stats().Limits[engine.LimitTLSHandshakes])
		require.Contains(t, s.logged(), "limits were met\" tls_handshakes=1")
		require.NoError(t, other.Close())
		eventually(t, "its place is free", func() error { return same(0, s.Stats().TLS.Now) })
		c, err := s.dial(nil)
		require.NoError(t, err)
		newWire(c).handshake(t)
	})
	t.Run("tls_handshake_timeout", func(t *testing.T) {
		s := secure(t, engine.Options{Timeouts: engine.Timeouts{TLSHandshake: time.Second}}, engine.Events{})
		for _, first := range [][]byte{nil, firstMessage(t)[:50], firstMessage(t)} {
			c, err := net.Dial("tcp", s.address)
			require.NoError(t, err)
			_, err = c.Write(first)
			require.NoError(t, err)
			_, _ = io.ReadAll(c) // until the server closes
			require.NoError(t, c.Close())
		}
		limits := s.Stats().Limits
		require.EqualValues(t, 2, limits[engine.LimitTLSHandshakeTimeout])
		require.EqualValues(t, 1, limits[engine.LimitIdleTimeout], "who says nothing is idle")
		require.Contains(t, s.logged(), "limits were met\" tls_handshake_timeout=1")
	})
}

// firstMessage is what a client begins a handshake with.
func firstMessage(t *testing.T) []byte {
	t.Helper()
	inside, outside := net.Pipe()
	go func() { _ = tls.Client(inside, &tls.Config{ServerName: "localhost"}).Handshake(); _ = inside.Close() }()
	head := make([]byte, 5)
	_, err := io.ReadFull(outside, head)
	require.NoError(t, err)
	body := make([]byte, int(head[3])<<8|int(head[4]))
	_, err = io.ReadFull(outside, body)
	require.NoError(t, err)
	require.NoError(t, outside.Close())
	return append(head, body...)
}

// Shutdown does not wait for clients that stopped inside their handshakes.
func TestShutdownInsideTLSHandshakes(t *testing.T) {
	s := secure(t, engine.Options{Timeouts: engine.Timeouts{TLSHandshake: time.Hour}}, engine.Events{})
	for _, first := range [][]byte{nil, firstMessage(t)[:50], firstMessage(t)} {
		c, err := net.Dial("tcp", s.address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		_, err = c.Write(first)
		require.NoError(t, err)
	}
	eventually(t, "all are there", func() error { return same(3, s.Stats().Conns) })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx))
}

// A proxy names its client ahead of TLS, in one piece with it or not.
func TestTLSBehindProxyHeader(t *testing.T) {
	remote := make(chan string, 10)
	s := secure(t, engine.Options{Proxies: engine.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, engine.Events{
		Admit: func(a *engine.Admission) error {
			remote <- fmt.Sprint(a.RemoteAddr(), a.TLS() != nil)
			return nil
		},
	})
	address := s.serveOn(func(l net.Listener) error { return s.ServeTLS(engine.ProxyListener(l)) })
	for _, size := range []int{1, 20, 10_000} {
		raw, err := net.Dial("tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = raw.Close() })
		c := tls.Client(&splitConn{&prefixed{raw, []byte("PROXY TCP4 203.0.113.7 203.0.113.9 4711 443\r\n")}, size}, s.config())
		newWire(c).handshake(t)
		require.Equal(t, "203.0.113.7:4711 true", <-remote)
	}
}

// prefixed writes something ahead of all else, together with what is first.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	n := len(p.prefix)
	sent, err := p.Conn.Write(append(p.prefix, b...))
	p.prefix = nil
	return max(sent-n, 0), err
}
