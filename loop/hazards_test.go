//go:build linux

package loop_test

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestHazard01RunningOutOfDescriptors(t *testing.T) {
	if os.Getenv("TURBINE_FEW_DESCRIPTORS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHazard01RunningOutOfDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), "TURBINE_FEW_DESCRIPTORS=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestHazard01")
		return
	}
	const limit, clients = 200, 150 // the clients' ends also count
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}))
	var log lines
	s := serve(t, loop.Options{Loops: 2, MaxConns: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))}, acceptEcho)
	survivor := s.dial()
	requireEcho(t, survivor, "before")
	began := time.Now()

	// Raw, since Go's own Dial wants more descriptors than it returns.
	var fds []int
	for range clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			break // the process is full: the reserve is all that the acceptor has
		}
		fds = append(fds, fd)
	}
	for i := range 10 { // leave the server a little
		_ = unix.Close(fds[i])
	}
	fds = fds[10:]
	address := netip.MustParseAddrPort(s.address)
	for _, fd := range fds {
		require.NoError(t, unix.Connect(fd, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}))
	}
	eventually(t, "all are taken or refused", func() bool {
		st := s.Stats()
		return st.Accepted+st.Refused == uint64(len(fds)+1)
	})
	st := s.Stats()
	require.NotZero(t, st.AcceptErrors)
	require.NotZero(t, st.Refused)
	t.Logf("accepted %d, shed %d", st.Accepted, st.Refused)
	requireEcho(t, survivor, "during")
	logged := log.count.Load()
	require.LessOrEqual(t, logged, 1+int64(time.Since(began)/time.Second), "one line a second")
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	eventually(t, "the old ones are gone", func() bool { return s.Stats().Conns == 1 })
	requireEcho(t, s.dial(), "after")
	s.stop()
}

// lines counts what is logged.
type lines struct{ count atomic.Int64 }

func (l *lines) Write(p []byte) (int, error) { l.count.Add(1); return len(p), nil }

func TestMaxConns(t *testing.T) {
	s := serve(t, loop.Options{Loops: 2, MaxConns: 3}, acceptEcho)
	var held []net.Conn
	for range 3 {
		c := s.dial()
		requireEcho(t, c, "in")
		held = append(held, c)
	}
	for range 5 {
		_, err := s.dial().Read(make([]byte, 1))
		require.Error(t, err)
	}
	require.Equal(t, loop.ReactorStats{Accepted: 3, Refused: 5, Conns: 3}, s.Stats())
	require.NoError(t, held[0].Close())
	eventually(t, "room", func() bool { return s.Stats().Conns == 2 })
	requireEcho(t, s.dial(), "in again")
	s.stop()
}

func TestHazard15And16BuildTagsAreRefused(t *testing.T) {
	for _, tag := range []string{"poll_opt", "gc_opt"} {
		out, err := exec.Command("go", "vet", "-tags", tag, ".").CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "turbine_does_not_build_with_the_tags_poll_opt_or_gc_opt")
	}
}

func TestHazard22Restart(t *testing.T) {
	s := serve(t, loop.Options{Loops: 2}, func(c *loop.Conn) loop.Handler {
		c.Write([]byte("bye"))
		c.Close() // the server closes first, so its side lingers in TIME_WAIT
		return &echo{c}
	})
	for range 20 {
		got, err := io.ReadAll(s.dial())
		require.NoError(t, err)
		require.Equal(t, "bye", string(got))
	}
	s.StopAccepting()
	s.StopAccepting()
	again := serve(t, loop.Options{Loops: 1}, acceptEcho)
	address := again.listen(s.address) // at once, by the same process
	requireEcho(t, dial(t, "tcp", address), "hello")
	s.stop()
	requireEcho(t, dial(t, "tcp", address), "still")
	again.stop()
	_, err := net.Dial("tcp", address)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
}

func TestHazard22ServeReportsAnEndNobodyAskedFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	before := pollers(t) // that of package net among them, from now on
	s := serve(t, loop.Options{Loops: 2}, acceptEcho)
	c := s.dial()
	requireEcho(t, c, "hello")
	var ours []int
	for fd := range pollers(t) {
		if !before[fd] {
			ours = append(ours, fd)
		}
	}
	require.Len(t, ours, 2)
	null, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Dup3(null, ours[1], unix.O_CLOEXEC)) // epoll_wait fails from now on
	require.NoError(t, unix.Close(null))
	for _, l := range s.Loops() {
		_ = l.Post(loop.Func(func() {})) // so that they call it
	}
	require.ErrorIs(t, s.ended(), unix.EINVAL)
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err, "connections are closed")
	require.ErrorIs(t, s.Loops()[0].Post(loop.Func(func() {})), loop.ErrStopped)
}

// pollers are the process's epoll descriptors.
func pollers(t *testing.T) map[int]bool {
	t.Helper()
	found := map[int]bool{}
	for fd := range 1000 {
		if name, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(fd))); err == nil && strings.Contains(name, "eventpoll") {
			found[fd] = true
		}
	}
	return found
}
