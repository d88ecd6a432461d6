package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"turbine/httpparse"
	"turbine/loop"
)

// ServeHTTP makes the server part of a program's own http.Server: a route of
// any router, behind any middleware. The first request that arrives starts the
// event loops, which end with Shutdown; without one there is nothing to end.
//
// A connection of plain HTTP/1 is taken out of net/http, with its goroutine and
// buffers, and given to a loop. From then on the timeouts and limits of Options
// hold for it. Requests on it that follow are looked at there:
//
//   - What carries a session's id under Options.Path, polls and posts and the
//     upgrade, is served on the loop. The handlers and middlewares around do not see
//     it; Options.Middleware does. A request with an Origin of another host is the
//     exception, unless Options.Access.CORS is set: so a middleware for CORS has its
//     say.
//   - All other requests pass http.Server.Handler again, from its top, also new
//     handshakes: so nobody gets past an authentication on somebody else's
//     connection. Options.Limits.MaxFallback bounds how many requests do this at the
//     same time. When they arrive in ServeHTTP, the loop takes them.
//
// So a session's first request always passes what is around the server, in this
// order: the middlewares, ServeHTTP, Options.Middleware, Events.Admit, which has the
// values of the http.Request's context in Request.Context. Header fields that were
// set before ServeHTTP are in the response; what is set after it has returned is
// lost. The target is taken from r.URL, so http.StripPrefix and its like may change
// it. Options.Path is compared with what is left; a request that is not below Path
// gets Options.Fallback, or 404.
//
// The client's address is r.RemoteAddr of the request that the connection is taken
// with. If a middleware has put something there that is no address, the client's
// address is the connection's own, or 0.0.0.0 where the connection cannot be taken.
// Where a proxy carries several clients on one connection, name it in
// Options.Proxies.Trusted instead of having a middleware change that field.
//
// Some connections cannot be taken: those with HTTP/2 or with TLS of net/http, those
// with a ResponseWriter that hides http.Hijacker or is of httptest, and those of a
// request whose body a middleware has replaced. There the handler stays until the
// request is answered. Each waiting poll then costs its goroutines in net/http and
// two descriptors. A WebSocket inside such TLS costs two goroutines and three
// descriptors for its life, and so does each connection of a listener that wraps
// those of package net, to count or to limit them; ServeTLS costs neither. WebSocket
// is refused, with 501, in HTTP/2 and where hijacking is hidden: such clients stay on
// polling.
//
// There a poll outlasts http.Server.WriteTimeout, unless the ResponseWriter hides
// what http.ResponseController needs. It does not outlast a middleware that bounds
// the time of requests, such as http.TimeoutHandler: PingInterval has to be shorter.
//
// The http.Server is known, and kept in memory, as long as the loops have
// connections of it: a program may replace it. Its BaseContext is asked again for
// what these connections bring, perhaps more than once.
//
// http.Server.Shutdown does not know of connections that were taken, and begins by
// closing its listeners, through which polls still come. Therefore call it second:
//
//	err := errors.Join(server.Shutdown(ctx), srv.Shutdown(ctx))
//
// What a middleware around writes to an access log is not what the client is told:
// gin's says 200 where the client was refused, and a session's id is in the URL.
//
// A compressing middleware that closes its writer after the handler, as gin's
// does, writes to a connection that was taken, and net/http logs an error for it:
// leave Options.Path out of the compression.
//
// Connections that were taken count for Options.Limits.MaxConns, MaxConnsPerIP and
// ConnRate; above one of these limits the answer is 503.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	lent, _ := r.Context().Value(lentKey{}).(*lentConn)
	otherServers := lent != nil && lent.outside.server != s
	if otherServers {
		lent = nil // another server's, which continues with it
	}
	if !s.owns(r.URL.EscapedPath()) {
		s.serveForeign(w, r, lent)
		return
	}
	m := &mounting{server: s, w: w, r: r, lent: lent, otherServers: otherServers}
	if r.TLS != nil { // for a pair of sockets; a connection of its own knows
		m.tls = &carriage{all: &s.carried, state: r.TLS}
	}
	if err := m.open(); err != nil {
		m.unavailable()
		return
	}
	defer m.close()
	if !m.readBody() {
		return
	}
	switch {
	case !m.mayTake():
		m.serveHere()
	case lent != nil:
		m.giveBack()
	default:
		m.take()
	}
}

// owns reports whether the server answers requests for that path.
func (s *Server) owns(path string) bool {
	health := string(s.health)
	return strings.HasPrefix(path, string(s.path)) ||
		health != "" && (path == health || path == health+livePath)
}

// insideKey marks a request that is at Options.Fallback: it must not come back.
type insideKey struct{}

// serveForeign is for requests that are not ours.
func (s *Server) serveForeign(w http.ResponseWriter, r *http.Request, lent *lentConn) {
	if s.fallback == nil || lent != nil && lent.outside == s.fallback || r.Context().Value(insideKey{}) == s {
		http.NotFound(w, r)
		return
	}
	s.options.Fallback.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), insideKey{}, s)))
}

// A mounting is one request on its way from net/http to a loop, on a goroutine
// of net/http.
type mounting struct {
	server       *Server
	w            http.ResponseWriter
	r            *http.Request
	lent         *lentConn // the loop's connection that it came by; nil for one of net/http
	otherServers bool      // it came by one of another server's
	place        *loop.Place
	tls          *carriage // what is taken of the connection's TLS; nil without
	body         []byte
	read         int64 // what counts for the budget of bodies
}

var errNotRunning = errors.New("engine: the event loops do not run")

// open makes sure that there are loops.
func (m *mounting) open() error {
	m.server.mu.Lock()
	running := m.server.reactor != nil
	m.server.mu.Unlock()
	if running || m.lent != nil { // also while it drains
		return nil
	}
	_, err := m.server.start(func(*loop.Reactor) error { return nil })
	if err != nil && !errors.Is(err, ErrServerClosed) {
		m.server.quiet.Error("event loops cannot be started; requests are told 503", "error", err)
	}
	return err
}

// close gives back what the request held.
func (m *mounting) close() {
	m.server.outsideBodies.Add(-m.read)
	if m.place != nil {
		m.place.Release()
	}
}

func (m *mounting) unavailable() {
	m.w.Header().Set("Retry-After", strconv.Itoa(int(m.server.retryAfter()/time.Second)))
	http.Error(m.w, "Service Unavailable", http.StatusServiceUnavailable)
}

func (m *mounting) hasBody() bool { return m.r.ContentLength != 0 || len(m.r.TransferEncoding) > 0 }

// readBody reads the whole body, within the limits that the loops have for
// one. It reports false when it has answered.
func (m *mounting) readBody() bool {
	if !m.hasBody() || m.r.Body == nil {
		return true
	}
	s := m.server
	if m.r.ContentLength > int64(s.options.MaxPayload) {
		m.refuseBody(LimitPayload, http.StatusRequestEntityTooLarge)
		return false
	}
	control := http.NewResponseController(m.w)
	_ = control.SetReadDeadline(time.Now().Add(s.options.Timeouts.Body)) // there may be none
	for {
		m.body = slices.Grow(m.body, 512)
		n, err := m.r.Body.Read(m.body[len(m.body):cap(m.body)])
		m.body = m.body[:len(m.body)+n]
		m.read += int64(n)
		switch sum := s.outsideBodies.Add(int64(n)); {
		case len(m.body) > s.options.MaxPayload:
			m.refuseBody(LimitPayload, http.StatusRequestEntityTooLarge)
			return false
		case sum > s.options.Limits.BodyBudget:
			s.count(LimitBodyBudget)
			m.unavailable()
			return false
		case errors.Is(err, io.EOF):
			_ = control.SetReadDeadline(time.Time{})
			return true
		case isTimeout(err):
			m.refuseBody(LimitBodyTimeout, http.StatusRequestTimeout)
			return false
		case errors.As(err, new(*http.MaxBytesError)): // a middleware's limit, below ours
			http.Error(m.w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
			return false
		case err != nil:
			http.Error(m.w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return false
		}
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func (m *mounting) refuseBody(limit Limit, status int) {
	m.server.count(limit)
	http.Error(m.w, http.StatusText(status), status)
}

// accept makes the handler of a connection for the request. kept says that
// others follow on it.
func (m *mounting) accept(kept bool) func(*loop.Conn) loop.Handler {
	passed, tls, s := m.handed(), m.tls, m.server
	root, _ := m.r.Context().Value(http.ServerContextKey).(*http.Server)
	return func(c *loop.Conn) loop.Handler {
		h := newHTTPConn(s, c)
		h.mounted, h.host = true, passed.host
		if kept {
			h.around = s.around(root)
		}
		h.handed = &passed
		tls.begin(c)
		return h
	}
}

// handed is what the handlers around us have made of the request: the header
// lines that they have set, and the values in its context.
func (m *mounting) handed() handed {
	return handed{headers: appendHeaderLines(nil, m.w.Header()), context: context.WithoutCancel(m.r.Context()), host: m.r.Host}
}

// request writes the request down again, with its body. last says that no other
// one follows.
func (m *mounting) request(last bool) []byte {
	r := m.r
	dst := make([]byte, 0, 1024+len(m.body))
	minor := byte('1')
	if !r.ProtoAtLeast(1, 1) {
		minor = '0'
	}
	dst = append(dst, r.Method...)
	dst = append(append(append(dst, ' '), r.URL.RequestURI()...), " HTTP/1."...)
	dst = append(append(dst, minor), "\r\n"...)
	if r.Host != "" {
		dst = httpparse.AppendHeader(dst, "Host", r.Host)
	}
	if last {
		dst = httpparse.AppendHeader(dst, "Connection", "close")
	}
	if len(m.body) > 0 || r.Method == http.MethodPost {
		dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(len(m.body)))
	}
	without := requestFraming
	if last && !isServers(m.w) {
		// A middleware may compress what we write, and not all look whether that is
		// compressed already.
		without = append([]string{"Accept-Encoding"}, without...)
	}
	dst = appendFields(dst, r.Header, without)
	return append(httpparse.AppendEnd(dst), m.body...)
}

// isServers reports whether w is net/http's own, for HTTP/1 or HTTP/2, so that no
// middleware sees what is written.
func isServers(w http.ResponseWriter) bool {
	t := reflect.TypeOf(w)
	if t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "net/http" {
		return false
	}
	return t.Elem().Name() == "response" || t.Elem().Name() == "http2responseWriter"
}

// requestFraming are the fields that request writes itself, or that were dealt
// with by net/http.
var requestFraming = []string{"Host", "Content-Length", "Transfer-Encoding", "Trailer", "Expect"}
