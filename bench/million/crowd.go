package million

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"turbine/bench/peer"
	"turbine/bench/report"
	"turbine/bench/usage"
)

// crowd is the processes of a run.
type crowd struct {
	options Options
	servers []*peer.Process
	clients []*client
	rssHeld int64
}

// client is a client process. It ends when its standard input does.
type client struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	status chan Status // what it prints; closed at its end
}

// Close asks it to end, and kills it when it does not.
func (c *client) Close() error {
	_ = c.input.Close()
	timer := time.AfterFunc(20*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	return c.cmd.Wait()
}

func (c *crowd) serve(ctx context.Context, processes int) error {
	for i := range processes {
		s, err := c.options.Server(ctx)
		if err != nil {
			return fmt.Errorf("server %d: %w", i, err)
		}
		c.servers = append(c.servers, s)
	}
	return nil
}

func (c *crowd) start(i int) error {
	sessions := min(c.options.PerProcess, c.options.Sessions-i*c.options.PerProcess)
	argv := c.options.Client(i, c.servers[i].Addr, sessions)
	k := &client{cmd: exec.Command(argv[0], argv[1:]...), status: make(chan Status, 2)}
	k.cmd.Env = append(os.Environ(), "GOMAXPROCS=1") // half a hundred of them share the machine
	k.cmd.Stderr = os.Stderr
	k.cmd.SysProcAttr = attributes()
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if k.input, err = k.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := k.cmd.Start(); err != nil {
		return err
	}
	c.clients = append(c.clients, k)
	go func() {
		defer close(k.status)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var s Status
			if json.Unmarshal(lines.Bytes(), &s) == nil {
				k.status <- s
			}
		}
	}()
	return nil
}

// openPatience bounds how long a client may take to open its sessions.
const openPatience = 3 * time.Minute

// ErrClient is returned when a client process ends or does not open its sessions.
var ErrClient = errors.New("million: a client did not open its sessions")

// open starts the clients, some at a time.
func (c *crowd) open(ctx context.Context) error {
	began, ready := time.Now(), 0
	for ready < len(c.servers) {
		for len(c.clients) < len(c.servers) && len(c.clients)-ready < c.options.Opening {
			if err := c.start(len(c.clients)); err != nil {
				return err
			}
		}
		select {
		case s, ok := <-c.clients[ready].status:
			if !ok || !s.Ready {
				return fmt.Errorf("%w: %v", ErrClient, s.Faults)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(openPatience):
			return ErrClient
		}
		ready++
		c.options.Progress(fmt.Sprintf("%d of %d clients have opened their sessions, %s", ready, len(c.servers), time.Since(began).Round(time.Second)))
	}
	return nil
}

// hold lets time pass.
func (c *crowd) hold(ctx context.Context, result *report.Million) error {
	servers, clients, began := c.serverUsage(), c.clientUsage(), time.Now()
	for end := began.Add(c.options.Hold); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(10*time.Second, time.Until(end))):
			c.options.Progress(fmt.Sprintf("held for %s of %s", time.Since(began).Round(time.Second), c.options.Hold))
		}
	}
	result.Held = time.Since(began)
	held := c.serverUsage()
	c.rssHeld = held.RSS
	result.ServerCPU = (held.CPU - servers.CPU).Seconds() / result.Held.Seconds()
	result.ClientCPU = (c.clientUsage().CPU - clients.CPU).Seconds() / result.Held.Seconds()
	return nil
}

// conclude asks the clients what became of their sessions.
func (c *crowd) conclude(result *report.Million) {
	for _, k := range c.clients {
		_ = k.input.Close()
	}
	for i, k := range c.clients {
		sessions := min(c.options.PerProcess, c.options.Sessions-i*c.options.PerProcess)
		select {
		case s, ok := <-k.status:
			if !ok {
				result.Lost += sessions
				continue
			}
			result.Sessions += s.Opened
			result.Lost += s.Lost + sessions - s.Opened
			result.Heartbeats += s.Heartbeats
		case <-time.After(openPatience):
			result.Lost += sessions
		}
	}
}

func (c *crowd) serverUsage() usage.Usage {
	var pids []int
	for _, s := range c.servers {
		pids = append(pids, s.PID)
	}
	return sum(pids)
}

func (c *crowd) clientUsage() usage.Usage {
	var pids []int
	for _, k := range c.clients {
		pids = append(pids, k.cmd.Process.Pid)
	}
	return sum(pids)
}

// stop ends all processes.
func (c *crowd) stop() {
	for _, k := range c.clients {
		_ = k.input.Close()
	}
	for _, k := range c.clients {
		_ = k.Close()
	}
	for _, s := range c.servers {
		_ = s.Stop()
	}
}
