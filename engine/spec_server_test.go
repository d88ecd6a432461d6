package engine

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// The tests in spec_*_test.go and testdata/spec_*.txt bear the numbers of the
// statements in docs/conformance.md.

// newSpec is a bench whose events are changed before the first connection.
func newSpec(t *testing.T, loops int, o Options, change func(b *bench, e *Events)) *bench {
	b := newBench(t, loops, o)
	if change != nil {
		change(b, &b.server.events)
	}
	return b
}

// everywhere runs test on one loop, and on three with all requests relayed.
func everywhere(t *testing.T, test func(t *testing.T, loops int)) {
	for _, loops := range []int{1, -3} {
		t.Run(fmt.Sprintf("%d loops", max(loops, -loops)), func(t *testing.T) { test(t, loops) })
	}
}

// fetch sends one request on a connection of its own and parses the response.
func (b *bench) fetch(method, query string, headers ...string) *http.Response {
	b.t.Helper()
	peer := b.dial(b, "")
	peer.Write(request{method: method, target: "/engine.io/?" + b.reveal(query), headers: headers}.bytes())
	b.world.Run()
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(peer.Read())), &http.Request{Method: method})
	require.NoError(b.t, err)
	peer.CloseWrite()
	return r
}

const (
	hsPolling   = "get EIO=4&transport=polling"
	hsWebSocket = "ws EIO=4&transport=websocket conn=w"
)

// T001: the protocol's revision is a number.
func TestSpecRevision(t *testing.T) {
	require.EqualValues(t, 4, Revision4)
	require.EqualValues(t, 3, Revision3)
}

// T056: a handshake makes one session. T063, T064, T065: Open brings it, and it
// knows its transport.
func TestSpecOpen(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		var transports []string
		b := newSpec(t, loops, Options{}, func(_ *bench, e *Events) {
			open := e.Open
			e.Open = func(s *Session, r *Request) {
				open(s, r)
				require.NotNil(t, s)
				transports = append(transports, s.Transport().String())
			}
		})
		require.Zero(t, b.server.Stats().Sessions)
		b.play(hsPolling)
		require.Equal(t, 1, b.server.Stats().Sessions)
		b.play(hsWebSocket)
		require.Equal(t, 2, b.server.Stats().Sessions)
		require.Equal(t, []string{"polling", "websocket"}, transports)
		b.finish()
	})
}

// T065: the same where WebSocket is all there is.
func TestSpecWebSocketOnly(t *testing.T) {
	b := newSpec(t, 1, Options{Transports: []Transport{WebSocket}}, nil)
	b.play(hsWebSocket)
	require.Equal(t, WebSocket, b.session("A").Transport())
	b.finish()
}

// T070, T071: the query, T224, T225: header fields with the cookie, T239, T240:
// and the address are there in Open.
func TestSpecRequest(t *testing.T) {
	var seen []string
	b := newSpec(t, 1, Options{}, func(b *bench, e *Events) {
		open := e.Open
		e.Open = func(s *Session, r *Request) {
			open(s, r)
			peer := b.clients[len(b.clients)-1].peer
			require.Equal(t, peer.Addr(), r.RemoteAddr())
			require.Equal(t, peer.Addr(), s.RemoteAddr())
			seen = append(seen, fmt.Sprint(r.Query("EIO"), r.Query("transport"), r.Query("a"), r.Query("c"), r.Query("none"),
				r.Header("X-Custom"), r.Header("cookie"), r.Headers().Get("Cookie")))
		}
	})
	const more = `&a=b&c=d%20e "header=x-custom: header" "header=Cookie: a=1; b=2"`
	b.play(hsPolling + more)
	b.play("ws EIO=4&transport=websocket&a=b&c=d%20e conn=w " + strings.SplitN(more, " ", 2)[1])
	require.Equal(t, []string{
		"4pollingbd eheadera=1; b=2a=1; b=2",
		"4websocketbd eheadera=1; b=2a=1; b=2",
	}, seen)
	b.finish()
}

// T074: ids are 27 characters of base64url, each another.
func TestSpecSessionIDs(t *testing.T) {
	b := newSpec(t, 2, Options{}, nil)
	ids := map[string]bool{}
	for range 500 {
		b.play(hsPolling)
	}
	for _, s := range b.sessions {
		require.Regexp(t, "^[A-Za-z0-9_-]{27}$", s.ID())
		ids[s.ID()] = true
	}
	require.Len(t, ids, 500)
	b.finish()
}

// T133: in Close the session is gone from the count already; Close comes once,
// which finish holds in every test.
func TestSpecGoneInClose(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		var left []int
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			closed := e.Close
			e.Close = func(s *Session, r Reason, err error) {
				closed(s, r, err)
				left = append(left, b.server.Stats().Sessions)
				require.Equal(t, StateClosed, s.State())
			}
		})
		b.play(hsPolling, hsWebSocket, "post sid=A 1", "close w")
		require.Equal(t, []int{1, 0}, left)
		b.finish()
	})
}

// T004: a listener is all that a server needs. T087: when it was shut down,
// another one listens on its port, and WebSockets connect again.
func TestSpecListenAgain(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	for range 2 {
		server, ended := serveOn(t, Options{Loops: 2, Logger: slog.New(slog.DiscardHandler)}, Events{}, listener)
		w := dialWire(t, address)
		require.Equal(t, 101, w.request("EIO=4&transport=websocket", upgradeHeaders...).StatusCode)
		require.NoError(t, w.conn.Close())
		require.NoError(t, server.Shutdown(t.Context()))
		require.ErrorIs(t, <-ended, ErrServerClosed)
		listener, err = net.Listen("tcp", address)
		require.NoError(t, err)
	}
	require.NoError(t, listener.Close())
}

// Shutdown keeps nothing alive: neither a polling session, T114, nor one that
// was upgraded, T115, nor one that is being upgraded, T116. What its client does
// not fetch is waited for as long as the caller says.
func TestSpecShutdown(t *testing.T) {
	for _, c := range []struct {
		name   string
		frames []string
	}{{"polling", nil}, {"upgraded", []string{"2probe", "5"}}, {"upgrading", []string{"2probe"}}} {
		t.Run(c.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			server, ended := serveOn(t, Options{Loops: 2, Logger: slog.New(slog.DiscardHandler)}, Events{}, listener)
			sid := dialWire(t, listener.Addr().String()).open()
			if c.frames != nil {
				w := dialWire(t, listener.Addr().String())
				require.Equal(t, 101, w.request("EIO=4&transport=websocket&sid="+sid, upgradeHeaders...).StatusCode)
				for _, text := range c.frames {
					_, err := w.conn.Write(frame(ws.OpText, text))
					require.NoError(t, err)
				}
				pong := make([]byte, 8)
				_, err := io.ReadFull(w.in, pong)
				require.NoError(t, err)
				require.Equal(t, "\x81\x063probe", string(pong))
			}
			require.Equal(t, 1, server.Stats().Sessions)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_ = server.Shutdown(ctx)
			require.ErrorIs(t, <-ended, ErrServerClosed)
			require.Zero(t, server.Stats().Sessions)
			until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}
