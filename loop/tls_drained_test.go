//go:build linux

package loop_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"testing"

	"turbine/internal/certs"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// stopAndGo writes as much as is just below the high-water mark, and counts what
// it is told.
type stopAndGo struct {
	conn    *loop.Conn
	size    int
	unready int
	heard   int
	drained int
}

func (h *stopAndGo) Data([]byte) {
	h.heard++
	h.conn.Write(make([]byte, h.size))
	if !h.conn.Ready() {
		h.unready++
	}
}
func (h *stopAndGo) Drained()   { h.drained++ }
func (*stopAndGo) EOF()         {}
func (*stopAndGo) Closed(error) {}

// Drained comes after Ready was false, also where that was for the sake of what
// TLS had to say itself.
func TestTLSDrainedAfterNotReady(t *testing.T) {
	authority := certs.New(t)
	filter := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}})
	h := &stopAndGo{size: 64<<10 - 5}
	w := looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, filter.Accept(func(c *loop.Conn) loop.Handler { h.conn = c; return h }))
	peer := w.Dial()
	var keyLog bytes.Buffer
	c := looptest.NewTLSClient(peer.Client(), &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", KeyLogWriter: &keyLog}, w.Run)
	c.Shake()
	require.NoError(t, c.Err())
	w.Run()
	s := newSealer(t, keyLog.String())
	peer.Write(s.data(s.updateKey(nil), "x")) // new keys, which are to be answered
	w.Run()
	require.Equal(t, 1, h.unready)
	require.Zero(t, h.conn.Unsent())
	require.Equal(t, 1, h.drained)
	w.Close()
	require.Zero(t, pool.Outstanding())
}
