package loop

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"turbine/internal/peers"
)

// A gate holds connections against the limits by address, for all loops of a
// reactor. Its methods are safe from any goroutine.
type gate struct {
	exempt    atomic.Pointer[peers.Networks]
	held      *peers.Counts
	rates     *peers.Rates
	overPerIP atomic.Uint64
	overRate  atomic.Uint64
}

func newGate(o *Options) *gate {
	g := &gate{held: peers.NewCounts(o.MaxConnsPerIP), rates: peers.NewRates(o.ConnRate)}
	g.setExempt(o.Exempt)
	return g
}

func (g *gate) setExempt(networks []netip.Prefix) {
	list := peers.Networks(slices.Clone(networks))
	g.exempt.Store(&list)
}

// SetMaxConns replaces Options.MaxConns, for connections that are accepted from now on.
// If it returns an error, which is why the system's limit is not known that zero stands
// for, nothing has changed. Safe from any goroutine.
func (r *Reactor) SetMaxConns(limit int) error {
	limit, err := maxConnsOf(limit, len(r.loops))
	if err != nil {
		return err
	}
	r.maxConns.Store(int64(limit))
	return nil
}

// SetMaxConnsPerIP replaces Options.MaxConnsPerIP, for connections that are accepted from
// now on. Those from before count if there was a limit when they were accepted. Safe from
// any goroutine.
func (r *Reactor) SetMaxConnsPerIP(limit int) {
	if limit == 0 {
		limit = DefaultConnsPerIP
	}
	r.acceptor.gate.held.Set(limit)
}

// SetExempt replaces Options.Exempt, for connections that are accepted from now on. Those
// from before count, or do not, as they did. Safe from any goroutine.
func (r *Reactor) SetExempt(networks []netip.Prefix) {
	if networks == nil {
		networks = peers.Shared()
	}
	r.acceptor.gate.setExempt(networks)
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
	if g.exempt.Load().Contain(address) {
		return false, 0
	}
	key := peers.KeyOf(address)
	if _, ok := g.rates.Take(key, now); !ok {
		g.overRate.Add(1)
		return false, RefusedConnRate
	}
	held, ok := g.held.Add(key)
	if !ok {
		g.overPerIP.Add(1)
		return false, RefusedConnsPerIP
	}
	return held, 0
}

// release takes back what admit has counted.
func (g *gate) release(address netip.Addr) { g.held.Remove(peers.KeyOf(address)) }

// ForgetRemoteAddr takes the connection's address away, as if it were that of a Unix
// socket: the connection carries a client that has none. It counts for no address from
// now on.
func (c *Conn) ForgetRemoteAddr() {
	if c.state == connClosed {
		return
	}
	if c.held {
		c.Loop().gate.release(c.remote())
		c.held = false
	}
	c.address, c.port, c.family = [16]byte{}, 0, familyNone
}

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
