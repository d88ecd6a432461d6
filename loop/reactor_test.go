//go:build linux || darwin || freebsd

package loop_test

import (
	"crypto/tls"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"turbine/internal/race"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/loop/looptest/contract"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() { contract.Less = race.Less }

func TestContractOnSockets(t *testing.T) { contract.TestReactor(t, startReactor) }

func TestContractOnFaultySockets(t *testing.T) {
	contract.TestReactor(t, contract.OnFaults(startReactor, looptest.Rates{
		Short: 1000, NotNow: 1000, Interrupted: 500, Shortage: 30,
	}), "07 Drained comes after pressure")
}

// closeSent is the case that TLS differs in: a peer has close_notify to say when
// it has said all.
const closeSent = "CloseSent does not wait for the peer"

// TLS is not seen from above.
func TestContractOverTLSOnSockets(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) { contract.TestReactor(t, contract.OverTLS(startReactor, version), closeSent) })
	}
}

func TestContractOverTLSOnFaultySockets(t *testing.T) {
	contract.TestReactor(t, contract.OverTLS(contract.OnFaults(startReactor, looptest.Rates{
		Short: 1000, NotNow: 1000, Interrupted: 500, Shortage: 30,
	}), tls.VersionTLS13), "07 Drained comes after pressure", closeSent)
}

// reactorMachine is a Reactor with real sockets as a contract.Machine.
type reactorMachine struct {
	*loop.Reactor
	t       *testing.T
	address string
	served  chan error
	stopped bool
}

func startReactor(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) contract.Machine {
	t.Helper()
	o.Loops = n
	r, err := loop.Open(o, accept)
	require.NoError(t, err)
	m := &reactorMachine{Reactor: r, t: t, served: make(chan error, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m.address = l.Addr().String()
	require.NoError(t, r.Listen(l, nil))
	go func() { m.served <- r.Serve() }()
	t.Cleanup(m.Stop)
	return m
}

func (m *reactorMachine) Step() { time.Sleep(50 * time.Microsecond) }

func (m *reactorMachine) Stop() {
	if m.stopped {
		return
	}
	m.stopped = true
	m.Reactor.Stop()
	select {
	case err := <-m.served:
		require.NoError(m.t, err)
	case <-time.After(30 * time.Second):
		require.FailNow(m.t, "Serve does not return")
	}
}

func (m *reactorMachine) Dial() looptest.Client {
	m.t.Helper()
	c, err := net.Dial("tcp", m.address)
	require.NoError(m.t, err)
	return newClient(m.t, c)
}

func (m *reactorMachine) Adopt(l *loop.Loop, accept func(*loop.Conn) loop.Handler) (looptest.Client, error) {
	m.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(m.t, err)
	require.NoError(m.t, unix.SetNonblock(fds[0], true))
	file := os.NewFile(uintptr(fds[1]), "pair")
	defer file.Close()
	c, err := net.FileConn(file)
	require.NoError(m.t, err)
	var none = net.TCPAddr{}
	return newClient(m.t, c), l.Adopt(fds[0], none.AddrPort(), accept)
}

// client is a connection that is used without blocking.
type client struct {
	conn   net.Conn
	raw    syscall.RawConn
	buffer []byte
	eof    bool
	err    error
}

func newClient(t *testing.T, c net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	raw, err := c.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	return &client{conn: c, raw: raw}
}

func (c *client) Send(p []byte) (n int) {
	if len(p) == 0 || c.err != nil {
		return 0
	}
	err := c.raw.Write(func(fd uintptr) bool {
		var err error
		n, err = unix.Write(int(fd), p)
		c.note(err)
		return true
	})
	c.note(err)
	return max(n, 0)
}

func (c *client) Recv(n int) []byte {
	if c.eof || c.err != nil || n == 0 {
		return nil
	}
	if len(c.buffer) < n {
		c.buffer = make([]byte, n)
	}
	got := 0
	err := c.raw.Read(func(fd uintptr) bool {
		var err error
		got, err = unix.Read(int(fd), c.buffer[:n])
		c.eof = got == 0 && err == nil
		c.note(err)
		return true
	})
	c.note(err)
	return c.buffer[:max(got, 0)]
}

func (c *client) note(err error) {
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		c.err = err
	}
}

func (c *client) CloseWrite() {
	_ = c.conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (c *client) Reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.conn.Close()
	c.err = unix.ECONNRESET
}

func (c *client) EOF() bool { return c.eof }

// Broken leaves a failed write aside while there may be something to read.
func (c *client) Broken() bool { return c.err != nil }

func (c *client) Addr() string { return c.conn.LocalAddr().String() }

// goroutines waits until there are at most n.
func goroutines(t *testing.T, n int) {
	t.Helper()
	for start := time.Now(); runtime.NumGoroutine() > n; runtime.Gosched() {
		if time.Since(start) > 30*time.Second {
			buffer := make([]byte, 1<<20)
			require.FailNow(t, "goroutines left", "%d, want %d\n%s", runtime.NumGoroutine(), n,
				buffer[:runtime.Stack(buffer, true)])
		}
	}
}
