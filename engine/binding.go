package engine

import (
	"crypto/sha256"
	"crypto/subtle"

	"turbine/httpparse"
)

// A binding is what Options.Access.Bind said about a request, as a hash: short, and
// of no use to whoever reads it, since what was said may be a password.
type binding [8]byte

// bind asks Options.Access.Bind about r, which it borrows. It reports false after a
// panic there.
func (h *httpConn) bind(r *httpparse.Request) (b binding, ok bool) {
	ok = h.call(callBind, func() {
		sum := sha256.Sum256([]byte(h.server.options.Access.Bind(h.server.newRequest(r, h.conn))))
		copy(b[:], sum[:])
	})
	return b, ok
}

// boundTo reports whether a request with the binding b may come to the session.
func (s *Session) boundTo(b binding) bool {
	return s.server.options.Access.Bind == nil || subtle.ConstantTimeCompare(s.extra.binding[:], b[:]) == 1
}

// boundTo is Session.boundTo for a WebSocket handshake, which is at the session's
// loop already. It borrows r.
func (h *httpConn) boundTo(s *Session, r *httpparse.Request) bool {
	if h.server.options.Access.Bind == nil {
		return true
	}
	b, ok := h.bind(r)
	return ok && s.boundTo(b)
}

// BindIP binds a session to the client's IP address, and with IPv6 to its /64,
// because a client changes the rest by itself (RFC 8981). Behind a proxy all clients
// have the proxy's address, unless the proxy is one of Options.Proxies.Trusted. A
// client whose address changes loses its session, such as a phone between networks.
func BindIP(r *Request) string {
	ip := r.RemoteAddr().Addr().Unmap()
	if ip.Is6() && !ip.IsLinkLocalUnicast() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// BindHeader binds a session to the value of a header field, such as Authorization. A
// session that was opened without the field takes no request that has it.
func BindHeader(name string) func(*Request) string {
	return func(r *Request) string { return r.Header(name) }
}

// BindCookie binds a session to the value of a cookie, such as the one of the
// application's own login.
func BindCookie(name string) func(*Request) string {
	return func(r *Request) string { return r.Cookie(name) }
}
