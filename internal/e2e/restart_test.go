package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	takeovers  = 3
	connectors = 6
	maxTries   = 50_000 // of one connector
)

// passersby connect without pause, each on a connection of its own that serves
// one session for a moment.
type passersby struct {
	served, unavailable atomic.Int64
	stop                chan struct{}
	wait                sync.WaitGroup
	failed              chan error
}

var errUnavailable = errors.New("503")

func newPassersby(addr string) *passersby {
	p := &passersby{stop: make(chan struct{}), failed: make(chan error, connectors)}
	for i := range connectors {
		p.wait.Go(func() {
			for try := range maxTries {
				select {
				case <-p.stop:
					return
				case <-time.After(time.Millisecond): // the servers also need the processor
				}
				m := &member{addr: addr, kind: (i + try) % crowdKinds}
				err := m.visit()
				m.hangUp()
				switch {
				case err == nil:
					p.served.Add(1)
				case errors.Is(err, errUnavailable):
					p.unavailable.Add(1)
				default:
					p.failed <- fmt.Errorf("%s: %w", crowdNames[m.kind], err)
					return
				}
			}
		})
	}
	return p
}

// end checks that nobody was refused or cut off.
func (p *passersby) end(t *testing.T) {
	t.Helper()
	close(p.stop)
	p.wait.Wait()
	close(p.failed)
	for err := range p.failed {
		require.NoError(t, err)
	}
	t.Logf("%d passers-by were served, %d told 503, none refused or cut off", p.served.Load(), p.unavailable.Load())
}

// visit opens a session, has a message echoed, and leaves.
func (m *member) visit() error {
	if m.kind == overMany {
		m.kind = overPolling // its second connection may reach another process
	}
	if m.kind == afterUpgrade {
		m.kind = overWebSocket
	}
	if err := m.open(); err != nil {
		if strings.Contains(err.Error(), "503") {
			return errUnavailable
		}
		return err
	}
	if err := m.send("40 hello"); err != nil {
		return err
	}
	switch err := m.next(); {
	case err == errOver: // its server was about to end
		return nil
	case err != nil || m.kind == overWebSocket:
		return err
	}
	return m.send("1") // or the server would wait for it to poll
}

// systemd hears what the processes tell it.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newSystemd(t *testing.T) *systemd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &systemd{t, conn, path}
}

// hears returns the next notification, "" when none comes in time.
func (s *systemd) hears(within time.Duration) string {
	s.t.Helper()
	require.NoError(s.t, s.conn.SetReadDeadline(time.Now().Add(within)))
	p := make([]byte, 1000)
	n, err := s.conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	require.NoError(s.t, err)
	return string(p[:n])
}

var readyState = regexp.MustCompile(`^READY=1\nMAINPID=(\d+)$`)

// ready waits for a process to say that it is the one now.
func (s *systemd) ready(within time.Duration) (pid int) {
	s.t.Helper()
	state := s.hears(within)
	if state == "" {
		return 0
	}
	m := readyState.FindStringSubmatch(state)
	require.NotNil(s.t, m, state)
	pid, err := strconv.Atoi(m[1])
	require.NoError(s.t, err)
	return pid
}

// A process takes over, several times, while clients connect without pause: none
// is refused, cut off or told 503. Those of the old process end in good order,
// and their next sessions are the new one's.
func TestTakeover(t *testing.T) {
	supervisor := newSystemd(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--pid-file", pidFile,
		"--drain-period", "300ms", "--drain-timeout", "10s")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+supervisor.path)
	s := start(t, cmd)
	pid := supervisor.ready(patience)
	require.Equal(t, cmd.Process.Pid, pid)
	running := true
	t.Cleanup(func() {
		if running {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})

	passing := newPassersby(s.addr)
	ended := 0
	for range takeovers {
		residents := s.settle(t)
		next := 0
		for end := time.Now().Add(2 * patience); next == 0; {
			require.True(t, time.Now().Before(end), "nobody takes over\n%s", s.stderr.String())
			require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2)) // refused while the one before is still there
			next = supervisor.ready(time.Second)
		}
		require.NotEqual(t, pid, next)
		pid = next
		text, err := os.ReadFile(pidFile)
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(pid), string(text))
		ended += residents.end()
		p := s.poll4(t)
		p.echoes()
		p.ok(p.post("1"))
		p.conn.Close()
	}
	passing.end(t)
	require.Zero(t, passing.unavailable.Load())
	require.Positive(t, passing.served.Load())
	t.Logf("%d takeovers, %d sessions of the old processes ended in good order", takeovers, ended)

	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", supervisor.hears(patience))
	require.True(t, s.ends(stopPatience), "a process still runs")
	running = false
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode(), "of the first process")
	require.NoFileExists(t, pidFile)
	_, err := net.DialTimeout("tcp", s.addr, patience)
	require.Error(t, err, "the port is still open")
}

// residents are sessions that stay until the server ends them.
type residents struct {
	t          *testing.T
	websockets []*peer
	pollers    []*session
}

// settle opens some of each kind. Their polls wait.
func (s *server) settle(t *testing.T) *residents {
	t.Helper()
	r := &residents{t: t}
	for i := range 20 {
		w, unused := s.websocket(t, 4)
		unused.conn.Close() // the server would wait for it at its end
		w.echoes()
		r.websockets = append(r.websockets, w)
		p := s.poll4(t)
		p.echoes()
		if i%2 == 0 {
			p.conn.Close()
			p.peer = s.dial(t) // it will have no connection for its next poll
			p.write(s.head("GET", p.query()) + "Connection: close\r\n\r\n")
		} else {
			p.write(s.getRequest(p.query()))
		}
		r.pollers = append(r.pollers, p)
	}
	return r
}

// end checks that all end in good order, and counts them.
func (r *residents) end() int {
	r.t.Helper()
	for _, w := range r.websockets {
		w.closes(noStatus, 1001)
	}
	for _, p := range r.pollers {
		require.Equal(r.t, `200 "1"`, p.reply("GET").String())
		p.conn.Close()
	}
	return len(r.websockets) + len(r.pollers)
}

// A successor that does not get there changes nothing.
func TestTakeoverFails(t *testing.T) {
	path, err := executable()
	require.NoError(t, err)
	program, err := os.ReadFile(path)
	require.NoError(t, err)
	mine := filepath.Join(t.TempDir(), "turbine")
	require.NoError(t, os.WriteFile(mine, program, 0o755))

	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms", "--pid-file", pidFile)
	cmd.Path, cmd.Args[0] = mine, mine
	s := start(t, cmd)
	w, _ := s.websocket(t, 4)
	require.NoError(t, os.WriteFile(mine+".new", []byte("#!/bin/sh\necho $$ > "+pidFile+"\nexit 1\n"), 0o755))
	require.NoError(t, os.Rename(mine+".new", mine))
	require.NoError(t, cmd.Process.Signal(syscall.SIGUSR2))
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "this one continues") })
	require.Eventually(t, func() bool { return pidIn(pidFile) == cmd.Process.Pid }, patience, time.Millisecond, "the process that stays takes the pid file back")
	w.echoes()
	s.goesOn(t)
	s.stop(t)
	require.NoFileExists(t, pidFile)
}

// pidIn is the number in a pid file, 0 if there is none.
func pidIn(file string) int {
	text, _ := os.ReadFile(file)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// The pid file is there as long as the server, and a start that cannot write it
// fails, also that of a process that is to take over.
func TestPidFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	require.NoError(t, os.Mkdir(dir, 0o700))
	pidFile := filepath.Join(dir, "pid")
	s := serve(t, "--pid-file", pidFile)
	require.Equal(t, s.cmd.Process.Pid, pidIn(pidFile))

	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGUSR2))
	s.logs(t, func() bool { return strings.Contains(s.stderr.String(), "this one continues") })
	require.Contains(t, s.stderr.String(), "turbine: --pid-file: cannot write the pid file "+pidFile+": no such file or directory\n")
	s.goesOn(t)

	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(pidFile, []byte("1"), 0o600))
	s.stop(t)
	require.Equal(t, 1, pidIn(pidFile), "it is another process's")

	for _, file := range []string{filepath.Join(dir, "none", "pid"), dir} {
		code, stdout, stderr := run(t, "--addr", "127.0.0.1:0", "--pid-file", file)
		require.Equal(t, 1, code, stderr)
		require.Empty(t, stdout)
		oneLine(t, stderr)
		require.Contains(t, stderr, "turbine: --pid-file: cannot write the pid file "+file+": ")
		require.Less(t, strings.Count(stderr, file), 2, "the temporary file is none of the operator's")
	}
	left, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Len(t, left, 1, "what was begun is left")
}

// activated returns the binary as systemd starts it, with the listener l.
func activated(t *testing.T, l net.Listener, args ...string) *exec.Cmd {
	t.Helper()
	cmd := command(context.Background(), t, args...)
	file, err := l.(*net.TCPListener).File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	cmd.ExtraFiles = []*os.File{file}
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1")
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, cmd.Args...)
	cmd.Path = "/bin/sh"
	return cmd
}

// With a socket of systemd's, a server that is stopped and started again refuses
// nobody either: while it drains new clients are told 503, and while there is
// none they wait.
func TestSocketActivation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	first := start(t, activated(t, l, "--drain-period", "200ms", "--drain-timeout", "10s"))
	require.Equal(t, l.Addr().String(), first.addr)
	passing := newPassersby(first.addr)
	residents := first.settle(t)
	require.NoError(t, first.cmd.Process.Signal(syscall.SIGTERM))
	residents.end()
	require.True(t, first.ends(stopPatience), "still running")
	before := passing.served.Load()

	second := start(t, activated(t, l, "--drain-timeout", "200ms"))
	second.goesOn(t)
	for end := time.Now().Add(patience); passing.served.Load() < before+connectors; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "who waited is not served")
	}
	passing.end(t)
}
