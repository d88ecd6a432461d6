package engine

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// unixPrefix is what the address of a Unix socket begins with.
const unixPrefix = "unix:"

// Listen listens on the address, for Server.Serve. The address is "host:port" for
// TCP, or "unix:/path/of/socket", see ListenUnix. TCP is without Multipath TCP, which
// net.Listen asks for and which makes each connection more expensive. An error is a
// *net.OpError. Safe from any goroutine.
func Listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return ListenUnix(path, 0)
	}
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", address)
}

// ListenUnix listens on the Unix socket with that path. A socket that is there
// already and that no process listens on any more, left by one that crashed, is
// replaced; any other file is an error, and so is a socket that lives. mode are the
// permissions of the file: a process that may write to the file may connect. 0 leaves
// them to the process's umask. A path that begins with "@" is a name in Linux's
// abstract space and no file. The file is removed when the listener is closed. An
// error is a *net.OpError. Safe from any goroutine.
func ListenUnix(path string, mode os.FileMode) (net.Listener, error) {
	failed := func(err error) error {
		return &net.OpError{Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: err}
	}
	if path == "" || path == "@" { // a name would be made up, which nobody knows
		return nil, failed(errNoPath)
	}
	abstract := strings.HasPrefix(path, "@")
	if !abstract {
		if err := removeStale(path); err != nil {
			return nil, failed(err)
		}
	}
	var c net.ListenConfig
	if mode != 0 && !abstract {
		// Linux makes the file with the permissions of the socket, less the umask: so no
		// process connects that must not, not even before Chmod.
		c.Control = func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) })
		}
	}
	l, err := c.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if mode != 0 && !abstract {
		if err := os.Chmod(path, mode.Perm()); err != nil {
			_ = l.Close()
			return nil, failed(err)
		}
	}
	return l, nil
}

// Errors of ListenUnix.
var (
	errNoPath      = errors.New("the path is empty")
	errSocketLives = errors.New("another process listens there")
	errNoSocket    = errors.New("there is a file that is no socket")
)

// removeStale removes the socket with that path if no process listens on it.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errNoSocket
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close()
		return errSocketLives
	case errors.Is(err, syscall.EAGAIN): // its queue is full
		return errSocketLives
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist): // it went away meanwhile
		return nil
	}
	return err
}
