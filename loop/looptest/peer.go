package looptest

import "net/netip"

// A Peer is the far end of a connection in a World. What it does is seen by
// the loop at the next Run.
type Peer struct {
	socket *socket
	taken  []byte
}

// Write borrows p and sends it. After Reset, CloseWrite or the loop's close it
// does nothing.
func (p *Peer) Write(b []byte) {
	s := p.socket
	if s.closed || s.reset || s.peerEnd {
		return
	}
	if len(s.in) == 0 {
		s.inBase = append(s.inBase[:0], b...)
		s.in = s.inBase
	} else {
		s.in = append(s.in, b...)
		s.inBase = s.in
	}
	s.stir()
}

// Read takes all that has arrived, which makes room for more. The result is
// valid until the next Read.
func (p *Peer) Read() []byte { return p.ReadN(len(p.socket.out)) }

// ReadN takes at most n bytes of what has arrived.
func (p *Peer) ReadN(n int) []byte {
	s := p.socket
	n = min(n, len(s.out))
	p.taken = append(p.taken[:0], s.out[:n]...)
	s.out = s.out[:copy(s.out, s.out[n:])]
	s.stir()
	return p.taken
}

// Buffered is the number of bytes that have arrived and were not read.
func (p *Peer) Buffered() int { return len(p.socket.out) }

// Addr is the peer's own address, as Conn.RemoteAddr tells it.
func (p *Peer) Addr() netip.AddrPort { return p.socket.remote }

// Unread is the number of bytes sent that the loop has not read.
func (p *Peer) Unread() int { return len(p.socket.in) }

// SetWindow sets how many bytes the peer takes before it reads them: 0 is a
// reader that stopped.
func (p *Peer) SetWindow(n int) {
	p.socket.window = n
	p.socket.stir()
}

// CloseWrite ends the peer's sending direction (a FIN).
func (p *Peer) CloseWrite() {
	p.socket.peerEnd = true
	p.socket.stir()
}

// Reset makes the peer vanish with an error (a RST).
func (p *Peer) Reset() {
	p.socket.reset = true
	p.socket.stir()
}

// EOF reports whether the loop ended its sending direction, in good order
// (after what Read returns, nothing more comes).
func (p *Peer) EOF() bool { return p.socket.shut || p.socket.closed }

// Closed reports whether the loop closed the connection's descriptor.
func (p *Peer) Closed() bool { return p.socket.closed }

// Aborted reports whether the loop closed the descriptor without ending its
// sending direction first.
func (p *Peer) Aborted() bool { return p.socket.closed && !p.socket.shut }

// Broken reports whether the loop closed the connection while bytes of the
// peer were unread: a real peer would see a reset and might lose what it had
// not read yet.
func (p *Peer) Broken() bool { return p.socket.broken }
