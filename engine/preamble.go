package engine

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"turbine/internal/proxied"
	"turbine/loop"
	"turbine/pool"
)

// ProxyListener says that clients come to l through proxies that speak the PROXY
// protocol, version 1 or 2: each connection begins with its client's address, ahead
// of HTTP, and ahead of TLS. It is for Serve and the like. A connection from
// elsewhere than Options.Proxies.Trusted, one without such a header, and one with a
// header that makes no sense are closed without an answer, counted as
// LimitProxyHeader and logged.
//
// What the header says becomes the connection's address: for the limits by address,
// and for Request.RemoteAddr. "LOCAL" and "UNKNOWN", as in a proxy's own health
// checks, leave the address of the connection itself.
func ProxyListener(l net.Listener) net.Listener { return proxyListener{l} }

type proxyListener struct{ net.Listener }

// Why a connection to a ProxyListener is closed, in addition to the errors of its
// header.
var (
	errStranger      = errors.New("it is no trusted proxy")
	errCutProxy      = errors.New("it ended inside the PROXY header")
	errNobodyTrusted = errors.New("engine: ProxyListener without a trusted proxy: see Options.Proxies.Trusted and TrustUnixSockets")
)

// preamble is the handler of a connection on which a proxy speaks first, until
// the proxy has named its client.
type preamble struct {
	server   *Server
	conn     *loop.Conn
	next     func(*loop.Conn) loop.Handler
	spill    *pool.Buf // what has come of the header; nil while that is nothing
	deadline time.Duration
	slot     loop.Slot
}

// afterPreamble makes a choice of handlers for a ProxyListener of one for what
// comes behind the header. Nil stands for Accept.
func (s *Server) afterPreamble(next func(*loop.Conn) loop.Handler) func(*loop.Conn) loop.Handler {
	if next == nil {
		next = s.accept
	}
	return func(c *loop.Conn) loop.Handler {
		h := &preamble{server: s, conn: c, next: next}
		if !s.proxies.Load().Trust(c.RemoteAddr().Addr()) {
			h.refuse(errStranger)
			return h
		}
		timeout := s.options.Timeouts.Header
		if s.phase.ending() {
			timeout = min(timeout, firstRequest)
		}
		h.slot = c.Loop().Claim((*preambleAlarm)(h))
		h.deadline = c.Loop().Now() + timeout
		c.Loop().Arm(h.slot, h.deadline)
		return h
	}
}

// Data borrows p.
func (h *preamble) Data(p []byte) {
	head, before := p, 0
	if h.spill != nil {
		before = h.spill.Len()
		h.spill.Append(p[:min(len(p), proxied.MaxHeader-before)])
		head = h.spill.Bytes()
	}
	client, n, err := proxied.ParseHeader(head)
	switch {
	case err != nil:
		h.refuse(err)
	case n > 0:
		h.goOn(client, p[n-before:])
	case h.spill == nil:
		h.spill = pool.Spills.Get(len(p))
		h.spill.Append(p)
	}
}

// goOn makes the connection the client's, and gives the next handler what came behind
// the header, which it borrows.
func (h *preamble) goOn(client netip.AddrPort, rest []byte) {
	if refusal := h.conn.SetRemoteAddr(client); refusal != 0 {
		h.server.met(limitRefused(refusal), h.conn.Loop())
		h.finish()
		h.conn.Abort()
		return
	}
	h.finish()
	h.conn.HandOn(h.next(h.conn), rest)
}

// refuse ends the connection, says nothing on it, and tells the log why.
func (h *preamble) refuse(why error) {
	h.server.refuseProxy(h.conn, why)
	h.finish()
	h.conn.Abort()
}

func (h *preamble) finish() {
	if h.slot != 0 {
		h.conn.Loop().Release(h.slot)
		h.slot = 0
	}
	if h.spill != nil {
		h.spill.Release()
		h.spill = nil
	}
}

// Drained comes never: nothing was written.
func (h *preamble) Drained() {}

// EOF ends the connection. A peer that says nothing at all has only looked whether
// somebody listens.
func (h *preamble) EOF() {
	if h.spill != nil {
		h.refuse(errCutProxy)
		return
	}
	h.finish()
	h.conn.Close()
}

// Closed is the last event.
func (h *preamble) Closed(error) { h.finish() }

// preambleAlarm is a preamble as the owner of its slot.
type preambleAlarm preamble

func (a *preambleAlarm) Alarm() {
	h := (*preamble)(a)
	if !h.conn.Loop().Late(h.slot, h.deadline) {
		return
	}
	h.server.met(LimitHeaderTimeout, h.conn.Loop())
	h.leave()
}

// leave ends the connection without a reproach.
func (h *preamble) leave() {
	h.finish()
	h.conn.Abort()
}

// refuseProxy counts and logs a connection that is closed because of what it
// says, or fails to say, of its client.
func (s *Server) refuseProxy(c *loop.Conn, why error) {
	s.meter.proxy.Store(&proxyRefusal{peer: c.RemoteAddr(), why: why})
	s.met(LimitProxyHeader, c.Loop())
}

// peerName is an address as net/http writes it: "@" is the other end of a Unix
// socket.
func peerName(a netip.AddrPort) string {
	if !a.IsValid() {
		return "@"
	}
	return a.String()
}

// clientName is a client in a record. A proxy need not say which port is the
// client's, and 0 is none.
func clientName(a netip.AddrPort) string {
	if a.IsValid() && a.Port() == 0 {
		return a.Addr().String()
	}
	return peerName(a)
}

// A proxyRefusal is the latest of the connections that the next record counts.
type proxyRefusal struct {
	peer netip.AddrPort
	why  error
}
