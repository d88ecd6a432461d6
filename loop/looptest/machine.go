package looptest

import (
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// A Machine is loops that run, on either kernel, as the contract sees them.
type Machine interface {
	// Loops returns the machine's loops.
	Loops() []*loop.Loop
	// Dial connects to the loop that has least, as a Dealer chooses it.
	Dial() Client
	// Adopt connects to a certain loop, past the acceptor; accept chooses the
	// handler unless it is nil. The Client is valid also with an error.
	Adopt(l *loop.Loop, accept func(*loop.Conn) loop.Handler) (Client, error)
	// Step lets the machine work and time pass, a little.
	Step()
	// Stop stops the machine and returns when all is closed.
	Stop()
}

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

// Start makes a Machine of n loops that accepts.
type Start func(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine

// patience is how long a real machine may take for one thing.
const patience = 30 * time.Second

// until lets m work until done says so.
func until(t *testing.T, m Machine, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); m.Step() {
		if time.Since(start) > patience {
			require.FailNow(t, "does not happen", what)
		}
	}
}

// on runs f on l and waits for it.
func on(t *testing.T, m Machine, l *loop.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	require.NoError(t, l.Post(loop.Func(func() {
		defer close(done)
		f()
	})))
	until(t, m, "a task", func() bool { return over(done) })
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// settle lets every loop look at its sockets and run its mailbox a few times.
func settle(t *testing.T, m Machine) {
	t.Helper()
	for range 5 {
		for _, l := range m.Loops() {
			on(t, m, l, func() {})
		}
	}
}

// WorldMachine starts a World as a Machine.
func WorldMachine(_ *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine {
	return &worldMachine{World: NewWorld(n, o, accept)}
}

type worldMachine struct {
	*World
	stopped bool
}

// socketBuffer is how much a worldClient sends before the loop reads.
const socketBuffer = 1 << 20

func (m *worldMachine) Dial() Client { return &worldClient{m.DialDealt()} }

func (m *worldMachine) Adopt(l *loop.Loop, accept func(*loop.Conn) loop.Handler) (Client, error) {
	p := m.DialTo(l.Index(), accept)
	if p.Closed() {
		return &worldClient{p}, loop.ErrStopped
	}
	return &worldClient{p}, nil
}

func (m *worldMachine) Step() {
	if m.stopped {
		return
	}
	for range 100 {
		if !m.Turn() {
			m.Advance(m.tick)
			return
		}
	}
}

func (m *worldMachine) Stop() {
	if !m.stopped {
		m.stopped = true
		for _, l := range m.Loops() {
			l.Close()
		}
	}
}

type worldClient struct{ peer *Peer }

func (c *worldClient) Send(p []byte) int {
	if c.peer.Closed() || c.peer.socket.reset {
		return 0
	}
	n := min(len(p), socketBuffer-c.peer.Unread())
	c.peer.Write(p[:n])
	return n
}

func (c *worldClient) Recv(n int) []byte { return c.peer.ReadN(n) }
func (c *worldClient) CloseWrite()       { c.peer.CloseWrite() }
func (c *worldClient) Reset()            { c.peer.Reset() }
func (c *worldClient) Broken() bool      { return c.peer.Broken() }
func (c *worldClient) Addr() string      { return c.peer.Addr().String() }

func (c *worldClient) EOF() bool {
	return c.peer.Buffered() == 0 && c.peer.EOF() && !c.peer.Broken()
}
