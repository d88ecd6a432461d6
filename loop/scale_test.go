//go:build linux

package loop_test

import (
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"turbine/loop"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A million idle connections are a million of these: each byte is a megabyte,
// and the allocator rounds up to 80, 96, 112.
func TestConnSize(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(loop.Conn{}), uintptr(80))
}

// silent is one handler for all, so that only connections are measured.
type silent struct{}

func (silent) Data([]byte)  {}
func (silent) Drained()     {}
func (silent) EOF()         {}
func (silent) Closed(error) {}

func TestManyConnectionsAreCheap(t *testing.T) {
	const conns = 2000
	s := serve(t, loop.Options{Loops: 2}, func(*loop.Conn) loop.Handler { return silent{} })
	warm, err := unixDial(s.address)
	require.NoError(t, err)
	eventually(t, "the first is in", func() bool { return s.Stats().Conns == 1 })
	goroutines, before := runtime.NumGoroutine(), heap()
	fds := make([]int, 0, conns)
	for range conns {
		fd, err := unixDial(s.address)
		require.NoError(t, err)
		fds = append(fds, fd)
	}
	eventually(t, "all are in", func() bool { return s.Stats().Conns == conns+1 })
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines) // those of tests before may be ending
	after := heap()
	per := (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / conns
	objects := (float64(after.HeapObjects) - float64(before.HeapObjects)) / conns
	t.Logf("heap of a connection: %.1f bytes, %.2f objects", per, objects)
	require.LessOrEqual(t, per, 130.0)
	for _, fd := range append(fds, warm) {
		reset := unix.Linger{Onoff: 1}
		require.NoError(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &reset))
		_ = unix.Close(fd)
	}
	eventually(t, "all are gone", func() bool { return s.Stats().Conns == 0 })
	s.stop()
}

func heap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// unixDial connects without Go's poller, which would also take memory.
func unixDial(address string) (int, error) {
	to := netip.MustParseAddrPort(address)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}

func BenchmarkEchoTCP(b *testing.B) {
	r, err := loop.Open(loop.Options{Loops: 1}, acceptEcho)
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	address := l.Addr().String()
	require.NoError(b, r.Listen(l, nil))
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Serve() })
	defer wg.Wait()
	defer r.Stop()
	fd, err := unixDial(address)
	require.NoError(b, err)
	defer unix.Close(fd)
	message := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := unix.Write(fd, message); err != nil {
			b.Fatal(err)
		}
		if n, err := unix.Read(fd, message); n != len(message) {
			b.Fatal(n, err)
		}
	}
}

// BenchmarkEchoPipelined keeps 100 connections with 16 messages each in flight.
func BenchmarkEchoPipelined(b *testing.B) {
	const conns, depth, size = 100, 16, 64
	r, err := loop.Open(loop.Options{Loops: 1}, acceptEcho)
	require.NoError(b, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	address := l.Addr().String()
	require.NoError(b, r.Listen(l, nil))
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Serve() })
	defer wg.Wait()
	defer r.Stop()
	var fds []int
	for range conns {
		fd, err := unixDial(address)
		require.NoError(b, err)
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	message := make([]byte, depth*size)
	b.ReportAllocs()
	start := time.Now()
	rounds := 0
	for b.Loop() {
		rounds++
		for _, fd := range fds {
			if _, err := unix.Write(fd, message); err != nil {
				b.Fatal(err)
			}
		}
		for _, fd := range fds {
			for n := 0; n < len(message); {
				m, err := unix.Read(fd, message[n:])
				if m <= 0 {
					b.Fatal(m, err)
				}
				n += m
			}
		}
	}
	b.ReportMetric(float64(rounds)*conns*depth/time.Since(start).Seconds(), "msg/s")
}
