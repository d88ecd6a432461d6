//go:build linux

package loop

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bounded is a running reactor with limits by address, for clients on the
// addresses of the loopback network.
type bounded struct {
	*Reactor
	t       *testing.T
	address string
	told    [RefusedConnRate + 1]atomic.Int64
}

func startBounded(t *testing.T, o Options, accept func(*bounded, *Conn) Handler) *bounded {
	t.Helper()
	b := &bounded{t: t}
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	o.Refused = func(why Refusal, address netip.Addr) {
		if !address.IsLoopback() {
			panic("refused without its address")
		}
		b.told[why].Add(1)
	}
	r, err := Open(o, func(c *Conn) Handler { return accept(b, c) })
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, r.Listen(l, nil))
	b.Reactor, b.address = r, l.Addr().String() // before anything runs
	served := make(chan error, 1)
	go func() { served <- r.Serve() }()
	t.Cleanup(func() {
		r.Stop()
		require.NoError(t, <-served)
		require.Zero(t, r.acceptor.gate.held.Len(), "connections counted after the end")
		for _, l := range r.loops {
			require.Zero(t, l.arriving.Load(), "connections of loop %d that never came", l.index)
		}
	})
	return b
}

func (b *bounded) dial(from string) net.Conn {
	b.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", b.address)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = c.Close() })
	require.NoError(b.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

// taken dials, and reports whether the server took the connection.
func (b *bounded) taken(from string) (net.Conn, bool) {
	b.t.Helper()
	c := b.dial(from)
	_, err := c.Read(make([]byte, 1))
	return c, err == nil
}

func (b *bounded) eventually(what string, done func() bool) {
	b.t.Helper()
	for start := time.Now(); !done(); time.Sleep(100 * time.Microsecond) {
		if time.Since(start) > 30*time.Second {
			require.FailNow(b.t, "does not happen", what)
		}
	}
}

// obedient greets, and ends as the client says.
type obedient struct {
	conn  *Conn
	loops []*Loop
}

func (o *obedient) Data(p []byte) {
	switch p[len(p)-1] {
	case 'c':
		o.conn.Close()
	case 'a':
		o.conn.Abort()
	case 'p':
		panic("the client's wish")
	case 'm':
		o.conn.MoveTo(o.loops[(o.conn.Loop().Index()+1)%len(o.loops)], []byte("c"))
	}
}
func (o *obedient) Drained()     {}
func (o *obedient) EOF()         { o.conn.Close() }
func (o *obedient) Closed(error) {}

func TestMaxConnsPerIP(t *testing.T) {
	b := startBounded(t, Options{Loops: 2, MaxConnsPerIP: 3, Exempt: []netip.Prefix{}}, func(b *bounded, c *Conn) Handler {
		c.Write([]byte("!"))
		return &obedient{c, b.Loops()}
	})
	var held []net.Conn
	for range 3 {
		c, ok := b.taken("127.0.0.2")
		require.True(t, ok)
		held = append(held, c)
	}
	_, ok := b.taken("127.0.0.2")
	require.False(t, ok)
	_, ok = b.taken("127.0.0.3")
	require.True(t, ok, "another address has its own")
	require.Equal(t, ReactorStats{Accepted: 4, OverPerIP: 1, Conns: 4}, b.Stats())
	require.EqualValues(t, 1, b.told[RefusedConnsPerIP].Load())

	// However a connection ends, on whatever loop, there is room for another.
	for i, end := range []func(net.Conn){
		func(c net.Conn) { require.NoError(t, c.Close()) },
		func(c net.Conn) { require.NoError(t, c.(*net.TCPConn).SetLinger(0)); require.NoError(t, c.Close()) },
		func(c net.Conn) { require.NoError(t, c.(*net.TCPConn).CloseWrite()) },
		func(c net.Conn) { _, _ = c.Write([]byte("c")); _ = c.(*net.TCPConn).CloseWrite() },
		func(c net.Conn) { _, _ = c.Write([]byte("a")) },
		func(c net.Conn) { _, _ = c.Write([]byte("p")) },
		func(c net.Conn) { _, _ = c.Write([]byte("m")); _ = c.(*net.TCPConn).CloseWrite() },
	} {
		end(held[0])
		b.eventually("room", func() bool { return b.Stats().Conns == 3 })
		c, ok := b.taken("127.0.0.2")
		require.True(t, ok, "way %d", i)
		held = append(held[1:], c)
		_, ok = b.taken("127.0.0.2")
		require.False(t, ok, "way %d: one place, not two", i)
	}
}

// A connection that its handler's maker panics on does not count.
func TestMaxConnsPerIPAfterPanicInAccept(t *testing.T) {
	b := startBounded(t, Options{Loops: 2, MaxConnsPerIP: 1, Exempt: []netip.Prefix{}}, func(*bounded, *Conn) Handler { panic("accept") })
	for range 4 {
		_, ok := b.taken("127.0.0.2")
		require.False(t, ok)
		b.eventually("its end", func() bool { return b.Stats().Conns == 0 })
	}
	require.EqualValues(t, 4, b.Stats().Accepted)
}

func TestConnRate(t *testing.T) {
	b := startBounded(t, Options{Loops: 2, ConnRate: 1, Exempt: []netip.Prefix{}}, func(_ *bounded, c *Conn) Handler {
		c.Write([]byte("!"))
		c.Close()
		return discard{}
	})
	taken := 0
	for ; taken < 1000; taken++ {
		if _, ok := b.taken("127.0.0.2"); !ok {
			break
		}
	}
	require.Less(t, taken, 1000, "the rate has no end")
	require.GreaterOrEqual(t, taken, 10, "ten seconds' worth at once")
	require.EqualValues(t, 1, b.Stats().OverRate)
	require.EqualValues(t, 1, b.told[RefusedConnRate].Load())
	_, ok := b.taken("127.0.0.3")
	require.True(t, ok, "another address has its own")

	b.SetConnRate(-1)
	for range 20 {
		_, ok := b.taken("127.0.0.2")
		require.True(t, ok, "no limit any more")
	}
	b.SetConnRate(1)
	_, ok = b.taken("127.0.0.2")
	require.False(t, ok, "used up as before")
	b.SetConnRate(0)
	_, ok = b.taken("127.0.0.4")
	require.True(t, ok)
}

// Limits that change hold for the next connection. Those that are open stay, and count
// if they were counted when they came.
func TestLimitsThatChange(t *testing.T) {
	b := startBounded(t, Options{Loops: 2, MaxConnsPerIP: 1, ConnRate: -1, Exempt: []netip.Prefix{}},
		func(_ *bounded, c *Conn) Handler { c.Write([]byte("!")); return discard{} })
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	open := 0
	for _, c := range []struct {
		name   string
		change func()
		takes  int // of three more connections
	}{
		{"as it began", func() {}, 1},
		{"more", func() { b.SetMaxConnsPerIP(3) }, 2},
		{"none is exempt any more", func() { b.SetExempt([]netip.Prefix{}) }, 0},
		{"exempt", func() { b.SetExempt(loopback) }, 3},
		{"exempt by default", func() { b.SetExempt(nil) }, 3},
		{"the exempt do not count", func() { b.SetExempt([]netip.Prefix{}); b.SetMaxConnsPerIP(4) }, 1},
		{"no limit", func() { b.SetMaxConnsPerIP(-1) }, 3},
		{"the default", func() { b.SetMaxConnsPerIP(0) }, 3},
		{"fewer in all", func() { require.NoError(t, b.SetMaxConns(open+1)) }, 1},
		{"fewer than there are", func() { require.NoError(t, b.SetMaxConns(1)) }, 0},
		{"as many as the system has", func() { require.NoError(t, b.SetMaxConns(0)) }, 3},
	} {
		c.change()
		taken := 0
		for range 3 {
			if _, ok := b.taken("127.0.0.2"); ok {
				taken++
			}
		}
		open += taken
		require.Equal(t, c.takes, taken, c.name)
		require.Equal(t, open, b.Stats().Conns, c.name)
	}
	most, err := DefaultMaxConns(2)
	require.NoError(t, err)
	require.Equal(t, most, b.MaxConns())
}

func TestRefusedIsToldOfMaxConns(t *testing.T) {
	b := startBounded(t, Options{Loops: 2, MaxConns: 1}, func(_ *bounded, c *Conn) Handler { c.Write([]byte("!")); return discard{} })
	_, ok := b.taken("127.0.0.1")
	require.True(t, ok)
	_, ok = b.taken("127.0.0.1")
	require.False(t, ok)
	require.EqualValues(t, 1, b.told[RefusedMaxConns].Load())
}

// Whose address stands for many is not bound by limits for one, unless the
// options say so.
func TestExemptNetworks(t *testing.T) {
	for _, c := range []struct {
		name   string
		exempt []netip.Prefix
		from   string
		bound  bool
	}{
		{"loopback by default", nil, "127.0.0.2", false},
		{"nobody", []netip.Prefix{}, "127.0.0.2", true},
		{"one network", []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}, "127.0.1.7", false},
		{"beside one network", []netip.Prefix{netip.MustParsePrefix("127.0.1.0/24")}, "127.0.2.7", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := startBounded(t, Options{Loops: 1, MaxConnsPerIP: 1, ConnRate: 1, Exempt: c.exempt}, func(_ *bounded, c *Conn) Handler {
				c.Write([]byte("!"))
				return discard{}
			})
			_, ok := b.taken(c.from)
			require.True(t, ok)
			for range 12 { // more than the burst of that rate
				_, ok = b.taken(c.from)
				require.Equal(t, !c.bound, ok)
			}
		})
	}
}

// All addresses of one IPv6 network of 64 bits share its places.
func TestAdmitCountsNetworksOfIPv6(t *testing.T) {
	a := startAccepting(t)
	a.on0(func() {
		accept := &acceptor{}
		accept.open(&Reactor{options: Options{MaxConnsPerIP: 2}.withDefaults(), loops: a.loops})
		defer func() { a.loops[0].gate = a.acceptor.gate }()
		defer accept.release()
		admit := func(address string, room int) Refusal {
			_, why := accept.admit(netip.MustParseAddr(address), room, a.loops[0].now)
			return why
		}
		require.Zero(t, admit("2001:db8:0:1::1", 1))
		require.Zero(t, admit("2001:db8:0:1:ffff::2", 1))
		require.Equal(t, RefusedConnsPerIP, admit("2001:db8:0:1::3", 1))
		require.Zero(t, admit("2001:db8:0:2::1", 1))
		require.Equal(t, RefusedMaxConns, admit("2001:db8:0:3::1", 0))
		require.Zero(t, admit("198.51.100.1", 1))
		require.Zero(t, admit("::ffff:198.51.100.1", 1))
		require.Equal(t, RefusedConnsPerIP, admit("198.51.100.1", 1))
	})
}
