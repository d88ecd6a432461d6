package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// mounted is a server inside an http.Server. Both end with the test, and leave
// nothing.
type mounted struct {
	*engine.Server
	t    *testing.T
	http *httptest.Server
}

// mount makes a server and gives it to wrap, which says what the http.Server
// serves.
func mount(t *testing.T, o engine.Options, e engine.Events, wrap func(*engine.Server) http.Handler, start func(*httptest.Server)) *mounted {
	t.Helper()
	server := newServer(t, o, e)
	h := httptest.NewUnstartedServer(wrap(server))
	h.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	start(h)
	m := &mounted{Server: server, t: t, http: h}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
		defer cancel()
		require.NoError(t, server.Shutdown(ctx))
		require.Zero(t, server.Stats().Sessions)
		require.Zero(t, server.Stats().Conns)
		h.Client().CloseIdleConnections()
		h.Close()
		holdsNothing(t, server)
	})
	return m
}

func (m *mounted) address() string { return m.http.Listener.Addr().String() }

func itself(s *engine.Server) http.Handler { return s }

func plain(h *httptest.Server) { h.Start() }

var echoEvents = engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }}

// netClient speaks Engine.IO by net/http's client, whatever carries it.
type netClient struct {
	t    *testing.T
	http *http.Client
	url  string // of Engine.IO, without a query
	sid  string
}

func (c *netClient) do(method, query, body string) (*http.Response, string) {
	c.t.Helper()
	url := c.url + "?EIO=4&transport=polling" + query
	if c.sid != "" {
		url += "&sid=" + c.sid
	}
	ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	require.NoError(c.t, err)
	response, err := c.http.Do(request)
	require.NoError(c.t, err)
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return response, string(got)
}

func (c *netClient) open() *http.Response {
	c.t.Helper()
	response, body := c.do("GET", "", "")
	require.Equal(c.t, 200, response.StatusCode, body)
	_, rest, _ := strings.Cut(body, `"sid":"`)
	c.sid, _, _ = strings.Cut(rest, `"`)
	require.Len(c.t, c.sid, 27, body)
	return response
}

// converse has messages echoed by post and poll, in order.
func (c *netClient) converse(n int) {
	c.t.Helper()
	for i := range n {
		text := fmt.Sprint("4message ", i)
		_, body := c.do("POST", "", text)
		require.Equal(c.t, "ok", body)
		_, body = c.do("GET", "", "")
		require.Equal(c.t, text, body)
	}
}

func (c *netClient) leave() {
	c.t.Helper()
	_, body := c.do("POST", "", "1")
	require.Equal(c.t, "ok", body)
}

type middleware = func(http.Handler) http.Handler

// hiding is a middleware whose ResponseWriter is no more than one.
func hiding(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	})
}

type unwrapper struct{ http.ResponseWriter }

func (u unwrapper) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// unwrapping is one whose ResponseWriter says what is inside.
func unwrapping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(unwrapper{w}, r) })
}

// wrapping is one that puts a connection of its own in front of a hijacked one.
func wrapping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrapper{w}, r) })
}

type wrapper struct{ http.ResponseWriter }

func (w wrapper) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	return struct{ net.Conn }{conn}, buffered, err
}

// asserting is one whose ResponseWriter hijacks by what is inside, and panics if
// that cannot, as gin's does.
func asserting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(asserter{unwrapper{w}}, r) })
}

type asserter struct{ unwrapper }

func (a asserter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return a.ResponseWriter.(http.Hijacker).Hijack()
}

// refusing is one whose ResponseWriter can be hijacked by its type alone, as that
// of echo around one that hides.
func refusing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(refuser{w}, r) })
}

type refuser struct{ http.ResponseWriter }

func (refuser) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, http.ErrNotSupported }

func timing(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "") }

// under serves a server below prefix, and something else everywhere else.
func under(prefix string, around ...middleware) func(*engine.Server) http.Handler {
	return func(s *engine.Server) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(prefix+"/engine.io/", http.StripPrefix(prefix, s))
		mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
		var h http.Handler = mux
		for _, wrap := range around {
			h = wrap(h)
		}
		return h
	}
}

// wrappedListener is one of connections that are none of package net's.
type wrappedListener struct{ net.Listener }

func (l wrappedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

var mountings = []struct {
	name      string
	wrap      func(*engine.Server) http.Handler
	start     func(*httptest.Server)
	prefix    string
	websocket bool
}{
	{"as the handler", itself, plain, "", true},
	{"ServeMux", under(""), plain, "", true},
	{"StripPrefix", under("/app"), plain, "/app", true},
	{"ResponseWriter that unwraps", under("", unwrapping), plain, "", true},
	{"connection that is wrapped", under("/app", wrapping), plain, "/app", true},
	{"ResponseWriter that asserts", under("", asserting), plain, "", true},
	{"ResponseWriter that asserts, around one that unwraps", under("/app", asserting, unwrapping), plain, "/app", true},
	{"ResponseWriter that hides", under("", hiding), plain, "", false},
	{"ResponseWriter that refuses", under("", refusing), plain, "", false},
	{"TimeoutHandler", under("", timing), plain, "", false},
	{"ResponseWriter that asserts, in a TimeoutHandler", under("", asserting, timing), plain, "", false},
	{"strange connections", under(""), func(h *httptest.Server) {
		h.Listener = wrappedListener{h.Listener}
		h.Start()
	}, "", true},
	{"TLS", under("/app"), func(h *httptest.Server) { h.StartTLS() }, "/app", true},
	{"HTTP/2", under(""), func(h *httptest.Server) {
		h.EnableHTTP2 = true
		h.StartTLS()
	}, "", true}, // by clients that speak HTTP/1.1
}

// However a server is mounted, polling works, and WebSocket where it can; the pages
// next to it are served, and the client's address is the client's.
func TestMountings(t *testing.T) {
	for _, c := range mountings {
		t.Run(c.name, func(t *testing.T) {
			remotes := make(chan string, 100)
			events := echoEvents
			events.Open = func(_ *engine.Session, r *engine.Request) { remotes <- r.RemoteAddr().Addr().String() }
			m := mount(t, engine.Options{}, events, c.wrap, c.start)
			client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + c.prefix + "/engine.io/"}
			response := client.open()
			if c.name == "HTTP/2" {
				require.Equal(t, 2, response.ProtoMajor)
			}
			require.Equal(t, "127.0.0.1", <-remotes)
			client.converse(20)
			if c.name != "as the handler" {
				page, err := client.http.Get(m.http.URL + "/page")
				require.Equal(t, "a page", fetch(page, err))
			}
			client.leave()

			conn, r, status := m.webSocket(c.prefix+"/engine.io/?EIO=4&transport=websocket", "")
			if !c.websocket {
				require.Equal(t, http.StatusNotImplemented, status)
				return
			}
			require.Equal(t, http.StatusSwitchingProtocols, status)
			require.NoError(t, expectText(r, "0{"))
			require.Equal(t, "127.0.0.1", <-remotes)
			for i := range 20 {
				text := fmt.Sprint("4", i)
				require.NoError(t, sendText(conn, text))
				require.NoError(t, expectText(r, text))
			}
			large := "4" + strings.Repeat("x", 200_000)
			sent := make(chan error, 1)
			go func() { sent <- sendText(conn, large) }()
			require.NoError(t, expectText(r, large))
			require.NoError(t, <-sent)
			require.NoError(t, conn.Close())
			eventually(t, "no session and no connection is left", func() error {
				return errors.Join(same(0, m.Stats().Sessions))
			})
		})
	}
}

// webSocket dials a WebSocket, with what is to follow the request in one write,
// and returns the status of the answer.
func (m *mounted) webSocket(target, early string) (net.Conn, *bufio.Reader, int) {
	m.t.Helper()
	conn, err := dial(m.address())
	require.NoError(m.t, err)
	if m.http.TLS != nil {
		conn = tls.Client(conn, &tls.Config{RootCAs: m.http.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", NextProtos: []string{"http/1.1"}})
	}
	m.t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s", target, early)
	require.NoError(m.t, err)
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, &http.Request{Method: "GET"})
	require.NoError(m.t, err)
	if response.StatusCode != http.StatusSwitchingProtocols {
		_, err := io.Copy(io.Discard, response.Body)
		require.NoError(m.t, err)
	}
	return conn, r, response.StatusCode
}

// Frames that come with the upgrade request arrive, whoever reads them first.
func TestMountedEarlyFrames(t *testing.T) {
	var early bytes.Buffer
	for _, text := range []string{"4one", "4two"} {
		require.NoError(t, ws.WriteFrame(&early, ws.MaskFrame(ws.NewTextFrame([]byte(text)))))
	}
	for _, c := range mountings {
		if !c.websocket {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			m := mount(t, engine.Options{}, echoEvents, c.wrap, c.start)
			for range 20 {
				conn, r, status := m.webSocket(c.prefix+"/engine.io/?EIO=4&transport=websocket", early.String())
				require.Equal(t, 101, status)
				for _, want := range []string{"0{", "4one", "4two"} {
					require.NoError(t, expectText(r, want))
				}
				require.NoError(t, conn.Close())
			}
		})
	}
}

// A connection that was taken serves what is ours and passes on the rest, new
// handshakes included, so that an authentication in front of the server cannot
// be passed by on somebody else's connection.
func TestMountedConnectionIsShared(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	taken := func() []string {
		mu.Lock()
		defer mu.Unlock()
		s := seen
		seen = nil
		return s
	}
	guard := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			seen = append(seen, r.Method+" "+r.URL.Path)
			mu.Unlock()
			w.Header().Set("X-Guard", "seen")
			if r.Header.Get("Authorization") != "secret" {
				http.Error(w, "who are you", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	for _, prefix := range []string{"", "/app"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			m := mount(t, engine.Options{}, echoEvents, under(prefix, guard), plain)
			c := dialLine(t, m.address())
			const secret = "Authorization: secret\r\n"
			ask := func(method, target, fields, body string) (*http.Response, string) {
				if body != "" {
					fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
				}
				c.say("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", method, target, fields, body)
				return c.hear(method)
			}
			target := prefix + "/engine.io/?EIO=4&transport=polling"
			handshake := func() string {
				response, body := ask("GET", target, secret, "")
				require.Equal(t, 200, response.StatusCode, body)
				require.Equal(t, "seen", response.Header.Get("X-Guard"))
				_, rest, _ := strings.Cut(body, `"sid":"`)
				sid, _, _ := strings.Cut(rest, `"`)
				return sid
			}
			sid := handshake()
			require.Equal(t, 1, m.Stats().Conns, "a loop has the connection")
			require.Equal(t, []string{"GET " + prefix + "/engine.io/"}, taken())

			response, body := ask("GET", target, "", "")
			require.Equal(t, 401, response.StatusCode, "%s: a handshake without credentials on the same connection", body)
			response, body = ask("GET", "/page", "", "")
			require.Equal(t, 401, response.StatusCode, body)
			response, body = ask("GET", "/page", secret, "")
			require.Equal(t, "200 a page seen", strconv.Itoa(response.StatusCode)+" "+body+" "+response.Header.Get("X-Guard"))
			response, body = ask("GET", "/nowhere", secret, "")
			require.Equal(t, 404, response.StatusCode, body)
			require.Len(t, taken(), 4)

			second := handshake()
			require.NotEqual(t, sid, second)
			require.Len(t, taken(), 1)
			for _, id := range []string{sid, second} {
				response, body = ask("POST", target+"&sid="+id, secret, "4hi")
				require.Equal(t, "ok", body)
				require.Equal(t, prefix != "", response.Header.Get("X-Guard") == "seen")
				_, body = ask("GET", target+"&sid="+id, secret, "")
				require.Equal(t, "4hi", body)
			}
			if prefix == "" { // the target is under Path as it comes
				require.Empty(t, taken(), "requests of sessions are the server's alone")
				_, body = ask("POST", target+"&sid="+sid, "Origin: http://x\r\n", "4from a page of its own")
				require.Equal(t, "ok", body)
				require.Empty(t, taken())
				// What pages from elsewhere may do, middlewares have a say in.
				response, _ = ask("POST", target+"&sid="+sid, "Origin: http://elsewhere\r\n"+secret, "4x")
				require.Equal(t, "403 seen", strconv.Itoa(response.StatusCode)+" "+response.Header.Get("X-Guard"))
				require.Len(t, taken(), 1)
			} else {
				require.Len(t, taken(), 4)
			}
			for session := range m.Sessions() {
				session.CloseNow()
			}
		})
	}
}

// A body may have been read, or replaced, by a middleware: the session gets what
// the server was given, and nothing of it is taken for another request.
func TestMountedBodies(t *testing.T) {
	replacing := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.Header.Get("X-Body") {
			case "shout":
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(strings.NewReader(strings.ToUpper(string(body))))
			case "hide":
				r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
			case "ignore": // what the client sent stays in the connection
				r.Body = io.NopCloser(strings.NewReader("4instead"))
				r.ContentLength = 8
			}
			next.ServeHTTP(w, r)
		})
	}
	patient := mount(t, engine.Options{MaxPayload: 1000}, echoEvents, under("/app", replacing), plain)
	hasty := mount(t, engine.Options{Timeouts: engine.Timeouts{Body: 200 * time.Millisecond}}, echoEvents, under("/app"), plain)
	smuggled := "GET /app/engine.io/?EIO=4&transport=polling&smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct{ name, fields, body, status, echo string }{
		{"as it came", "Content-Length: 3\r\n", "4hi", "200 ok", "4hi"},
		{"chunked", "Transfer-Encoding: chunked\r\n", "2\r\n4h\r\n1\r\ni\r\n0\r\n\r\n", "200 ok", "4hi"},
		{"expected", "Expect: 100-continue\r\nContent-Length: 3\r\n", "4hi", "200 ok", "4hi"},
		{"changed", "X-Body: shout\r\nContent-Length: 3\r\n", "4hi", "200 ok", "4HI"},
		{"replaced", fmt.Sprintf("X-Body: ignore\r\nContent-Length: %d\r\n", len(smuggled)), smuggled, "200 ok", "4instead"},
		{"hidden", fmt.Sprintf("X-Body: hide\r\nContent-Length: %d\r\n", len(smuggled)), smuggled, "400 ", ""},
		{"replaced, chunked", "X-Body: ignore\r\nTransfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), "200 ok", "4instead"},
		{"at the limit", "Content-Length: 1000\r\n", "4" + strings.Repeat("x", 999), "200 ok", "4" + strings.Repeat("x", 999)},
		{"over the limit", "Content-Length: 1001\r\n", "4" + strings.Repeat("x", 1000), "413 Request Entity Too Large\n", ""},
		{"chunked over the limit", "Transfer-Encoding: chunked\r\n", "3e9\r\n4" + strings.Repeat("x", 1000) + "\r\n0\r\n\r\n", "413 Request Entity Too Large\n", ""},
		{"too slow", "Content-Length: 100\r\n", "4hi", "408 Request Timeout\n", ""},
		{"broken", "Transfer-Encoding: chunked\r\n", "zz\r\n", "400 Bad Request\n", ""},
	} {
		for _, adopted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, adopted: %v", c.name, adopted), func(t *testing.T) {
				m := patient
				if c.name == "too slow" {
					m = hasty
				}
				client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/app/engine.io/"}
				client.open()
				sessions := m.Stats().Sessions
				conn := dialLine(t, m.address())
				if adopted {
					require.Equal(t, "400", conn.get("/app/engine.io/?transport=polling")[:3])
				}
				conn.say("POST /app/engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\n%s\r\n%s", client.sid, c.fields, c.body)
				response, body := conn.hear("POST")
				require.Equal(t, c.status, strconv.Itoa(response.StatusCode)+" "+body)
				if c.echo != "" {
					_, body = client.do("GET", "", "")
					require.Equal(t, c.echo, body)
					client.leave()
				}
				// What comes next is the next answer; net/http itself cannot continue
				// behind a body that is hidden from it.
				if !response.Close && c.name != "hidden" {
					require.Equal(t, "200 a page", conn.get("/page"))
				}
				require.LessOrEqual(t, m.Stats().Sessions, sessions, "no session was smuggled in")
			})
		}
	}
	require.NotZero(t, patient.Stats().Limits[engine.LimitPayload])
	require.NotZero(t, hasty.Stats().Limits[engine.LimitBodyTimeout])
	patient.CloseSessions()
	hasty.CloseSessions()
}

// Connections that are taken count, and one too many is refused by net/http.
func TestMountedLimits(t *testing.T) {
	for _, c := range []struct {
		name    string
		options engine.Options
		limit   engine.Limit
	}{
		{"in all", engine.Options{Limits: engine.Limits{MaxConns: 3}}, engine.LimitConns},
		{"by address", engine.Options{Limits: engine.Limits{MaxConnsPerIP: 3}}, engine.LimitConnsPerIP},
		{"by address and time", engine.Options{Limits: engine.Limits{ConnRate: 1}}, engine.LimitConnRate},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Limits.Exempt = []netip.Prefix{} // loopback is limited as well
			m := mount(t, c.options, echoEvents, itself, plain)
			var open []net.Conn
			status := 101
			for i := 0; status == 101 && i < 100; i++ {
				var conn net.Conn
				conn, _, status = m.webSocket("/engine.io/?EIO=4&transport=websocket", "")
				open = append(open, conn)
			}
			require.Equal(t, 503, status)
			require.NotZero(t, m.Stats().Limits[c.limit])
			require.Equal(t, len(open)-1, m.Stats().Conns)
			for _, conn := range open {
				require.NoError(t, conn.Close())
			}
			eventually(t, "their places are free", func() error { return same(0, m.Stats().Conns) })
			if c.limit != engine.LimitConnRate {
				_, _, status = m.webSocket("/engine.io/?EIO=4&transport=websocket", "")
				require.Equal(t, 101, status)
			}
		})
	}
}

// A request that nobody stands behind is answered all the same: a handshake at
// once, a poll when there is something or its context ends, and then the session
// is over, as when a client has gone.
func TestMountedRecorder(t *testing.T) {
	closed := make(chan error, 1)
	events := echoEvents
	events.Close = func(_ *engine.Session, _ engine.Reason, err error) { closed <- err }
	m := mount(t, engine.Options{}, events, itself, plain)
	ask := func(ctx context.Context, method, query, body string) (int, string) {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, "/engine.io/?EIO=4&transport="+query, strings.NewReader(body)))
		return w.Code, w.Body.String()
	}
	status, body := ask(t.Context(), "GET", "polling", "")
	require.Equal(t, 200, status, body)
	_, rest, _ := strings.Cut(body, `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	status, body = ask(t.Context(), "POST", "polling&sid="+sid, "4hi")
	require.Equal(t, "200 ok", fmt.Sprint(status, " ", body))
	_, body = ask(t.Context(), "GET", "polling&sid="+sid, "")
	require.Equal(t, "4hi", body)

	ctx, cancel := context.WithCancel(t.Context())
	polled := make(chan int, 1)
	go func() {
		status, _ := ask(ctx, "GET", "polling&sid="+sid, "")
		polled <- status
	}()
	eventually(t, "the poll waits", func() error { return same(1, m.Stats().Conns) })
	cancel()
	require.Equal(t, 503, <-polled)
	require.ErrorIs(t, <-closed, engine.ErrPollLost)

	status, body = ask(t.Context(), "GET", "websocket", "")
	require.Equal(t, 400, status, body)
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/elsewhere", nil))
	require.Equal(t, 404, w.Code)
}

// A client that goes away in a poll ends its session, whatever carries it, and
// the middlewares hear of no panic, which some of them log.
func TestMountedClientGone(t *testing.T) {
	for _, c := range mountings {
		t.Run(c.name, func(t *testing.T) {
			recovering := func(s *engine.Server) http.Handler {
				next := c.wrap(s)
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() {
						if p := recover(); p != nil {
							t.Errorf("panic: %v", p)
						}
					}()
					next.ServeHTTP(w, r)
				})
			}
			closed := make(chan error, 1)
			events := echoEvents
			events.Close = func(_ *engine.Session, _ engine.Reason, err error) { closed <- err }
			m := mount(t, engine.Options{}, events, recovering, c.start)
			client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + c.prefix + "/engine.io/"}
			client.open()
			ctx, cancel := context.WithCancel(t.Context())
			request, err := http.NewRequestWithContext(ctx, "GET", client.url+"?EIO=4&transport=polling&sid="+client.sid, nil)
			require.NoError(t, err)
			polled := make(chan error, 1)
			go func() {
				response, err := client.http.Do(request)
				if err == nil {
					_ = response.Body.Close()
				}
				polled <- err
			}()
			eventually(t, "the poll waits", func() error {
				if n := engine.Waiting(m.Server); n != 1 {
					return fmt.Errorf("%d polls wait", n)
				}
				return nil
			})
			cancel()
			require.ErrorIs(t, <-polled, context.Canceled)
			require.ErrorIs(t, <-closed, engine.ErrPollLost)
		})
	}
}

// With Fallback a mounted server serves pages itself, also when it is the whole
// handler; a Fallback that leads back to the server ends in 404.
func TestMountedFallback(t *testing.T) {
	var server *engine.Server
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	mux.HandleFunc("/back/", func(w http.ResponseWriter, r *http.Request) { server.ServeHTTP(w, r) })
	m := mount(t, engine.Options{Fallback: mux}, echoEvents, func(s *engine.Server) http.Handler { server = s; return s }, plain)
	own := run(t, engine.Options{Fallback: mux}, echoEvents)
	for _, address := range []string{m.address(), own.address} {
		c := dialLine(t, address)
		require.Equal(t, "200 a page", c.get("/page"))
		require.Equal(t, "404", c.get("/back/x")[:3])
		require.Equal(t, "200 0{", c.get("/engine.io/?EIO=4&transport=polling")[:6])
		require.Equal(t, "200 a page", c.get("/page"))
		require.Equal(t, "404", c.get("/back/x")[:3])
	}
	for _, s := range []*engine.Server{m.Server, own.Server} {
		for session := range s.Sessions() {
			session.CloseNow()
		}
	}
}

// Requests that come while the server ends, or after, are told 503, and nothing
// hangs. A server that never served has nothing to end.
func TestMountedShutdown(t *testing.T) {
	goroutines := runtime.NumGoroutine()
	server, err := engine.New(engine.Options{Loops: 2, Timeouts: engine.Timeouts{Close: 100 * time.Millisecond}, Logger: slog.New(slog.DiscardHandler)}, echoEvents)
	require.NoError(t, err)
	eventually(t, "no goroutine before the first request", func() error { return atMost(goroutines, runtime.NumGoroutine()) })
	h := httptest.NewServer(server)
	defer h.Close()
	h.Config.RegisterOnShutdown(func() { _ = server.Shutdown(context.Background()) })

	stop := make(chan struct{})
	var clients sync.WaitGroup
	var opened, refused atomic.Int64
	for range 8 {
		clients.Go(func() {
			for i := 0; i < 100_000; i++ {
				select {
				case <-stop:
					return
				default:
				}
				response, err := h.Client().Get(h.URL + "/engine.io/?EIO=4&transport=polling")
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				switch response.StatusCode {
				case 200:
					opened.Add(1)
				case 503:
					refused.Add(1)
				default:
					t.Errorf("status %d", response.StatusCode)
				}
			}
		})
	}
	eventually(t, "sessions have begun", func() error { return atMost(int(opened.Load()), 100) })
	ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
	defer cancel()
	require.NoError(t, server.Shutdown(ctx))
	eventually(t, "new ones are refused", func() error { return atMost(int(refused.Load()), 100) })
	close(stop)
	clients.Wait()
	require.Zero(t, server.Stats().Sessions)
	require.Zero(t, server.Stats().Conns)
}

// What a mounted session costs in goroutines: none where a loop has its
// connection, and two with TLS that net/http does.
func TestMountedGoroutines(t *testing.T) {
	const sessions = 200
	for _, c := range []struct {
		name  string
		start func(*httptest.Server)
		each  int
	}{
		{"hijacked", plain, 0},
		{"TLS", func(h *httptest.Server) { h.StartTLS() }, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := mount(t, engine.Options{PingInterval: 10 * time.Minute}, echoEvents, itself, c.start)
			var conns []net.Conn
			open := func() {
				conn, r, status := m.webSocket("/engine.io/?EIO=4&transport=websocket", "")
				require.Equal(t, 101, status)
				require.NoError(t, expectText(r, "0{"))
				conns = append(conns, conn)
			}
			const first = 2 // on either loop, so that all that is common to sessions runs
			for range first {
				open()
			}
			eventually(t, "the first handlers have returned", func() error {
				return same(0, goroutinesIn("net/http.(*conn).serve("))
			})
			before, heap := runtime.NumGoroutine(), settledHeap()
			for range sessions {
				open()
			}
			require.Equal(t, sessions+first, m.Stats().Sessions)
			eventually(t, "goroutines", func() error { return same(before+c.each*sessions, runtime.NumGoroutine()) })
			after := settledHeap()
			t.Logf("%s: %d goroutines before and %d with %d sessions more; %d bytes of heap and %d of stacks each, those of the clients included",
				c.name, before, runtime.NumGoroutine(), sessions,
				(int64(after.HeapAlloc)-int64(heap.HeapAlloc))/sessions, (int64(after.StackInuse)-int64(heap.StackInuse))/sessions)
			for _, conn := range conns {
				require.NoError(t, conn.Close())
			}
			eventually(t, "all have gone", func() error { return same(0, m.Stats().Sessions) })
		})
	}
}

// goroutinesIn is how many goroutines have that function on their stacks.
func goroutinesIn(function string) int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), function)
}

// Sessions continue while the server drains, also over new connections, and new ones
// are told to come back later.
func TestMountedDrain(t *testing.T) {
	m := mount(t, engine.Options{Drain: engine.Drain{Delay: time.Hour}}, echoEvents, itself, plain)
	client := &netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}
	client.open()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- m.Shutdown(ctx) }()
	eventually(t, "it drains", func() error {
		response, _ := (&netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}).do("GET", "", "")
		return same(503, response.StatusCode)
	})
	m.http.Client().CloseIdleConnections()
	client.converse(3)
	client.leave()
	cancel()
	require.ErrorIs(t, <-over, context.Canceled)
	response, _ := (&netClient{t: t, http: m.http.Client(), url: m.http.URL + "/engine.io/"}).do("GET", "", "")
	require.Equal(t, 503, response.StatusCode)
}

// Two servers share an http.Server, and the port of one of them.
func TestMountedServersAreApart(t *testing.T) {
	other, err := engine.New(engine.Options{Path: "/other/", Loops: 1, Timeouts: engine.Timeouts{Close: time.Second}, Logger: slog.New(slog.DiscardHandler)}, echoEvents)
	require.NoError(t, err)
	both := func(s *engine.Server) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/engine.io/", s)
		mux.Handle("/other/", other)
		return mux
	}
	leavesNothing(t)
	m := mount(t, engine.Options{}, echoEvents, both, plain)
	own := run(t, engine.Options{Fallback: other}, echoEvents)
	for _, url := range []string{m.http.URL, "http://" + own.address} {
		c := dialLine(t, strings.TrimPrefix(url, "http://"))
		for range 2 { // on one connection, which each of them serves in turn
			require.Equal(t, "200 0{", c.get("/engine.io/?EIO=4&transport=polling")[:6])
			require.Equal(t, "200 0{", c.get("/other/?EIO=4&transport=polling")[:6])
		}
		client := &netClient{t: t, http: m.http.Client(), url: url + "/other/"}
		client.open()
		client.converse(5)
		client.leave()
	}
	require.Equal(t, 2, m.Stats().Sessions)
	require.Equal(t, 2, own.Stats().Sessions)
	require.Equal(t, 4, other.Stats().Sessions)
	for _, s := range []*engine.Server{m.Server, own.Server, other} {
		for session := range s.Sessions() {
			session.CloseNow()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
	defer cancel()
	m.http.Client().CloseIdleConnections()
	require.NoError(t, other.Shutdown(ctx))
}

// A middleware may say who the client is.
func TestMountedRemoteAddr(t *testing.T) {
	for remote, want := range map[string]string{
		"203.0.113.7":        "203.0.113.7:0",
		"203.0.113.7:80":     "203.0.113.7:80",
		"[2001:db8::1]:80":   "[2001:db8::1]:80",
		"2001:db8::1":        "[2001:db8::1]:0",
		"not known":          "127.0.0.1:",
		"203.0.113.7, 1.2.3": "127.0.0.1:",
	} {
		seen := make(chan string, 1)
		events := echoEvents
		events.Open = func(s *engine.Session, r *engine.Request) {
			seen <- r.RemoteAddr().String()
			s.CloseNow()
		}
		m := mount(t, engine.Options{}, events, func(s *engine.Server) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.RemoteAddr = remote
				s.ServeHTTP(w, r)
			})
		}, plain)
		c := dialLine(t, m.address())
		require.Equal(t, "200 0{", c.get("/engine.io/?EIO=4&transport=polling")[:6])
		require.True(t, strings.HasPrefix(<-seen, want), "%q", remote)
		require.NoError(t, c.Close())
	}
}
