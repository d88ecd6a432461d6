// Package peers bounds what single addresses may do: how much they hold at a
// time (Counts) and how often they come (Rates). Package loop uses it for
// connections, package engine for handshakes.
//
// Both tables hold no pointers, so the collector does not look into them, and
// forget who is idle.
package peers

import (
	"encoding/binary"
	"net/netip"
)

// Key is an address as limits count it: an IPv4 address, or the network of 64
// bits that an IPv6 address is in, which is what one customer gets.
type Key uint64

// ipv4 is above all IPv4 keys. An IPv6 address that begins so is multicast, and
// nobody's.
const ipv4 = Key(0xffff_ffff) << 32

// KeyOf is a's Key. An IPv4 address mapped into IPv6 is that IPv4 address.
func KeyOf(a netip.Addr) Key {
	if a.Is4() || a.Is4In6() {
		b := a.As4()
		return ipv4 | Key(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return Key(binary.BigEndian.Uint64(b[:8]))
}

// Networks is a list of networks.
type Networks []netip.Prefix

// Shared are the networks whose addresses may each stand for any number of
// clients: loopback, private and link-local ones, and those that providers
// share among their customers (RFC 6598). Who comes from there is a proxy, or a
// neighbour. The caller owns the list.
func Shared() Networks {
	return Networks{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fc00::/7"),
		netip.MustParsePrefix("fe80::/10"),
	}
}

// Contain reports whether a is in one of the networks. No address, as that of a
// Unix socket, is in all: its other end is on this machine.
func (n Networks) Contain(a netip.Addr) bool {
	if !a.IsValid() {
		return true
	}
	a = a.Unmap().WithZone("")
	for _, p := range n {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
