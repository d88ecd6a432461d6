//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Logs that cannot be written, or that nobody takes, must not stop the server
// nor make it wait. DEBUG makes a record of each packet.
func TestLogsThatCannotBeWritten(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (stderr *os.File, started func()){
		"full disk": func(t *testing.T) (*os.File, func()) {
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			require.NoError(t, err)
			return full, func() {}
		},
		"collector that has ended": func(t *testing.T) (*os.File, func()) {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			return w, func() { _ = r.Close() }
		},
		"collector that does not read": func(t *testing.T) (*os.File, func()) {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			t.Cleanup(func() { _ = r.Close() })
			return w, func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms")
			cmd.Env = append(cmd.Env, "DEBUG=engine*")
			stderr, started := open(t)
			cmd.Stderr = stderr
			s := start(t, cmd)
			_ = stderr.Close() // the server has its own
			started()
			w, _ := s.websocket(t, 4)
			for i := range 2000 { // over 64 KiB of records: more than a pipe holds
				message := fmt.Sprintf("4message %d", i)
				w.send(message)
				w.receives(message)
			}
			s.goesOn(t)
			s.stop(t)
		})
	}
}

// limit sets how many descriptors the server may have.
func (s *server) limit(t *testing.T, n int) {
	t.Helper()
	pid := s.cmd.Process.Pid
	var now unix.Rlimit
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &now))
	require.NoError(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: now.Max}, nil))
}

func (s *server) descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir(s.proc("fd"))
	require.NoError(t, err)
	return len(open)
}

func (s *server) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), name)
}

// A server that runs out of descriptors turns new clients away and serves those
// it has; when there are some again, it takes new ones.
func TestRunningOutOfDescriptors(t *testing.T) {
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms"))
	var held []*peer
	for range 20 {
		w, _ := s.websocket(t, 4)
		held = append(held, w)
	}
	s.limit(t, s.descriptors(t)+5)
	began, refused := time.Now(), 0
	for range 60 {
		conn, err := net.DialTimeout("tcp", s.addr, patience)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, _ = io.WriteString(conn, s.getRequest("EIO=4&transport=polling"))
		head := make([]byte, 9)
		if _, err := io.ReadFull(conn, head); err != nil {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "neither served nor turned away")
			refused++
			continue
		}
		require.Equal(t, "HTTP/1.1 ", string(head))
	}
	require.Greater(t, refused, 40)
	for _, w := range held {
		w.echoes()
	}
	var logged int
	s.logs(t, func() bool { logged = strings.Count(s.stderr.String(), "accept failed"); return logged > 0 })
	require.LessOrEqual(t, logged, 1+int(time.Since(began)/time.Second), "at most a line a second")
	s.limit(t, 1000)
	s.goesOn(t)
	held[0].echoes()
}

// A server that was stopped for longer than its heartbeat takes reads what its
// clients have sent before it finds them late.
func TestStoppedProcess(t *testing.T) {
	t.Parallel()
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms",
		"--ping-interval", "500ms", "--ping-timeout", "4s"))
	var clients []*peer
	for range 50 {
		w, _ := s.websocket(t, 4)
		clients = append(clients, w)
	}
	late := clients[len(clients)-1] // its pong is on its way when the server stops
	for range 2 {
		for _, w := range clients {
			w.receives("2")
			if w != late {
				w.send("3")
			}
		}
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGSTOP))
		s.waitsFor(t, "T")
		late.send("3")
		time.Sleep(9 * time.Second) // twice as long as the heartbeat takes
		require.NoError(t, s.cmd.Process.Signal(syscall.SIGCONT))
	}
	for _, w := range clients {
		w.receives("2")
		w.send("3")
		w.echoes()
	}
}

// waitsFor waits until the process is in a state, as proc(5) calls it.
func (s *server) waitsFor(t *testing.T, state string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(s.proc("stat"))
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(rest, state) {
			return
		}
		require.True(t, time.Now().Before(end), "the process does not stop: %s", rest)
	}
}

// Under a memory limit that is close to what is live, with clients that do not
// read beside those that do, the server is slower and nothing else.
func TestCloseToTheMemoryLimit(t *testing.T) {
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms")
	cmd.Env = append(cmd.Env, "GOMEMLIMIT=16MiB")
	s := start(t, cmd)

	// Each of these would have 8 MiB wait for it, all of them together five
	// times the limit; their budget is a quarter of it.
	var deaf sync.WaitGroup
	var ended atomic.Int64
	for range 10 {
		w, _ := s.websocket(t, 4)
		deaf.Go(func() {
			if w.sendsMuch(masked(fin|text, "4"+strings.Repeat("x", 50_000))) {
				ended.Add(1)
			}
		})
	}
	var readers []*peer
	for range 30 {
		w, _ := s.websocket(t, 4)
		readers = append(readers, w)
	}
	for i := range 60 {
		message := fmt.Sprintf("4%d", i) + strings.Repeat("y", 20_000)
		for _, w := range readers {
			w.send(message)
		}
		for _, w := range readers {
			w.receives(message)
		}
	}
	deaf.Wait()
	require.EqualValues(t, 10, ended.Load(), "who takes nothing does not stay")
	for i, w := range readers {
		if i%2 == 0 {
			w.echoes()
		}
	}
	s.goesOn(t)
	peak := s.peak(t)
	t.Logf("resident at most: %d KiB", peak)
	if !withRace() {
		require.Less(t, peak, 64<<10, "KiB, four times the limit")
	}
}

// sendsMuch sends without reading, and reports whether the server has ended the
// connection.
func (p *peer) sendsMuch(frame string) bool {
	_ = p.conn.SetDeadline(time.Now().Add(3 * patience))
	for range 2000 {
		if _, err := io.WriteString(p.conn, frame); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
	_, err := io.Copy(io.Discard, p.conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// peak is the most memory that the server had resident, in KiB.
func (s *server) peak(t *testing.T) (kib int) {
	t.Helper()
	status, err := os.ReadFile(s.proc("status"))
	require.NoError(t, err)
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, err := fmt.Sscanf(value, "%d kB", &kib)
			require.NoError(t, err)
		}
	}
	require.NotZero(t, kib)
	return kib
}

func withRace() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}
