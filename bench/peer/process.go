package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"turbine/bench/usage"
)

const (
	startPatience = 15 * time.Second // until a server answers
	stopPatience  = time.Second      // until it is killed: nobody needs its farewells
)

// server is the part of a Process that is not public.
type server struct {
	cmd    *exec.Cmd
	errors *tail
	exited chan struct{} // closed when the process has ended
}

// tail keeps the end of what a server complained about.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLines(string(t.text))
}

func (p *Peer) start(ctx context.Context, s Settings) (*Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	argv, env := p.command(port, s)
	if s.TLS {
		env = append(env, "TLS_CERT="+p.workshop.file("cert.pem"), "TLS_KEY="+p.workshop.file("key.pem"))
	}
	if n := s.workers(); n > 0 {
		pin, err := exec.LookPath("taskset")
		if err != nil {
			return nil, fmt.Errorf("a server is pinned to a core by taskset, of util-linux: %w", err)
		}
		argv = append([]string{pin, "-c", fmt.Sprintf("%d-%d", s.Core, s.Core+n-1)}, argv...)
	}
	process := &Process{Addr: "127.0.0.1:" + strconv.Itoa(port), server: server{errors: &tail{}, exited: make(chan struct{})}}
	process.cmd = exec.Command(argv[0], argv[1:]...)
	process.cmd.Env = append(os.Environ(), env...)
	process.cmd.Stderr = process.errors
	process.cmd.SysProcAttr = attributes()
	if err := process.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	process.PID = process.cmd.Process.Pid
	go func() {
		_ = process.cmd.Wait()
		close(process.exited)
	}()
	if err := process.await(ctx, s.TLS); err != nil {
		_ = process.Stop()
		return nil, fmt.Errorf("%s: %w: %s", p.Name, err, process.errors)
	}
	return process, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Errors of Start.
var (
	ErrExited = errors.New("the server ended while it started")
	ErrSilent = errors.New("the server does not answer")
)

// await returns when the server answers. A connection that is accepted is not enough: the
// kernel accepts it while the server still starts, and what the start takes and gives back
// would be counted as its sessions'.
func (p *Process) await(ctx context.Context, secure bool) error {
	for end := time.Now().Add(startPatience); time.Now().Before(end); {
		if p.answers(secure) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.exited:
			return ErrExited
		case <-time.After(20 * time.Millisecond):
		}
	}
	return ErrSilent
}

// answers reports whether a request gets an answer, whichever. Some servers end the
// connection instead, after they have read the request. It asks for an unknown transport
// and opens no session; Node's server never answers a path outside of its own.
func (p *Process) answers(secure bool) bool {
	conn, err := net.DialTimeout("tcp", p.Addr, time.Second)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // #nosec G402 -- the certificate is this run's own
	}
	if _, err := io.WriteString(conn, "GET /engine.io/?EIO=4&transport=none HTTP/1.1\r\nHost: "+p.Addr+"\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	n, err := conn.Read(make([]byte, 1))
	return n == 1 || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

func (p *Process) usage() (usage.Usage, error) { return usage.OfGroup(p.PID) }

func (p *Process) stop() error {
	end(p.cmd.Process, false)
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopPatience):
	}
	end(p.cmd.Process, true)
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopPatience):
		return fmt.Errorf("process %d does not end", p.PID)
	}
}
