package proxied

import (
	"net/netip"

	"turbine/httpparse"
	"turbine/internal/peers"
)

// The header fields in which proxies name their clients, in the order in
// which they are looked for.
const (
	ForwardedFor = "X-Forwarded-For"
	Forwarded    = "Forwarded" // RFC 7239
	RealIP       = "X-Real-IP"

	forwardedProto = "X-Forwarded-Proto"
)

// maxHops bounds how many proxies in a row are looked at. If there are more, the
// one that was looked at last is the client.
const maxHops = 32

// Proxies are the proxies whose word about a client is believed. The zero value
// believes nobody.
type Proxies struct {
	Trusted     []netip.Prefix
	UnixSockets bool   // every peer on a Unix socket is trusted
	Field       string // the one field that names the client; empty for the first of three that a request has
}

// Trust reports whether what comes from that address is believed about its client.
// No address is that of a Unix socket.
func (p *Proxies) Trust(a netip.Addr) bool {
	if !a.IsValid() {
		return p.UnixSockets
	}
	return len(p.Trusted) > 0 && peers.Networks(p.Trusted).Contain(a)
}

// TrustNobody reports whether no peer is believed.
func (p *Proxies) TrustNobody() bool { return len(p.Trusted) == 0 && !p.UnixSockets }

// Client is the address of the client that sent r: peer, the connection's other
// end, or the client that peer speaks for, if it is a trusted proxy. It borrows r.
//
// Each proxy on the way adds, at the end, the address that it was asked from. So
// the addresses are read from the end, as long as each is a trusted proxy's
// itself; what is in front of the first that is not may be anybody's invention. A
// value that is no address also ends the list: then the proxy that has passed it
// on stands for its client.
func (p *Proxies) Client(peer netip.AddrPort, r *httpparse.Request) netip.AddrPort {
	if !p.Trust(peer.Addr()) {
		return peer
	}
	client, chain := peer, p.chain(r)
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
		if !p.Trust(hop.Addr()) {
			break
		}
	}
	return client
}

// Scheme is what the client that sent r speaks, by the word of peer, the
// connection's other end, if that is a trusted proxy. It borrows r.
func (p *Proxies) Scheme(peer netip.AddrPort, r *httpparse.Request) Scheme {
	if !p.Trust(peer.Addr()) {
		return Unknown
	}
	chain := p.chain(r)
	if chain.name == Forwarded {
		if found := p.forwardedScheme(chain); found != Unknown {
			return found
		}
	}
	protos := hopsOf(r, forwardedProto)
	last, _ := protos.next()
	for range maxHops {
		// What the client's proxy has said is as far from the end as the
		// client's address; a single one is passed on by all.
		before, more := protos.next()
		if !more || !p.passes(&chain) {
			break
		}
		last = before
	}
	return ParseScheme(last)
}

// chain is the field of r in which proxies name their clients. It borrows r.
func (p *Proxies) chain(r *httpparse.Request) hops {
	if p.Field != "" {
		return hopsOf(r, p.Field)
	}
	for _, name := range [...]string{ForwardedFor, Forwarded} {
		if r.Header(name) != nil {
			return hopsOf(r, name)
		}
	}
	return hopsOf(r, RealIP)
}

// passes takes the next hop, and reports whether it is a trusted proxy.
func (p *Proxies) passes(chain *hops) bool {
	value, ok := chain.next()
	if !ok {
		return false
	}
	hop, ok := chain.node(value)
	return ok && p.Trust(hop.Addr())
}

// forwardedScheme is what the proxy that saw the client says in Forwarded.
func (p *Proxies) forwardedScheme(chain hops) (found Scheme) {
	for range maxHops {
		element, ok := chain.next()
		if !ok {
			break
		}
		var scratch [maxNode]byte
		value, _ := forwardedParam(element, "proto", scratch[:0])
		found = ParseScheme(value)
		hop, ok := chain.node(element)
		if !ok || !p.Trust(hop.Addr()) {
			break
		}
	}
	return found
}
