package looptest

// A Client is the far end of a connection. Nothing of it blocks.
type Client interface {
	// Send borrows p and sends what fits now, which may be nothing.
	Send(p []byte) int
	// Recv takes at most n bytes of what has arrived. The result is valid
	// until the next call.
	Recv(n int) []byte
	// CloseWrite ends the sending direction.
	CloseWrite()
	// Reset makes the client vanish with an error.
	Reset()
	// EOF reports whether all was received and the other side ended in good
	// order. It may take a Recv to find out.
	EOF() bool
	// Broken reports whether the connection ended with an error.
	Broken() bool
	// Addr is the address that the loop sees, as text.
	Addr() string
}

// socketBuffer is how much the Client of a Peer sends before the loop reads.
const socketBuffer = 1 << 20

// Client is p as a Client.
func (p *Peer) Client() Client { return peerClient{p} }

type peerClient struct{ *Peer }

func (c peerClient) Send(p []byte) int {
	if c.Closed() || c.socket.reset {
		return 0
	}
	n := min(len(p), socketBuffer-c.Unread())
	c.Write(p[:n])
	return n
}

func (c peerClient) Recv(n int) []byte { return c.ReadN(n) }
func (c peerClient) Addr() string      { return c.Peer.Addr().String() }
func (c peerClient) EOF() bool         { return c.Buffered() == 0 && c.Peer.EOF() && !c.Broken() }
