package e2e

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay stands in front of a server: it accepts connections at addr, dials one to the
// server for each, and has pass do what is between them, on a goroutine of its own.
// end listens no more and waits until each pass has returned. The test's end does the same.
func relay(t *testing.T, to string, pass func(client, server net.Conn)) (addr string, end func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer server.Close()
				pass(client, server)
			})
		}
	})
	end = sync.OnceFunc(func() {
		_ = l.Close()
		running.Wait()
	})
	t.Cleanup(end)
	return l.Addr().String(), end
}

// stream copies to the end, and also hands the end on. A connection that cannot
// take more is reset, so that the other direction ends as well.
func stream(to net.Conn, from io.Reader) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return
	}
	_ = to.(*net.TCPConn).CloseWrite()
}
