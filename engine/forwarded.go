package engine

import (
	"net/netip"

	"turbine/httpparse"
	"turbine/internal/proxied"
	"turbine/loop"
)

// newRequest is r as callbacks see it. It borrows r.
func (s *Server) newRequest(r *httpparse.Request, c *loop.Conn) *Request {
	request := &Request{http: r, remote: s.clientAddr(r, c), conn: c}
	if state, carried := s.carried.of(c); carried {
		request.tls, request.conn = state, nil
	}
	return request
}

// clientAddr is the address of the client that sent r: the connection's other end,
// or the client that it speaks for, if it is a trusted proxy. It borrows r.
func (s *Server) clientAddr(r *httpparse.Request, c *loop.Conn) netip.AddrPort {
	return s.proxies.Load().Client(c.RemoteAddr(), r)
}

// becomeClients makes the connection that of the client that r, which asks for
// a WebSocket, comes from: it serves nobody else from now on. It refuses r if that
// client has too many. It borrows r.
func (h *httpConn) becomeClients(r *httpparse.Request) bool {
	client := h.server.clientAddr(r, h.conn)
	if client == h.conn.RemoteAddr() {
		return true
	}
	refusal := h.conn.SetRemoteAddr(client)
	if refusal == 0 {
		return true
	}
	h.met(limitRefused(refusal))
	h.refuses(r, CauseConns)
	h.refuse(r, tooMany(0), nil)
	return false
}

// schemeOf is the scheme of r as far as is known. It borrows r.
func (s *Server) schemeOf(r *httpparse.Request, c *loop.Conn) proxied.Scheme {
	peer := c.RemoteAddr()
	if !s.proxies.Load().Trust(peer.Addr()) && s.secure(c) {
		return proxied.HTTPS
	}
	return s.proxies.Load().Scheme(peer, r)
}

// clientSecure reports whether the client that sent r speaks TLS, as far as is
// known: with a trusted proxy if that says so, or with us. It borrows r.
func (s *Server) clientSecure(r *httpparse.Request, c *loop.Conn) bool {
	if scheme := s.schemeOf(r, c); scheme != proxied.Unknown {
		return scheme == proxied.HTTPS
	}
	return s.secure(c)
}
