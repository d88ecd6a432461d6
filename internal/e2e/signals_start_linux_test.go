package e2e

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A signal that asks for something ends nobody before anybody is served: the start waits here for a certificate that
// somebody else holds.
func TestSignalsWhileTheServerStarts(t *testing.T) {
	_, dir, args := certificate(t)
	asked, release := lease(t, args[1])
	cmd := command(context.Background(), t, append(args, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms")...)
	pidFile := filepath.Join(dir, "pid") // cmd.Process belongs to start
	cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0"; exec "$@"`, pidFile}, cmd.Args...)
	cmd.Path = "/bin/sh"
	var log output
	cmd.Stderr = &log
	over, answered := make(chan struct{}), make(chan error, 1)
	t.Cleanup(func() { close(over) })
	go func() {
		select {
		case <-asked:
		case <-over:
			answered <- context.Canceled
			return
		}
		answered <- signalAll(pidFile)
		release()
	}()
	s := start(t, cmd)
	require.NoError(t, <-answered)
	s.logs(t, func() bool {
		return strings.Contains(log.String(), "TLS files read") && strings.Contains(log.String(), "msg=figures")
	})
}

// signalAll sends all askSignals to the process whose number the file has.
func signalAll(pidFile string) error {
	number, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(number)))
	if err != nil {
		return err
	}
	for _, signal := range askSignals {
		if err := syscall.Kill(pid, signal); err != nil {
			return err
		}
	}
	return nil
}

// lease keeps another process that opens the file waiting in open(2) until release is
// called, or for the kernel's 45 seconds. asked tells that one waits. A pipe would do the
// same, but the program takes regular files only.
func lease(t *testing.T, path string) (asked <-chan os.Signal, release func()) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	waits := make(chan os.Signal, 1)
	signal.Notify(waits, syscall.SIGIO)
	_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	require.NoError(t, err)
	var once sync.Once
	release = func() {
		once.Do(func() {
			_, _ = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
			signal.Stop(waits)
			_ = file.Close()
		})
	}
	t.Cleanup(release)
	return waits, release
}
