package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"turbine/cluster/link"
	"turbine/engine"
	"turbine/internal/certs"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// socket opens a WebSocket at n: for the browser's session, or for a new one where sid is
// empty.
func socket(t testing.TB, n *staticNode, sid string) (net.Conn, error) {
	t.Helper()
	url := strings.Replace(n.url, "http://", "ws://", 1)
	url = strings.Replace(url, "transport=polling", "transport=websocket", 1)
	if sid != "" {
		url += "&sid=" + sid
	}
	c, buffered, _, err := ws.Dialer{Timeout: 30 * time.Second}.Dial(context.Background(), url)
	if err != nil {
		return nil, err
	}
	require.Nil(t, buffered)
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { _ = c.Close() })
	return c, nil
}

// hears reads a text.
func hears(t testing.TB, c net.Conn, want string) {
	t.Helper()
	got, err := wsutil.ReadServerText(c)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func says(t testing.TB, c net.Conn, text string) {
	t.Helper()
	require.NoError(t, wsutil.WriteClientText(c, []byte(text)))
}

// upgrade brings the browser's session from polling to a WebSocket at n.
func (b *browser) upgrade(n *staticNode) net.Conn {
	b.t.Helper()
	c, err := socket(b.t, n, b.sid)
	require.NoError(b.t, err)
	says(b.t, c, "2probe")
	hears(b.t, c, "3probe")
	says(b.t, c, "5")
	says(b.t, c, "4upgraded")
	hears(b.t, c, "4upgraded")
	return c
}

// relays waits until n relays as the edge that many WebSockets.
func relays(t testing.TB, n *staticNode, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return n.peers.stats().Relays.Now == want }, 30*time.Second, time.Millisecond,
		"%+v", n.peers.stats().Relays)
}

// Sessions that begin at one of three servers and upgrade at another get all their echoes
// in order, text and binary, short and long, and their end is heard.
func TestWebSocketsReachTheirSessionsThroughAnyNode(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			var change func(*engine.Options, *peersOptions)
			if secure {
				authority := certs.New(t)
				pair := authority.Issue(t, "a node", nil)
				change = func(_ *engine.Options, o *peersOptions) {
					o.TLS = &tls.Config{
						Certificates: []tls.Certificate{pair.TLS(t)}, RootCAs: authority.Pool(), ClientCAs: authority.Pool(),
						ClientAuth: tls.RequireAndVerifyClientCert,
					}
				}
			}
			nodes := startNodes(t, 3, change)
			const clients = 12
			var chatting sync.WaitGroup
			for i := range clients {
				home, edge := nodes[i%3], nodes[(i+1+i/3%2)%3]
				b := newBrowser(t, []*staticNode{home}, uint64(i))
				c := b.upgrade(edge)
				chatting.Go(func() {
					for j := range 30 {
						text := fmt.Sprintf("4%d/%d %s", i, j, strings.Repeat("x", j*j))
						if j == 20 {
							text += strings.Repeat("long", 100_000)
						}
						if !assertEcho(t, c, ws.OpText, text) || !assertEcho(t, c, ws.OpBinary, text[1:]) {
							return
						}
					}
					_ = c.Close()
				})
			}
			chatting.Wait()
			for _, n := range nodes {
				for range clients / 3 {
					require.Equal(t, engine.ReasonTransportClose, <-n.closed)
				}
				relays(t, n, 0)
			}
			opened := uint64(0)
			for _, n := range nodes {
				opened += n.peers.stats().Relays.Opened
				require.Empty(t, n.closed)
			}
			require.EqualValues(t, clients, opened)
		})
	}
}

func assertEcho(t testing.TB, c net.Conn, op ws.OpCode, text string) bool {
	if err := wsutil.WriteClientMessage(c, op, []byte(text)); err != nil {
		t.Error(err)
		return false
	}
	got, gotOp, err := wsutil.ReadServerData(c)
	if err != nil || gotOp != op || string(got) != text {
		t.Errorf("%v, %d bytes of %d", err, len(got), len(text))
		return false
	}
	return true
}

// A client that says several things at once while it upgrades, and reads late, misses
// nothing.
func TestRelayedUpgradeInOneGo(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	b := newBrowser(t, nodes[:1], 1)
	c, err := net.Dial("tcp", nodes[1].host)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	request := "GET /engine.io/?EIO=4&transport=websocket&sid=" + b.sid + " HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
	for _, text := range []string{"2probe", "5", "4one", "4two"} {
		request += string(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(text)))))
	}
	for len(request) > 0 { // in pieces, too
		n := min(50, len(request))
		_, err = io.WriteString(c, request[:n])
		require.NoError(t, err)
		request = request[n:]
	}
	head := make([]byte, 0, 1000)
	for !strings.HasSuffix(string(head), "\r\n\r\n") {
		one := make([]byte, 1)
		_, err := io.ReadFull(c, one)
		require.NoError(t, err)
		head = append(head, one...)
	}
	require.True(t, strings.HasPrefix(string(head), "HTTP/1.1 101 "), "%s", head)
	for _, text := range []string{"3probe", "4one", "4two"} {
		hears(t, c, text)
	}
}

// What one node would answer, its client is answered through another.
func TestRelayedRefusals(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	b := newBrowser(t, nodes[:1], 1)
	status := func(n *staticNode, sid string) int {
		_, err := socket(t, n, sid)
		var refused ws.StatusError
		require.ErrorAs(t, err, &refused)
		return int(refused)
	}
	gone := b.sid
	answer, _ := b.post(nodes[1], "1")
	require.Equal(t, http.StatusOK, answer)
	<-nodes[0].closed
	for _, n := range nodes {
		require.Equal(t, http.StatusBadRequest, status(n, gone))
		require.Equal(t, http.StatusBadRequest, status(n, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	}
	relays(t, nodes[1], 0)
}

// A WebSocket above the limit of relays is told 503, and its session stays on polling.
func TestRelaysAboveTheLimit(t *testing.T) {
	nodes := startNodes(t, 2, func(_ *engine.Options, o *peersOptions) { o.Relays = 1 })
	first, second := newBrowser(t, nodes[:1], 1), newBrowser(t, nodes[:1], 2)
	c := first.upgrade(nodes[1])
	_, err := socket(t, nodes[1], second.sid)
	require.Equal(t, ws.StatusError(http.StatusServiceUnavailable), err)
	second.chat([]string{"still", "there"})
	require.Equal(t, uint64(1), nodes[1].peers.stats().Relays.Refused)
	_ = c.Close()
	relays(t, nodes[1], 0)
	second.upgrade(nodes[1])
}

// A client of a home that has stopped is told 503 where that is still known, and keeps
// its WebSocket no longer.
func TestRelaysOfAHomeThatIsGone(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	b := newBrowser(t, nodes[:1], 1)
	c := b.upgrade(nodes[1])
	late := newBrowser(t, nodes[:1], 2)
	_ = nodes[0].server.Close()
	nodes[0].peers.stop()
	for {
		if _, err := wsutil.ReadServerText(c); err != nil {
			break
		}
	}
	_ = c.Close()
	relays(t, nodes[1], 0)
	_, err := socket(t, nodes[1], late.sid)
	require.Equal(t, ws.StatusError(http.StatusServiceUnavailable), err)
	nodes[1].peers.forget(1)
	_, err = socket(t, nodes[1], late.sid)
	require.Equal(t, ws.StatusError(http.StatusBadRequest), err)
}

// Relays to a node that is dead are cut, though nothing was heard of its end.
func TestRelaysOfADeadNodeAreCut(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	c := newBrowser(t, nodes[:1], 1).upgrade(nodes[1])
	nodes[1].peers.forget(1)
	_, err := wsutil.ReadServerText(c)
	require.Error(t, err)
	require.Equal(t, engine.ReasonTransportClose, <-nodes[0].closed)
	relays(t, nodes[1], 0)
}

// An edge that stops costs the homes the sessions on its relays, and no others.
func TestRelaysOfAnEdgeThatIsGone(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	b, other := newBrowser(t, nodes[:1], 1), newBrowser(t, nodes[:1], 2)
	b.upgrade(nodes[1])
	local := other.upgrade(nodes[0])
	_ = nodes[1].server.Close()
	require.Equal(t, engine.ReasonTransportClose, <-nodes[0].closed)
	says(t, local, "4hello")
	hears(t, local, "4hello")
	require.Empty(t, nodes[0].closed)
}

// An edge that drains has its relays end in good order, over its time, and their sessions
// with them.
func TestDrainLetsRelaysGo(t *testing.T) {
	nodes := startNodes(t, 2, nil)
	var conns []net.Conn
	for i := range 10 {
		conns = append(conns, newBrowser(t, nodes[:1], uint64(i)).upgrade(nodes[1]))
	}
	stays := newBrowser(t, nodes[:1], 99)
	local := stays.upgrade(nodes[0])
	nodes[1].peers.drain(context.Background(), 200*time.Millisecond)
	for _, c := range conns {
		_, err := wsutil.ReadServerText(c)
		var closed wsutil.ClosedError
		require.ErrorAs(t, err, &closed, "the home says goodbye")
		_ = c.Close()
	}
	for range conns {
		<-nodes[0].closed
	}
	relays(t, nodes[1], 0)
	says(t, local, "4hello")
	hears(t, local, "4hello")
	require.Empty(t, nodes[0].closed)
	require.Equal(t, link.RelayStats{Opened: 10}, nodes[1].peers.stats().Relays)
}
