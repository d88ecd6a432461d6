//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"turbine/bench/usage"

	"github.com/prometheus/procfs"
)

// flags of the server: short timeouts, so that a phase need not take minutes,
// and small queues. docs/chaos.md shows them.
var flags = []string{
	"--ping-interval", "8s", "--ping-timeout", "4s", "--upgrade-timeout", "3s",
	"--header-timeout", "10s", "--body-timeout", "6s", "--idle-timeout", "5s", "--close-timeout", "5s",
	"--slow-callback=-1s", // the clients measure delays
	"--max-queue", "131072", "--queue-budget", "67108864",
	"--exempt", "127.0.0.0/8,198.18.0.0/15", // all strangers here come from two machines
}

// programs are the binaries of servers.
type programs struct {
	Binary string `required:""` // the program
	Busy   string `required:""` // internal/busy
}

// build compiles them in the module of the server.
func (p programs) build(ctx context.Context) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "turbine").Output()
	if err != nil {
		return fmt.Errorf("run it inside the module turbine/bench: %w", err)
	}
	for binary, name := range map[string]string{p.Binary: "turbine", p.Busy: "turbine/internal/busy"} {
		out, err := exec.CommandContext(ctx, "go", "build", "-C", strings.TrimSpace(string(root)), "-o", binary, name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
}

// of is the server of a phase, with its flags. Where one is given again, the last
// counts.
func (p programs) of(w phase) (binary string, args []string) {
	if w.busy {
		return p.Busy, append([]string{"--exempt", "127.0.0.0/8"}, w.flags...)
	}
	return p.Binary, overriding(flags, w.flags)
}

// overriding are flags, each with its value or none, of which the later take the
// place of earlier ones.
func overriding(flags, later []string) []string {
	all := slices.Clone(flags)
	for _, flag := range later {
		if at := slices.Index(all, flag); at >= 0 && strings.HasPrefix(flag, "--") {
			all = slices.Delete(all, at, at+2)
		}
	}
	return append(all, later...)
}

// server is the process under attack.
type server struct {
	binary string
	args   []string
	cmd    *exec.Cmd
	addr   string // on loopback
	port   string
	told   chan figures
	exited chan struct{}

	asking sync.Mutex // one asks for figures at a time

	mu         sync.Mutex
	complaints []string // lines of its log that report trouble
}

// figures are what the server holds.
type figures struct {
	sessions, conns int
	queued, heap    int64 // bytes
	closed          map[string]int64
	rss             int64 // bytes
	descriptors     int
}

var listening = regexp.MustCompile(`listening on (\S+) `)

func (s *server) is(binary string, args []string) bool {
	return s.binary == binary && slices.Equal(s.args, args)
}

// start starts the binary with flags. host is the address that it listens on.
func start(binary, host string, flags []string) (*server, error) {
	s := &server{binary: binary, args: flags, told: make(chan figures, 1), exited: make(chan struct{})}
	args := ordinary(binary, append([]string{"--addr", net.JoinHostPort(host, "0")}, flags...)...)
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	var readers sync.WaitGroup
	readers.Go(func() {
		defer close(ready)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m[1]
			}
		}
	})
	readers.Go(func() { s.listen(stderr) })
	go func() {
		readers.Wait()
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	select {
	case addr := <-ready:
		if _, s.port, err = net.SplitHostPort(addr); err == nil {
			s.addr = net.JoinHostPort("127.0.0.1", s.port)
			return s, nil
		}
	case <-time.After(patience):
	}
	s.stop()
	return nil, fmt.Errorf("the server did not start: %v", s.trouble())
}

// listen reads the server's log.
func (s *server) listen(log io.Reader) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		line := lines.Text()
		if strings.Contains(line, "msg=figures") {
			if f, err := parseFigures(line); err == nil {
				s.told <- f
				continue
			}
		}
		if !strings.Contains(line, "level=INFO") && !strings.Contains(line, `msg="limits were met"`) {
			s.mu.Lock()
			if len(s.complaints) < 20 {
				s.complaints = append(s.complaints, line)
			}
			s.mu.Unlock()
		}
	}
}

// trouble returns what the server has complained of since the last call.
func (s *server) trouble() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.complaints
	s.complaints = nil
	return lines
}

// parseFigures reads a record of figures.
func parseFigures(line string) (figures, error) {
	f := figures{closed: map[string]int64{}}
	numbers := map[string]int64{}
	for _, field := range strings.Fields(line) {
		key, value, _ := strings.Cut(field, "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			continue // time, level, message
		}
		if reason, ok := strings.CutPrefix(key, "closed."); ok {
			f.closed[strings.ReplaceAll(reason, "_", " ")] = n
		}
		numbers[key] = n
	}
	for _, key := range []string{"sessions", "conns", "queued", "heap"} {
		if _, ok := numbers[key]; !ok {
			return f, fmt.Errorf("no %s in %q", key, line)
		}
	}
	f.sessions, f.conns = int(numbers["sessions"]), int(numbers["conns"])
	f.queued, f.heap = numbers["queued"], numbers["heap"]
	if len(f.closed) == 0 {
		return f, fmt.Errorf("no reasons in %q", line)
	}
	return f, nil
}

var errGone = errors.New("the server has ended")

// figures asks the server, which collects its garbage when nobody is connected.
func (s *server) figures() (figures, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return figures{}, errGone
	}
	select {
	case f := <-s.told:
		u, err := s.usage()
		if err != nil {
			return f, err
		}
		p, err := procfs.NewProc(s.cmd.Process.Pid)
		if err != nil {
			return f, err
		}
		f.rss = u.RSS
		f.descriptors, err = p.FileDescriptorsLen()
		return f, err
	case <-s.exited:
		return figures{}, errGone
	case <-time.After(patience):
		return figures{}, errors.New("the server does not answer a signal")
	}
}

func (s *server) usage() (usage.Usage, error) { return usage.Of(s.cmd.Process.Pid) }

// resetPeak makes peak begin anew (proc(5), clear_refs).
func (s *server) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0)
}

// peak is the most resident memory since, in bytes.
func (s *server) peak() (int64, error) {
	p, err := procfs.NewProc(s.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	status, err := p.NewStatus()
	return int64(status.VmHWM), err
}

// stop ends the server, in good order if it can.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// since is how many sessions have ended for each reason from an earlier look on.
func (f figures) since(before figures) map[string]int64 {
	d := maps.Clone(f.closed)
	for reason, n := range before.closed {
		d[reason] -= n
	}
	maps.DeleteFunc(d, func(_ string, n int64) bool { return n == 0 })
	return d
}
