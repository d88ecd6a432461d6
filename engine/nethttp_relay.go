package engine

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"turbine/loop"
)

// serveHere serves the request without its connection: a loop has one end of a
// pair of sockets, as if it were the client's, and what it writes there goes to
// the ResponseWriter.
func (m *mounting) serveHere() {
	if m.place != nil { // of a connection that turned out not to be ours
		m.place.Release()
		m.place = nil
	}
	if m.upgrades() || m.r.Method == http.MethodConnect {
		m.w.Header().Set("Connection", "close")
		http.Error(m.w, "WebSocket needs a connection of HTTP/1.1 that can be hijacked; polling works", http.StatusNotImplemented)
		return
	}
	conn, err := m.openPair(m.request(true), false)
	if err != nil {
		m.unavailable()
		return
	}
	defer func() { _ = conn.Close() }()
	defer m.tls.end()
	// To net/http a client that has ended its direction is one that has gone: the
	// session is told as on a connection of its own, and may still answer.
	defer context.AfterFunc(m.r.Context(), func() { _ = conn.CloseWrite() })()
	// A poll waits as long as its session lets it: the deadline of an
	// http.Server is for responses, and begins when there is one.
	w := &patientWriter{m.w, http.NewResponseController(m.w), m.server.options.Timeouts.Close}
	_ = w.control.SetWriteDeadline(time.Time{}) // there may be none
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, relayBuffer), m.r)
	w.extend()
	switch {
	case err == nil:
	case m.r.Context().Err() != nil:
		m.unavailable() // to a client that is there still, but was given no more time
		return
	default:
		panic(http.ErrAbortHandler) // the loop has cut the connection: so does net/http
	}
	header := m.w.Header()
	for name, values := range response.Header {
		if name != "Connection" {
			header[name] = values // those of m.w are among them
		}
	}
	m.w.WriteHeader(response.StatusCode)
	_, _ = io.Copy(w, response.Body)
	_ = response.Body.Close()
}

// patientWriter bounds each write, but not all of them together.
type patientWriter struct {
	to       io.Writer
	control  *http.ResponseController
	patience time.Duration
}

func (w *patientWriter) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(w.patience)) }

func (w *patientWriter) Write(p []byte) (int, error) {
	w.extend()
	return w.to.Write(p)
}

// openPair gives a loop one end of a pair of sockets, with the request and what
// comes behind it first, and returns the other. kept says that other requests
// follow.
func (m *mounting) openPair(first []byte, kept bool) (*net.UnixConn, error) {
	place := m.place
	m.place = nil
	if place == nil {
		// A request is no connection of its own: the limits by address are not
		// for it.
		if place = m.server.reserve(netip.AddrPort{}); place == nil {
			return nil, errNotRunning
		}
	}
	remote := remoteOf(m.r)
	if !remote.IsValid() && !overUnixSocket(m.r) {
		// Nobody knows the client: without an address it would be trusted as a Unix socket.
		remote = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	return place.Pair(remote, first, m.accept(kept))
}

// overUnixSocket reports whether r has come by a Unix socket, whatever a middleware
// makes of r.RemoteAddr.
func overUnixSocket(r *http.Request) bool {
	end, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if lent, is := r.Context().Value(lentKey{}).(*lentConn); is {
		end, ok = lent.remote, true // its own end may be that of a pair
	}
	return ok && strings.HasPrefix(end.Network(), "unix")
}

// relayBuffer is the size in bytes of what carries bytes between a connection
// and a loop: small, since it is there for the life of a session.
const relayBuffer = 4 << 10

// relay connects a loop with a connection that it cannot read itself, of TLS for
// instance, by two goroutines and a pair of sockets.
func (m *mounting) relay(conn net.Conn, first []byte) error {
	ours, err := m.openPair(first, true)
	if err != nil {
		return err
	}
	r := &relay{client: conn, loop: ours, tls: m.tls, patience: m.server.options.Timeouts.Close}
	go r.up()
	go r.down()
	return nil
}

type relay struct {
	client   net.Conn
	loop     *net.UnixConn
	tls      *carriage
	patience time.Duration // with a client that takes nothing
	ended    atomic.Int32  // directions
}

// up brings what the client sends, and its end, to the loop.
func (r *relay) up() {
	defer r.end()
	_ = carry(r.loop, r.client, 0)
	_ = r.loop.CloseWrite()
}

// farewellRelay is how long a client may take to close its side after us.
const farewellRelay = 5 * time.Second

// down brings what the loop sends to the client.
func (r *relay) down() {
	defer r.end()
	if err := carry(r.client, r.loop, r.patience); err != nil {
		_ = r.client.Close()
		_ = r.loop.Close()
		return
	}
	if c, ok := r.client.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
		_ = r.client.SetReadDeadline(time.Now().Add(farewellRelay))
		return
	}
	_ = r.client.Close()
}

func (r *relay) end() {
	if r.ended.Add(1) == 2 {
		_ = r.client.Close()
		_ = r.loop.Close()
		r.tls.end()
	}
}

// carry copies until the end of from, which is no error. patience bounds each
// write; 0 is no bound.
func carry(to, from net.Conn, patience time.Duration) error {
	buffer := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if patience > 0 {
				_ = to.SetWriteDeadline(time.Now().Add(patience))
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
	}
}

// carriedTLS knows the TLS of what net/http carries to the loops: all that these
// have of such a connection is one end of a pair of sockets. It also knows the TLS
// that clients of relays speak with another node, until they have left HTTP. Its
// methods are safe from any goroutine.
type carriedTLS struct {
	count  atomic.Int64
	states sync.Map // *loop.Conn -> *tls.ConnectionState
}

// of is the state of what is carried over c, nil for a client without TLS. For most
// connections carried is false: they carry nothing.
func (k *carriedTLS) of(c *loop.Conn) (state *tls.ConnectionState, carried bool) {
	if k.count.Load() == 0 {
		return nil, false
	}
	found, carried := k.states.Load(c)
	if !carried {
		return nil, false
	}
	return found.(*tls.ConnectionState), true
}

// put says what is carried over c: nil for a client without TLS.
func (k *carriedTLS) put(c *loop.Conn, state *tls.ConnectionState) {
	k.states.Store(c, state)
	k.count.Add(1)
}

// drop takes back what put has said of c, if it has.
func (k *carriedTLS) drop(c *loop.Conn) {
	if k.count.Load() == 0 {
		return
	}
	if _, put := k.states.LoadAndDelete(c); put {
		k.count.Add(-1)
	}
}

// tlsOf is the state of the TLS that c's client speaks, nil without.
func (s *Server) tlsOf(c *loop.Conn) *tls.ConnectionState {
	if state, carried := s.carried.of(c); carried {
		return state
	}
	return c.TLS()
}

// secure reports whether c's client speaks TLS to this process.
// For the client of a relay that is the process at the connection's other end.
func (s *Server) secure(c *loop.Conn) bool {
	if state, carried := s.carried.of(c); carried {
		return state != nil
	}
	return c.Secure()
}

// A carriage is one entry of carriedTLS, from when the loop has its end until
// what carries is done, in either order. A nil one is of a connection without TLS.
type carriage struct {
	all   *carriedTLS
	state *tls.ConnectionState

	mu   sync.Mutex
	conn *loop.Conn // guarded by mu
	over bool       // guarded by mu
}

func (k *carriage) begin(c *loop.Conn) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.over {
		k.conn = c
		k.all.put(c, k.state)
	}
}

func (k *carriage) end() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	if k.conn != nil {
		k.all.drop(k.conn)
		k.conn = nil
	}
}
