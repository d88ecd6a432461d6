package engine

import (
	"encoding/binary"
	"net/netip"
)

// A relayedClient is the client of a relay, as the node of the session is told: the hello
// of Peers.Relay.
//
//	version u8 | TLS version u16, 0 without | family u8: 0, 4 or 6 | address (0, 4 or 16) | port u16 | length of protocol u8 | protocol
//
// There is no port without an address. Numbers are little endian. What stands behind is
// for later versions.
type relayedClient struct {
	address  netip.AddrPort // not valid for a Unix socket
	tls      uint16
	protocol string // by ALPN
}

const relayHelloVersion = 1

func appendRelayHello(dst []byte, c relayedClient) []byte {
	dst = append(dst, relayHelloVersion)
	dst = binary.LittleEndian.AppendUint16(dst, c.tls)
	switch address := c.address.Addr().Unmap(); {
	case !c.address.IsValid():
		dst = append(dst, 0)
	case address.Is4():
		dst = append(append(dst, 4), address.AsSlice()...)
		dst = binary.LittleEndian.AppendUint16(dst, c.address.Port())
	default:
		dst = append(append(dst, 6), address.AsSlice()...)
		dst = binary.LittleEndian.AppendUint16(dst, c.address.Port())
	}
	protocol := c.protocol[:min(len(c.protocol), 255)]
	return append(append(dst, byte(len(protocol))), protocol...) // #nosec G115 -- 255 at most
}

func parseRelayHello(p []byte) (c relayedClient, err error) {
	if len(p) < 5 || p[0] != relayHelloVersion {
		return relayedClient{}, ErrMalformed
	}
	c.tls = binary.LittleEndian.Uint16(p[1:])
	size, rest := 0, p[4:]
	switch p[3] {
	case 0:
	case 4, 6:
		if size = 4; p[3] == 6 {
			size = 16
		}
		if len(rest) < size+3 {
			return relayedClient{}, ErrMalformed
		}
		address, _ := netip.AddrFromSlice(rest[:size])
		c.address = netip.AddrPortFrom(address, binary.LittleEndian.Uint16(rest[size:]))
		rest = rest[size+2:]
	default:
		return relayedClient{}, ErrMalformed
	}
	n := int(rest[0])
	if len(rest) < 1+n || c.tls == 0 && n > 0 {
		return relayedClient{}, ErrMalformed
	}
	c.protocol = string(rest[1 : 1+n])
	return c, nil
}
