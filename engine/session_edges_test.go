package engine

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/internal/race"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// counter is a slog.Handler that counts what it is told of panics and trouble,
// not of limits that clients meet.
type counter struct{ lines atomic.Int32 }

func (c *counter) Enabled(context.Context, slog.Level) bool { return true }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		c.lines.Add(1)
	}
	return nil
}
func (c *counter) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c *counter) WithGroup(string) slog.Handler      { return c }

// play runs commands and returns what they print.
func (b *bench) play(commands ...string) (lines []string) {
	b.t.Helper()
	for _, command := range commands {
		got, err := b.run(command)
		require.NoError(b.t, err, command)
		lines = append(lines, got...)
	}
	return lines
}

// events takes the log.
func (b *bench) events() string {
	text := strings.Join(b.log, "; ")
	b.log = nil
	return text
}

// A panic in a callback costs its own session and one line in the log.
func TestPanicInCallback(t *testing.T) {
	const ended = `close B "transport error" engine: panic in a callback`
	for _, c := range []struct {
		event   string
		setup   []string
		trigger []string
		prints  string
		events  string
	}{
		{"open", nil, []string{"get EIO=4&transport=polling"}, "200 0{", "open B; " + ended},
		{"open", nil, []string{"ws EIO=4&transport=websocket conn=b"}, "b: 101|b: text \"0{|b: close|b: closed", "open B; " + ended},
		{"open", nil, []string{`raw b "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x82\x00\x00\x00\x004a"`}, "b: 101|b: text \"0{|b: close|b: closed", "open B; " + ended},
		{"message", []string{"get EIO=4&transport=polling"}, []string{`post sid=B "4one\x1e4two"`}, "200 ok", `message B "one"; ` + ended},
		{"message", []string{"get EIO=4&transport=polling", "get sid=B conn=p"}, []string{`post sid=B 4one`}, "p: 200 1|200 ok", `message B "one"; ` + ended},
		{"message", []string{"ws EIO=4&transport=websocket conn=b"}, []string{"frames b 4one 4two"}, "b: close|b: closed", `message B "one"; ` + ended},
		{"upgrade", []string{"get EIO=4&transport=polling", "send B x", "ws sid=B conn=b"}, []string{"frames b 2probe 5 4more"}, "b: text \"3probe\"|b: close|b: closed", "upgrade B; " + ended},
		{"drain", []string{"get EIO=4&transport=polling", "send B x"}, []string{"get sid=B"}, "200 4x", "drain B; " + ended},
		{"drain", []string{"ws EIO=4&transport=websocket conn=b", "window b 0", "send B repeat=,70000,a b"}, []string{"window b 4000000"}, "b: text \"4a{x70000}\"|b: text \"4b\"|b: close|b: closed", "drain B; " + ended},
		{"close", []string{"get EIO=4&transport=polling", "get sid=B conn=p"}, []string{"close-session B"}, "p: 200 1", `close B "forced close"`},
		{"close", []string{"ws EIO=4&transport=websocket conn=b"}, []string{"close b 1000"}, "b: close 1000|b: closed", `close B "transport close"`},
		{"close", []string{"ws EIO=4&transport=websocket conn=b"}, []string{"reset b"}, "", `close B "transport close"`},
	} {
		for _, loops := range []int{1, 2, -3} {
			t.Run(fmt.Sprintf("%s %s/%d", c.event, c.events, max(loops, -loops)), func(t *testing.T) {
				log := new(counter)
				b := newBench(t, loops, Options{Logger: slog.New(log)})
				b.play("ws EIO=4&transport=websocket conn=other")
				b.play(c.setup...)
				b.events()
				b.on = func(event, name string) {
					if event == c.event && name == "B" {
						panic("the application's fault")
					}
				}
				got := b.play(c.trigger...)
				want := strings.Split(c.prints, "|")
				if c.prints == "" {
					want = nil
				}
				require.Len(t, got, len(want), "%q", got)
				for i := range want {
					require.True(t, strings.HasPrefix(got[i], want[i]), "%q", got[i])
				}
				require.Equal(t, c.events, b.events())
				require.EqualValues(t, 1, log.lines.Load(), "lines in the log")

				b.on = nil
				b.play("frame other text 4still", "send A here")
				require.Equal(t, `message A "still"`, b.events())
				require.Equal(t, 1, b.server.Stats().Sessions)
				b.finish()
				require.EqualValues(t, 1, log.lines.Load(), "lines in the log")
			})
		}
	}
}

// A panic in Admit refuses the one request.
func TestPanicInAdmit(t *testing.T) {
	log := new(counter)
	b := newBench(t, 1, Options{Logger: slog.New(log)})
	b.on = func(event, _ string) {
		if event == "admit" {
			panic("the application's fault")
		}
	}
	require.Equal(t, []string{`403 {"code":4,"message":"Forbidden"}`}, b.play("get EIO=4&transport=polling"))
	require.Equal(t, []string{"w: 400 Forbidden", "w: closed"}, b.play("ws EIO=4&transport=websocket conn=w"))
	require.EqualValues(t, 1, log.lines.Load(), "one line a second, whatever clients do")
	b.world.Advance(time.Second)
	b.play("get EIO=4&transport=polling")
	require.EqualValues(t, 2, log.lines.Load())
	b.on = nil
	b.play("get EIO=4&transport=polling")
	require.Equal(t, "open A", b.events())
	b.finish()
}

// What callbacks may do with their session: close it, in every one of them,
// and send afterwards.
func TestCloseInCallback(t *testing.T) {
	for _, event := range []string{"open", "message", "upgrade", "drain", "close"} {
		t.Run(event, func(t *testing.T) {
			b := newBench(t, 1, Options{})
			b.on = func(e, name string) {
				if e == event {
					s := b.session(name)
					if e != "close" {
						require.NoError(t, s.Send(Message{Data: []byte("last")}))
					}
					s.Close()
					s.Close()
					require.ErrorIs(t, s.Send(Message{}), ErrClosed)
					require.ErrorIs(t, s.SendPrepared(prepared(Message{})), ErrClosed)
				}
			}
			b.play("get EIO=4&transport=polling", "post sid=A 4x", "ws sid=A conn=w", "frame w text 5",
				"ws EIO=4&transport=websocket conn=v", "frame v text 4x", "advance 1m")
			for _, s := range b.sessions {
				require.Equal(t, 1, b.closes[s])
			}
			b.finish()
		})
	}
}

func TestSessionAfterClose(t *testing.T) {
	for _, transport := range []string{"polling", "websocket"} {
		b := newBench(t, 1, Options{})
		open := "ws EIO=4&transport=websocket conn=w"
		if transport == "polling" {
			open = "get EIO=4&transport=polling"
		}
		b.play(open)
		s := b.session("A")
		require.Nil(t, s.Value())
		s.SetValue(7)
		id := s.ID()
		require.Regexp(t, "^[A-Za-z0-9_-]{27}$", id)

		b.server.CloseSessions()
		b.play("advance 31s")
		require.Equal(t, 1, b.closes[s])

		require.ErrorIs(t, s.Send(Message{Data: []byte("x")}), ErrClosed)
		require.ErrorIs(t, s.SendPrepared(prepared(Message{Data: []byte("x")})), ErrClosed)
		s.Close()
		require.Equal(t, 7, s.Value())
		s.SetValue("new")
		require.Equal(t, "new", s.Value())
		require.Equal(t, id, s.ID())
		require.Equal(t, transport, s.Transport().String())
		require.Equal(t, Revision4, s.Revision())
		b.finish()
		require.ErrorIs(t, s.Send(Message{}), ErrClosed, "after its loop has stopped")
	}
}

// After the loops have stopped sessions that were open take nothing in vain for
// ever: nothing panics, nothing runs.
func TestSessionAfterStop(t *testing.T) {
	b := newBench(t, 2, Options{})
	b.play("get EIO=4&transport=polling", "ws EIO=4&transport=websocket conn=w")
	b.world.Close()
	require.Zero(t, b.world.Sockets())
	require.ErrorIs(t, b.session("B").Send(Message{}), ErrClosed)
	require.Equal(t, 1, b.closes[b.session("B")])
	b.session("A").Close()
	_ = b.server.Broadcast(prepared(Message{}))
	b.server.CloseSessions()
}

// A Shutdown that runs out of time tells every session, with a connection or
// without.
func TestShutdownOutOfTime(t *testing.T) {
	closed := make(chan string, 10)
	server, err := New(Options{Loops: 2, Logger: slog.New(slog.DiscardHandler)}, Events{
		Close: func(s *Session, r Reason, err error) { closed <- fmt.Sprint(s.Transport(), ": ", r, ", ", err) },
	})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	for range 3 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		_, err = conn.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}.bytes())
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, 200, response.StatusCode)
		require.NoError(t, conn.Close())
	}
	require.Equal(t, 3, server.Stats().Sessions)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.Canceled)
	require.ErrorIs(t, <-served, ErrServerClosed)
	require.Zero(t, server.Stats().Sessions)
	for range 3 {
		require.Equal(t, "polling: server shutting down, context canceled", <-closed)
	}
	require.Empty(t, closed)
}

// Send, Close, Value and Broadcast from other goroutines while the loops run.
func TestManyGoroutines(t *testing.T) {
	const senders, messages = 4, 200
	b := newBench(t, 2, Options{Queue: Queue{MaxBytes: 1 << 20}})
	b.play("ws EIO=4&transport=websocket conn=a", "get EIO=4&transport=polling",
		"ws EIO=3&transport=websocket conn=c", "ws EIO=4&transport=websocket conn=d")
	sessions := b.sessions
	var wait sync.WaitGroup
	var done atomic.Int32
	for i := range senders {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for n := range messages {
				for _, s := range sessions[:3] {
					err := s.Send(Message{Data: fmt.Appendf(nil, "%d %d", i, n)})
					if err != nil {
						t.Error(err)
					}
					s.SetValue(n)
					_, _, _ = s.Value(), s.Transport(), s.Revision()
				}
				if n%50 == 0 {
					_ = b.server.Broadcast(prepared(Message{Data: []byte("all")}))
					_ = b.server.Stats()
				}
				if n == messages/2 {
					sessions[3].Close()
				}
				_ = sessions[3].Send(Message{Data: []byte("x")})
			}
			done.Add(1)
		}()
	}
	var lines []string
	for done.Load() < senders {
		b.world.Run()
		lines = append(lines, b.collect()...)
	}
	wait.Wait()
	lines = append(lines, b.collect()...) // the last ones wait for broadcasts, and one poll takes what does not
	lines = append(lines, b.play("get sid=B")...)
	for _, name := range []string{"a: text \"4", "c: text \"4", "200 4"} {
		next := make([]int, senders)
		all, total := 0, 0
		for _, line := range lines {
			if !strings.HasPrefix(line, name) {
				continue
			}
			for _, part := range strings.Split(strings.TrimSuffix(line[strings.Index(line, "4")+1:], `"`), `\x1e4`) {
				var i, n int
				if part == "all" {
					all++
					continue
				}
				_, err := fmt.Sscanf(part, "%d %d", &i, &n)
				require.NoError(t, err, part)
				require.Equal(t, next[i], n, "the messages of one sender come in order, once")
				next[i]++
				total++
			}
		}
		require.Equal(t, senders*messages, total, name)
		require.Equal(t, senders*4, all, name)
	}
	require.Equal(t, 1, b.closes[sessions[3]])
	b.finish()
}

// streams are what clients send on one connection, to be cut at every byte. The
// session A is there before, home on loop 0.
func streams(b *bench) map[string]string {
	id := b.session("A").ID()
	head := func(method, query string, headers ...string) string {
		return string(request{method: method, target: "/engine.io/?" + query, headers: headers}.bytes())
	}
	poll := "EIO=4&transport=polling&sid=" + id
	upgrade := head("GET", "EIO=4&transport=websocket&sid="+id, upgradeHeaders...)
	return map[string]string{
		"handshake": head("GET", "EIO=4&transport=polling"),
		"post":      head("POST", poll, "Content-Length: 13") + "4one\x1e4two €",
		"chunked":   head("POST", poll, "Transfer-Encoding: chunked") + "5\r\n4one\x1e\r\n4\r\n4two\r\n0\r\n\r\n",
		"pipelined": head("POST", poll, "Content-Length: 2") + "4a" + head("GET", poll) + head("GET", "EIO=4&transport=tobi"),
		"websocket": head("GET", "EIO=4&transport=websocket", upgradeHeaders...) + string(frame(ws.OpPing, "x")) + string(frame(ws.OpText, "4one")) + string(frame(ws.OpBinary, "\x01\x02")),
		"upgrade":   upgrade + string(frame(ws.OpText, "2probe")) + string(frame(ws.OpText, "5")) + string(frame(ws.OpText, "4one")) + string(frame(ws.OpClose, "\x03\xe8")),
		"refused":   head("GET", "EIO=4&transport=websocket&sid=test", upgradeHeaders...),
	}
}

var streamNames = []string{"handshake", "post", "chunked", "pipelined", "websocket", "upgrade", "refused"}

// feed opens A, writes the pieces of the stream on a connection c that is on
// the loop at, and returns what was said and heard.
func feed(t *testing.T, name string, loops, at int, cut func(stream string) []string) (*bench, []string) {
	const soon = 2 * time.Second
	b := newBench(t, loops, Options{PingInterval: time.Hour, Timeouts: Timeouts{Header: soon, Body: soon, Idle: soon, Upgrade: soon, Close: soon}})
	b.echo = true
	b.play("get EIO=4&transport=polling")
	c := &client{name: "c", peer: b.world.DialLoop(at)}
	b.clients = append(b.clients, c)
	var got []string
	for _, piece := range cut(streams(b)[name]) {
		c.peer.Write([]byte(piece))
		got = append(got, b.collect()...)
	}
	return b, got
}

// However a stream is cut into pieces, the result is the same.
func TestStreamInTwoPieces(t *testing.T) {
	for _, name := range streamNames {
		for at := range 2 {
			t.Run(fmt.Sprint(name, at), func(t *testing.T) {
				b, want := feed(t, name, 2, at, func(s string) []string { return []string{s} })
				wantEvents := b.events()
				length := len(streams(b)[name])
				b.finish()
				for i := 1; i < length; i += race.Less {
					b, got := feed(t, name, 2, at, func(s string) []string { return []string{s[:i], s[i:]} })
					require.Equal(t, want, got, "cut at %d", i)
					require.Equal(t, wantEvents, b.events(), "cut at %d", i)
					b.finish()
				}
				b, got := feed(t, name, 2, at, func(s string) []string { return strings.Split(s, "") })
				require.Equal(t, want, got, "byte by byte")
				require.Equal(t, wantEvents, b.events())
				b.finish()
			})
		}
	}
}

// A connection that breaks at any byte, in any way, leaves nothing behind, and
// ends a session only when it was lost.
func TestStreamBreaks(t *testing.T) {
	ways := map[string]func(b *bench){
		"reset": func(b *bench) { b.play("reset c") },
		"fin":   func(b *bench) { b.play("fin c") },
		"stall": func(b *bench) { b.play("advance 5s") },
	}
	for _, name := range streamNames {
		for way, end := range ways {
			for at := range 2 {
				t.Run(fmt.Sprintf("%s %s %d", name, way, at), func(t *testing.T) {
					b, _ := feed(t, name, 2, at, func(string) []string { return nil })
					length := len(streams(b)[name])
					b.finish()
					for i := 0; i <= length; i += race.Less {
						b, _ := feed(t, name, 2, at, func(s string) []string { return []string{s[:i]} })
						b.events()
						end(b)
						if way != "stall" {
							require.Zero(t, b.world.Sockets()-b.open(), "cut at %d", i)
						}
						breaks(t, b, name, i)
						b.finish()
					}
				})
			}
		}
	}
}

// open counts the connections that are neither ended by us nor told to be over.
func (b *bench) open() (n int) {
	for _, c := range b.clients {
		if !c.peer.Closed() {
			n++
		}
	}
	return n
}

// breaks holds what may have happened to the session A.
func breaks(t *testing.T, b *bench, name string, at int) {
	a := b.session("A")
	reasons := []string{""}
	switch name {
	case "post", "chunked":
		reasons = append(reasons, `close A "transport error" data request connection closed prematurely`)
	case "pipelined":
		reasons = append(reasons, `close A "transport error" data request connection closed prematurely`,
			`close A "transport error" poll connection closed prematurely`)
	case "upgrade":
		reasons = append(reasons, `close A "transport close"`)
	}
	got := ""
	for _, line := range b.log {
		if strings.HasPrefix(line, "close A") {
			got = line
		}
	}
	require.Contains(t, reasons, got, "cut at %d", at)
	if got == "" && b.closes[a] == 0 {
		require.NotEqual(t, sessionClosed, a.state)
		require.NoError(t, a.Send(Message{Data: []byte("still")}))
	}
}

// What Admit and Open see of the handshake, also when the connection has moved
// or a proxy has sent a hundred requests before.
func TestRequest(t *testing.T) {
	var seen []string
	look := func(r *Request) {
		seen = append(seen, fmt.Sprintf("%s %s t=%q a=%q none=%q ua=%q %v", r.Method(), r.Path(), r.Query("t"), r.Query("a b"),
			r.Query("none"), r.Header("user-agent"), r.RemoteAddr().Addr()))
	}
	b := newBench(t, 1, Options{})
	b.server.events.Admit = func(a *Admission) error { look(a.Request); return nil }
	open := b.server.events.Open
	b.server.events.Open = func(s *Session, r *Request) { look(r); open(s, r) }
	const query = `EIO=4&transport=polling&t=x&t=%41+b&a%20b=%zz`
	want := `GET /engine.io/deep t="x" a="%zz" none="" ua="me" 192.0.2.1`
	b.play(`get path=/engine.io/deep ` + query + ` "header=User-Agent: me" "header=User-Agent: you"`)
	b.play(`ws conn=w path=/engine.io/deep ` + strings.Replace(query, "polling", "websocket", 1) + ` "header=User-Agent: me"`)
	require.Equal(t, []string{want, want, want, want}, seen)
	b.finish()
}

// Callbacks are told the first of repeated values, in the query as in the header.
// Of the protocol's own parameters the last value counts, and a refusal reports
// that one.
func TestRepeatedValues(t *testing.T) {
	for query, want := range map[string]string{
		"EIO=4&transport=polling&t=a&t=b":       "a",
		"EIO=4&transport=polling&t=&t=b":        "",
		"EIO=4&transport=polling&%74=a&t=b":     "a",
		"EIO=4&EIO=9&transport=polling&t=a&t=b": `5 "9"`,
		"EIO=9&EIO=4&transport=polling&t=a&t=b": "a",
		"EIO=4&transport=polling&transport=x":   `0 "x"`,
		"EIO=4&transport=polling&sid=a&sid=b":   `1 "b"`,
	} {
		var got string
		b := newSpec(t, 1, Options{}, func(_ *bench, e *Events) {
			e.Open = func(_ *Session, r *Request) { got = r.Query("t") }
			e.ConnectionError = func(_ *Request, e *HandshakeError) { got = fmt.Sprintf("%d %q", e.Code, e.Detail) }
		})
		b.play("get " + query)
		require.Equal(t, want, got, query)
		b.server.CloseSessions()
		b.world.Advance(time.Minute)
		b.world.Close()
	}
}

// A Server serves any number of listeners, whether they are there from the beginning
// or not, until Shutdown, and none afterwards.
func TestServeSeveralListeners(t *testing.T) {
	server, err := New(Options{Loops: 2}, Events{})
	require.NoError(t, err)
	var failed *net.OpError
	require.ErrorAs(t, server.ListenAndServe("256.0.0.1:http-but-not-really"), &failed)
	require.Error(t, server.Serve(&strangeListener{}), "the first one fails")
	require.Nil(t, server.reactor, "and leaves nothing that runs")

	served := make(chan error, 3)
	sids := map[string]bool{}
	for range cap(served) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() { served <- server.Serve(listener) }()
		sids[dialWire(t, listener.Addr().String()).open()] = true
		require.Error(t, server.Serve(&strangeListener{}), "one of many fails")
	}
	require.Len(t, sids, 3)
	require.Equal(t, 3, server.Stats().Sessions)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.DeadlineExceeded, "nobody polls")
	for range cap(served) {
		require.ErrorIs(t, <-served, ErrServerClosed)
	}
	require.ErrorIs(t, server.ListenAndServe("127.0.0.1:0"), ErrServerClosed)
	require.NoError(t, server.Shutdown(t.Context()), "twice")

	server, err = New(Options{}, Events{})
	require.NoError(t, err)
	require.NoError(t, server.Shutdown(t.Context()), "before it served")
	require.ErrorIs(t, server.ListenAndServe("127.0.0.1:0"), ErrServerClosed)
}

// Many calls of Serve at once make one set of loops.
func TestServeAtOnce(t *testing.T) {
	server, err := New(Options{Loops: 2}, Events{})
	require.NoError(t, err)
	const listeners = 20
	served := make(chan error, listeners)
	addresses := make([]string, listeners)
	for i := range listeners {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		addresses[i] = listener.Addr().String()
		go func() { served <- server.Serve(listener) }()
	}
	for _, address := range addresses {
		conn := dialWire(t, address)
		require.NotEmpty(t, conn.open())
	}
	require.Equal(t, listeners, server.Stats().Sessions)
	server.StopAccepting()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, server.Serve(listener), ErrServerClosed, "it stopped accepting")
	_, err = net.Dial("tcp", listener.Addr().String())
	require.Error(t, err, "the listener is closed")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, server.Shutdown(ctx), context.Canceled)
	for range listeners {
		require.ErrorIs(t, <-served, ErrServerClosed)
	}
}

// Loops that somebody else drives are not run a second time.
func TestServeAfterBind(t *testing.T) {
	b := newBench(t, 1, Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, b.server.Serve(listener), "UseLoops")
	_, err = net.Dial("tcp", listener.Addr().String())
	require.Error(t, err, "the listener is closed")
	require.Panics(t, func() { b.server.Driver().UseLoops(b.world.Loops()) }, "the sessions are on those that it has")
	require.Equal(t, []string{"200 0{\"sid\":\"A\",\"upgrades\":[\"websocket\"],\"pingInterval\":25000,\"pingTimeout\":20000,\"maxPayload\":1000000}"}, b.play(hsPolling))
	b.finish()
}

// strangeListener is of no type that loops accept on.
type strangeListener struct{ net.Listener }

func (*strangeListener) Close() error   { return nil }
func (*strangeListener) Addr() net.Addr { return &net.IPAddr{} }
