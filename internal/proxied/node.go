package proxied

import (
	"bytes"
	"net/netip"
)

// maxNode is the most bytes of an address in text, with brackets and port, and
// room for what is not needed.
const maxNode = 64

// parseNode reads the address of a client or proxy: of IPv4, or of IPv6 with or
// without brackets, with a port or without. "unknown", hidden names like
// "_gazonk" and all that is no address of a single host is none (RFC 7239, 6).
// A zone names an interface of the proxy, which means nothing here, and is
// dropped: limits by address and Proxies.Trusted go by the address alone.
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

// Scheme is what a client speaks with the proxy that it sees, or with the server.
type Scheme uint8

const (
	Unknown Scheme = iota // some proxy may end TLS without a word
	HTTP
	HTTPS
)

// String returns the word of a URL.
func (s Scheme) String() string {
	return [...]string{Unknown: "unknown", HTTP: "http", HTTPS: "https"}[s]
}

// ParseScheme also knows the names for a WebSocket, which some proxies say.
func ParseScheme(p []byte) Scheme {
	switch {
	case bytes.EqualFold(p, []byte("https")), bytes.EqualFold(p, []byte("wss")):
		return HTTPS
	case bytes.EqualFold(p, []byte("http")), bytes.EqualFold(p, []byte("ws")):
		return HTTP
	}
	return Unknown
}
