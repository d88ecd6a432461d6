package engine

import (
	"bytes"
	"net/netip"

	"turbine/httpparse"
	"turbine/internal/peers"
	"turbine/loop"
)

// The header fields in which proxies say whom they speak for, in the order in
// which they are looked for.
const (
	headerForwardedFor = "X-Forwarded-For"
	headerForwarded    = "Forwarded" // RFC 7239
	headerRealIP       = "X-Real-IP"

	headerForwardedProto = "X-Forwarded-Proto"
)

// maxHops bounds how many proxies in a row are looked at; beyond, the one that
// was looked at last is the client.
const maxHops = 32

// trusts reports whether what comes from that address is believed about whom it
// is for. No address is that of a Unix socket.
func (s *Server) trusts(a netip.Addr) bool {
	if !a.IsValid() {
		return s.options.TrustUnixSockets
	}
	return len(s.options.TrustedProxies) > 0 && peers.Networks(s.options.TrustedProxies).Contain(a)
}

// newRequest is r as callbacks see it. It borrows r.
func (s *Server) newRequest(r *httpparse.Request, c *loop.Conn) *Request {
	return &Request{http: r, remote: s.clientAddr(r, c), conn: c, tls: s.carried.of(c)}
}

// clientAddr is the address of who sent r: the connection's other end, or whom
// that speaks for, if it is a trusted proxy. It borrows r.
//
// Each proxy on the way adds, at the end, the address that it was asked from. So
// they are read from the end, as long as each is a trusted proxy's itself; what
// is in front of the first that is not may be anybody's invention. A value that
// is no address ends it, too: then the proxy that has passed it on stands for
// its client.
func (s *Server) clientAddr(r *httpparse.Request, c *loop.Conn) netip.AddrPort {
	client := c.RemoteAddr()
	if !s.trusts(client.Addr()) {
		return client
	}
	chain := s.proxyChain(r)
	for range maxHops {
		value, ok := chain.next()
		if !ok {
			break
		}
		hop, ok := chain.node(value)
		if !ok {
			break
		}
		client = hop
		if !s.trusts(hop.Addr()) {
			break
		}
	}
	return client
}

// proxyChain is the field of r that says whom proxies speak for. It borrows r.
func (s *Server) proxyChain(r *httpparse.Request) hops {
	if name := s.options.ClientHeader; name != "" {
		return hopsOf(r, name)
	}
	for _, name := range [...]string{headerForwardedFor, headerForwarded} {
		if r.Header(name) != nil {
			return hopsOf(r, name)
		}
	}
	return hopsOf(r, headerRealIP)
}

// hops are the elements of a list in all header fields of one name, from the
// last to the first. It borrows the fields.
type hops struct {
	headers []httpparse.Header // those not looked at yet
	name    string
	list    []byte // what is left of the field that is looked at
}

func hopsOf(r *httpparse.Request, name string) hops { return hops{headers: r.Headers, name: name} }

// next is the next element, without whitespace around it. Empty ones are passed
// over: RFC 9110, 5.6.1.2.
func (h *hops) next() (element []byte, ok bool) {
	for {
		for len(h.list) > 0 {
			h.list, element = lastElement(h.list, h.name == headerForwarded)
			if len(element) > 0 {
				return element, true
			}
		}
		n := len(h.headers) - 1
		if n < 0 {
			return nil, false
		}
		if bytes.EqualFold(h.headers[n].Name, []byte(h.name)) {
			h.list = h.headers[n].Value
		}
		h.headers = h.headers[:n]
	}
}

// node is the address in an element.
func (h *hops) node(element []byte) (netip.AddrPort, bool) {
	if h.name == headerForwarded {
		var scratch [maxNode]byte
		value, ok := forwardedParam(element, "for", scratch[:0])
		if !ok {
			return netip.AddrPort{}, false
		}
		element = value
	}
	return parseNode(element)
}

// lastElement cuts the last element off a list. With quoted, commas in quoted
// strings are part of them; quotes are counted from the end, where a trusted
// proxy has written, so that one that a client leaves open hides nothing.
func lastElement(list []byte, quoted bool) (rest, element []byte) {
	open := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case quoted && list[i] == '"' && !escaped(list, i):
			open = !open
		case list[i] == ',' && !open:
			return list[:i], bytes.Trim(list[i+1:], " \t")
		}
	}
	return nil, bytes.Trim(list, " \t")
}

// escaped reports whether the byte at i is escaped by a backslash.
func escaped(p []byte, i int) bool {
	n := 0
	for i > n && p[i-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// forwardedParam is the value of a parameter of one element of Forwarded,
// unquoted, in scratch if need be. It reports false where the element is
// malformed, has no such parameter, has it twice, or has one that does not fit.
func forwardedParam(element []byte, name string, scratch []byte) (value []byte, ok bool) {
	for len(element) > 0 {
		var pair []byte
		pair, element = firstPair(element)
		key, text, found := bytes.Cut(pair, []byte{'='})
		if !found {
			return nil, false
		}
		if !bytes.EqualFold(bytes.TrimSpace(key), []byte(name)) {
			continue
		}
		if ok {
			return nil, false // RFC 7239, 4: not more than once
		}
		if value, ok = unquote(text, scratch); !ok {
			return nil, false
		}
	}
	return value, ok
}

// firstPair cuts the first parameter off an element, without whitespace around it.
func firstPair(element []byte) (pair, rest []byte) {
	open := false
	for i := 0; i < len(element); i++ {
		switch c := element[i]; {
		case c == '\\' && open:
			i++
		case c == '"':
			open = !open
		case c == ';' && !open:
			return bytes.Trim(element[:i], " \t"), element[i+1:]
		}
	}
	return bytes.Trim(element, " \t"), nil
}

// unquote is the value of a token or a quoted string, in dst if it has to be
// changed.
func unquote(p, dst []byte) ([]byte, bool) {
	p = bytes.Trim(p, " \t")
	if len(p) == 0 || p[0] != '"' {
		return p, bytes.IndexByte(p, '"') < 0
	}
	if len(p) < 2 || p[len(p)-1] != '"' || escaped(p, len(p)-1) {
		return nil, false
	}
	p = p[1 : len(p)-1]
	if bytes.IndexByte(p, '\\') < 0 {
		return p, bytes.IndexByte(p, '"') < 0
	}
	if len(p) > cap(dst) {
		return nil, false
	}
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '"':
			return nil, false
		case '\\':
			i++
		}
		dst = append(dst, p[i])
	}
	return dst, true
}

// maxNode is the most bytes of an address in text, with brackets and port, and
// room for what is not needed.
const maxNode = 64

// parseNode reads the address of a client or proxy: of IPv4, or of IPv6 with or
// without brackets, with a port or without. "unknown", hidden names like
// "_gazonk" and all that is no address of a single host is none (RFC 7239, 6).
// A zone names an interface of the proxy, which means nothing here, and is
// dropped: limits by address, Exempt and TrustedProxies go by the address alone.
func parseNode(p []byte) (netip.AddrPort, bool) {
	if len(p) == 0 || len(p) > maxNode {
		return netip.AddrPort{}, false
	}
	host, port := p, []byte(nil)
	six := true
	switch end := bytes.IndexByte(p, ']'); {
	case p[0] == '[' && end > 0 && end == len(p)-1:
		host = p[1:end]
	case p[0] == '[' && end > 0 && p[end+1] == ':':
		host, port = p[1:end], p[end+2:]
		if len(port) == 0 {
			return netip.AddrPort{}, false
		}
	case bytes.Count(p, []byte{':'}) > 1: // IPv6 without brackets has no port
	default:
		six = false
		var found bool
		if host, port, found = bytes.Cut(p, []byte{':'}); found && len(port) == 0 {
			return netip.AddrPort{}, false
		}
	}
	address, err := netip.ParseAddr(string(host))
	if err != nil || address.Is6() != six {
		return netip.AddrPort{}, false
	}
	address = address.Unmap().WithZone("")
	if address.IsUnspecified() {
		return netip.AddrPort{}, false
	}
	number, ok := parsePort(port)
	return netip.AddrPortFrom(address, number), ok
}

// parsePort reads a port: 0 for none, and for one that is hidden.
func parsePort(p []byte) (uint16, bool) {
	if len(p) > 1 && p[0] == '_' {
		return 0, true
	}
	if len(p) > 5 {
		return 0, false
	}
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n <= 65535
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
	h.refuseWebSocket(429, "Too Many Requests", false)
	return false
}

// scheme is what a client speaks with the proxy that it sees, or with us.
type scheme uint8

const (
	schemeUnknown scheme = iota // some proxy may end TLS without a word
	schemeHTTP
	schemeHTTPS
)

// schemeOf is the scheme of r as far as is known. It borrows r.
func (s *Server) schemeOf(r *httpparse.Request, c *loop.Conn) scheme {
	switch {
	case s.trusts(c.RemoteAddr().Addr()):
	case s.secure(c):
		return schemeHTTPS
	default:
		return schemeUnknown
	}
	chain := s.proxyChain(r)
	if chain.name == headerForwarded {
		if found := s.forwardedScheme(chain); found != schemeUnknown {
			return found
		}
	}
	protos := hopsOf(r, headerForwardedProto)
	last, _ := protos.next()
	for range maxHops {
		// What the client's proxy has said is as far from the end as the
		// client's address; a single one is passed on by all.
		before, more := protos.next()
		if !more || !s.passes(&chain) {
			break
		}
		last = before
	}
	return parseScheme(last)
}

// clientSecure reports whether the client that sent r speaks TLS, as far as is
// known: with a trusted proxy if that says so, or with us. It borrows r.
func (s *Server) clientSecure(r *httpparse.Request, c *loop.Conn) bool {
	if scheme := s.schemeOf(r, c); scheme != schemeUnknown {
		return scheme == schemeHTTPS
	}
	return s.secure(c)
}

// passes takes the next hop, and reports whether it is a trusted proxy.
func (s *Server) passes(chain *hops) bool {
	value, ok := chain.next()
	if !ok {
		return false
	}
	hop, ok := chain.node(value)
	return ok && s.trusts(hop.Addr())
}

// forwardedScheme is what the proxy that saw the client says in Forwarded.
func (s *Server) forwardedScheme(chain hops) (found scheme) {
	for range maxHops {
		element, ok := chain.next()
		if !ok {
			break
		}
		var scratch [maxNode]byte
		value, _ := forwardedParam(element, "proto", scratch[:0])
		found = parseScheme(value)
		hop, ok := chain.node(element)
		if !ok || !s.trusts(hop.Addr()) {
			break
		}
	}
	return found
}

// parseScheme knows the names for a WebSocket, too, which some proxies say.
func parseScheme(p []byte) scheme {
	switch {
	case bytes.EqualFold(p, []byte("https")), bytes.EqualFold(p, []byte("wss")):
		return schemeHTTPS
	case bytes.EqualFold(p, []byte("http")), bytes.EqualFold(p, []byte("ws")):
		return schemeHTTP
	}
	return schemeUnknown
}
