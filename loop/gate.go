package loop

import (
	"net/netip"
	"sync/atomic"
	"time"

	"turbine/internal/peers"
)

// A gate holds connections against the limits by address, for all loops of a
// reactor. Its methods are safe from any goroutine.
type gate struct {
	exempt    peers.Networks
	held      *peers.Counts
	rates     *peers.Rates
	overPerIP atomic.Uint64
	overRate  atomic.Uint64
}

func newGate(o *Options) *gate {
	return &gate{exempt: o.Exempt, held: peers.NewCounts(o.MaxConnsPerIP), rates: peers.NewRates(o.ConnRate)}
}

// SetConnRate replaces Options.ConnRate, for connections that are accepted from now on;
// zero means DefaultConnRate, a negative value no limit. Safe from any goroutine.
func (r *Reactor) SetConnRate(perSecond int) {
	if perSecond == 0 {
		perSecond = DefaultConnRate
	}
	r.acceptor.gate.rates.Set(perSecond)
}

// admit holds a connection from the address against the limits. held says that
// it counts for the address from now on, until release.
func (g *gate) admit(address netip.Addr, now time.Duration) (held bool, refusal Refusal) {
	if g.exempt.Contain(address) {
		return false, 0
	}
	key := peers.KeyOf(address)
	if _, ok := g.rates.Take(key, now); !ok {
		g.overRate.Add(1)
		return false, RefusedConnRate
	}
	if !g.held.Add(key) {
		g.overPerIP.Add(1)
		return false, RefusedConnsPerIP
	}
	return true, 0
}

// release takes back what admit has counted.
func (g *gate) release(address netip.Addr) { g.held.Remove(peers.KeyOf(address)) }

// SetRemoteAddr sets the address of the client that this connection carries, as its
// proxy has said. The connection counts for the client's address from now on, and no
// more for the proxy's. If a limit of that address is exceeded, the result says
// which: then the caller has to end the connection. An address that is not valid
// changes nothing.
func (c *Conn) SetRemoteAddr(a netip.AddrPort) Refusal {
	if c.state == connClosed || !a.IsValid() {
		return 0
	}
	l := c.Loop()
	if c.held {
		l.gate.release(c.remote())
		c.held = false
	}
	c.setRemote(a)
	if l.gate == nil {
		return 0
	}
	held, refusal := l.gate.admit(c.remote(), l.clock())
	c.held = held
	return refusal
}
