package engine

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"turbine/loop"
)

// mayTake reports whether the connection is one that a loop can have, as far as
// that is known before it is hijacked.
func (m *mounting) mayTake() bool {
	switch {
	case m.r.ProtoMajor != 1 || m.r.Context().Value(http.ServerContextKey) == nil:
		return false // nothing of net/http's stands behind m.w that could be hijacked
	case m.hijacker() == nil:
		return false
	case m.lent != nil:
		return true // what is left of its body is known
	case m.r.TLS != nil, m.otherServers:
		return m.upgrades() && m.wasRead()
	}
	return m.wasRead()
}

// wasRead reports whether nothing is left of the body in the connection, which
// would be taken for the next request. If a middleware has put another in its
// place, nobody knows.
func (m *mounting) wasRead() bool {
	length := m.r.Header.Get("Content-Length")
	return !m.hasBody() && (length == "" || length == "0") || reflect.TypeOf(m.r.Body) == bodyOfServer
}

// hijacker is what the connection can be hijacked by, nil if nothing can: m.w, or
// what is inside. gin's ResponseWriter claims to be a Hijacker and panics if the
// writer inside it is not one. So hijacker asks a writer only if every writer inside
// it is also a Hijacker.
func (m *mounting) hijacker() http.Hijacker {
	var found http.Hijacker
	for w := m.w; ; {
		h, can := w.(http.Hijacker)
		switch {
		case !can:
			found = nil
		case found == nil:
			found = h
		}
		inside, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return found
		}
		w = inside.Unwrap()
	}
}

// bodyOfServer is the type of the body of a request that net/http has read,
// when nobody has changed it.
var bodyOfServer = func() reflect.Type {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")))
	if err != nil {
		return nil
	}
	return reflect.TypeOf(r.Body)
}()

// upgrades reports whether the request asks for WebSocket, as
// httpparse.Request.WebSocket says it.
func (m *mounting) upgrades() bool {
	return listed(m.r.Header["Connection"], "upgrade") && listed(m.r.Header["Upgrade"], "websocket")
}

// listed reports whether one of the lists, the values of a header field, names
// word, whatever its case.
func listed(lists []string, word string) bool {
	return slices.ContainsFunc(lists, func(list string) bool {
		return slices.ContainsFunc(strings.Split(list, ","), func(element string) bool {
			return strings.EqualFold(strings.Trim(element, " \t"), word)
		})
	})
}

// take gives the connection of net/http to a loop.
func (m *mounting) take() {
	if m.place = m.server.reserve(remoteOf(m.r)); m.place == nil {
		m.unavailable()
		return
	}
	conn, buffered, err := m.hijacker().Hijack()
	if err != nil {
		m.serveHere()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	first := appendBuffered(m.request(false), buffered.Reader)
	if c, ok := conn.(loop.Socket); ok && isSocket(conn) {
		place := m.place
		m.place = nil
		err = place.Take(c, first, m.accept(true))
	} else {
		err = m.relay(conn, first)
	}
	if err != nil {
		_ = conn.Close()
	}
}

// appendBuffered appends what net/http has read behind the request.
func appendBuffered(dst []byte, r *bufio.Reader) []byte {
	behind, _ := r.Peek(r.Buffered())
	return append(dst, behind...)
}

// isSocket leaves out what only has a socket inside, such as a connection that
// counts or decrypts.
func isSocket(c net.Conn) bool {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// remoteOf is the client's address as r has it, also where a middleware has set
// it, without a port then; none for a Unix socket.
func remoteOf(r *http.Request) netip.AddrPort {
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return a
	}
	a, _ := netip.ParseAddr(r.RemoteAddr)
	return netip.AddrPortFrom(a, 0)
}

// reserve makes a place for a connection from remote, or none because of a limit
// or because the loops have ended.
func (s *Server) reserve(remote netip.AddrPort) *loop.Place {
	s.mu.Lock()
	reactor := s.reactor
	s.mu.Unlock()
	if reactor == nil {
		return nil
	}
	place, why := reactor.Reserve(remote)
	if why != 0 {
		s.count(limitRefused(why))
	}
	return place
}

// giveBack lets the loop continue with a request on its own connection.
func (m *mounting) giveBack() {
	m.lent.willReturn(true)
	conn, buffered, err := m.hijacker().Hijack()
	switch {
	case err != nil:
		m.lent.willReturn(false)
		m.serveHere()
	case conn == net.Conn(m.lent):
		passed := m.handed()
		passed.first = m.request(false)
		m.lent.giveBack(passed, buffered.Reader.Buffered())
	default: // a middleware has put its own in front of it
		m.lent.stays()
		if err := m.relay(conn, appendBuffered(m.request(!m.wasRead()), buffered.Reader)); err != nil {
			_ = conn.Close()
		}
	}
}
