package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// spreadClients is how many clients come.
const spreadClients = 240

// A visit is one client of a spread: what it does step by step, each of which
// ends when it has its answer. It keeps its connections open.
type visit struct {
	t     *testing.T
	dial  func() io.ReadWriteCloser
	conns []*visitConn
	sid   string
}

type visitConn struct {
	io.ReadWriteCloser
	in *bufio.Reader
}

// A visitStep sends something and returns what takes the answer.
type visitStep func(v *visit) (answer func())

func (v *visit) connect() *visitConn {
	c := v.dial()
	conn := &visitConn{c, bufio.NewReader(c)}
	v.conns = append(v.conns, conn)
	return conn
}

func (v *visit) request(c *visitConn, method, query, body string, headers ...string) (answer func(status int) string) {
	ask := v.ask(c, method, query, body, headers...)
	return func(status int) string {
		got, text := ask()
		require.Equal(v.t, status, got)
		return text
	}
}

// ask is request for an answer that may be of any status.
func (v *visit) ask(c *visitConn, method, query, body string, headers ...string) (answer func() (status int, text string)) {
	r := request{method: method, target: "/engine.io/?EIO=4&" + query, headers: headers, body: body, length: method == "POST"}
	_, err := c.Write(r.bytes())
	require.NoError(v.t, err)
	return func() (int, string) {
		response, err := http.ReadResponse(c.in, &http.Request{Method: method})
		require.NoError(v.t, err)
		if response.StatusCode == http.StatusSwitchingProtocols {
			return response.StatusCode, ""
		}
		text, err := io.ReadAll(response.Body)
		require.NoError(v.t, err)
		return response.StatusCode, string(text)
	}
}

// open takes the open packet.
func (v *visit) open(text string) {
	var open struct{ SID string }
	require.NoError(v.t, json.Unmarshal([]byte(strings.TrimPrefix(text, "0")), &open), text)
	v.sid = open.SID
}

func (v *visit) frame(c *visitConn) string {
	head := make([]byte, 2)
	_, err := io.ReadFull(c.in, head)
	require.NoError(v.t, err)
	size := int(head[1])
	if size == 126 {
		_, err = io.ReadFull(c.in, head)
		require.NoError(v.t, err)
		size = int(head[0])<<8 | int(head[1])
	}
	text := make([]byte, size)
	_, err = io.ReadFull(c.in, text)
	require.NoError(v.t, err)
	return string(text)
}

func pollingHandshake(v *visit) func() {
	answer := v.request(v.connect(), "GET", "transport=polling", "")
	return func() { v.open(answer(200)) }
}

// postElsewhere posts on a second connection, as a browser does while its poll
// waits on the first.
func postElsewhere(v *visit) func() {
	v.request(v.conns[0], "GET", "transport=polling&sid="+v.sid, "")
	answer := v.request(v.connect(), "POST", "transport=polling&sid="+v.sid, "4hello")
	return func() { require.Equal(v.t, "ok", answer(200)) }
}

func webSocketHandshake(v *visit) func() {
	c := v.connect()
	answer := v.request(c, "GET", "transport=websocket", "", upgradeHeaders...)
	return func() {
		answer(101)
		v.open(v.frame(c))
	}
}

func probeElsewhere(v *visit) func() {
	c := v.connect()
	answer := v.request(c, "GET", "transport=websocket&sid="+v.sid, "", upgradeHeaders...)
	return func() { answer(101) }
}

func upgradeThere(v *visit) func() {
	c := v.conns[len(v.conns)-1]
	_, err := c.Write(append(frame(ws.OpText, "2probe"), frame(ws.OpText, "5")...))
	require.NoError(v.t, err)
	return func() { require.Equal(v.t, "3probe", v.frame(c)) }
}

var visits = []struct {
	name  string
	steps []visitStep
}{
	{"WebSocket", []visitStep{webSocketHandshake}},
	{"polling", []visitStep{pollingHandshake}},
	{"polling on two connections", []visitStep{pollingHandshake, postElsewhere}},
	{"upgrading", []visitStep{pollingHandshake, probeElsewhere, upgradeThere}},
	{"upgrading with three connections", []visitStep{pollingHandshake, postElsewhere, probeElsewhere, upgradeThere}},
}

// come lets n clients come, one after another or all at once. settle is called
// when all of a step have their answers.
func come(t *testing.T, n int, steps []visitStep, together bool, dial func() io.ReadWriteCloser, settle func()) (all []*visit) {
	t.Helper()
	for range n {
		all = append(all, &visit{t: t, dial: dial})
	}
	if !together {
		for _, v := range all {
			for _, s := range steps {
				s(v)()
			}
			settle()
		}
		return all
	}
	for _, s := range steps {
		var answers []func()
		for _, v := range all {
			answers = append(answers, s(v))
		}
		for _, answer := range answers {
			answer()
		}
		settle()
	}
	return all
}

// requireSpread holds that no loop has much more than its part of the sessions:
// a tenth and 3. Connections make up for the difference, so of these it may be a
// quarter. Both may be more on real sockets where all come at once, and a loop is
// given no processor meanwhile: what waits for that loop weighs more than it will.
func requireSpread(t *testing.T, loops []*loop.Loop, sessions, connections float64) {
	t.Helper()
	for _, c := range []struct {
		what string
		of   func(*loop.Loop) int
		more float64
	}{
		{"sessions", (*loop.Loop).Residents, sessions},
		{"connections", (*loop.Loop).Conns, connections},
	} {
		var each []int
		sum := 0
		for _, l := range loops {
			each = append(each, c.of(l))
			sum += c.of(l)
		}
		mean := float64(sum) / float64(len(loops))
		require.LessOrEqual(t, float64(slices.Max(each)), mean*(1+c.more)+3, "%s: %v", c.what, each)
		t.Logf("%s: %v", c.what, each)
	}
}

// Sessions, and connections, spread over the loops whatever clients do, whether
// they come one after another or all at once.
func TestSpread(t *testing.T) {
	for _, c := range visits {
		for _, loops := range []int{2, 3, 4, 6, 8} {
			for _, together := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d loops/together %v", c.name, loops, together), func(t *testing.T) {
					b := newBench(t, loops, Options{})
					dial := func() io.ReadWriteCloser { return &worldConn{b.world, b.world.DialDealt()} }
					come(t, spreadClients, c.steps, together, dial, b.world.Run)
					require.Equal(t, spreadClients, b.server.Stats().Sessions)
					requireSpread(t, b.world.Loops(), 0.1, 0.25)
					b.finish()
				})
			}
		}
	}
}

// worldConn is a Peer for code that reads and writes: it lets the World run
// when there is nothing to read.
type worldConn struct {
	world *looptest.World
	*looptest.Peer
}

func (c *worldConn) Write(p []byte) (int, error) { c.Peer.Write(p); return len(p), nil }
func (c *worldConn) Close() error                { c.Reset(); return nil }

func (c *worldConn) Read(p []byte) (int, error) {
	c.world.Run()
	n := copy(p, c.ReadN(len(p)))
	if n == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return n, nil
}

// Sessions that a proxy begins over one connection, which it keeps, also spread: the
// connection goes where there is room. Everything else on it continues.
func TestSpreadOverOneConnection(t *testing.T) {
	const clients = 1200
	for _, loops := range []int{1, 2, 3, 8} {
		for _, ahead := range []int{1, 30} { // requests sent at a time
			t.Run(fmt.Sprintf("%d loops/%d ahead", loops, ahead), func(t *testing.T) {
				b := newBench(t, loops, Options{})
				v := &visit{t: t, dial: func() io.ReadWriteCloser { return &worldConn{b.world, b.world.DialDealt()} }}
				c := v.connect()
				var sids []string
				for len(sids) < clients {
					var answers []func(int) string
					for range ahead {
						answers = append(answers, v.request(c, "GET", "transport=polling", ""))
					}
					for _, answer := range answers {
						v.open(answer(200))
						sids = append(sids, v.sid)
					}
				}
				require.Equal(t, clients, b.server.Stats().Sessions)
				var each []int
				for _, l := range b.world.Loops() {
					each = append(each, l.Residents())
				}
				t.Logf("sessions: %v", each)
				mean := float64(clients) / float64(loops)
				require.LessOrEqual(t, float64(slices.Max(each)), mean*1.15+25, "%v", each)
				require.Equal(t, 1, b.server.Stats().Conns)
				for _, sid := range []string{sids[0], sids[clients/2], sids[clients-1]} {
					require.Equal(t, "ok", v.request(c, "POST", "transport=polling&sid="+sid, "4hello")(200))
				}
				b.finish()
			})
		}
	}
}

// Where many clients have left, others take their place.
func TestSpreadHeals(t *testing.T) {
	for _, c := range visits {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 3, Options{})
			dial := func() io.ReadWriteCloser { return &worldConn{b.world, b.world.DialDealt()} }
			for _, v := range come(t, spreadClients, c.steps, false, dial, b.world.Run) {
				if id, ok := parseSID([]byte(v.sid), false); ok && id.home() == 1 {
					b.server.Find(v.sid).CloseNow()
					for _, c := range v.conns {
						require.NoError(t, c.Close())
					}
				}
			}
			b.world.Run()
			require.Zero(t, b.world.Loops()[1].Residents())
			come(t, spreadClients, c.steps, true, dial, b.world.Run)
			requireSpread(t, b.world.Loops(), 0.1, 0.25)
			b.finish()
		})
	}
}

// The same on real sockets, accepted by the loops or by net/http.
func TestSpreadOverSockets(t *testing.T) {
	for _, mounted := range []bool{false, true} {
		for _, c := range visits {
			for _, together := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/mounted %v/together %v", c.name, mounted, together), func(t *testing.T) {
					server, address := startSpread(t, Options{Loops: 4}, mounted)
					come(t, spreadClients, c.steps, together, dialer(t, address), func() {})
					require.Equal(t, spreadClients, server.Stats().Sessions)
					var loops []*loop.Loop
					for _, shard := range server.allShards() {
						loops = append(loops, shard.loop)
					}
					sessions, connections := 0.1, 0.25
					if together {
						sessions, connections = 0.5, 1
					}
					requireSpread(t, loops, sessions, connections)
				})
			}
		}
	}
}

// dialer dials a server on real sockets.
func dialer(t *testing.T, address string) func() io.ReadWriteCloser {
	return func() io.ReadWriteCloser {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func startSpread(t *testing.T, o Options, mounted bool) (server *Server, address string) {
	t.Helper()
	o.Timeouts.Close, o.Logger = time.Second, slog.New(slog.DiscardHandler)
	server, err := New(o, Events{})
	require.NoError(t, err)
	end := func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ctx) // cuts the connections off
	}
	if mounted {
		h := httptest.NewServer(server)
		t.Cleanup(func() { end(); h.Close() })
		return server, h.Listener.Addr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		end()
		require.ErrorIs(t, <-served, ErrServerClosed)
	})
	return server, l.Addr().String()
}
