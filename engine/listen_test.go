package engine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenUnix(t *testing.T) {
	for _, c := range []struct {
		name string
		mode os.FileMode
		want os.FileMode
	}{
		{"for all", 0o666, 0o666}, // whatever the umask says
		{"for a group", 0o660, 0o660},
		{"for the owner", 0o600, 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "socket")
			l, err := ListenUnix(path, c.mode)
			require.NoError(t, err)
			info, err := os.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, c.want|os.ModeSocket, info.Mode())
			require.NoError(t, l.Close())
			require.NoFileExists(t, path)
		})
	}
}

// What is in the way is replaced only if nobody can miss it.
func TestListenUnixReplacesTheDeadOnly(t *testing.T) {
	stale := func(t *testing.T, path string) {
		t.Helper()
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		require.NoError(t, l.Close())
	}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    error
	}{
		{"nothing", func(*testing.T, string) {}, nil},
		{"a dead socket", stale, nil},
		{"a socket that lives", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			require.NoError(t, err)
			t.Cleanup(func() { _ = l.Close() })
		}, errSocketLives},
		{"a file", func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600)) }, errNoSocket},
		{"a directory", func(t *testing.T, path string) { require.NoError(t, os.Mkdir(path, 0o700)) }, errNoSocket},
		{"a link to a dead socket", func(t *testing.T, path string) {
			stale(t, path+".real")
			require.NoError(t, os.Symlink(path+".real", path))
		}, errNoSocket},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "socket")
			c.prepare(t, path)
			l, err := Listen("unix:" + path)
			if c.want != nil {
				var failed *net.OpError
				require.ErrorAs(t, err, &failed)
				require.ErrorIs(t, failed.Err, c.want)
				require.Contains(t, err.Error(), path)
				_, err := os.Lstat(path)
				require.NoError(t, err, "it stays")
				return
			}
			require.NoError(t, err)
			conn, err := net.Dial("unix", path)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			require.NoError(t, l.Close())
		})
	}
	_, err := Listen("unix:" + filepath.Join(t.TempDir(), "no directory", "socket"))
	require.ErrorAs(t, err, new(*net.OpError))
	for _, nameless := range []string{"unix:", "unix:@"} {
		_, err := Listen(nameless)
		require.ErrorIs(t, err, errNoPath)
	}
}

func TestListenUnixAbstract(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no abstract space")
	}
	name := fmt.Sprintf("@turbine-test-%d", os.Getpid())
	l, err := ListenUnix(name, 0o600)
	require.NoError(t, err)
	conn, err := net.Dial("unix", name)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	_, err = ListenUnix(name, 0)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, l.Close())
}

// A server on a Unix socket and on TCP at once serves both, and leaves no file.
func TestServeUnixSocket(t *testing.T) {
	var remote atomic.Value
	server, err := New(Options{Loops: 2, Middleware: []wrapper{func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { remote.Store(r.RemoteAddr); next.ServeHTTP(w, r) })
	}}}, Events{})
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "socket")
	onUnix, err := Listen("unix:" + path)
	require.NoError(t, err)
	onTCP, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 2)
	for _, l := range []net.Listener{onUnix, onTCP} {
		go func() { served <- server.Serve(l) }()
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	for range 4 {
		response, err := client.Get("http://server/engine.io/?EIO=4&transport=polling")
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		require.NoError(t, response.Body.Close())
		require.Equal(t, "@", remote.Load(), "as net/http says it")
	}
	w := dialWire(t, onTCP.Addr().String())
	require.NotEmpty(t, w.open())
	require.NoError(t, w.conn.Close())
	require.Equal(t, 5, server.Stats().Sessions)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.Canceled)
	for range 2 {
		require.ErrorIs(t, <-served, ErrServerClosed)
	}
	require.NoFileExists(t, path)
}
