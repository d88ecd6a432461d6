package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"turbine/cluster/link"
	"turbine/engine"
	"turbine/loop"
)

const (
	// linkHandshake is how long a handshake of TLS may take on the port of links.
	linkHandshake = 3 * time.Second
	// maxLinks is how many links other nodes may have to this one.
	maxLinks = 4096
	// acceptPause is how long the port waits after an accept that failed.
	acceptPause = 50 * time.Millisecond
	// releaseStep is the time between two portions of requests that are released.
	releaseStep = 100 * time.Millisecond
)

// port is where other nodes connect.
type port struct {
	mu       sync.Mutex
	listener net.Listener
	closed   bool
	running  sync.WaitGroup
	quit     chan struct{}
	links    atomic.Int64
}

// open listens on address, in place of what was listened on before.
func (o *port) open(p *peers, address string) (string, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		_ = l.Close()
		return "", net.ErrClosed
	}
	if o.quit == nil {
		o.quit = make(chan struct{})
	}
	before := o.listener
	o.listener = l
	o.running.Go(func() { p.accept(l, o.quit) })
	if before != nil {
		_ = before.Close()
	}
	return l.Addr().String(), nil
}

func (o *port) close() {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		if o.listener != nil {
			_ = o.listener.Close()
			close(o.quit)
		}
	}
	o.mu.Unlock()
	o.running.Wait()
}

// accept deals connections of other nodes to the loops in turn.
func (p *peers) accept(l net.Listener, quit <-chan struct{}) {
	choose := p.door.Accept
	if p.tls != nil {
		choose = p.tls.Accept(choose)
	}
	for turn := 0; ; turn++ {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.options.Log.Warn("connection of another node cannot be accepted", "error", err)
			select {
			case <-quit:
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		if p.loops[turn%len(p.loops)].on.Take(c.(*net.TCPConn), choose) != nil {
			_ = c.Close()
		}
	}
}

// greeted is what follows the greeting of a node that has connected.
func (p *peers) greeted(c *loop.Conn, from link.Peer) loop.Handler {
	if from.Purpose == link.Relays {
		return link.AcceptRelay(c, p.home.Relay, nil)
	}
	if p.port.links.Add(1) > maxLinks {
		p.port.links.Add(-1)
		p.options.Log.Warn("link of another node refused", "error", errTooManyLinks, "node", nodeText(engine.NodeID(from.Node)))
		c.Abort()
		return tooMany{}
	}
	l := p.loops[c.Loop().Index()]
	var in *link.In
	in = link.NewIn(c, link.InOptions{Home: homeEnd{p.home}, Counts: &l.counts, Ended: func() {
		delete(l.ins, in)
		p.port.links.Add(-1)
	}})
	l.ins[in] = struct{}{}
	return in
}

// tooMany is the handler of a link that was one too many.
type tooMany struct{}

func (tooMany) Data([]byte)  {}
func (tooMany) Drained()     {}
func (tooMany) EOF()         {}
func (tooMany) Closed(error) {}

// refused hears of a connection that did not come to its proof.
func (p *peers) refused(c *loop.Conn, err error) {
	if errors.Is(err, link.ErrProof) {
		p.deny(c.RemoteAddr().Addr().String())
	}
}

// homeEnd is this node as the links of others see it.
type homeEnd struct{ engine.Home }

func (h homeEnd) Arrive(on *loop.Loop, head []byte, back link.Back) (link.Guest, error) {
	g, err := h.Home.Arrive(on, head, back)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// move listens on a random port of the same host, and no more where it did: for a process
// that hands its listeners over.
func (p *peers) move() (address string, err error) {
	host, _, err := net.SplitHostPort(p.options.Listen)
	if err != nil {
		return "", err
	}
	return p.port.open(p, net.JoinHostPort(host, "0"))
}

// drain has other nodes answer the polls of this node's clients that wait there, and ends
// the relays, spread over period, so that the clients go elsewhere. Requests that begin meanwhile are told by
// their answers. It returns when ctx ends, or period is over.
func (p *peers) drain(ctx context.Context, period time.Duration) {
	p.edge.Leave(period)
	tick := time.NewTicker(releaseStep)
	defer tick.Stop()
	for left := max(1, int(period/releaseStep)); left > 0; left-- {
		for i, l := range p.loops {
			_ = l.on.Post(loop.Func(func() { p.release(i, left) }))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// release has a part of a loop's requests released: 1 of as many as there are steps left.
func (p *peers) release(i, left int) {
	for _, q := range *p.table.Load() {
		if out := q.outs[i]; out != nil && out.Streams() > 0 {
			out.Release((out.Streams() + left - 1) / left)
		}
	}
}

// stop closes the listener and all links.
func (p *peers) stop() {
	p.port.close()
	for node := range *p.table.Load() {
		p.forget(node)
	}
	var ended sync.WaitGroup
	for _, l := range p.loops {
		ended.Add(1)
		if l.on.Post(&closing{l, &ended}) != nil { // the loop has ended them
			ended.Done()
		}
	}
	ended.Wait()
}

// closing is the task that ends the links that other nodes have to a loop.
type closing struct {
	of    *peersLoop
	ended *sync.WaitGroup
}

func (t *closing) Run() {
	defer t.ended.Done()
	for in := range t.of.ins {
		in.Close()
	}
}

// denials lets one record a minute through for each address.
type denials struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const (
	denialPause  = time.Minute
	maxDenials   = 256 // addresses; above it nobody new is logged for a while
	denialsSpare = 16
)

func (d *denials) allow(address string) bool { return d.allowAt(address, time.Now()) }

func (d *denials) allowAt(address string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, ok := d.last[address]; ok && now.Sub(last) < denialPause {
		return false
	}
	if len(d.last) >= maxDenials {
		for a, last := range d.last {
			if now.Sub(last) >= denialPause {
				delete(d.last, a)
			}
		}
		if len(d.last) >= maxDenials {
			return false
		}
	}
	if d.last == nil {
		d.last = make(map[string]time.Time, denialsSpare)
	}
	d.last[address] = now
	return true
}
