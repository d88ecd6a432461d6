//go:build linux

package loop

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// speaker names the connection's client by the first line that it gets, greets if
// that client is let in, and then is obedient.
type speaker struct {
	obedient
}

func (s *speaker) Data(p []byte) {
	line, _, _ := strings.Cut(string(p), "\n")
	client, _ := netip.ParseAddrPort(line)
	if why := s.conn.SetRemoteAddr(client); why != 0 {
		s.conn.Abort()
		return
	}
	s.conn.Write([]byte(s.conn.RemoteAddr().String() + "\n"))
	s.conn.SetHandler(&s.obedient)
}

func startSpeaking(t *testing.T, o Options) *bounded {
	t.Helper()
	return startBounded(t, o, func(b *bounded, c *Conn) Handler { return &speaker{obedient: obedient{c, b.Loops()}} })
}

// speaks connects from one address for another, and reports whether it is let in.
func (b *bounded) speaks(from, client string) (net.Conn, bool) {
	b.t.Helper()
	c := b.dial(from)
	if _, err := c.Write([]byte(client + "\n")); err != nil {
		return c, false
	}
	got := make([]byte, len(client)+1)
	if _, err := c.Read(got); err != nil {
		return c, false
	}
	require.Equal(b.t, client+"\n", string(got))
	return c, true
}

// A connection that names its client counts for that address, and no more for the
// one that it came from, until it ends, in whatever way and on whatever loop.
func TestSetRemoteAddrMovesTheCount(t *testing.T) {
	b := startSpeaking(t, Options{Loops: 2, MaxConnsPerIP: 2, Exempt: []netip.Prefix{}, ConnRate: 1_000_000})
	const proxy = "127.0.0.2"
	for i, end := range []func(net.Conn){
		func(c net.Conn) { require.NoError(t, c.Close()) },
		func(c net.Conn) { require.NoError(t, c.(*net.TCPConn).SetLinger(0)); require.NoError(t, c.Close()) },
		func(c net.Conn) { _, _ = c.Write([]byte("c")); _ = c.(*net.TCPConn).CloseWrite() },
		func(c net.Conn) { _, _ = c.Write([]byte("a")) },
		func(c net.Conn) { _, _ = c.Write([]byte("p")) },
		func(c net.Conn) { _, _ = c.Write([]byte("m")); _ = c.(*net.TCPConn).CloseWrite() },
	} {
		var held []net.Conn
		for _, client := range []string{"198.51.100.7:1", "198.51.100.7:2", "198.51.100.8:0", "[2001:db8::7]:3", "[2001:db8::8]:3"} {
			c, ok := b.speaks(proxy, client)
			require.True(t, ok, "way %d: more than the proxy itself may have: %s", i, client)
			held = append(held, c)
		}
		for _, client := range []string{"198.51.100.7:9", "[2001:db8::9]:9"} {
			_, ok := b.speaks(proxy, client)
			require.False(t, ok, "way %d: %s has as many as it may", i, client)
		}
		require.EqualValues(t, 2*(i+1), b.Stats().OverPerIP)
		for _, c := range held {
			end(c)
		}
		b.eventually("all gone", func() bool { return b.Stats().Conns == 0 })
		require.Zero(t, b.acceptor.gate.held.Len(), "way %d", i)
	}
	require.Zero(t, b.told[RefusedConnsPerIP].Load(), "the caller is told by the result")
}

// The rate is also the client's, and an exempt client is bound by nothing.
func TestSetRemoteAddrTakesOfTheRate(t *testing.T) {
	b := startSpeaking(t, Options{Loops: 1, ConnRate: 1, MaxConnsPerIP: 1000,
		Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("203.0.113.0/24")}})
	let := 0
	for ; let < 1000; let++ {
		if _, ok := b.speaks("127.0.0.2", "198.51.100.7:1"); !ok {
			break
		}
	}
	require.GreaterOrEqual(t, let, 10)
	require.Less(t, let, 1000)
	require.EqualValues(t, 1, b.Stats().OverRate)
	for range 20 {
		_, ok := b.speaks("127.0.0.2", "203.0.113.7:1")
		require.True(t, ok)
	}
}

// Negative limits are none.
func TestGateWithNegativeLimits(t *testing.T) {
	for _, c := range []struct{ perIP, rate, lets int }{{3, -1, 3}, {-1, 1, 10}, {-1, -1, 10_000}} {
		options := Options{MaxConnsPerIP: c.perIP, ConnRate: c.rate, Exempt: []netip.Prefix{}}.withDefaults()
		gate, let, held := newGate(&options), 0, 0
		for range 10_000 {
			counts, refusal := gate.admit(netip.MustParseAddr("198.51.100.7"), 0)
			if refusal == 0 {
				let++
			}
			if counts {
				held++
			}
		}
		require.Equal(t, c.lets, let, "%+v", c)
		require.Equal(t, c.perIP > 0, held > 0, "%+v", c)
		for range held {
			gate.release(netip.MustParseAddr("198.51.100.7"))
		}
		require.Zero(t, gate.held.Len())
	}
}

// Without limits by address, as on loops that no reactor has made, only the
// address changes; an invalid one changes nothing, and nothing does after the end.
func TestSetRemoteAddr(t *testing.T) {
	a, _, _, c, _ := pair(t)
	require.Zero(t, c.SetRemoteAddr(netip.MustParseAddrPort("[::ffff:198.51.100.7]:0")))
	require.Equal(t, "198.51.100.7:0", c.RemoteAddr().String())
	require.Zero(t, c.SetRemoteAddr(netip.AddrPort{}))
	require.Equal(t, "198.51.100.7:0", c.RemoteAddr().String())
	require.Zero(t, c.SetRemoteAddr(netip.MustParseAddrPort("[2001:db8::7]:4711")))
	require.Equal(t, "[2001:db8::7]:4711", c.RemoteAddr().String())

	// What ends in the same turn counts for nobody.
	options := Options{MaxConnsPerIP: 1, Exempt: []netip.Prefix{}}.withDefaults()
	a.gate = newGate(&options)
	require.Zero(t, c.SetRemoteAddr(netip.MustParseAddrPort("198.51.100.8:1")))
	require.Equal(t, 1, a.gate.held.Len())
	c.Abort()
	require.Zero(t, a.gate.held.Len())
	require.Zero(t, c.SetRemoteAddr(netip.MustParseAddrPort("198.51.100.9:1")))
	require.Equal(t, "198.51.100.8:1", c.RemoteAddr().String())
	require.Zero(t, a.gate.held.Len())
	a.gate = nil
}

// HandOn hands bytes on to a handler of a connection that is still there.
func TestHandOn(t *testing.T) {
	_, _, _, c, h := pair(t)
	first, second := &collector{}, &collector{}
	c.HandOn(first, nil)
	require.Zero(t, first.calls)
	c.HandOn(first, []byte("rest"))
	require.Equal(t, "rest", string(first.got))
	c.Close()
	c.HandOn(second, []byte("late"))
	require.Zero(t, second.calls)
	c.HandOn(h, nil) // which is told of the end
	c.Abort()
}

// collector is a handler that keeps what it gets.
type collector struct {
	got   []byte
	calls int
}

func (c *collector) Data(p []byte) { c.got = append(c.got, p...); c.calls++ }
func (c *collector) Drained()      {}
func (c *collector) EOF()          {}
func (c *collector) Closed(error)  {}
