package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/panjf2000/ants/v2"
	"github.com/stretchr/testify/require"
)

// exits has one kind of callback end its goroutine, for clients whose requests say
// that they are doomed.
type exits struct {
	kind   callKind
	times  atomic.Int64
	once   bool
	opened atomic.Int64 // minus closed
	broken atomic.Int64 // closed as by a panic
	always atomic.Bool  // for all clients
	living atomic.Bool  // the doomed clients are at it
}

const doomed = "&doomed=1"

func (x *exits) exit(kind callKind, concerned bool) {
	if kind != x.kind || !concerned && !x.always.Load() {
		return
	}
	if n := x.times.Add(1); n == 1 || !x.once {
		runtime.Goexit()
	}
}

func (x *exits) request(kind callKind, r *Request) { x.exit(kind, r.Query("doomed") != "") }
func (x *exits) session(kind callKind, s *Session) { x.exit(kind, s.Value() != nil) }

func (x *exits) tells(kind callKind) func(*Session) {
	return func(s *Session) { x.session(kind, s) }
}

func (x *exits) options(loops int, o Options) Options {
	o.Loops, o.PingInterval, o.Timeouts.SlowCallback, o.Queue.HighWater = loops, time.Hour, -1, 1
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Access.Bind = func(r *Request) string { x.request(callBind, r); return "" }
	o.GenerateID = func(r *Request) (string, error) {
		x.request(callGenerateID, r)
		return fmt.Sprint("session", time.Now().UnixNano()), nil
	}
	o.Middleware = []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x.exit(callMiddleware, strings.Contains(r.RequestURI, doomed))
			next.ServeHTTP(w, r)
		})
	}}
	o.Access.CORS = &CORS{Allow: func(origin string) bool { x.exit(callAllow, origin == "http://doomed.example"); return true }}
	return o
}

func (x *exits) events() Events {
	return Events{
		Admit: func(a *Admission) error {
			if a.Query("doomed") != "" {
				a.SetValue(true)
			}
			x.request(callAdmit, a.Request)
			return nil
		},
		ConnectionError: func(r *Request, _ *HandshakeError) { x.request(callConnectionError, r) },
		InitialHeaders:  func(r *Request, _ http.Header) { x.request(callInitialHeaders, r) },
		Headers:         func(r *Request, _ http.Header) { x.request(callHeaders, r) },
		Open: func(s *Session, _ *Request) {
			x.opened.Add(1)
			s.Join("all")
			x.session(callOpen, s)
		},
		Packet: func(s *Session, _ Packet) { x.session(callPacket, s) },
		Message: func(s *Session, m Message) {
			x.session(callMessage, s)
			_ = s.SendWith(m, SendOptions{Sent: func() { x.session(callSent, s) }})
		},
		PacketCreate: func(s *Session, _ Packet) { x.session(callPacketCreate, s) },
		Heartbeat:    x.tells(callHeartbeat),
		Upgrading:    x.tells(callUpgrading),
		Upgrade:      x.tells(callUpgrade),
		Flush:        func(s *Session, _ int) { x.session(callFlush, s) },
		Flushed:      x.tells(callFlushed),
		HighWater:    func(s *Session, _ int) { x.session(callHighWater, s) },
		LowWater:     x.tells(callLowWater),
		Drain:        x.tells(callDrain),
		Close: func(s *Session, reason Reason, err error) {
			if s.has(publicOpened) {
				x.opened.Add(-1)
			}
			if err == ErrCallbackPanic && reason == ReasonTransportError {
				x.broken.Add(1)
			}
			x.session(callClose, s)
		},
	}
}

// doomedClient does what a client can do. Whatever does not succeed ends at once.
type doomedClient struct {
	t       *testing.T
	address string
}

func (c *doomedClient) dial() (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("tcp", c.address)
	require.NoError(c.t, err)
	require.NoError(c.t, conn.SetDeadline(time.Now().Add(patience)))
	return conn, bufio.NewReader(conn)
}

// inTime is for what must not be left without an answer, and without an end.
func (c *doomedClient) inTime(what string, err error) bool {
	if e, ok := err.(net.Error); ok && e.Timeout() {
		require.Fail(c.t, "no answer and no end", what)
	}
	return err == nil
}

func (c *doomedClient) ask(method, query, body string) (text string) {
	conn, in := c.dial()
	defer conn.Close()
	_, err := conn.Write(request{
		method: method, target: "/engine.io/?EIO=4&transport=polling" + doomed + query, body: body, length: method == "POST",
		headers: []string{"Connection: close", "Origin: http://doomed.example"},
	}.bytes())
	require.NoError(c.t, err)
	r, err := http.ReadResponse(in, nil)
	if !c.inTime(method+" "+query, err) {
		return ""
	}
	p, err := io.ReadAll(r.Body)
	c.inTime(method+" "+query, err)
	return string(p)
}

// speak opens a WebSocket and sends frames, each when the one before was answered.
func (c *doomedClient) speak(query string, texts ...string) {
	conn, in := c.dial()
	defer conn.Close()
	_, err := conn.Write(request{method: "GET", target: "/engine.io/?transport=websocket" + doomed + query, headers: upgradeHeaders}.bytes())
	require.NoError(c.t, err)
	r, err := http.ReadResponse(in, nil)
	if !c.inTime(query, err) || r.StatusCode != 101 {
		return
	}
	for _, text := range texts {
		if _, err = conn.Write(frame(ws.OpText, text)); err != nil {
			return
		}
		if _, err = readFrame(in); !c.inTime(text, err) {
			return
		}
	}
	_, _ = conn.Write(frame(ws.OpClose, ""))
	_, err = io.ReadAll(in)
	c.inTime("the end", err)
}

func (c *doomedClient) live(server *Server) {
	if _, sid, ok := strings.Cut(c.ask("GET", "", ""), `"sid":"`); ok {
		sid = "&sid=" + sid[:strings.IndexByte(sid, '"')]
		c.ask("POST", sid, "4hello")
		c.ask("GET", sid, "")
		_ = server.Broadcast(toAll(c.t))
		c.speak("&EIO=4"+sid, "2probe", "5", "4hello")
		c.ask("POST", sid, "1")
	}
	c.speak("&EIO=3", "4hello", "2", "4again")
	c.ask("GET", "&sid=unknown", "")
}

func toAll(t *testing.T) *Prepared {
	p, err := Prepare(Message{Data: []byte("to all")})
	require.NoError(t, err)
	return p
}

// exitKinds are all callbacks but Submit, and Merge, which needs a message that waits
// and has a test of its own; those with true have a session, which
// ends by them.
var exitKinds = map[callKind]bool{
	callAdmit: false, callConnectionError: false, callInitialHeaders: false, callHeaders: false, callOpen: true, callPacket: true,
	callMessage: true, callPacketCreate: true, callHeartbeat: true, callUpgrading: true, callUpgrade: true, callFlush: true,
	callFlushed: true, callHighWater: true, callLowWater: true, callDrain: true, callClose: false, callSent: true, callKeep: true, callDone: false,
	callBind: false, callGenerateID: false, callMiddleware: false, callAllow: false,
}

// executors make what callbacks run on; nil are the loops.
var executors = map[string]func(*testing.T) Executor{
	"no executor":  nil,
	"NewExecutor":  func(*testing.T) Executor { return NewExecutor(1) },
	"another pool": newPool,
}

func newPool(t *testing.T) Executor { return newPoolOf(t, 1) }

func newPoolOf(t *testing.T, workers int) Executor {
	pool, err := ants.NewPool(workers, ants.WithNonblocking(true), ants.WithExpiryDuration(10*time.Millisecond)) // of a worker that has nothing to do
	require.NoError(t, err)
	t.Cleanup(pool.Release)
	return pool
}

// A callback that calls runtime.Goexit, as FailNow of a test does, costs what a
// panic costs: its session or request. The loop and its other clients continue, each
// session that was opened is closed, and Shutdown returns.
func TestCallbackThatEndsItsGoroutine(t *testing.T) {
	for name, executor := range executors {
		for _, loops := range []int{1, 2} {
			for kind, ends := range exitKinds {
				t.Run(fmt.Sprintf("%v, %d loops, %s", kind, loops, name), func(t *testing.T) {
					var o Options
					if executor != nil {
						o.Executor = executor(t)
					}
					x := &exits{kind: kind}
					testExits(t, x, loops, o, x.events())
					// On another goroutine a client may be faster, and go itself, but where it waits.
					if ends && (executor == nil || kind == callMessage) {
						require.Equal(t, x.times.Load(), x.broken.Load())
					}
				})
			}
		}
	}
}

func testExits(t *testing.T, x *exits, loops int, o Options, e Events) {
	loses(t, x.times.Load)
	goroutines := runtime.NumGoroutine()
	server, address, ended := serveWith(t, x.options(loops, o), e)
	others := make([]*wire, 2*loops)
	for i := range others {
		others[i] = dialWire(t, address)
		others[i].websocket()
	}
	client := &doomedClient{t, address}
	x.living.Store(true)
	for range 2 * loops {
		client.live(server)
		if x.kind == callDone {
			x.doneExits(t, server)
		}
		if x.kind == callKeep {
			x.keepExits(client, len(others), keepAll(server))
			if o.Executor == nil { // else Open may come behind
				x.keepExits(client, len(others), func(p *Prepared, keep func(*Session) bool) {
					_ = server.PublishTo(Audience{Groups: []string{"all"}, Keep: keep}, p)
				})
			}
		}
	}
	until(t, "the doomed sessions end", func() bool { return server.Stats().Sessions == len(others) })
	until(t, "each is closed", func() bool { return x.opened.Load() == int64(len(others)) })
	until(t, "nothing of theirs is held", func() bool { return server.Stats().Queued+server.Stats().Pending == 0 })
	require.NotZero(t, x.times.Load())
	x.living.Store(false)

	late := dialWire(t, address)
	late.websocket()
	for _, w := range append(slices.Clone(others), late) {
		require.NoError(t, w.write("4still here"))
		for text := ""; text != "4still here"; {
			text = w.text()
			require.NotEmpty(t, text)
		}
	}
	x.always.Store(x.kind == callClose) // from here on also for others, at their end
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, w := range append(others, late) {
		w.hangUp()
	}
	require.NoError(t, server.Shutdown(ctx))
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.Zero(t, x.opened.Load())
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
}

// A Merge that ends its goroutine on the loop costs its session, and the loop
// continues.
func TestMergeThatEndsItsGoroutine(t *testing.T) {
	opened, closed := make(chan *Session, 2), make(chan error, 2)
	server, address, ended := serveWith(t, Options{Loops: 1, Access: Access{AnyOrigin: true}}, Events{
		Open:  func(s *Session, _ *Request) { opened <- s },
		Close: func(_ *Session, _ Reason, err error) { closed <- err },
	})
	c := &doomedClient{t, address}
	require.NotEmpty(t, c.ask("GET", "", ""))
	require.NoError(t, (<-opened).SendWith(message, SendOptions{Key: "k"}))
	_ = server.Broadcast(toAll(t).With(SendOptions{Key: "k", Merge: func(Message, Message) Message {
		runtime.Goexit()
		return message
	}}))
	require.ErrorIs(t, <-closed, ErrCallbackPanic)
	require.NotEmpty(t, c.ask("GET", "", ""), "the loop goes on")
	_ = server.Broadcast(toAll(t))
	(<-opened).CloseNow()
	require.NoError(t, <-closed)
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

// doneExits has Done end the goroutine of a walk: it is called once, and what waits
// behind the walk has its turn.
func (x *exits) doneExits(t *testing.T, server *Server) {
	var dones atomic.Int64
	require.NoError(t, server.PublishTo(Audience{Done: func(int, int) {
		dones.Add(1)
		x.exit(callDone, true)
	}}, toAll(t)))
	behind := make(chan struct{})
	require.NoError(t, server.PublishTo(Audience{Groups: []string{"all"}, Done: func(int, int) { close(behind) }}, toAll(t)))
	<-behind
	require.EqualValues(t, 1, dones.Load())
}

// keepAll sends to those of all sessions that keep keeps.
func keepAll(server *Server) func(*Prepared, func(*Session) bool) {
	return func(p *Prepared, keep func(*Session) bool) { _ = server.PublishTo(Audience{Keep: keep}, p) }
}

// keepExits has keep end the goroutine of a walk, in which the others are asked all
// the same.
func (x *exits) keepExits(c *doomedClient, others int, send func(*Prepared, func(*Session) bool)) {
	conn, in := c.dial()
	defer conn.Close()
	_, err := conn.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket" + doomed, headers: upgradeHeaders}.bytes())
	require.NoError(c.t, err)
	_, err = http.ReadResponse(in, nil)
	require.NoError(c.t, err)
	var asked atomic.Int64
	send(toAll(c.t), func(s *Session) bool {
		asked.Add(1)
		x.session(callKeep, s)
		return true
	})
	_, err = io.ReadAll(in)
	c.inTime("the end of a session that keep was asked about", err)
	until(c.t, "all are asked", func() bool { return asked.Load() == int64(others)+1 })
}

// Every session whose Close ends its goroutine is told, also when they are cut off
// together.
func TestCutSessionsWhoseCloseEndsItsGoroutine(t *testing.T) {
	for _, loops := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) {
			x := &exits{kind: callClose}
			x.always.Store(true)
			loses(t, x.times.Load)
			server, address, ended := serveWith(t, x.options(loops, Options{}), x.events())
			const clients = 20
			for range clients {
				dialWire(t, address).websocket()
				require.NotEmpty(t, (&doomedClient{t, address}).ask("GET", "", ""))
			}
			_ = server.Broadcast(toAll(t))
			until(t, "a message waits for those that poll", func() bool { return server.Stats().Queued > 0 })
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, server.Shutdown(ctx), context.Canceled)
			require.ErrorIs(t, <-ended, ErrServerClosed)
			require.EqualValues(t, 2*clients, x.times.Load())
			require.Zero(t, x.opened.Load())
			require.Zero(t, server.Stats().Sessions)
			require.Zero(t, server.Stats().Queued)
		})
	}
}

// It is told once, whatever it leads to. The pool has room, since a refusal would be
// the one record of that second.
func TestExitIsLoggedOnce(t *testing.T) {
	roomy := maps.Clone(executors)
	roomy["another pool"] = func(t *testing.T) Executor { return newPoolOf(t, 8) }
	for name, executor := range roomy {
		for kind := range exitKinds {
			t.Run(fmt.Sprintf("%v, %s", kind, name), func(t *testing.T) {
				log := new(warnings)
				o := Options{Logger: slog.New(log)}
				if executor != nil {
					o.Executor = executor(t)
				}
				x := &exits{kind: kind, once: true}
				loses(t, x.times.Load)
				server, address, ended := serveWith(t, x.options(1, o), x.events())
				client := &doomedClient{t, address}
				client.live(server)
				if kind == callDone {
					x.doneExits(t, server)
				}
				if kind == callKeep {
					x.keepExits(client, 0, keepAll(server))
				}
				require.NoError(t, server.Shutdown(t.Context()))
				require.ErrorIs(t, <-ended, ErrServerClosed)
				var told []string
				for _, line := range log.take() {
					if strings.HasPrefix(line, "ERROR") {
						told = append(told, line)
					}
				}
				require.Len(t, told, 1)
				require.Contains(t, told[0], "runtime.Goexit was called")
				require.Contains(t, told[0], "(*exits).exit", "the stack")
			})
		}
	}
}

// leavingExecutor ends the goroutine that Submit is called on, one time of so many.
type leavingExecutor struct {
	Executor
	exits *exits
	of    int64
	calls atomic.Int64
}

func (e *leavingExecutor) Submit(task func()) error {
	e.exits.exit(callSubmit, e.exits.living.Load() && e.calls.Add(1)%e.of == 0)
	return e.Executor.Submit(task)
}

// A Submit that does so costs the session, or the request, that it is for; what was
// to be run is run all the same.
func TestSubmitThatEndsItsGoroutine(t *testing.T) {
	for _, of := range []int64{1, 2, 3} {
		for _, admits := range []bool{false, true} {
			t.Run(fmt.Sprintf("one of %d, Admit %v", of, admits), func(t *testing.T) {
				x := &exits{kind: callSubmit}
				e := x.events()
				if !admits {
					e.Admit = nil
				}
				testExits(t, x, 1, Options{Executor: &leavingExecutor{Executor: NewExecutor(1), exits: x, of: of}}, e)
			})
		}
	}
}

// A request that comes behind another one's answer is looked at where that has
// come from.
func TestExitBehindAnAnswer(t *testing.T) {
	for _, kind := range []callKind{callAdmit, callMiddleware, callOpen, callFlush} {
		t.Run(kind.String(), func(t *testing.T) {
			x := &exits{kind: kind}
			loses(t, x.times.Load)
			o := x.options(1, Options{Fallback: http.NotFoundHandler()})
			server, address, ended := serveWith(t, o, x.events())
			client := &doomedClient{t, address}
			conn, in := client.dial()
			defer conn.Close()
			poll := "/engine.io/?EIO=4&transport=polling"
			for _, first := range []string{"/elsewhere", poll + "&sid=unknown"} {
				_, err := conn.Write(append(request{method: "GET", target: first}.bytes(), request{method: "GET", target: poll + doomed}.bytes()...))
				require.NoError(t, err)
				_, err = io.ReadAll(in)
				require.True(t, client.inTime("the end behind "+first, err))
				require.NoError(t, conn.Close())
				conn, in = client.dial()
			}
			require.EqualValues(t, 2, x.times.Load())
			conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			require.NoError(t, server.Shutdown(ctx))
			require.ErrorIs(t, <-ended, ErrServerClosed)
		})
	}
}

// A client that sends nothing more ends its poll's session, on whatever loop, and
// its connection is closed although Close does not return.
func TestExitBehindTheEndOfAClient(t *testing.T) {
	x := &exits{kind: callClose}
	loses(t, x.times.Load)
	server, address, ended := serveWith(t, x.options(2, Options{}), x.events())
	client := &doomedClient{t, address}
	for range 8 {
		_, sid, ok := strings.Cut(client.ask("GET", "", ""), `"sid":"`)
		require.True(t, ok)
		sid = "&sid=" + sid[:strings.IndexByte(sid, '"')]
		conn, in := client.dial()
		_, err := conn.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling" + sid}.bytes())
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		_, err = io.ReadAll(in)
		require.True(t, client.inTime("the end of a poll", err))
		require.NoError(t, conn.Close())
	}
	require.EqualValues(t, 8, x.times.Load())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, server.Shutdown(ctx))
	require.ErrorIs(t, <-ended, ErrServerClosed)
}
