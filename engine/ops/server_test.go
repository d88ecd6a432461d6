package ops

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

const patience = 20 * time.Second

// A running Server, on a free port.
type running struct {
	*Server
	t     *testing.T
	addr  string
	ended chan error
}

func run(t *testing.T, s *Server, config *tls.Config) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &running{s, t, l.Addr().String(), make(chan error, 1)}
	go func() { r.ended <- s.Serve(l, config) }()
	t.Cleanup(func() {
		_ = s.Close()
		require.ErrorIs(t, <-r.ended, http.ErrServerClosed)
	})
	return r
}

func (r *running) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = c.Close() })
	require.NoError(r.t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// get asks for a path on c.
func (r *running) get(c net.Conn, path string) (status int, body string) {
	r.t.Helper()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, r.addr)
	require.NoError(r.t, err)
	return r.answer(c)
}

func (r *running) answer(c net.Conn) (status int, body string) {
	r.t.Helper()
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(r.t, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(r.t, err)
	return answer.StatusCode, string(text)
}

// isClosed waits until the server has closed c.
func isClosed(t *testing.T, c net.Conn) {
	t.Helper()
	_, err := io.Copy(io.Discard, c)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the connection is still there")
}

// Whoever opens connections without end keeps nobody out, and never has more than 64.
func TestConnectionsWithoutRequestsMakeRoom(t *testing.T) {
	h, _ := newTest(t, Options{})
	s := run(t, NewServer(h), nil)
	var silent []net.Conn
	for range 10 * maxConns {
		silent = append(silent, s.dial())
		if len(silent)%50 == 0 {
			status, _ := s.get(s.dial(), "/livez") // all before it have been accepted
			require.Equal(t, 200, status)
		}
	}
	status, _ := s.get(s.dial(), "/livez")
	require.Equal(t, 200, status)
	for _, c := range silent[:9*maxConns] {
		isClosed(t, c)
	}
	status, _ = s.get(silent[len(silent)-1], "/livez")
	require.Equal(t, 200, status, "the latest one is there")
}

// A request that is served does not lose its connection to those that come, and where
// 64 are served nobody else is.
func TestConnectionsWithRequestsStay(t *testing.T) {
	h, _ := newTest(t, Options{})
	entered, letGo := make(chan struct{}), make(chan struct{})
	h.mux = http.NewServeMux()
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.answer(w, r, &route{"GET", "/", Read, func(_ *Handler, w http.ResponseWriter, _ *http.Request) error {
			entered <- struct{}{}
			<-letGo
			say(w, 200, "done")
			return nil
		}})
	})
	s := run(t, NewServer(h), nil)
	var served []net.Conn
	for range maxConns {
		c := s.dial()
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+s.addr+"\r\n\r\n")
		require.NoError(t, err)
		<-entered
		served = append(served, c)
	}
	for range 3 {
		isClosed(t, s.dial())
	}
	close(letGo)
	for _, c := range served {
		status, body := s.answer(c)
		require.Equal(t, 200, status)
		require.Equal(t, "done\n", body)
	}
}

// What a client sends has limits in size, and what it does not send has limits in time.
func TestHostileRequests(t *testing.T) {
	for _, c := range []struct {
		name, sent string
		status     int // 0: the connection is closed without an answer
	}{
		{"a head that does not end", "GET /livez HTTP/1.1\r\nHost: a", 0},
		{"a line that does not end", "GET /" + strings.Repeat("a", 100), 0},
		{"nothing", "", 0},
		{"a large head", "GET /livez HTTP/1.1\r\nA: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431},
		{"many fields", "GET /livez HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 10_000) + "\r\n", 431},
		{"a long path", "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\n\r\n", 431},
		{"a huge body", "PUT /v1/debug HTTP/1.1\r\nHost: @\r\nContent-Length: 1000000000000\r\n\r\n{\"scopes\":\"" + strings.Repeat("a", maxBody), 413},
		{"a huge chunk", "PUT /v1/debug HTTP/1.1\r\nHost: @\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n{\"scopes\":\"" + strings.Repeat("a", maxBody), 413},
		{"two lengths", "PUT /v1/debug HTTP/1.1\r\nHost: @\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 403},
		{"no host", "GET /livez HTTP/1.1\r\n\r\n", 400},
		{"all of it", "OPTIONS * HTTP/1.1\r\nHost: @\r\n\r\n", 404},
		{"a proxy's request", "GET http://evil.example/livez HTTP/1.1\r\nHost: @\r\n\r\n", 403},
		{"a tunnel", "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := newTest(t, Options{Debug: &setting{}})
			server := NewServer(h)
			if c.status == 0 {
				server.http.ReadHeaderTimeout = time.Millisecond
			}
			s := run(t, server, nil)
			conn := s.dial()
			_, _ = io.WriteString(conn, strings.ReplaceAll(c.sent, "@", s.addr)) // it may be closed before all is sent
			if c.status == 0 {
				isClosed(t, conn)
				return
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, c.status, answer.StatusCode)
		})
	}
}

// Whoever is refused has to connect again: what was sent behind the request is not read.
func TestRefusedRequestsAreTheLast(t *testing.T) {
	for _, refused := range []string{"GET /v1/stats", "PUT /v1/debug", "GET /none", "POST /livez", "GET /livez HTTP/1.1\r\nOrigin: http://evil.example\r\nX:"} {
		h, _ := newTest(t, Options{Keys: keysOf(t, "ann read "+keyOne)})
		s := run(t, NewServer(h), nil)
		c := s.dial()
		one := refused + " HTTP/1.1\r\nHost: " + s.addr + "\r\n\r\n"
		_, err := io.WriteString(c, strings.Repeat(one, 20))
		require.NoError(t, err)
		answers, _ := io.ReadAll(c) // the rest that was sent may be an error
		require.Equal(t, 1, strings.Count(string(answers), "HTTP/1.1 4"), "%s: %s", refused, answers)
		require.Contains(t, string(answers), "Connection: close\r\n")
	}
}

// The times that a client has are those that stand here: none is without end.
func TestServerTimes(t *testing.T) {
	h, _ := newTest(t, Options{})
	s := NewServer(h)
	for _, d := range []time.Duration{s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.WriteTimeout, s.http.IdleTimeout} {
		require.Positive(t, d)
		require.LessOrEqual(t, d, 90*time.Second)
	}
}

// Over TLS it is the same server: with certificates, limits and HTTP/1.1.
func TestServerOverTLS(t *testing.T) {
	authority := certs.New(t)
	h, _ := newTest(t, Options{Certificates: true})
	s := run(t, NewServer(h), &tls.Config{
		Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)},
		ClientCAs:    authority.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	})
	dial := func(pairs ...tls.Certificate) net.Conn {
		c := tls.Client(s.dial(), &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}, Certificates: pairs})
		require.NoError(t, c.Handshake())
		require.NotEqual(t, "h2", c.ConnectionState().NegotiatedProtocol)
		return c
	}
	ann := authority.Issue(t, "ann", nil).TLS(t)
	status, _ := s.get(dial(), "/v1/stats")
	require.Equal(t, 401, status)
	known := dial(ann)
	status, _ = s.get(known, "/v1/stats")
	require.Equal(t, 200, status)
	for range 2 * maxConns {
		s.dial() // and no handshake
	}
	status, _ = s.get(dial(ann), "/v1/stats")
	require.Equal(t, 200, status)
	isClosed(t, known)
}

// After CloseIdle clients have to come again, and can; after Shutdown nobody can.
func TestCloseIdleAndShutdown(t *testing.T) {
	h, _ := newTest(t, Options{})
	s := run(t, NewServer(h), nil)
	idle := s.dial()
	status, _ := s.get(idle, "/livez")
	require.Equal(t, 200, status)
	s.CloseIdle()
	// The server may not know yet that the connection is idle, and closes it at the next request.
	_, _ = fmt.Fprintf(idle, "GET /livez HTTP/1.1\r\nHost: %s\r\n\r\n", s.addr)
	isClosed(t, idle)
	status, _ = s.get(s.dial(), "/livez")
	require.Equal(t, 200, status)
	require.NoError(t, s.Shutdown(context.Background()))
	_, err := net.Dial("tcp", s.addr)
	require.Error(t, err)
}

// A request under way survives CloseIdle. Its connection does not serve another one:
// it may have shown a certificate that does not count any more.
func TestCloseIdleDuringARequest(t *testing.T) {
	h, _ := newTest(t, Options{})
	entered, letGo := make(chan struct{}), make(chan struct{})
	h.mux = http.NewServeMux()
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-letGo
		say(w, 200, "done")
	})
	s := run(t, NewServer(h), nil)
	c := s.dial()
	_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+s.addr+"\r\n\r\n")
	require.NoError(t, err)
	<-entered
	s.CloseIdle()
	close(letGo)
	status, body := s.answer(c)
	require.Equal(t, 200, status)
	require.Equal(t, "done\n", body)
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+s.addr+"\r\n\r\n")
	select {
	case <-entered:
		require.Fail(t, "the connection serves on")
	case <-closedBy(c):
	}
}

// closedBy is closed when the peer of c has closed it.
func closedBy(c net.Conn) <-chan struct{} {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, c)
	}()
	return closed
}
