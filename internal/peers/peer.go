// Package peers bounds what single addresses may do: how much they hold at a
// time (Counts) and how often they come (Rates). Package loop uses it for
// connections, package engine for handshakes.
//
// Both tables hold no pointers, so the collector does not look into them, and
// forget clients that are idle.
package peers

import (
	"encoding/binary"
	"net/netip"
)

// Key is an address as limits count it: an IPv4 address, also one inside an IPv6
// address, or the network of 64 bits that an IPv6 address is in, which is what one
// customer gets.
type Key uint64

// ipv4 is above all IPv4 keys. An IPv6 address that begins so is multicast, and
// nobody's.
const ipv4 = Key(0xffff_ffff) << 32

// KeyOf is a's Key. An IPv6 address that holds an IPv4 address counts as that:
// with 6to4 one host has 65,536 networks of 64 bits, and behind NAT64 all of IPv4
// is in one.
func KeyOf(a netip.Addr) Key {
	b := a.As16()
	if v4, ok := embedded(&b); ok {
		return ipv4 | Key(v4)
	}
	return Key(binary.BigEndian.Uint64(b[:8]))
}

// embedded is the IPv4 address that b holds, if any.
func embedded(b *[16]byte) (v4 uint32, ok bool) {
	head := binary.BigEndian.Uint64(b[:8])
	middle, last := binary.BigEndian.Uint32(b[8:12]), binary.BigEndian.Uint32(b[12:])
	switch {
	case head == 0 && middle == 0xffff: // mapped, RFC 4291, 2.5.5.2
		return last, true
	case head>>48 == 0x2002: // 6to4, RFC 3056
		return uint32(head >> 16), true
	case head == 0x0064_ff9b<<32 && middle == 0: // NAT64, RFC 6052
		return last, true
	case head>>16 == 0x0064_ff9b_0001 && middle == 0 && last != 0:
		// NAT64 with a network's own prefix, RFC 8215, of 96 bits. Shorter prefixes
		// have the address further in front, at a place that cannot be told.
		return last, true
	case head>>32 == 0x2001_0000: // Teredo, RFC 4380: the bits are inverted
		return ^last, true
	}
	return 0, false
}

// Networks is a list of networks.
type Networks []netip.Prefix

// Shared are the networks whose addresses may each stand for any number of
// clients: loopback, private and link-local ones, and those that providers
// share among their customers (RFC 6598). A client that comes from there is a proxy, or a
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

// Contain reports whether a itself is in one of the networks: an IPv6 address
// that holds an IPv4 address of one of them is not, since anybody may have such.
// Only a mapped one is, which is how a socket for both writes an IPv4 address. No
// address, as that of a Unix socket, is in all: its other end is on this machine.
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
