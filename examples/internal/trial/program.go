package trial

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is how long a test waits for one thing: far more than a loaded
// machine needs, also to start a browser.
const Patience = 2 * time.Minute

// asProgram makes the test binary be the program.
const asProgram = "TURBINE_EXAMPLE"

// Main is TestMain for a program whose function main is given: the test binary
// is also the program, with the race detector and the tags of the test run.
func Main(m *testing.M, main func()) {
	if os.Getenv(asProgram) == "" {
		os.Exit(m.Run())
	}
	main()
}

// Self is the command that runs the program of the test's own package.
func Self(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(path, args...) // #nosec G204 -- the test binary itself
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// npm are the folders, below the repository, that Node finds packages in.
var npm = []string{"examples/migration/node/node_modules", "internal/e2e/browser/node_modules"}

// Node is the command that runs a script, whose path is relative to the folder
// of examples, with engine.io, engine.io-client and playwright-core at hand.
func Node(t testing.TB, script string, args ...string) *exec.Cmd {
	t.Helper()
	examples, err := filepath.Abs("..") // of the test's package
	require.NoError(t, err)
	paths := ""
	for _, folder := range npm {
		path := filepath.Join(filepath.Dir(examples), folder)
		require.DirExists(t, path, "what Node needs is not installed: run make setup")
		paths += path + string(filepath.ListSeparator)
	}
	cmd := exec.Command("node", append([]string{filepath.Join(examples, script)}, args...)...) // #nosec G204 -- scripts of the examples
	cmd.Env = append(os.Environ(), "NODE_PATH="+paths)
	return cmd
}

// A Program is a running process.
type Program struct {
	cmd    *exec.Cmd
	output output
	exited chan struct{} // closed when the process has ended
}

// Run starts the command. When the test ends the process is told to end by
// SIGTERM, and must then do so by itself and with code 0.
func Run(t testing.TB, cmd *exec.Cmd) *Program {
	t.Helper()
	p := &Program{cmd: cmd, exited: make(chan struct{})}
	p.output.changed = make(chan struct{})
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Start())
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is in ProcessState
	}()
	t.Cleanup(func() { p.Stop(t) })
	return p
}

// Wait waits until the program has printed a line that the pattern matches, and
// returns its first group, or all of the match where it has none.
func (p *Program) Wait(t testing.TB, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		text, changed := p.output.read()
		if m := re.FindStringSubmatch(text); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-changed:
		case <-p.exited:
			// What it printed last may have come since.
			if text, _ := p.output.read(); re.MatchString(text) {
				continue
			}
			require.FailNow(t, "the program has ended", "%v, without %q:\n%s", p.cmd.ProcessState, pattern, p.Output())
		case <-late.C:
			require.FailNow(t, "the program did not print in time", "%q:\n%s", pattern, p.Output())
		}
	}
}

// Output is all that the program has printed.
func (p *Program) Output() string {
	text, _ := p.output.read()
	return text
}

// Terminate sends SIGTERM and returns at once.
func (p *Program) Terminate() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error says that it has ended; the code tells how
}

// Stop ends the program and checks how it went. It may be called twice.
func (p *Program) Stop(t testing.TB) {
	t.Helper()
	p.Terminate()
	if code := p.End(t); code != 0 {
		t.Errorf("%s ended with %v:\n%s", p.cmd.Args[0], p.cmd.ProcessState, p.Output())
	} else if t.Failed() {
		t.Logf("%s printed:\n%s", p.cmd.Args[0], p.Output())
	}
}

// End waits until the program has ended, and returns its exit code.
func (p *Program) End(t testing.TB) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		<-p.exited
		t.Errorf("%s did not end in time:\n%s", p.cmd.Args[0], p.Output())
	}
	return p.cmd.ProcessState.ExitCode()
}

// output collects what a process prints. Safe from any goroutine.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer  // guarded by mu
	changed chan struct{} // guarded by mu; closed, and made anew, when text grows
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) read() (text string, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String(), o.changed
}
