package engine

import (
	"context"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// SetLimits changes the rate of new sessions at once, for whoever comes next.
func TestSetLimitsOfRates(t *testing.T) {
	b := newSpec(t, 1, Options{Limits: Limits{HandshakeRate: 1, Exempt: nobody}}, nil)
	begun := func() (n int) {
		for n < 1000 && strings.HasPrefix(b.play(hsPolling)[0], "200 ") {
			n++
		}
		return n
	}
	require.Equal(t, 10, begun())
	for _, c := range []struct {
		conns, handshakes int
		err               string
		begun             int // by clients that had used up all of a rate of 1, 5 seconds ago
	}{
		{0, 1, "", 5},
		{0, 2, "", 10},
		{math.MaxInt, 100, "Limits.ConnRate", 5},
		{1, math.MaxInt, "Limits.HandshakeRate", 5},
		{-1, 4, "", 20},
		{0, -1, "", 1000},
	} {
		b.play("advance 20s")
		require.NoError(t, b.server.SetLimits(Limits{HandshakeRate: 1, Exempt: nobody}))
		require.Equal(t, 10, begun())
		b.play("advance 5s")
		err := b.server.SetLimits(Limits{ConnRate: c.conns, HandshakeRate: c.handshakes, Exempt: nobody})
		if c.err == "" {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrOptions)
			require.ErrorContains(t, err, c.err)
		}
		require.Equal(t, c.begun, begun(), "%+v", c)
	}
	b.finish()
}

// The numbers of sessions, in all and by address, and the networks that are exempt hold
// for the next session. What is open stays, and counts as it did when it began. An error
// changes none of them.
func TestSetLimitsOfSessions(t *testing.T) {
	b := newSpec(t, 1, Options{Limits: Limits{MaxSessions: 2, HandshakeRate: -1, Exempt: nobody}}, nil)
	began := 0
	for _, c := range []struct {
		name   string
		limits Limits // with HandshakeRate switched off
		err    string
		begins int    // of three more sessions
		answer string // to the next one
		counts int    // addresses with sessions that count
	}{
		{"as it was", Limits{MaxSessions: 2, Exempt: nobody}, "", 2, "503", 1},
		{"more in all", Limits{MaxSessions: 3, Exempt: nobody}, "", 1, "503", 1},
		{"fewer than there are", Limits{MaxSessions: 1, Exempt: nobody}, "", 0, "503", 1},
		{"a limit by address", Limits{MaxSessions: 9, MaxSessionsPerIP: 4, Exempt: nobody}, "", 1, "429", 1},
		{"an error in another field", Limits{MaxSessions: 9, Exempt: theWorld, MaxPolls: -1}, "Limits.MaxPolls", 0, "429", 1},
		{"an error in a network", Limits{MaxSessions: 9, Exempt: []netip.Prefix{{}}}, "Limits.Exempt", 0, "429", 1},
		{"no limit by address", Limits{MaxSessions: 9, MaxSessionsPerIP: -1, Exempt: nobody}, "", 3, "200", 1},
		{"sessions without a limit do not count", Limits{MaxSessions: 99, MaxSessionsPerIP: 5, Exempt: nobody}, "", 1, "429", 1},
		{"an exempt address", Limits{MaxSessions: 99, MaxSessionsPerIP: 5, Exempt: theWorld}, "", 3, "200", 1},
		{"exempt no more", Limits{MaxSessions: 99, MaxSessionsPerIP: 6, Exempt: nobody}, "", 1, "429", 1},
	} {
		c.limits.HandshakeRate = -1
		err := b.server.SetLimits(c.limits)
		if c.err != "" {
			require.ErrorIs(t, err, ErrOptions, c.name)
			require.ErrorContains(t, err, c.err, c.name)
		} else {
			require.NoError(t, err, c.name)
		}
		begins, last := 0, "200"
		for range 3 {
			if last = b.play(hsPolling)[0][:3]; last == "200" {
				begins++
			}
		}
		began += begins
		if begins == 3 {
			last = b.play(hsPolling)[0][:3]
			began++
		}
		require.Equal(t, c.begins, begins, c.name)
		require.Equal(t, c.answer, last, c.name)
		requirePlaces(t, b.server, began, c.counts, c.name)
		require.Equal(t, began, b.server.Stats().Sessions, c.name)
	}
	for s := range b.server.Sessions() {
		s.CloseNow()
	}
	b.work()
	requirePlaces(t, b.server, 0, 0, "afterwards")
	b.finish()
}

// The limits of connections change also while the server serves, and those that were set
// before it began hold from its first connection on.
func TestSetLimitsOfConnections(t *testing.T) {
	server, err := New(Options{Loops: 1, HealthPath: "/health"}, Events{})
	require.NoError(t, err)
	require.NoError(t, server.SetLimits(Limits{MaxConnsPerIP: 1, Exempt: []netip.Prefix{}}))
	require.Equal(t, 1, server.Driver().LoopOptions().MaxConnsPerIP)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, ErrServerClosed)
	}()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	open := 0
	for _, c := range []struct {
		name    string
		change  func() error
		answers int // of two more connections
	}{
		{"before the server serves", func() error { return nil }, 1},
		{"more by address", func() error { return server.SetLimits(Limits{MaxConnsPerIP: 2, Exempt: []netip.Prefix{}}) }, 1},
		{"exempt as a proxy", func() error { return server.SetProxies(Proxies{Trusted: loopback}) }, 2},
		{"no proxy any more", func() error { return server.SetProxies(Proxies{}) }, 0},
		{"exempt", func() error { return server.SetLimits(Limits{MaxConnsPerIP: 2, Exempt: loopback}) }, 2},
		{"few in all", func() error { return server.SetLimits(Limits{MaxConns: 7, Exempt: loopback}) }, 1},
		{"the default", func() error { return server.SetLimits(Limits{}) }, 2},
	} {
		require.NoError(t, c.change(), c.name)
		answers := 0
		for range 2 {
			conn, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			_, err = conn.Write([]byte("GET /health HTTP/1.1\r\nHost: x\r\n\r\n"))
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if err == nil {
				answers++
			}
		}
		open += answers
		require.Equal(t, c.answers, answers, c.name)
		require.Equal(t, open, server.Stats().Conns, c.name)
	}
	most, err := loop.DefaultMaxConns(1)
	require.NoError(t, err)
	require.Equal(t, most, server.Stats().MaxConns)
}

// SetProxies changes whose word is believed, and in which field, from the next request
// on, and which addresses no limit by address applies to. An error changes nothing.
func TestSetProxies(t *testing.T) {
	var client string
	b := newSpec(t, 1, Options{Limits: Limits{MaxSessionsPerIP: 3, Exempt: nobody}}, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error { client = a.RemoteAddr().Addr().String(); return nil }
	})
	listed := []netip.Prefix{theWorld[0]}
	for _, c := range []struct {
		name   string
		set    Proxies
		err    string
		client string // afterwards
		status int    // of a page with another scheme than the proxy says
	}{
		{"nobody", Proxies{}, "", "192.0.2.1", 400},
		{"a proxy", Proxies{Trusted: listed}, "", "198.51.100.1", 403},
		{"a field", Proxies{Trusted: listed, ClientHeader: "X-Real-IP"}, "", "198.51.100.2", 403},
		{"a field that is none", Proxies{ClientHeader: "X-Who"}, "Proxies.ClientHeader", "198.51.100.2", 403},
		{"a network that is none", Proxies{Trusted: []netip.Prefix{{}}}, "Proxies.Trusted", "198.51.100.2", 403},
		{"Unix sockets alone", Proxies{TrustUnixSockets: true}, "", "192.0.2.1", 400},
	} {
		listed[0] = theWorld[0]
		err := b.server.SetProxies(c.set)
		listed[0] = netip.MustParsePrefix("10.0.0.0/8") // is the caller's again
		if c.err != "" {
			require.ErrorIs(t, err, ErrOptions, c.name)
			require.ErrorContains(t, err, c.err, c.name)
		} else {
			require.NoError(t, err, c.name)
		}
		headers := []string{"X-Forwarded-For: 198.51.100.1", "X-Real-IP: 198.51.100.2"}
		got := b.fetch("GET", "EIO=4&transport=polling", headers...)
		require.Equal(t, 200, got.StatusCode, c.name)
		require.Equal(t, c.client, client, c.name)
		got = b.fetch("GET", "EIO=4&transport=polling&sid=none", append(headers, "Origin: http://turbine", "X-Forwarded-Proto: https")...)
		require.Equal(t, c.status, got.StatusCode, c.name)
	}
	requirePlaces(t, b.server, 6, 3, "each session counts for the client that it was begun by")
	for s := range b.server.Sessions() {
		s.CloseNow()
	}
	b.work()
	requirePlaces(t, b.server, 0, 0, "afterwards")
	b.finish()
}

// Whoever comes to a ProxyListener has to be trusted at that moment.
func TestSetProxiesOfProxyListener(t *testing.T) {
	p := newProxyBench(t, 1, Options{})
	begin := func() []string {
		peer := p.dial()
		peer.Write(append(proxyHeader(1, "198.51.100.7:4711", "203.0.113.1:80"), handshake...))
		p.world.Run()
		peer.CloseWrite()
		p.world.Run()
		return p.takeBegins()
	}
	require.Equal(t, []string{"198.51.100.7:4711"}, begin())
	require.NoError(t, p.server.SetProxies(Proxies{}))
	require.Empty(t, begin())
	require.EqualValues(t, 1, p.server.Stats().Limits[LimitProxyHeader])
	require.NoError(t, p.server.SetProxies(Proxies{Trusted: theWorld}))
	require.Equal(t, []string{"198.51.100.7:4711"}, begin())
	p.finish()
}

// SetDrain is for the next Shutdown.
func TestSetDrain(t *testing.T) {
	b := newBench(t, 1, Options{Drain: Drain{Delay: time.Second, Period: time.Minute}})
	for _, c := range []struct {
		set         Drain
		err         string
		delay, over time.Duration // afterwards
	}{
		{Drain{Delay: 2 * time.Second, Period: time.Hour}, "", 2 * time.Second, time.Hour},
		{Drain{Delay: -1}, "Drain.Delay", 2 * time.Second, time.Hour},
		{Drain{Period: -1}, "Drain.Period", 2 * time.Second, time.Hour},
		{Drain{Period: time.Second}, "", 0, time.Second},
	} {
		err := b.server.SetDrain(c.set)
		if c.err != "" {
			require.ErrorIs(t, err, ErrOptions)
			require.ErrorContains(t, err, c.err)
		} else {
			require.NoError(t, err)
		}
		delay, over := b.server.pace(context.Background())
		require.Equal(t, c.delay, delay)
		require.Equal(t, c.over, over)
	}
	b.finish()
}
