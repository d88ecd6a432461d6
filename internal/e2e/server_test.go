package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	patience     = 30 * time.Second // for one answer; far more than a loaded machine needs
	stopPatience = 40 * time.Second // for the end of the process after SIGTERM; less than the minute that some tests let it take
)

var (
	tempDir string // holds the binary
	ready   = regexp.MustCompile(`listening on ([^\s,]+)`)
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "turbine-e2e-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		tempDir = dir
		return m.Run()
	}())
}

// external returns TURBINE_E2E_URL. It asks for it during a test: the go command
// notes which variables and files a test looked at, and takes a cached result
// only when they are the same.
func external() string { return os.Getenv("TURBINE_E2E_URL") }

// inputs looks at all that the binary is built from and the clients run. This
// package does not import it, so a cached result would hide that it has changed.
func inputs() error {
	return filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case slices.Contains([]string{".go", ".mod", ".sum", ".js", ".json", ".py", ".html", ".css", ".svg"}, filepath.Ext(path)):
			_, err = os.Stat(path)
		}
		return err
	})
}

// executable builds turbine once and returns its path.
var executable = sync.OnceValues(func() (string, error) { return buildProgram("turbine", "turbine") })

// buildProgram builds a program of ours with the tags and the race detector of
// the test run, and returns its path.
func buildProgram(name, importPath string) (string, error) {
	if err := inputs(); err != nil {
		return "", err
	}
	path := filepath.Join(tempDir, name)
	args := []string{"build", "-o", path}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-tags" || s.Key == "-race" {
				args = append(args, s.Key+"="+s.Value)
			}
		}
	}
	out, err := exec.Command("go", append(args, importPath)...).CombinedOutput()
	if err != nil {
		return "", errors.New("go build: " + err.Error() + "\n" + string(out))
	}
	return path, nil
}

// noOperations switches the listener for operations off.
const noOperations = "TURBINE_OPS_ADDR="

// command returns the binary with arguments, without the TURBINE_ variables of our own
// environment, and without a listener for operations unless the arguments say so.
func command(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the binary")
	}
	if external() != "" {
		t.Skip("needs a binary of its own, TURBINE_E2E_URL is set")
	}
	path, err := executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TURBINE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, noOperations) // its default address is for one process alone
	return cmd
}

// A server is a running turbine, or the one of TURBINE_E2E_URL.
type server struct {
	addr string
	path string // where sessions are served

	scheme    string // "" means http
	authority string // a file with the certificate that clients trust; "" without TLS

	cmd    *exec.Cmd // nil when external
	stdout output
	stderr output
	exited chan struct{} // closed when the process has ended
	said   chan string   // the address, once the process has said that it listens
}

// serve starts a server on a free port and stops it when the test ends. The
// server must then end by itself and with code 0, whatever the test did to it.
// It does not wait long for the sessions that tests leave without a poll.
func serve(t *testing.T, args ...string) *server {
	t.Helper()
	if external() != "" && len(args) == 0 && !testing.Short() {
		u, err := url.Parse(external())
		require.NoError(t, err)
		return &server{addr: u.Host, path: "/engine.io/"}
	}
	return start(t, command(context.Background(), t, append([]string{"--addr", "127.0.0.1:0", "--drain-timeout", "200ms"}, args...)...))
}

// serveOneLoop is serve for tests that need an order between connections: one
// loop has handled what was written to a connection it knows when it answers
// something written later to another.
func serveOneLoop(t *testing.T) *server {
	t.Helper()
	if external() != "" {
		return serve(t) // the reference server has one thread
	}
	return serve(t, "--loops", "1")
}

// start is serve for a command that is already made.
func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := launch(t, cmd)
	s.awaitReady(t)
	return s
}

// launch is start for a process that may take long until it listens.
func launch(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{path: "/engine.io/", cmd: cmd, exited: make(chan struct{}), said: make(chan string, 1)}
	if cmd.Stderr == nil {
		cmd.Stderr = &s.stderr
	}
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	go func() {
		defer close(s.exited)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			_, _ = s.stdout.Write(append(lines.Bytes(), '\n'))
			if m := ready.FindStringSubmatch(lines.Text()); m != nil {
				select {
				case s.said <- m[1]:
				default:
				}
			}
		}
		_, _ = io.Copy(io.Discard, stdout) // a line too long for the scanner must not block the server
		_ = cmd.Wait()
	}()
	t.Cleanup(func() { s.stop(t) })
	return s
}

// awaitReady waits until the process says that it listens. It is called once.
func (s *server) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case s.addr = <-s.said:
	case <-s.exited:
		require.FailNow(t, "turbine ended before it listened", "%v\n%s", s.cmd.ProcessState, s.stderr.String())
	case <-time.After(patience):
		require.FailNow(t, "turbine did not say that it is listening", s.stderr.String())
	}
}

// stop ends the process with SIGTERM and checks how it went. It may be called twice.
func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if t.Failed() {
		defer func() { t.Logf("stderr of turbine:\n%s", s.stderr.String()) }()
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended; the code tells how
	if !s.ends(stopPatience) {
		_ = s.cmd.Process.Kill()
		<-s.exited
		t.Errorf("turbine was still running %v after SIGTERM", stopPatience)
		return
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("turbine ended with %v\n%s", s.cmd.ProcessState, s.stderr.String())
	}
}

// ends reports whether the process ends within d.
func (s *server) ends(d time.Duration) bool {
	select {
	case <-s.exited:
		return true
	case <-time.After(d):
		return false
	}
}

// logs waits until the log is as done says: it is written on a goroutine of its
// own.
func (s *server) logs(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(end), "the log does not say so: %s", s.stderr.String())
	}
}

// output collects what a process prints. Safe from any goroutine.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// stricter skips where turbine is deliberately stricter than the reference server.
func stricter(t *testing.T) {
	t.Helper()
	if external() != "" {
		t.Skip("turbine is stricter than the reference here, TURBINE_E2E_URL is set")
	}
}
