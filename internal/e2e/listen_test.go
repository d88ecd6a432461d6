package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// places are all addresses of the line that says that the server is ready.
func (s *server) places() []string {
	_, rest, _ := strings.Cut(s.stdout.String(), "listening on ")
	list, _, _ := strings.Cut(rest, " with ")
	places := strings.Split(list, ", ")
	for i, p := range places {
		places[i], _, _ = strings.Cut(p, " (") // what is spoken there
	}
	return places
}

// getFrom opens a session over an address as the server calls it.
func getFrom(t *testing.T, place string) (status int) {
	t.Helper()
	network, address := "tcp", place
	if path, ok := strings.CutPrefix(place, "unix:"); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	client := http.Client{Transport: transport, Timeout: patience}
	r, err := client.Get("http://turbine/engine.io/?EIO=4&transport=polling")
	require.NoError(t, err, place)
	require.NoError(t, r.Body.Close())
	return r.StatusCode
}

// One server on several addresses of all kinds: a session that began on one goes
// on over another, and all end together.
func TestSeveralAddresses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0,unix:"+path, "--addr", "127.0.0.2:0", "--drain-timeout", "200ms", "--socket-mode", "600"))
	places := s.places()
	require.Len(t, places, 3)
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, places[0])
	require.Equal(t, "unix:"+path, places[1])
	require.Regexp(t, `^127\.0\.0\.2:\d+$`, places[2])
	for _, place := range places {
		require.Equal(t, 200, getFrom(t, place))
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o600, info.Mode())

	session := s.poll4(t)
	other := (&server{addr: places[2], path: s.path}).dial(t)
	session.peer = other
	session.echoes()

	s.stop(t)
	require.NoFileExists(t, path)
	for _, place := range []string{places[0], places[2]} {
		_, err := net.DialTimeout("tcp", place, patience)
		require.Error(t, err)
	}
}

// What is in the way of a Unix socket is replaced if it is a dead socket, and
// told otherwise.
func TestUnixSocketInTheWay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "socket")
	s := start(t, command(context.Background(), t, "--addr", "unix:"+path, "--drain-timeout", "200ms"))
	out, err := command(context.Background(), t, "--addr", "unix:"+path).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "cannot listen on unix:"+path+": another process listens there")
	require.Equal(t, 200, getFrom(t, "unix:"+path), "it goes on")

	require.NoError(t, s.cmd.Process.Kill())
	<-s.exited
	s.cmd = nil // it could not end well
	require.FileExists(t, path)
	again := start(t, command(context.Background(), t, "--addr", "unix:"+path, "--drain-timeout", "200ms"))
	require.Equal(t, 200, getFrom(t, "unix:"+path))
	again.stop(t)
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	out, err = command(context.Background(), t, "--addr", "unix:"+path).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "there is a file that is no socket")
	require.FileExists(t, path)
}

// If one address cannot be had, nothing is left of the others.
func TestAddressesAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	path := filepath.Join(t.TempDir(), "socket")
	cmd := command(context.Background(), t, "--addr", "unix:"+path, "--addr", taken.Addr().String())
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Contains(t, string(out), "cannot listen on "+taken.Addr().String())
	require.NoFileExists(t, path)
}

// A process takes over all addresses, the Unix socket's file among them, which
// goes with the last one. Nobody is refused.
func TestTakeoverOfAddresses(t *testing.T) {
	supervisor := newSystemd(t)
	path := filepath.Join(t.TempDir(), "socket")
	cmd := command(context.Background(), t, "--addr", "127.0.0.1:0,unix:"+path, "--drain-timeout", "2s", "--drain-period", "100ms")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+supervisor.path)
	s := start(t, cmd)
	pid := supervisor.ready(patience)
	require.Equal(t, cmd.Process.Pid, pid)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	places := s.places()
	require.Len(t, places, 2)

	passing := newPassersby(places[0])
	stop, calls := make(chan struct{}), make(chan error, 1)
	go func() { calls <- callUnix(path, stop) }()
	for range 2 {
		next := 0
		for end := time.Now().Add(2 * patience); next == 0; {
			require.True(t, time.Now().Before(end), "nobody takes over\n%s", s.stderr.String())
			require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
			next = supervisor.ready(time.Second)
		}
		require.NotEqual(t, pid, next)
		pid = next
		require.FileExists(t, path)
		for _, place := range places {
			require.Equal(t, 200, getFrom(t, place))
		}
	}
	passing.end(t)
	close(stop)
	require.NoError(t, <-calls)
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", supervisor.hears(patience))
	require.True(t, s.ends(stopPatience), "a process still runs")
	require.NoFileExists(t, path)
}

// callUnix connects without pause, and says hello each time.
func callUnix(path string, stop <-chan struct{}) error {
	for range maxTries {
		select {
		case <-stop:
			return nil
		case <-time.After(time.Millisecond):
		}
		conn, err := net.DialTimeout("unix", path, patience)
		if err != nil {
			return err
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Write([]byte("GET /engine.io/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
		if err == nil {
			_, err = conn.Read(make([]byte, 12))
		}
		_ = conn.Close()
		if err != nil {
			return fmt.Errorf("over the Unix socket: %w", err)
		}
	}
	return nil
}

// systemd may give any number of sockets, of TCP and Unix sockets, and they
// are handed over. Their files are systemd's.
func TestSocketActivationOfSeveral(t *testing.T) {
	supervisor := newSystemd(t)
	path := filepath.Join(t.TempDir(), "socket")
	onTCP, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer onTCP.Close()
	onUnix, err := net.Listen("unix", path)
	require.NoError(t, err)
	defer onUnix.Close()
	cmd := activated(t, onTCP, "--drain-timeout", "200ms", "--proxy-protocol", "unix:"+path, "--trusted-proxy", "unix")
	file, err := onUnix.(*net.UnixListener).File()
	require.NoError(t, err)
	defer file.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	cmd.Env = append(cmd.Env, "LISTEN_FDS=2", "NOTIFY_SOCKET="+supervisor.path)
	s := start(t, cmd)
	pid := supervisor.ready(patience)
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	require.Equal(t, []string{onTCP.Addr().String(), "unix:" + path}, s.places())
	require.Contains(t, s.stdout.String(), "listening on "+onTCP.Addr().String()+", unix:"+path+" (PROXY protocol) with ")

	check := func() {
		t.Helper()
		require.Equal(t, 200, getFrom(t, s.addr))
		conn, err := net.DialTimeout("unix", path, patience)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = conn.Write([]byte(proxyHeader2("198.51.100.7", 4711) + s.getRequest("EIO=4&transport=polling")))
		require.NoError(t, err)
		answer := make([]byte, 12)
		_, err = conn.Read(answer)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 200", string(answer))
	}
	check()
	require.NoError(t, syscall.Kill(pid, syscall.SIGUSR2))
	next := supervisor.ready(patience)
	require.NotContains(t, []int{0, pid}, next)
	pid = next
	check()
	require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "a process still runs")
	require.FileExists(t, path)
}

// proxyHeader2 is a PROXY header of version 2 for a client of IPv4.
func proxyHeader2(client string, port uint16) string {
	h := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	h = append(h, net.ParseIP(client).To4()...)
	h = append(h, 203, 0, 113, 1)
	h = binary.BigEndian.AppendUint16(h, port)
	return string(binary.BigEndian.AppendUint16(h, 443))
}

// What makes no sense is told before anything is opened, or closed again.
func TestListenFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--proxy-protocol", "all"}, 2, "--proxy-protocol: without --trusted-proxy nobody could connect"},
		{[]string{"--client-header", "Forwarded"}, 2, "--client-header: without --trusted-proxy nobody is believed"},
		{[]string{"--trusted-proxy", "10.0.0.0/8", "--client-header", "Via"}, 2, "client-header"},
		{[]string{"--trusted-proxy", "nginx"}, 2, `--trusted-proxy: "nginx" is no network`},
		{[]string{"--trusted-proxy", "10.0.0.0/8", "--proxy-protocol", ":1"}, 1, "the server does not listen on :1"},
		{[]string{"--socket-mode", "999"}, 2, "--socket-mode"},
		{[]string{"--socket-mode", "rw"}, 2, "--socket-mode"},
		{[]string{"--addr", "nowhere"}, 2, "is no address"},
		{[]string{"--addr", "no.such.host.invalid:1"}, 1, "cannot listen on no.such.host.invalid:1"},
	} {
		args := c.args
		if args[0] != "--addr" {
			args = append([]string{"--addr", "127.0.0.1:0"}, args...)
		}
		cmd := command(context.Background(), t, args...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%q", args)
		require.Equal(t, c.code, cmd.ProcessState.ExitCode(), "%q: %s", args, out)
		require.Contains(t, string(out), c.want, "%q", args)
	}
}
