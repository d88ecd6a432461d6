//go:build linux

package loop_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// accepted returns both ends of a connection that package net has accepted.
func accepted(t *testing.T, network, address string) (client net.Conn, taken loop.Socket) {
	t.Helper()
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	client = dial(t, network, l.Addr().String())
	conn, err := l.Accept()
	require.NoError(t, err)
	return client, conn.(loop.Socket)
}

// A connection of package net becomes a loop's, with its first bytes in front of
// all others, and net forgets it.
func TestTake(t *testing.T) {
	s := serve(t, loop.Options{Loops: 2}, nil)
	for _, c := range []struct{ network, address string }{
		{"tcp", "127.0.0.1:0"},
		{"unix", filepath.Join(t.TempDir(), "socket")},
	} {
		client, conn := accepted(t, c.network, c.address)
		var remote netip.AddrPort
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			remote = a.AddrPort()
		}
		_, err := client.Write([]byte(" behind"))
		require.NoError(t, err)
		place, why := s.Reserve(remote)
		require.Zero(t, why)
		require.Equal(t, 1, s.Stats().Conns)
		addresses := make(chan [2]netip.AddrPort, 1)
		require.NoError(t, place.Take(conn, []byte("first"), func(c *loop.Conn) loop.Handler {
			addresses <- [2]netip.AddrPort{c.LocalAddr(), c.RemoteAddr()}
			return &echo{c}
		}))
		_, err = conn.Write([]byte("x"))
		require.ErrorIs(t, err, net.ErrClosed)
		got := make([]byte, len("first behind"))
		_, err = io.ReadFull(client, got)
		require.NoError(t, err)
		require.Equal(t, "first behind", string(got))
		seen := <-addresses
		if c.network == "tcp" {
			require.Equal(t, client.RemoteAddr().String(), seen[0].String())
			require.Equal(t, client.LocalAddr().String(), seen[1].String())
		} else {
			require.Zero(t, seen)
		}
		requireEcho(t, client, "more")
		require.NoError(t, client.Close())
		eventually(t, "its place is free", func() bool { return s.Stats().Conns == 0 })
	}
	s.stop()
}

// One end of a pair is a loop's connection, with the address that it was told.
func TestPair(t *testing.T) {
	s := serve(t, loop.Options{Loops: 2}, nil)
	place, why := s.Reserve(netip.AddrPort{})
	require.Zero(t, why)
	remote := netip.MustParseAddrPort("203.0.113.1:5")
	seen := make(chan netip.AddrPort, 1)
	ours, err := place.Pair(remote, []byte("first"), func(c *loop.Conn) loop.Handler {
		seen <- c.RemoteAddr()
		return &echo{c}
	})
	require.NoError(t, err)
	require.Equal(t, remote, <-seen)
	got := make([]byte, 5)
	_, err = io.ReadFull(ours, got)
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	requireEcho(t, ours, "hello")
	require.NoError(t, ours.Close())
	eventually(t, "its place is free", func() bool { return s.Stats().Conns == 0 })
	s.stop()
}

// Places are held against the limits of accepted connections, are given back
// without one, and end with the reactor.
func TestReserveHasLimits(t *testing.T) {
	public := netip.MustParseAddrPort("203.0.113.1:5")
	for _, c := range []struct {
		options loop.Options
		why     loop.Refusal
	}{
		{loop.Options{MaxConns: 2}, loop.RefusedMaxConns},
		{loop.Options{MaxConnsPerIP: 2}, loop.RefusedConnsPerIP},
	} {
		c.options.Loops = 2
		s := serve(t, c.options, acceptEcho)
		var places []*loop.Place
		for range 2 {
			place, why := s.Reserve(public)
			require.Zero(t, why)
			places = append(places, place)
		}
		place, why := s.Reserve(public)
		require.Nil(t, place)
		require.Equal(t, c.why, why)
		places[0].Release()
		again, why := s.Reserve(public)
		require.Zero(t, why)
		again.Release()

		client, conn := accepted(t, "tcp", "127.0.0.1:0")
		require.NoError(t, places[1].Take(conn, nil, acceptEcho))
		requireEcho(t, client, "hello")
		require.NoError(t, client.Close())
		eventually(t, "all places are free", func() bool { return s.Stats().Conns == 0 })
		stats := s.Stats()
		require.EqualValues(t, 1, stats.Refused+stats.OverPerIP)

		late, why := s.Reserve(public)
		require.Zero(t, why)
		later, why := s.Reserve(public)
		require.Zero(t, why)
		s.stop()
		place, why = s.Reserve(public)
		require.Nil(t, place)
		require.Zero(t, why)
		client, conn = accepted(t, "tcp", "127.0.0.1:0")
		require.ErrorIs(t, late.Take(conn, nil, acceptEcho), loop.ErrStopped)
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		_, err = later.Pair(public, nil, acceptEcho)
		require.ErrorIs(t, err, loop.ErrStopped)
		require.Zero(t, s.Stats().Conns)
	}
}

// A connection without a descriptor is no socket, and its place is free again.
func TestTakeOfAClosedConnection(t *testing.T) {
	s := serve(t, loop.Options{Loops: 1}, acceptEcho)
	_, conn := accepted(t, "tcp", "127.0.0.1:0")
	require.NoError(t, conn.Close())
	place, why := s.Reserve(netip.AddrPort{})
	require.Zero(t, why)
	err := place.Take(conn, nil, acceptEcho)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Zero(t, s.Stats().Conns)
	s.stop()
}
