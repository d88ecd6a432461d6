package proxied

import (
	"bytes"
	"cmp"
	"net/netip"
	"strings"
	"testing"

	"turbine/httpparse"

	"github.com/stretchr/testify/require"
)

// fronted trusts three networks. proxy is in the first of them.
var fronted = Proxies{Trusted: []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48"),
}}

const proxy = "192.0.2.1:4711"

// requestOf is a request with the header fields, one a line.
func requestOf(headers string) *httpparse.Request {
	r := &httpparse.Request{}
	for line := range strings.SplitSeq(headers, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			r.Headers = append(r.Headers, httpparse.Header{Name: []byte(name), Value: []byte(value)})
		}
	}
	return r
}

func TestTrust(t *testing.T) {
	socket, inside, outside := netip.Addr{}, netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("203.0.113.1")
	for _, c := range []struct {
		name    string
		proxies Proxies
		want    []netip.Addr
	}{
		{"nobody", Proxies{}, nil},
		{"networks", fronted, []netip.Addr{inside}},
		{"Unix sockets", Proxies{UnixSockets: true}, []netip.Addr{socket}},
		{"both", Proxies{Trusted: fronted.Trusted, UnixSockets: true}, []netip.Addr{socket, inside}},
	} {
		var got []netip.Addr
		for _, a := range []netip.Addr{socket, inside, outside} {
			if c.proxies.Trust(a) {
				got = append(got, a)
			}
		}
		require.Equal(t, c.want, got, c.name)
		require.Equal(t, c.want == nil, c.proxies.TrustNobody(), c.name)
	}
}

func TestClientAddr(t *testing.T) {
	const same = "same" // the connection's own address
	for _, c := range []struct {
		name    string
		field   string // Proxies.Field
		from    string // if not proxy
		headers string
		want    string
	}{
		{name: "nothing said", want: same},
		{name: "one hop", headers: "X-Forwarded-For: 198.51.100.7", want: "198.51.100.7:0"},
		{name: "any case", headers: "x-forwarded-FOR: 198.51.100.7", want: "198.51.100.7:0"},
		{name: "with a port", headers: "X-Forwarded-For: 198.51.100.7:4711", want: "198.51.100.7:4711"},
		{name: "IPv6", headers: "X-Forwarded-For: 2001:db8::7", want: "[2001:db8::7]:0"},
		{name: "a trusted hop between", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3", want: "198.51.100.7:0"},
		{name: "a trusted hop of IPv6 between", headers: "X-Forwarded-For: 198.51.100.7, [2001:db8:f::1]:443", want: "198.51.100.7:0"},
		{name: "a trusted hop with a zone between", headers: "X-Forwarded-For: 198.51.100.7, 2001:db8:f::1%eth0", want: "198.51.100.7:0"},
		{name: "a zone", headers: "X-Forwarded-For: fe80::1%eth0", want: "[fe80::1]:0"},
		{name: "no spaces", headers: "X-Forwarded-For: 198.51.100.7,10.1.2.3,10.1.2.4", want: "198.51.100.7:0"},
		{name: "in two fields", headers: "X-Forwarded-For: 198.51.100.7\nA: b\nX-Forwarded-For: 10.1.2.3", want: "198.51.100.7:0"},
		{name: "empty elements", headers: "X-Forwarded-For: , 198.51.100.7,, \t,10.1.2.3,", want: "198.51.100.7:0"},
		{name: "all trusted", headers: "X-Forwarded-For: 10.1.2.3, 10.1.2.4", want: "10.1.2.3:0"},
		{name: "an empty field", headers: "X-Forwarded-For:  ", want: same},

		{name: "spoofed in front", headers: "X-Forwarded-For: 203.0.113.66, 198.51.100.7", want: "198.51.100.7:0"},
		{name: "spoofed in front as trusted", headers: "X-Forwarded-For: 10.6.6.6, 198.51.100.7", want: "198.51.100.7:0"},
		{name: "spoofed in a field of its own", headers: "X-Forwarded-For: 203.0.113.66\nX-Forwarded-For: 198.51.100.7, 10.1.2.3", want: "198.51.100.7:0"},
		{name: "an open quote in front", headers: "X-Forwarded-For: \"203.0.113.66, 198.51.100.7", want: "198.51.100.7:0"},
		{name: "from a stranger", from: "203.0.113.66:1", headers: "X-Forwarded-For: 198.51.100.7\nForwarded: for=198.51.100.7\nX-Real-IP: 198.51.100.7", want: same},
		{name: "from a stranger as a chain of trusted ones", from: "203.0.113.66:1", headers: "X-Forwarded-For: 198.51.100.7, 192.0.2.1", want: same},

		{name: "malformed at the end", headers: "X-Forwarded-For: 198.51.100.7, nonsense", want: same},
		{name: "malformed behind a trusted hop", headers: "X-Forwarded-For: 198.51.100.7, nonsense, 10.1.2.3", want: "10.1.2.3:0"},
		{name: "unknown", headers: "X-Forwarded-For: 198.51.100.7, unknown", want: same},
		{name: "unknown to a trusted hop", headers: "X-Forwarded-For: unknown, 10.1.2.3", want: "10.1.2.3:0"},
		{name: "more hops than are looked at", headers: "X-Forwarded-For: 198.51.100.7" + strings.Repeat(", 10.1.2.3", maxHops), want: "10.1.2.3:0"},
		{name: "as many hops as are looked at", headers: "X-Forwarded-For: 198.51.100.7" + strings.Repeat(", 10.1.2.3", maxHops-1), want: "198.51.100.7:0"},

		{name: "Forwarded", headers: "Forwarded: for=198.51.100.7", want: "198.51.100.7:0"},
		{name: "Forwarded, quoted", headers: `Forwarded: for="198.51.100.7:4711"`, want: "198.51.100.7:4711"},
		{name: "Forwarded, IPv6", headers: `Forwarded: For="[2001:db8::7]:4711"`, want: "[2001:db8::7]:4711"},
		{name: "Forwarded, escaped", headers: `Forwarded: for="\198.51.100\.7"`, want: "198.51.100.7:0"},
		{name: "Forwarded, with the rest", headers: `Forwarded: by=10.1.2.3;FOR=198.51.100.7;proto=https;host="a, b; c"`, want: "198.51.100.7:0"},
		{name: "Forwarded, two hops", headers: `Forwarded: for=198.51.100.7;host="a,b", for="10.1.2.3:80" ; by="_x"`, want: "198.51.100.7:0"},
		{name: "Forwarded, two fields", headers: "Forwarded: for=198.51.100.7\nForwarded: for=10.1.2.3", want: "198.51.100.7:0"},
		{name: "Forwarded, hidden", headers: "Forwarded: for=198.51.100.7, for=_hidden", want: same},
		{name: "Forwarded, hidden behind", headers: "Forwarded: for=_hidden, for=10.1.2.3", want: "10.1.2.3:0"},
		{name: "Forwarded, unknown", headers: "Forwarded: for=unknown", want: same},
		{name: "Forwarded, without for", headers: "Forwarded: for=198.51.100.7, proto=https", want: same},
		{name: "Forwarded, for twice", headers: "Forwarded: for=198.51.100.7;for=198.51.100.8", want: same},
		{name: "Forwarded, no pair", headers: "Forwarded: 198.51.100.7", want: same},
		{name: "Forwarded, half quoted", headers: `Forwarded: for="198.51.100.7`, want: same},
		{name: "Forwarded, a quote inside", headers: `Forwarded: for=198.51".100.7`, want: same},
		{name: "Forwarded, a long escaped value", headers: `Forwarded: for="\1` + strings.Repeat("1", 100) + `"`, want: same},
		{name: "Forwarded, an open quote in front", headers: `Forwarded: for="203.0.113.66, for=198.51.100.7`, want: "198.51.100.7:0"},
		{name: "Forwarded, an escaped quote in front", headers: `Forwarded: for=203.0.113.66;a="\", for=198.51.100.7;b="c"`, want: "198.51.100.7:0"},

		{name: "X-Real-IP", headers: "X-Real-IP: 198.51.100.7", want: "198.51.100.7:0"},
		{name: "X-Real-IP, malformed", headers: "X-Real-IP: me", want: same},
		{name: "X-Real-IP twice", headers: "X-Real-IP: 203.0.113.66\nX-Real-IP: 198.51.100.7", want: "198.51.100.7:0"},

		{name: "the first of three", headers: "X-Real-IP: 198.51.100.3\nForwarded: for=198.51.100.2\nX-Forwarded-For: 198.51.100.1", want: "198.51.100.1:0"},
		{name: "the first of two", headers: "X-Real-IP: 198.51.100.3\nForwarded: for=198.51.100.2", want: "198.51.100.2:0"},
		{name: "the first is malformed", headers: "Forwarded: for=198.51.100.2\nX-Forwarded-For: me", want: same},
		{name: "a chosen one", field: "Forwarded", headers: "Forwarded: for=198.51.100.2\nX-Forwarded-For: 198.51.100.1", want: "198.51.100.2:0"},
		{name: "another chosen one", field: "X-Real-IP", headers: "X-Real-IP: 198.51.100.3\nX-Forwarded-For: 198.51.100.1", want: "198.51.100.3:0"},
		{name: "a chosen one is missing", field: "X-Real-IP", headers: "X-Forwarded-For: 198.51.100.1", want: same},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := netip.MustParseAddrPort(cmp.Or(c.from, proxy))
			want := c.want
			if want == same {
				want = peer.String()
			}
			p := fronted
			p.Field = c.field
			require.Equal(t, want, p.Client(peer, requestOf(c.headers)).String())
		})
	}
}

func TestScheme(t *testing.T) {
	for _, c := range []struct {
		name    string
		from    string
		headers string
		want    Scheme
	}{
		{name: "nothing said", want: Unknown},
		{name: "https", headers: "X-Forwarded-Proto: https", want: HTTPS},
		{name: "http", headers: "X-Forwarded-Proto: HTTP", want: HTTP},
		{name: "wss", headers: "X-Forwarded-Proto: wss", want: HTTPS},
		{name: "ws", headers: "X-Forwarded-Proto: ws", want: HTTP},
		{name: "nonsense", headers: "X-Forwarded-Proto: gopher", want: Unknown},
		{name: "from a stranger", from: "203.0.113.66:1", headers: "X-Forwarded-Proto: https\nForwarded: proto=https", want: Unknown},
		{name: "beside the client", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3\nX-Forwarded-Proto: https, http", want: HTTPS},
		{name: "in two fields", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3\nX-Forwarded-Proto: https\nX-Forwarded-Proto: http", want: HTTPS},
		{name: "passed on by all", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3, 10.1.2.4\nX-Forwarded-Proto: https", want: HTTPS},
		{name: "spoofed", headers: "X-Forwarded-For: 203.0.113.66, 198.51.100.7\nX-Forwarded-Proto: https, http", want: HTTP},
		{name: "spoofed behind a trusted hop", headers: "X-Forwarded-For: 203.0.113.66, 198.51.100.7, 10.1.2.3\nX-Forwarded-Proto: https, http, http", want: HTTP},
		{name: "the client is unknown", headers: "X-Forwarded-For: unknown\nX-Forwarded-Proto: http, https", want: HTTPS},
		{name: "Forwarded", headers: "Forwarded: for=198.51.100.7;proto=https", want: HTTPS},
		{name: "Forwarded, quoted", headers: `Forwarded: for=198.51.100.7;PROTO="http"`, want: HTTP},
		{name: "Forwarded without an address", headers: "Forwarded: proto=https", want: HTTPS},
		{name: "Forwarded by the client's proxy", headers: "Forwarded: for=198.51.100.7;proto=https, for=10.1.2.3;proto=http", want: HTTPS},
		{name: "Forwarded, not by the client's proxy", headers: "Forwarded: for=198.51.100.7, for=10.1.2.3;proto=http", want: Unknown},
		{name: "Forwarded, spoofed", headers: "Forwarded: for=203.0.113.66;proto=https, for=198.51.100.7;proto=http", want: HTTP},
		{name: "Forwarded says nothing of it", headers: "Forwarded: for=198.51.100.7\nX-Forwarded-Proto: https", want: HTTPS},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer := netip.MustParseAddrPort(cmp.Or(c.from, proxy))
			require.Equal(t, c.want, fronted.Scheme(peer, requestOf(c.headers)))
		})
	}
}

// Looking at a chain allocates for its addresses alone, at a scheme nothing.
func TestAllocs(t *testing.T) {
	peer := netip.MustParseAddrPort(proxy)
	r := requestOf("Forwarded: for=\"[2001:db8::7]:80\";proto=https, for=10.1.2.3")
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { fronted.Client(peer, r) }), 2.0, "one for each address")
	r = requestOf("X-Forwarded-For: 198.51.100.7\nX-Forwarded-Proto: https")
	require.Zero(t, testing.AllocsPerRun(100, func() { fronted.Scheme(peer, r) }))
}

// What a trusted proxy has appended is the client, whatever comes before it; and
// nothing that is sent leads to an address that no proxy has said, or costs much.
func FuzzForwarded(f *testing.F) {
	f.Add([]byte("203.0.113.66, "), []byte(`for="203.0.113.66`), true)
	f.Add([]byte(`"`), []byte(`for=_x;proto="\"`), false)
	f.Add([]byte(",,10.0.0.1,[::1]:"), []byte(`for="[::1]:80";by="a,b"`), true)
	f.Fuzz(func(t *testing.T, before, element []byte, inOneField bool) {
		if bytes.ContainsAny(before, "\r\n") || bytes.ContainsAny(element, "\r\n") || len(before)+len(element) > 1<<14 {
			return
		}
		peer := netip.MustParseAddrPort(proxy)
		for _, c := range []struct{ name, said string }{
			{ForwardedFor, "198.51.100.7"},
			{Forwarded, `for="198.51.100.7";proto=https;host="a,b\"c"`},
		} {
			headers := c.name + ": " + string(before) + ", " + c.said
			if !inOneField {
				headers = c.name + ": " + string(before) + "\n" + c.name + ": " + c.said
			}
			r := requestOf(headers)
			require.Equal(t, "198.51.100.7:0", fronted.Client(peer, r).String(), "%q", headers)
		}
		r := requestOf("X-Forwarded-Proto: " + string(before) + "\nForwarded: " + string(before) + ", for=198.51.100.7;proto=http")
		require.Equal(t, HTTP, fronted.Scheme(peer, r))

		// Alone: it is what it says, or nothing.
		r = requestOf("Forwarded: " + string(element))
		got := fronted.Client(peer, r)
		require.True(t, got.IsValid())
		if got != peer {
			require.True(t, bytes.Contains(bytes.ToLower(element), []byte("for")), "%q leads to %v", element, got)
		}
		fronted.Scheme(peer, r)
		if node, ok := parseNode(element); ok {
			again, ok := parseNode([]byte(node.String()))
			require.True(t, ok)
			require.Equal(t, node, again)
		}
	})
}
