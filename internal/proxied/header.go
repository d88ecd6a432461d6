package proxied

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// The longest headers of the PROXY protocol: of version 1 by its text, of version
// 2 by us, where 65,551 bytes are possible. Addresses take at most 232, and
// proxies add names, ids and what is known of the client's TLS, a few hundred
// bytes each.
const (
	maxHeader1 = 107
	MaxHeader  = 4096 // of both
)

// Errors of a PROXY header, for the log.
var (
	ErrNoHeader   = errors.New("it begins with no PROXY header")
	ErrBadHeader  = errors.New("its PROXY header makes no sense")
	ErrLongHeader = errors.New("its PROXY header is too long")
)

// signature begins a header of version 2: no request, and no TLS.
var (
	signature = []byte("\r\n\r\n\x00\r\nQUIT\n")
	word      = []byte("PROXY ") // of version 1
)

// fixed2 is the length of the fixed part of a header of version 2, whose last two
// bytes say how much follows.
const fixed2 = 16

// ParseHeader reads the PROXY header at the front of p and returns its length, 0
// for a piece of one. The client has no address where the header has none: the
// proxy speaks for itself, does not know, or has it from a Unix socket. It borrows
// p.
func ParseHeader(p []byte) (client netip.AddrPort, n int, err error) {
	n, err = headerLength(p)
	if n == 0 || err != nil {
		return netip.AddrPort{}, 0, err
	}
	client, err = parseHeader(p[:n])
	return client, n, err
}

// headerLength is the length of the header at the front of p, 0 for a piece
// of one.
func headerLength(p []byte) (int, error) {
	switch {
	case begins(p, signature):
		if len(p) < fixed2 {
			return 0, nil
		}
		n := fixed2 + int(binary.BigEndian.Uint16(p[fixed2-2:]))
		if n > MaxHeader {
			return 0, ErrLongHeader
		}
		if len(p) < n {
			return 0, nil
		}
		return n, nil
	case begins(p, word):
		line := p[:min(len(p), maxHeader1)]
		n := bytes.IndexByte(line, '\n') + 1
		if n == 0 && len(line) == maxHeader1 {
			return 0, ErrLongHeader
		}
		return n, nil
	}
	return 0, ErrNoHeader
}

// begins reports whether p begins with prefix, as far as it goes.
func begins(p, prefix []byte) bool {
	n := min(len(p), len(prefix))
	return bytes.Equal(p[:n], prefix[:n])
}

// parseHeader is the client's address by a complete header.
func parseHeader(p []byte) (netip.AddrPort, error) {
	if unspecified(p) { // the library wants LOCAL with it
		return netip.AddrPort{}, nil
	}
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(p), len(p)))
	switch {
	case err != nil:
		return netip.AddrPort{}, ErrBadHeader
	case header.Command.IsLocal(), header.TransportProtocol.IsUnspec(), header.TransportProtocol.IsUnix():
		return netip.AddrPort{}, nil
	}
	source, _, ok := header.TCPAddrs()
	if !ok { // datagrams
		return netip.AddrPort{}, ErrBadHeader
	}
	client := source.AddrPort()
	return netip.AddrPortFrom(client.Addr().Unmap(), client.Port()), nil
}

// unspecified reports whether p, a header, is of version 2 and says of a
// connection that it is for somebody of a family that is not known: the receiver
// is to do without.
func unspecified(p []byte) bool {
	return p[0] == signature[0] && p[12] == 0x21 && p[13] == 0
}
