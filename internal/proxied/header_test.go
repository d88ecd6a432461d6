package proxied

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

// byLibrary is the header that the library makes, between two addresses.
func byLibrary(t testing.TB, version byte, from, to string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)),
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	require.NoError(t, h.SetTLVs(tlvs))
	p, err := h.Format()
	require.NoError(t, err)
	return p
}

// header2 is a header of version 2 of the bytes that make it up.
func header2(command, family byte, rest []byte) []byte {
	p := append(bytes.Clone(signature), 0x20|command, family, byte(len(rest)>>8), byte(len(rest)))
	return append(p, rest...)
}

func mapped(a, b, c, d byte) []byte {
	return []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}
}

// A header is read once it is there as a whole, whatever follows it.
func TestParseHeader(t *testing.T) {
	noise := proxyproto.TLV{Type: proxyproto.PP2_TYPE_NOOP, Value: bytes.Repeat([]byte{0}, 3000)}
	for _, c := range []struct {
		name   string
		header []byte
		want   string // empty for no address
	}{
		{"1 IPv4", []byte("PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n"), "198.51.100.7:4711"},
		{"1 IPv4 by the library", byLibrary(t, 1, "198.51.100.7:4711", "203.0.113.1:443"), "198.51.100.7:4711"},
		{"1 IPv6", []byte("PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"), "[2001:db8::7]:4711"},
		{"1 the longest", []byte("PROXY TCP6 2001:0db8:ffff:ffff:ffff:ffff:ffff:fff7 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
			"[2001:db8:ffff:ffff:ffff:ffff:ffff:fff7]:65535"},
		{"1 unknown", []byte("PROXY UNKNOWN\r\n"), ""},
		{"1 unknown with more", []byte("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), ""},
		{"2 IPv4", byLibrary(t, 2, "198.51.100.7:4711", "203.0.113.1:443"), "198.51.100.7:4711"},
		{"2 IPv6", byLibrary(t, 2, "[2001:db8::7]:4711", "[2001:db8::1]:443"), "[2001:db8::7]:4711"},
		{"2 IPv4 in IPv6", header2(1, 0x21, append(append(mapped(198, 51, 100, 7), mapped(203, 0, 113, 1)...), 0x12, 0x67, 1, 187)), "198.51.100.7:4711"},
		{"2 with names and ids", byLibrary(t, 2, "198.51.100.7:4711", "203.0.113.1:443",
			proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte("turbine.example")}, noise), "198.51.100.7:4711"},
		{"2 local", header2(0, 0, nil), ""},
		{"2 local with an address", header2(0, 0x11, []byte{198, 51, 100, 7, 203, 0, 113, 1, 0x12, 0x67, 1, 187}), ""},
		{"2 unspecified", header2(1, 0, nil), ""},
		{"2 Unix sockets", header2(1, 0x31, make([]byte, 216)), ""},
		{"2 port 0", byLibrary(t, 2, "198.51.100.7:0", "203.0.113.1:443"), "198.51.100.7:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := append(bytes.Clone(c.header), "GET /"...)
			for cut := range len(whole) + 1 {
				client, n, err := ParseHeader(whole[:cut])
				require.NoError(t, err, "cut at %d", cut)
				if cut < len(c.header) {
					require.Zero(t, n, "cut at %d", cut)
					continue
				}
				require.Equal(t, len(c.header), n, "cut at %d", cut)
				require.Equal(t, c.want != "", client.IsValid())
				if c.want != "" {
					require.Equal(t, c.want, client.String())
				}
			}
		})
	}
}

// What cannot become a header is refused for the same reason at whatever length,
// or asks for more.
func TestParseHeaderRefuses(t *testing.T) {
	good := byLibrary(t, 2, "198.51.100.7:4711", "203.0.113.1:443")
	for _, c := range []struct {
		name  string
		bytes []byte
		want  error
	}{
		{"a request", []byte("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\n\r\n"), ErrNoHeader},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), ErrNoHeader},
		{"almost version 1", []byte("PROXI TCP4 198.51.100.7 203.0.113.1 1 2\r\n"), ErrNoHeader},
		{"almost version 2", append([]byte("\r\n\r\n\x00\r\nQUIT\r"), good[12:]...), ErrNoHeader},
		{"an empty line", []byte("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), ErrNoHeader},
		{"1 without an end", append([]byte("PROXY TCP4 "), bytes.Repeat([]byte("1"), 200)...), ErrLongHeader},
		{"1 one byte too long", append([]byte("PROXY UNKNOWN "), append(bytes.Repeat([]byte("1"), 92), "\r\n"...)...), ErrLongHeader},
		{"1 bare LF", []byte("PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\n"), ErrBadHeader},
		{"1 no address", []byte("PROXY TCP4\r\n"), ErrBadHeader},
		{"1 words", []byte("PROXY TCP4 here there 1 2\r\n"), ErrBadHeader},
		{"1 a port too high", []byte("PROXY TCP4 198.51.100.7 203.0.113.1 65536 443\r\n"), ErrBadHeader},
		{"1 the wrong family", []byte("PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n"), ErrBadHeader},
		{"1 an unknown protocol", []byte("PROXY UDP4 198.51.100.7 203.0.113.1 4711 443\r\n"), ErrBadHeader},
		{"2 too long", header2(1, 0x11, make([]byte, 0xffff)), ErrLongHeader},
		{"2 too short for its address", header2(1, 0x11, make([]byte, 11)), ErrBadHeader},
		{"2 datagrams", header2(1, 0x12, make([]byte, 12)), ErrBadHeader},
		{"2 an unknown command", header2(2, 0x11, make([]byte, 12)), ErrBadHeader},
		{"2 an unknown version", append(append(bytes.Clone(signature), 0x31, 0x11, 0, 12), make([]byte, 12)...), ErrBadHeader},
		{"2 an unknown family", header2(1, 0x41, make([]byte, 12)), ErrBadHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			for cut := range len(c.bytes) {
				_, n, err := ParseHeader(c.bytes[:cut])
				require.Zero(t, n, "cut at %d", cut)
				if err != nil {
					require.Equal(t, c.want, err, "cut at %d", cut)
				}
			}
			_, n, err := ParseHeader(c.bytes)
			require.Equal(t, c.want, err)
			require.True(t, n >= 0 && n <= len(c.bytes))
		})
	}
}

// However a header is cut, it asks for more, or is what the whole is.
func FuzzProxyHeader(f *testing.F) {
	for _, seed := range [][]byte{
		[]byte("PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\nGET"),
		[]byte("PROXY UNKNOWN\r\n"),
		append(byLibrary(f, 2, "[2001:db8::7]:4711", "[2001:db8::1]:443"), "GET"...),
		header2(0, 0, nil),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		client, n, err := ParseHeader(p)
		require.True(t, n >= 0 && n <= len(p) && n <= MaxHeader)
		if n == 0 {
			require.False(t, client.IsValid())
			require.True(t, err != nil || len(p) < MaxHeader, "a piece is never too long")
		}
		for cut := range p {
			before, used, err2 := ParseHeader(p[:cut])
			switch {
			case used == 0 && err2 == nil: // more is needed
			default:
				require.Equal(t, err, err2, "cut at %d", cut)
				require.Equal(t, n, used, "cut at %d", cut)
				require.Equal(t, client, before, "cut at %d", cut)
			}
		}
	})
}
