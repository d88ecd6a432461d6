package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// askSignals are those that ask for something other than the end.
var askSignals = []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE}

// A signal that asks for something ends nobody, whether there is something to do
// or not: while sessions are served as during the drain.
func TestSignalsThatEndNothing(t *testing.T) {
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "20m", "--close-timeout", "10m"))
	says := func(text string) {
		t.Helper()
		s.logs(t, func() bool { return strings.Contains(s.stderr.String(), text) })
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	says("there are none")
	s.goesOn(t)

	s.poll4(t) // does not fetch its close, so the drain continues
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	says("draining")
	for _, signal := range askSignals {
		require.NoError(t, s.cmd.Process.Signal(signal), signal)
	}
	says("no process has taken over")
	says("msg=figures")
	s.logs(t, func() bool { return strings.Count(s.stderr.String(), "there are none") == 2 })
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "still running")
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
	require.Regexp(t, `level=WARN msg="ended by a second signal" after=[0-9.]+m?s sessions=[12]\n`, s.stderr.String())
	require.NotContains(t, s.stderr.String(), "in time")
}

// The same before anybody is served: the start waits here for a certificate that
// comes through a pipe.
func TestSignalsWhileTheServerStarts(t *testing.T) {
	_, dir, args := certificate(t)
	certFile := args[1]
	text, err := os.ReadFile(certFile)
	require.NoError(t, err)
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	args[1] = pipe
	cmd := command(context.Background(), t, append(args, "--addr", "127.0.0.1:0", "--drain-timeout", "200ms")...)
	pidFile := filepath.Join(dir, "pid") // cmd.Process belongs to start
	cmd.Args = append([]string{"sh", "-c", `echo $$ > "$0"; exec "$@"`, pidFile}, cmd.Args...)
	cmd.Path = "/bin/sh"
	var log output
	cmd.Stderr = &log
	answered, over := make(chan error, 1), make(chan struct{})
	t.Cleanup(func() { // frees the writer of a server that has not read
		close(over)
		if reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = reader.Close()
		}
	})
	go func() {
		answered <- func() error {
			writer, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for a reader
			if err != nil {
				return err
			}
			defer writer.Close()
			select {
			case <-over:
				return context.Canceled
			default:
			}
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
			if err := os.Rename(certFile, pipe); err != nil { // for whoever reads it the next time
				return err
			}
			_, err = writer.Write(text)
			return err
		}()
	}()
	s := start(t, cmd)
	require.NoError(t, <-answered)
	s.logs(t, func() bool {
		return strings.Contains(log.String(), "TLS files read") && strings.Contains(log.String(), "msg=figures")
	})
}
