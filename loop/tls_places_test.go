//go:build linux

package loop_test

import (
	"net/netip"
	"testing"
	"time"

	"turbine/internal/peers"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/loop/looptest/contract"

	"github.com/stretchr/testify/require"
)

// dialled is a World whose next connections come from an address.
type dialled struct {
	*tlsBench
	next string
}

func startDialled(t *testing.T, change func(*loop.TLSOptions)) *dialled {
	d := &dialled{next: "203.0.113.1"}
	start := func(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) contract.Machine {
		return contract.WorldMachine(t, n, o, func(c *loop.Conn) loop.Handler {
			c.SetRemoteAddr(netip.AddrPortFrom(netip.MustParseAddr(d.next), 1))
			return accept(c)
		})
	}
	d.tlsBench = startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Hour; change(o) })
	return d
}

// stall begins a handshake from the address, and no more.
func (d *dialled) stall(address string, first []byte) looptest.Client {
	d.next = address
	c := d.Dial()
	require.Equal(d.t, len(first), c.Send(first))
	d.until("the server's part", func() bool { return len(c.Recv(1)) > 0 || c.Broken() })
	return c
}

// good does a handshake from the address, with other clients' first messages in
// the middle of it.
func (d *dialled) good(address string, amid func()) {
	d.t.Helper()
	d.next = address
	config := d.client
	c := looptest.NewTLSClient(&interrupted{Client: d.Dial(), amid: amid}, config, d.Step)
	c.Shake()
	require.NoError(d.t, c.Err(), address)
	d.echoes(c, []byte("hello"))
	d.leave(c)
}

// interrupted calls amid once, between what the server sends and the client's
// answer.
type interrupted struct {
	looptest.Client
	amid func()
}

func (i *interrupted) Recv(n int) []byte {
	p := i.Client.Recv(n)
	if len(p) > 0 && i.amid != nil {
		amid := i.amid
		i.amid = nil
		amid()
	}
	return p
}

// Three addresses that begin handshakes and fall silent hold all places, and turn
// nobody away: their oldest go, and no handshake of anybody else's.
func TestTLSStalledHandshakesMakeRoom(t *testing.T) {
	const places = loop.DefaultTLSHandshakes
	first := clientHello(t)
	attackers := []string{"198.51.100.1", "198.51.100.2", "2001:db8:1::1"}
	d := startDialled(t, func(*loop.TLSOptions) {})
	for i := range places {
		d.stall(attackers[i%3], first)
	}
	require.Equal(t, places, d.tls.Stats().Now)
	patient := d.stall("203.0.113.200", first)
	for i := range 100 {
		d.good(netip.AddrFrom4([4]byte{203, 0, 113, byte(i % 50)}).String(), func() {
			for k := range 20 {
				d.stall(attackers[k%3], first)
			}
		})
	}
	require.False(t, patient.Broken() || patient.EOF(), "an address with one handshake is not asked for its place")
	require.Equal(t, places-1, d.tls.Stats().Now, "the last good one has left its place")
	require.EqualValues(t, 100, d.tls.Stats().Done)
}

// Where no address holds more than its share, the oldest goes, whatever trickles in
// from it; exempt addresses have no share.
func TestTLSOldestHandshakeMakesRoom(t *testing.T) {
	first := clientHello(t)
	for name, c := range map[string]struct {
		exempt  peers.Networks
		address func(i int) string
	}{
		"many addresses":    {nil, func(i int) string { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String() }},
		"an exempt address": {peers.Networks{netip.MustParsePrefix("198.51.100.0/24")}, func(int) string { return "198.51.100.1" }},
	} {
		t.Run(name, func(t *testing.T) {
			d := startDialled(t, func(o *loop.TLSOptions) { o.MaxHandshakes, o.Exempt = 32, c.exempt })
			var clients []looptest.Client
			for i := range 32 {
				clients = append(clients, d.stall(c.address(i), first))
			}
			for i := range 16 {
				for _, old := range clients[i:] {
					old.Send([]byte{22}) // a byte of the next record
					d.Step()
				}
				clients = append(clients, d.stall(c.address(100+i), first))
				d.until("the oldest is closed", func() bool { clients[i].Recv(10_000); return clients[i].EOF() || clients[i].Broken() })
				for k, other := range clients[i+1:] {
					require.False(t, other.Broken() || other.EOF(), "%d after %d", i+1+k, i)
				}
			}
		})
	}
}

// An address above its share goes before older ones of others.
func TestTLSAddressAboveItsShareMakesRoom(t *testing.T) {
	first := clientHello(t)
	d := startDialled(t, func(o *loop.TLSOptions) { o.MaxHandshakes = 32 }) // a share is two
	oldest := d.stall("203.0.113.1", first)
	var many []looptest.Client
	for range 31 {
		many = append(many, d.stall("198.51.100.1", first))
	}
	for i := range 29 {
		d.stall(netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)}).String(), first)
		d.until("the oldest of many is closed", func() bool { many[i].Recv(10_000); return many[i].EOF() || many[i].Broken() })
		require.False(t, oldest.Broken() || oldest.EOF())
	}
	d.stall("203.0.113.90", first)
	d.until("none has more than its share", func() bool { oldest.Recv(10_000); return oldest.EOF() || oldest.Broken() })
}

// A limit of handshakes, and networks that are exempt, hold from the next handshake on:
// also for an address that is above its share only since then.
func TestTLSHandshakesWhoseLimitChanges(t *testing.T) {
	first := clientHello(t)
	d := startDialled(t, func(o *loop.TLSOptions) { o.MaxHandshakes = 64 }) // a share is four
	gone := func(c looptest.Client) bool { c.Recv(10_000); return c.EOF() || c.Broken() }
	oldest := d.stall("203.0.113.1", first)
	var three []looptest.Client
	for range 3 {
		three = append(three, d.stall("198.51.100.1", first))
	}
	d.tls.Limit(4, nil) // a share is one
	d.stall("203.0.113.2", first)
	d.until("the first of three is closed", func() bool { return gone(three[0]) })
	require.False(t, gone(oldest))
	require.Equal(t, 4, d.tls.Stats().Now)

	d.tls.Limit(5, peers.Networks{netip.MustParsePrefix("198.51.100.0/24")})
	d.stall("198.51.100.2", first)
	require.Equal(t, 5, d.tls.Stats().Now)
	d.stall("198.51.100.2", first)
	d.until("the second of three is closed", func() bool { return gone(three[1]) })
	for range 2 {
		d.stall("198.51.100.2", first)
	}
	d.until("the oldest of all is closed", func() bool { return gone(oldest) })
	require.Equal(t, 5, d.tls.Stats().Now)

	d.tls.Limit(0, nil)
	for range 10 {
		d.stall("198.51.100.2", first)
	}
	require.Equal(t, 15, d.tls.Stats().Now)
}
