package engine

import (
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLentStates holds the rows of the table in http.go for a connection that is
// lent, as long as no goroutine is free: so nothing but the loop has a hand in it.
func TestLentStates(t *testing.T) {
	const (
		get   = `raw c "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"`
		post  = `raw c "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"`
		piece = `raw c "POST /page HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123"`
		poll  = `raw c "GET /engine.io/?transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"`
	)
	for _, c := range []struct{ request, event, next, does string }{
		{get, poll, "lent", ""},
		{get, `raw c "repeat=,70000,G"`, "lent", ""},
		{get, "advance 10s", "idle", "c: 503 Service Unavailable"},
		{get + "\n" + poll, "advance 10s", "idle", `c: 503 Service Unavailable|c: 400 {"code":5,"message":"Unsupported protocol version"}`},
		{get, "fin c", "closed", "c: closed"},
		{get, "reset c", "closed", ""},
		{post, `raw c "67890"`, "lent", ""},
		{post, `raw c "67890GET /2 HTTP/1.1\r\n"`, "lent", ""},
		{post, "advance 10s", "closed", "c: 503 Service Unavailable|c: closed"},
		{post, "fin c", "closed", "c: closed"},
		{piece, `raw c "45\r\n0\r\n\r\n"`, "lent", ""},
		{piece, `raw c "repeat=,200000,x"`, "lent", ""},
		{piece, "advance 10s", "closed", "c: 503 Service Unavailable|c: closed"},
		{piece, "reset c", "closed", ""},
	} {
		for _, loops := range []int{1, 2} {
			b := newSpec(t, loops, Options{Fallback: http.NotFoundHandler()}, func(b *bench, _ *Events) { b.server.seats.limit = 0 })
			for command := range strings.SplitSeq(c.request, "\n") {
				require.Empty(t, b.play(command), command)
			}
			require.Equal(t, exchangeLent, b.accepted[0].state)
			require.Equal(t, c.does, strings.Join(b.play(c.event), "|"), "%s, %s", c.request, c.event)
			require.Equal(t, c.next, b.accepted[0].state.text(), "%s, %s", c.request, c.event)
			require.LessOrEqual(t, b.server.seats.waiting.Len(), 1)
			if c.next != "lent" {
				require.Zero(t, b.server.seats.waiting.Len(), "%s, %s", c.request, c.event)
			}
			b.finish()
		}
	}
}

// A lentConn keeps a window's worth in each direction, and its deadlines end
// calls that are under way.
func TestLentConnIsAConn(t *testing.T) {
	b := newSpec(t, 1, Options{Fallback: http.NotFoundHandler(), Timeouts: Timeouts{Body: time.Hour}}, func(b *bench, _ *Events) { b.server.seats.limit = 0 })
	b.play(`raw c "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"`)
	h := b.accepted[0]
	c := h.lent
	require.Equal(t, h.conn.LocalAddr().String(), c.LocalAddr().String())
	require.Equal(t, "@", address(netip.AddrPort{}).String(), "of a Unix socket")
	require.Equal(t, h.conn.RemoteAddr().String(), c.RemoteAddr().String())
	head := make([]byte, 1000)
	n, err := c.Read(head)
	require.NoError(t, err)
	require.Equal(t, "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", string(head[:n]))

	b.play(`raw c "repeat=,300000,x"`)
	require.True(t, c.isFull())
	require.Less(t, len(c.in), 3*lentWindow, "bytes that wait")
	for left := len(c.in) - lentWindow/2; left > 0; left -= n {
		n, err = c.Read(head[:min(left, len(head))])
		require.NoError(t, err)
	}
	require.False(t, c.isFull())
	b.world.Run()
	require.True(t, c.isFull(), "it reads on")

	// A write of more than the window waits until the client takes some.
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 5*lentWindow))
		wrote <- err
	}()
	for taken := 0; taken < 5*lentWindow; {
		b.world.Run()
		taken += len(b.client("c", "").peer.Read())
		c.mu.Lock()
		require.LessOrEqual(t, c.pending, lentWindow)
		c.mu.Unlock()
	}
	require.NoError(t, <-wrote)

	read := make(chan error, 1)
	go func() {
		for {
			if _, err := c.Read(head); err != nil {
				read <- err
				return
			}
		}
	}()
	require.NoError(t, c.SetDeadline(time.Now().Add(-time.Second)))
	require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
	_, err = c.Write(head)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetDeadline(time.Time{}))

	for range 10 { // until all that was sent is taken, and the loop reads again
		for len(c.in) > 0 {
			_, err = c.Read(head)
			require.NoError(t, err)
		}
		b.world.Run()
	}
	b.play("reset c")
	_, err = c.Write(head)
	require.ErrorIs(t, err, errLost)
	require.NoError(t, c.Close())
	require.Error(t, c.Close())
	_, err = c.Read(head)
	require.Error(t, err)
	b.world.Run()
	b.finish()
}
