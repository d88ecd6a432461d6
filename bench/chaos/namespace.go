//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A link is between the server's namespace and that of clients which vanish.
// RFC 2544 sets 198.18.0.0/15 aside for tests; here it exists within these
// namespaces only. Each link has another number, since the kernel takes its time
// to take one away.
type link int

func (l link) near() string        { return fmt.Sprintf("near%d", l) }
func (l link) far() string         { return fmt.Sprintf("far%d", l) }
func (l link) nearAddress() string { return fmt.Sprintf("198.18.%d.1", l) }
func (l link) farAddress() string  { return fmt.Sprintf("198.18.%d.2", l) }

// preferred is this program, run again before all others on this machine: with it the
// well-behaved sessions, which are to be measured and not kept waiting, as if they
// had a machine of their own. It is a session of the system's, for which prefer can
// speak.
func preferred(ctx context.Context, args ...string) *exec.Cmd {
	cmd := process(ctx, "chrt", append([]string{"--rr", "1", executable()}, args...)...)
	cmd.SysProcAttr.Setsid = true
	return cmd
}

// prefer does so for the processes without real-time priority, where the kernel
// weighs sessions, not processes, against each other (sched(7), autogroup).
func prefer() { _ = os.WriteFile("/proc/self/autogroup", []byte("-10"), 0) }

// ordinary is the command line of a program without real-time priority.
func ordinary(name string, args ...string) []string {
	return append([]string{"chrt", "--other", "0", name}, args...)
}

// modestly is this program, run again with what nobody else wants of the CPU, because
// the program does not measure which side is quicker at using up the machine.
func modestly(ctx context.Context, args ...string) *exec.Cmd {
	return process(ctx, "chrt", append([]string{"--idle", "0", executable()}, args...)...)
}

// process ends when ctx or this program does.
func process(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	return cmd
}

func executable() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return os.Args[0]
}

// limitSendBuffers bounds what the kernel keeps for a connection, in this
// namespace, as docs/tuning.md advises: the rest is what the server's own limits
// are for.
func limitSendBuffers() error {
	return os.WriteFile("/proc/sys/net/ipv4/tcp_wmem", []byte("4096 16384 262144"), 0)
}

// canSeparate reports why no network namespaces can be made here, nil if they
// can.
func canSeparate() error {
	if os.Getuid() != 0 {
		return errors.New("it takes root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("it takes ip, of iproute2")
	}
	cmd := exec.Command("ip", "link", "set", "lo", "up")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// separately makes the process run in a network namespace of its own, which
// ends with it.
func separately(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	return cmd
}

// ip runs one command of iproute2 in this process's namespace.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// join links this namespace with that of the process.
func (l link) join(pid int) error {
	err := ip("link", "add", l.near(), "type", "veth", "peer", "name", l.far(), "netns", strconv.Itoa(pid))
	if err != nil {
		return err
	}
	if err := ip("addr", "add", l.nearAddress()+"/30", "dev", l.near()); err != nil {
		return err
	}
	return ip("link", "set", l.near(), "up")
}

// joined does the far side's part.
func (l link) joined() error {
	if err := ip("addr", "add", l.farAddress()+"/30", "dev", l.far()); err != nil {
		return err
	}
	return ip("link", "set", l.far(), "up")
}
