package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// battery is an application with a bit of everything.
func battery() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f http.HandlerFunc) { mux.HandleFunc(pattern, f) }
	handle("/", func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "%s %s", r.Method, r.URL) })
	handle("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%d %v %v %q", r.ContentLength, r.TransferEncoding, err, body)
	})
	handle("/head", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s %s %v", r.Proto, r.Host, r.RequestURI, r.Header.Get("X-A"), r.Header["X-B"])
	})
	handle("/ignore", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "not read") })
	handle("/empty", func(http.ResponseWriter, *http.Request) {})
	handle("/status", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("s"))
		w.WriteHeader(status)
	})
	handle("/length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, _ = io.WriteString(w, "12345")
	})
	handle("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "50")
		_, _ = io.WriteString(w, "12345")
	})
	handle("/close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "bye")
	})
	handle("/big", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("0123456789abcdef"), 20_000))
	})
	handle("/flush", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			_, _ = fmt.Fprintln(w, i)
			_ = http.NewResponseController(w).Flush()
		}
	})
	handle("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %v", body, r.Trailer)
		w.Header().Set("X-Sum", "42")
	})
	handle("/early", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "late")
	})
	handle("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	handle("/abort", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	handle("/full", func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = fmt.Fprintf(w, "<%s>", lines.Text())
			_ = control.Flush()
		}
	})
	handle("/cookie", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1"})
		http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
		http.Redirect(w, &http.Request{Method: "GET", URL: &url.URL{Path: "/"}}, "/elsewhere", http.StatusSeeOther)
	})
	return mux
}

const hostLine = "Host: example.com\r\n"

// batteryRequests are sent unchanged, each on a connection of its own.
var batteryRequests = []struct{ name, bytes string }{
	{"plain", "GET /a?b=c HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"two in turn", "GET /1 HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"many pipelined", strings.Repeat("GET /p HTTP/1.1\r\n"+hostLine+"\r\n", 50)},
	{"close asked for", "GET /1 HTTP/1.1\r\n" + hostLine + "Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"HTTP/1.0", "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n"},
	{"HTTP/1.0 kept", "GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /length HTTP/1.0\r\n\r\n"},
	{"HTTP/1.0 without a length", "GET /flush HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"},
	{"header fields", "GET /head HTTP/1.1\r\n" + hostLine + "x-a: 1\r\nX-B: 2\r\nX-b: 3\r\n\r\n"},
	{"absolute target", "GET http://other.example/head?q HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"odd target", "GET /head/%41%2f..//x?%20+ HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"HEAD", "HEAD /big HTTP/1.1\r\n" + hostLine + "\r\nHEAD /length HTTP/1.1\r\n" + hostLine + "\r\nHEAD /flush HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"OPTIONS *", "OPTIONS * HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"PATCH", "PATCH /echo HTTP/1.1\r\n" + hostLine + "Content-Length: 3\r\n\r\nabc"},
	{"counted body", "POST /echo HTTP/1.1\r\n" + hostLine + "Content-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"body of nothing", "POST /echo HTTP/1.1\r\n" + hostLine + "Content-Length: 0\r\n\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"chunked body", "POST /echo HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"trailers", "POST /trailer HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\nTrailer: X-In\r\n\r\n1\r\na\r\n0\r\nX-In: 7\r\n\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"broken chunk", "POST /echo HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n"},
	{"body not read", "POST /ignore HTTP/1.1\r\n" + hostLine + "Content-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"large body not read", "POST /ignore HTTP/1.1\r\n" + hostLine + "Content-Length: 200000\r\n\r\n" + strings.Repeat("x", 200_000) + "GET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"large body", "POST /echo HTTP/1.1\r\n" + hostLine + "Content-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000)},
	{"continue", "POST /echo HTTP/1.1\r\n" + hostLine + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"},
	{"continue, not read", "POST /ignore HTTP/1.1\r\n" + hostLine + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"},
	{"nothing said", "GET /empty HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"204", "GET /status?s=204 HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"304", "GET /status?s=304 HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"500", "GET /status?s=500 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"length given", "GET /length HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"shorter than said", "GET /short HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"handler closes", "GET /close HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"big", "GET /big HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"flushed", "GET /flush HTTP/1.1\r\n" + hostLine + "\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"both directions at once", "POST /full HTTP/1.1\r\n" + hostLine + "Transfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n2\r\nb\n\r\n0\r\n\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"early hints", "GET /early HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"panic", "GET /panic HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"abort", "GET /abort HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"cookies and a redirect", "GET /cookie HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"upgrade that nobody takes", "GET /up HTTP/1.1\r\n" + hostLine + "Connection: Upgrade\r\nUpgrade: x\r\n\r\nGET /2 HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"method of its own", "BREW /pot HTTP/1.1\r\n" + hostLine + "\r\n"},
	{"redirect of the mux", "GET /a/../b HTTP/1.1\r\n" + hostLine + "\r\n"},
}

// The same handlers answer the same requests with the same bytes under Fallback
// as under net/http's own server, except the date.
func TestFallbackIsAsNetHTTP(t *testing.T) {
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	reference := &http.Server{Handler: battery(), ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- reference.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, reference.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	s := run(t, engine.Options{Fallback: battery()}, engine.Events{})
	for _, c := range batteryRequests {
		for _, piece := range []int{len(c.bytes), 7000, 11} {
			if len(c.bytes) > 10_000 && piece == 11 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, piece), func(t *testing.T) {
				want := answers(t, l.Addr().String(), c.bytes, piece)
				got := answers(t, s.address, c.bytes, piece)
				require.Equal(t, want, got)
			})
		}
	}
}

// answers sends the bytes in pieces, ends its direction when all responses that
// net/http would give are there, and returns all that came.
func answers(t *testing.T, address, request string, piece int) string {
	conn := dialLine(t, address)
	go func() { // a server that refuses need not read it all
		for rest := request; rest != ""; {
			n := min(piece, len(rest))
			if _, err := io.WriteString(conn, rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
		// Only a line behind the last response ends it in good order: an end of
		// stream would cancel what is under way.
		_, _ = io.WriteString(conn, "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	}()
	got, err := io.ReadAll(conn.r)
	if err != nil {
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%q", got)
	}
	var lines []string
	for text := range strings.Lines(string(got)) {
		if !strings.HasPrefix(text, "Date: ") {
			lines = append(lines, text)
		}
	}
	return strings.Join(lines, "")
}

// net/http takes chunk extensions that are malformed. Its handlers are told of an
// error, and what is behind the request is served by nobody.
func TestFallbackRefusesMalformedExtensions(t *testing.T) {
	served := make(chan string, 10)
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served <- r.URL.Path
		if body, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, string(body), http.StatusBadRequest)
		}
	})}, engine.Events{})
	for _, extension := range []string{";", ";bad[=x", `;a="`} {
		for _, pieces := range [][]string{
			{"2\r\nab\r\n1" + extension + "\r\nc\r\n0\r\n\r\nGET /engine.io/ HTTP/1.1\r\nHost: x\r\n\r\n"},
			{"2\r\nab\r\n", "1" + extension + "\r\n", "c\r\n0\r\n\r\n", "GET /engine.io/ HTTP/1.1\r\nHost: x\r\n\r\n"},
		} {
			c := dialLine(t, s.address)
			c.say("POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			require.Equal(t, "/page", <-served)
			for _, piece := range pieces {
				_, _ = io.WriteString(c, piece) // the server may have closed
			}
			response, body := c.hear("POST")
			require.Equal(t, "400 ab\n", fmt.Sprint(response.StatusCode, " ", body), "%q", pieces)
			require.True(t, response.Close)
			_, err := io.ReadAll(c.r)
			require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "%q: still open", pieces)
			require.Empty(t, served)
		}
	}
}

// A session and a page share a port, a connection even: T012.
func TestFallbackBesideSessions(t *testing.T) {
	s := run(t, engine.Options{Fallback: battery(), HealthPath: "/healthz"}, engine.Events{
		Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) },
	})
	c := dialLine(t, s.address)
	require.Equal(t, "200 GET /page", c.get("/page"))
	require.Equal(t, "200 ok\n", c.get("/healthz"))
	open := c.get("/engine.io/?EIO=4&transport=polling")
	_, rest, _ := strings.Cut(open, `"sid":"`)
	sid, _, _ := strings.Cut(rest, `"`)
	require.NotEmpty(t, sid, open)
	target := "/engine.io/?EIO=4&transport=polling&sid=" + sid
	c.say("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n4hiGET /between HTTP/1.1\r\nHost: x\r\n\r\n", target)
	_, body := c.hear("POST")
	require.Equal(t, "ok", body)
	_, body = c.hear("GET")
	require.Equal(t, "GET /between", body)
	require.Equal(t, "200 4hi", c.get(target))
	require.Equal(t, "200 GET /page", c.get("/page"))
}

// A handler is told the client of a connection, as its PROXY header says, and no
// more than net/http tells it of what proxies say in header fields.
func TestFallbackRemoteAddr(t *testing.T) {
	s := run(t, engine.Options{Proxies: engine.Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	})}, engine.Events{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(engine.ProxyListener(l)) }()
	t.Cleanup(func() { require.ErrorIs(t, <-served, engine.ErrServerClosed) })
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.Background())) })
	for _, c := range []struct{ address, header, want string }{
		{s.address, "", ""},
		{l.Addr().String(), "PROXY UNKNOWN\r\n", ""},
		{l.Addr().String(), "PROXY TCP4 203.0.113.7 192.0.2.1 4444 80\r\n", "203.0.113.7:4444"},
		{l.Addr().String(), "PROXY TCP6 2001:db8::7 2001:db8::1 4444 80\r\n", "[2001:db8::7]:4444"},
	} {
		conn := dialLine(t, c.address)
		conn.say("%sGET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n", c.header)
		_, body := conn.hear("GET")
		if c.want == "" {
			c.want = conn.LocalAddr().String()
		}
		require.Equal(t, c.want, body)
	}
}

// What a handler writes and flushes arrives while it still runs, and its request is
// over when the client has gone.
func TestFallbackStreamsUntilTheClientGoes(t *testing.T) {
	gone := make(chan error, 1)
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- r.Context().Err()
	})}, engine.Events{})
	c := dialLine(t, s.address)
	c.say("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(c.r, nil)
	require.NoError(t, err)
	first := make([]byte, 5)
	_, err = io.ReadFull(response.Body, first)
	require.NoError(t, err)
	require.Equal(t, "first", string(first))
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-gone, context.Canceled)
}

// A body comes as it is read, and a handler that does not read makes its client wait:
// little is kept in memory.
func TestFallbackBodyHasBackpressure(t *testing.T) {
	read := make(chan struct{})
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-read
		n, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n, err)
	})}, engine.Events{})
	c := dialLine(t, s.address)
	const size = 64 << 20
	c.say("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
	before := settledHeap()
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		piece := make([]byte, 64<<10)
		for n := 0; n < size; n += len(piece) {
			if _, err := c.Write(piece); err != nil {
				done <- err
				return
			}
			sent.Add(int64(len(piece)))
		}
		done <- nil
	}()
	last := int64(-1)
	eventually(t, "the client has to wait", func() error {
		now := sent.Load()
		time.Sleep(50 * time.Millisecond)
		defer func() { last = now }()
		return errors.Join(atMost(0, int(now-last)), atMost(size/2, int(now)))
	})
	held := int64(settledHeap().HeapAlloc) - int64(before.HeapAlloc)
	require.Less(t, held, int64(1<<20), "bytes held")
	close(read)
	_, body := c.hear("POST")
	require.Equal(t, fmt.Sprint(size, error(nil)), body)
	require.NoError(t, <-done)
}

// A client that does not read makes the handler wait, and is given up after
// Timeouts.Close; the deadline of a ResponseController comes before that.
func TestFallbackSlowReader(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(fmt.Sprint("own deadline: ", own), func(t *testing.T) {
			wrote := make(chan error, 1)
			var sum atomic.Int64
			timeout := time.Second
			if own {
				timeout = time.Hour
			}
			s := run(t, engine.Options{Timeouts: engine.Timeouts{Close: timeout}, Fallback: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if own {
					_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				}
				piece := make([]byte, 64<<10)
				for {
					n, err := w.Write(piece)
					sum.Add(int64(n))
					if err != nil {
						wrote <- err
						return
					}
				}
			})}, engine.Events{})
			c := dialLine(t, s.address)
			c.say("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
			require.ErrorIs(t, <-wrote, os.ErrDeadlineExceeded)
			require.Less(t, sum.Load(), int64(64<<20), "bytes written to nobody")
		})
	}
}

// A body that stops coming fails for its handler after Timeouts.Body.
func TestFallbackBodyTimeout(t *testing.T) {
	s := run(t, engine.Options{Timeouts: engine.Timeouts{Body: 100 * time.Millisecond}, Fallback: battery()}, engine.Events{})
	c := dialLine(t, s.address)
	c.say("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
	_, body := c.hear("POST")
	require.Contains(t, body, "timeout")
	require.Contains(t, body, `"abc"`)
	require.Empty(t, c.ended())
}

// A handler may take the connection over, and has a net.Conn that works like any
// other: bytes that came early, deadlines, both directions at once, and the end.
func TestFallbackHijack(t *testing.T) {
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			_, _ = fmt.Fprintf(conn, "no deadline: %v", err)
			return
		}
		_ = conn.SetReadDeadline(time.Time{})
		for {
			text, err := buffered.ReadString('\n')
			_, _ = io.WriteString(conn, strings.ToUpper(text))
			if err != nil || text == "bye\n" {
				return
			}
		}
	})}, engine.Events{})
	for _, end := range []string{"client", "server"} {
		t.Run(end, func(t *testing.T) {
			c := dialLine(t, s.address)
			c.say("GET /shout HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nearly\n")
			response, err := http.ReadResponse(c.r, nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
			for _, text := range []string{"early\n", "hello\n", strings.Repeat("x", 300_000) + "\n"} {
				if text != "early\n" {
					go func() { _, _ = io.WriteString(c, text) }()
				}
				got, err := c.r.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, strings.ToUpper(text), got)
			}
			if end == "client" {
				require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
				require.Empty(t, c.ended())
			} else {
				c.say("bye\n")
				require.Equal(t, "BYE\n", c.ended())
			}
		})
	}
}

// A reverse proxy under Fallback carries other people's WebSockets: here those of
// a second server of ours: T011.
func TestFallbackReverseProxy(t *testing.T) {
	behind := run(t, engine.Options{}, engine.Events{Message: func(s *engine.Session, m engine.Message) { _ = s.Send(m) }})
	front := run(t, engine.Options{
		Path:     "/own/",
		Fallback: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: behind.address}) }},
	}, engine.Events{})
	conn, err := openSession("upgraded", front.address)
	require.NoError(t, err)
	require.NoError(t, sendText(conn, "4again"))
	require.NoError(t, expectText(bufio.NewReader(conn), "4again"))
	require.NoError(t, conn.Close())
	eventually(t, "the session has ended", func() error { return same(0, behind.Stats().Sessions) })
}

// Requests beyond MaxFallback wait, and those beyond MaxFallbackWaiting are told
// 503. Sessions do not notice.
func TestFallbackLimits(t *testing.T) {
	release := make(chan struct{})
	s, open := runSlow(t, engine.Options{Limits: engine.Limits{MaxFallbackWaiting: 1}, Timeouts: engine.Timeouts{Admit: time.Hour}}, release)
	waits := func(n int) {
		t.Helper()
		eventually(t, "one waits", func() error { return same(n, int(s.Stats().Limits[engine.LimitFallback])) })
	}
	served := []*line{open(), open()}
	gone := open()
	waits(1)
	refused := open()
	response, body := refused.hear("GET")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode, body)
	require.NotEmpty(t, response.Header.Get("Retry-After"))
	require.EqualValues(t, 1, s.Stats().Limits[engine.LimitFallbackWaiting])

	conn, err := openSession("websocket", s.address)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	eventually(t, "the session has ended", func() error { return same(4, s.Stats().Conns) })

	require.NoError(t, gone.Close()) // its place is free at once
	eventually(t, "the one that waited has gone", func() error { return same(3, s.Stats().Conns) })
	refused.say("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n") // its connection continues
	waits(2)
	close(release)
	for _, c := range append(served, refused) {
		_, body := c.hear("GET")
		require.Equal(t, "served", body)
	}
}

// A client that has waited for Timeouts.Admit is told 503, and may ask again.
func TestFallbackWaitsInVain(t *testing.T) {
	release := make(chan struct{})
	s, open := runSlow(t, engine.Options{Timeouts: engine.Timeouts{Admit: 50 * time.Millisecond}}, release)
	served := []*line{open(), open()}
	c := open()
	response, _ := c.hear("GET")
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.NotZero(t, s.Stats().Limits[engine.LimitFallbackWaiting])
	close(release)
	for _, c := range served {
		_, body := c.hear("GET")
		require.Equal(t, "served", body)
	}
	eventually(t, "it is served when a place has become free", func() error {
		if got := c.get("/slow"); got != "200 served" {
			return errors.New(got)
		}
		return nil
	})
}

// runSlow runs a server whose two goroutines for Fallback are busy, once two
// requests have come, until release is closed.
func runSlow(t *testing.T, o engine.Options, release <-chan struct{}) (s *running, open func() *line) {
	var serving atomic.Int64
	o.Limits.MaxFallback = 2
	o.Fallback = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		serving.Add(1)
		<-release
		_, _ = io.WriteString(w, "served")
	})
	s = run(t, o, echoEvents)
	opened := int64(0)
	return s, func() *line {
		c := dialLine(t, s.address)
		c.say("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
		if opened++; opened <= 2 {
			eventually(t, "it is served", func() error { return same(int(opened), int(serving.Load())) })
		}
		return c
	}
}

// A panic costs its connection, and one line of the log a second, whoever
// provokes it.
func TestFallbackPanicsAreLoggedRarely(t *testing.T) {
	var log lockedBuffer
	s := run(t, engine.Options{
		Logger:   slog.New(slog.NewTextHandler(&log, nil)),
		Fallback: battery(),
	}, engine.Events{})
	began := time.Now()
	for range 20 {
		c := dialLine(t, s.address)
		c.say("GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Empty(t, c.ended())
	}
	require.LessOrEqual(t, strings.Count(log.String(), "panic serving"), 1+int(time.Since(began)/time.Second))
	require.Contains(t, log.String(), "on purpose")
	c := dialLine(t, s.address)
	require.Equal(t, "200 GET /", c.get("/"))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Shutdown lets requests under way end, and their connections with them; what
// does not end is cut off with the context.
func TestFallbackShutdown(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		t.Run(fmt.Sprint("in time: ", inTime), func(t *testing.T) {
			entered, release := make(chan struct{}, 1), make(chan struct{})
			server, err := engine.New(engine.Options{Loops: 2, Logger: slog.New(slog.DiscardHandler), Fallback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				select {
				case <-release:
					_, _ = io.WriteString(w, "done")
				case <-r.Context().Done():
				}
			})}, engine.Events{})
			require.NoError(t, err)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			c := dialLine(t, l.Addr().String())
			c.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			<-entered

			ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
			defer cancel()
			over := make(chan error, 1)
			go func() { over <- server.Shutdown(ctx) }()
			eventually(t, "the listener is closed", func() error {
				late, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					return nil
				}
				_ = late.Close()
				return errors.New("it accepts")
			})
			if !inTime {
				cancel()
				require.ErrorIs(t, <-over, context.Canceled)
				require.ErrorIs(t, <-served, engine.ErrServerClosed)
				_, err := io.ReadAll(c.r)
				if err != nil {
					require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
				}
				return
			}
			close(release)
			response, body := c.hear("GET")
			require.Equal(t, "done", body)
			require.True(t, response.Close, "the response says that the connection ends")
			require.Empty(t, c.ended())
			require.NoError(t, <-over)
			require.ErrorIs(t, <-served, engine.ErrServerClosed)
		})
	}
}

// Connections that handlers have hijacked are not waited for, and end.
func TestFallbackShutdownCutsTunnels(t *testing.T) {
	read := make(chan error, 1)
	s := run(t, engine.Options{Fallback: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			read <- err
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		_, err = conn.Read(make([]byte, 1))
		read <- err
		_ = conn.Close()
	})}, engine.Events{})
	c := dialLine(t, s.address)
	c.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := c.r.ReadString('\n')
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), memoryPatience)
	defer cancel()
	require.NoError(t, s.Shutdown(ctx))
	require.Error(t, <-read)
}
