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

// The link between the server's namespace and that of the clients which
// vanish. RFC 2544 sets 198.18.0.0/15 aside for tests; here it exists within the
// two namespaces only.
const (
	nearLink, nearAddress = "chaos0", "198.18.0.1"
	farLink, farAddress   = "chaos1", "198.18.0.2"
)

// self is this program, run again.
func self(ctx context.Context, args ...string) *exec.Cmd {
	return process(ctx, executable(), args...)
}

// modestly is self, but leaves the CPU to others: what is measured is the
// server, not who is quicker at using up the machine.
func modestly(ctx context.Context, args ...string) *exec.Cmd {
	return process(ctx, "nice", append([]string{"-n", "10", executable()}, args...)...)
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
func join(pid int) error {
	var err error
	for range 50 { // the kernel takes its time to take an old link away
		err = ip("link", "add", nearLink, "type", "veth", "peer", "name", farLink, "netns", strconv.Itoa(pid))
		if err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	if err := ip("addr", "add", nearAddress+"/30", "dev", nearLink); err != nil {
		return err
	}
	return ip("link", "set", nearLink, "up")
}

// joined does the far side's part.
func joined() error {
	if err := ip("addr", "add", farAddress+"/30", "dev", farLink); err != nil {
		return err
	}
	return ip("link", "set", farLink, "up")
}
