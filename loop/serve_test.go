//go:build linux

package loop_test

import (
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"turbine/loop"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestUnixSocket(t *testing.T) {
	s := serve(t, loop.Options{Loops: 2}, acceptEcho)
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	require.NoError(t, s.Listen(l, nil))
	for range 4 {
		requireEcho(t, dial(t, "unix", path), "hello")
	}
	requireEcho(t, s.dial(), "both listen")
	s.StopAccepting()
	require.NoFileExists(t, path)
	_, err = net.Dial("unix", path)
	require.Error(t, err)
	l, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, s.Listen(l, nil), loop.ErrStopped)
	s.stop()
}

// The path of a socket that another process keeps using stays.
func TestUnixSocketStays(t *testing.T) {
	s := serve(t, loop.Options{Loops: 1}, acceptEcho)
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, s.Listen(l, nil))
	requireEcho(t, dial(t, "unix", path), "hello")
	s.StopAccepting()
	require.FileExists(t, path)
	_, err = net.Dial("unix", path)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	s.stop()
}

// Each listener has its own choice of handlers, on whatever loop a connection
// is, and may come while the loops run.
func TestListenersChooseHandlers(t *testing.T) {
	for _, late := range []bool{false, true} {
		r, err := loop.Open(loop.Options{Loops: 3}, greeter("common"))
		require.NoError(t, err)
		served := make(chan error, 1)
		run := func() { go func() { served <- r.Serve() }() }
		if late {
			run()
		}
		addresses := map[string]string{}
		for _, name := range []string{"common", "first", "second", "third"} {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			addresses[name] = l.Addr().String()
			accept := greeter(name)
			if name == "common" {
				accept = nil
			}
			require.NoError(t, r.Listen(l, accept))
		}
		if !late {
			run()
		}
		for range 6 { // twice the loops: each name is on each
			for name, address := range addresses {
				got, err := io.ReadAll(dial(t, "tcp", address))
				require.NoError(t, err)
				require.Equal(t, name, string(got))
			}
		}
		r.Stop()
		require.NoError(t, <-served)
	}
}

// greeter accepts, tells its name, and closes.
func greeter(name string) func(*loop.Conn) loop.Handler {
	return func(c *loop.Conn) loop.Handler {
		c.Write([]byte(name))
		c.Close()
		return &echo{c}
	}
}

func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	addresses := make(chan netip.AddrPort, 1)
	s := serve(t, loop.Options{Loops: 1}, func(c *loop.Conn) loop.Handler {
		addresses <- c.RemoteAddr()
		return &echo{c}
	})
	require.NoError(t, s.Listen(l, nil))
	c := dial(t, "tcp", l.Addr().String())
	require.Equal(t, c.LocalAddr().String(), (<-addresses).String())
	s.stop()
}

func TestStopInManyWays(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("before Serve", func(t *testing.T) {
		r, err := loop.Open(loop.Options{}, acceptEcho)
		require.NoError(t, err)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, r.Listen(l, nil))
		r.Stop()
		r.Stop()
		require.NoError(t, r.Serve())
		_, err = net.Dial("tcp", l.Addr().String())
		require.Error(t, err)
	})
	t.Run("twice served", func(t *testing.T) {
		s := serve(t, loop.Options{}, acceptEcho)
		requireEcho(t, s.dial(), "hello")
		require.Error(t, s.Serve())
		s.stop()
	})
	t.Run("from handlers", func(t *testing.T) {
		var reactor atomic.Pointer[loop.Reactor]
		s := serve(t, loop.Options{Loops: 2}, func(*loop.Conn) loop.Handler { return &stopper{&reactor} })
		reactor.Store(s.Reactor)
		var all []net.Conn
		for range 10 {
			all = append(all, s.dial())
		}
		eventually(t, "all are in", func() bool { return s.Stats().Conns == 10 })
		_, _ = all[4].Write([]byte("stop"))
		require.NoError(t, s.ended())
		require.Zero(t, s.Stats().Conns)
	})
	t.Run("under load", func(t *testing.T) {
		for range 20 {
			s := serve(t, loop.Options{Loops: 2}, acceptEcho)
			for range 10 {
				c := s.dial()
				go func() {
					_, _ = io.Copy(c, zeros{})
				}()
				go func() {
					_, _ = io.Copy(io.Discard, c)
				}()
			}
			for _, l := range s.Loops() {
				go func() {
					for l.Post(loop.Func(func() {})) == nil {
						runtime.Gosched()
					}
				}()
			}
			eventually(t, "all are in", func() bool { return s.Stats().Conns == 10 })
			s.stop()
			require.Zero(t, s.Stats().Conns)
		}
	})
	goroutines(t, before)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// stopper calls everything that stops from where it is least expected.
type stopper struct{ reactor *atomic.Pointer[loop.Reactor] }

func (s *stopper) Data([]byte)  { s.reactor.Load().StopAccepting(); s.reactor.Load().Stop() }
func (s *stopper) Drained()     {}
func (s *stopper) EOF()         {}
func (s *stopper) Closed(error) { s.reactor.Load().Stop() }

func TestSocketOptionsOfAcceptedConnections(t *testing.T) {
	s := serve(t, loop.Options{Loops: 1}, acceptEcho)
	c := s.dial()
	requireEcho(t, c, "hello")
	var checked int
	for fd := range sockets(t) {
		peer, _ := unix.Getpeername(fd)
		if in4, ok := peer.(*unix.SockaddrInet4); !ok || in4.Port != c.LocalAddr().(*net.TCPAddr).Port {
			continue
		}
		checked++
		for _, o := range []struct{ level, name, want int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 120},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 30},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		} {
			got, err := unix.GetsockoptInt(fd, o.level, o.name)
			require.NoError(t, err)
			require.Equal(t, o.want, got, "option %d", o.name)
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.O_NONBLOCK)
		flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		require.NoError(t, err)
		require.NotZero(t, flags&unix.FD_CLOEXEC)
	}
	require.Equal(t, 1, checked)
	s.stop()
}

func sockets(t *testing.T) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	for fd := range 1000 {
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && kind == unix.SOCK_STREAM {
			found[fd] = true
		}
	}
	return found
}

// Urgent data is readiness of its own that a plain read may not take back. If it
// does not, each look at the sockets reports it again.
func TestUrgentDataDoesNotSpin(t *testing.T) {
	reads := new(countedReads)
	s := serve(t, loop.Options{Loops: 1, Faults: reads}, acceptEcho)
	c := s.dial()
	requireEcho(t, c, "hello")
	raw, err := c.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	for _, behind := range []string{"", "hello"} {
		before := reads.count.Load()
		require.NoError(t, raw.Control(func(fd uintptr) {
			require.NoError(t, unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil))
		}))
		eventually(t, "the loop hears of it", func() bool { return reads.count.Load() > before })
		if behind != "" {
			requireEcho(t, c, behind)
		}
		s.looks(1)
		settled := reads.count.Load()
		s.looks(100)
		require.Equal(t, settled, reads.count.Load(), "reads of what is not there, with %q behind", behind)
	}
	s.stop()
}

// countedReads counts the reads of connections.
type countedReads struct{ count atomic.Int64 }

func (r *countedReads) Kernel(_ int, k loop.Kernel) loop.Kernel { return countingKernel{k, r} }
func (*countedReads) Accept() error                             { return nil }

type countingKernel struct {
	loop.Kernel
	reads *countedReads
}

func (k countingKernel) Read(fd int, p []byte) (int, error) {
	k.reads.count.Add(1)
	return k.Kernel.Read(fd, p)
}

// looks lets loop 0 look at its sockets n times and handle what it finds.
func (s *server) looks(n int) {
	s.t.Helper()
	for range n {
		done := make(chan struct{})
		require.NoError(s.t, s.Loops()[0].Post(loop.Func(func() { close(done) })))
		<-done
	}
}

func TestDescriptorLimit(t *testing.T) {
	soft, err := loop.RaiseDescriptorLimit()
	require.NoError(t, err)
	now, err := loop.DescriptorLimit()
	require.NoError(t, err)
	require.Equal(t, soft, now)
	require.Positive(t, soft)
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := loop.Open(loop.Options{Loops: 257}, acceptEcho)
	require.Error(t, err)
	_, err = loop.Open(loop.Options{Loops: -1}, acceptEcho)
	require.Error(t, err)
}
