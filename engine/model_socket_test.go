package engine_test

import (
	"crypto/tls"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"time"
)

// socketNet is loopback as a modelNet, for one driver.
type socketNet struct {
	address string
	config  *tls.Config // nil without TLS
	random  *rand.Rand
	start   time.Time
	stirred chan struct{} // something has come
	timer   *time.Timer
	peers   []*socketPeer
	running sync.WaitGroup
}

func newSocketNet(address string, config *tls.Config, random *rand.Rand) *socketNet {
	return &socketNet{
		address: address, config: config, random: random, start: time.Now(),
		stirred: make(chan struct{}, 1), timer: time.NewTimer(0),
	}
}

func (n *socketNet) Now() time.Duration { return time.Since(n.start) }
func (n *socketNet) Between()           { n.wait(100 * time.Microsecond) }
func (n *socketNet) Turn() bool         { runtime.Gosched(); return true }
func (n *socketNet) Settle()            { n.wait(time.Millisecond) }
func (n *socketNet) Pass()              { n.wait(time.Duration(n.random.IntN(50)) * time.Millisecond) }

func (n *socketNet) Patience() func() bool {
	end := time.Now().Add(modelPatience)
	return func() bool { return time.Now().Before(end) }
}

// wait waits until something comes, but not long.
func (n *socketNet) wait(d time.Duration) {
	n.timer.Reset(d)
	select {
	case <-n.stirred:
	case <-n.timer.C:
	}
}

func (n *socketNet) Dial() modelPeer {
	p := &socketPeer{net: n, window: math.MaxInt}
	p.changed.L = &p.mu
	n.peers = append(n.peers, p)
	conn, err := net.Dial("tcp", n.address)
	if err != nil {
		p.ended = true
		return p
	}
	p.raw, p.conn = conn.(*net.TCPConn), conn
	if n.config != nil {
		p.conn = tls.Client(conn, n.config)
	}
	n.running.Go(p.receive)
	n.running.Go(p.transmit)
	return p
}

// close ends all that is left.
func (n *socketNet) close() {
	for _, p := range n.peers {
		p.shut()
	}
	n.running.Wait()
}

// socketPeer is a socket as a modelPeer: two goroutines wait, so that nobody
// else has to.
type socketPeer struct {
	net  *socketNet
	conn net.Conn     // nil where there is none
	raw  *net.TCPConn // under it

	mu      sync.Mutex
	changed sync.Cond
	in, out []byte
	taken   []byte
	window  int
	ended   bool // nothing more will come
}

// receive is a goroutine.
func (p *socketPeer) receive() {
	defer p.shut()
	buffer := make([]byte, 4096)
	for {
		n, err := p.conn.Read(buffer)
		p.mu.Lock()
		p.in = append(p.in, buffer[:n]...)
		for len(p.in) >= p.window && !p.ended {
			p.changed.Wait()
		}
		p.ended = p.ended || err != nil
		ended := p.ended
		p.mu.Unlock()
		select {
		case p.net.stirred <- struct{}{}:
		default:
		}
		if ended {
			return
		}
	}
}

// transmit is a goroutine.
func (p *socketPeer) transmit() {
	for {
		p.mu.Lock()
		for len(p.out) == 0 && !p.ended {
			p.changed.Wait()
		}
		out := p.out
		p.out = nil
		ended := p.ended
		p.mu.Unlock()
		if ended {
			return
		}
		if _, err := p.conn.Write(out); err != nil {
			return // receive hears of it
		}
	}
}

// shut ends both goroutines.
func (p *socketPeer) shut() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.changed.Broadcast()
	if p.conn != nil {
		_ = p.raw.Close()
	}
}

func (p *socketPeer) Write(b []byte) {
	p.mu.Lock()
	p.out = append(p.out, b...)
	p.mu.Unlock()
	p.changed.Broadcast()
}

func (p *socketPeer) Read() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken = append(p.taken[:0], p.in...)
	p.in = p.in[:0]
	p.changed.Broadcast()
	return p.taken
}

func (p *socketPeer) EOF() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended && len(p.in) == 0
}

func (p *socketPeer) Closed() bool { return p.EOF() }

func (p *socketPeer) SetWindow(n int) {
	p.mu.Lock()
	p.window = n
	p.mu.Unlock()
	p.changed.Broadcast()
}

func (p *socketPeer) CloseWrite() {
	p.SetWindow(math.MaxInt)
	if p.conn != nil {
		if secure, ok := p.conn.(*tls.Conn); ok {
			_ = secure.CloseWrite()
		}
		_ = p.raw.CloseWrite()
	}
}

func (p *socketPeer) Reset() {
	if p.conn != nil {
		_ = p.raw.SetLinger(0)
	}
	p.shut()
}
