package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// surface is all methods that an application has, each as it may be called at any
// time: in every callback, from elsewhere, after the end.
type surface struct {
	session map[string]func(*Session)
	server  map[string]func(*Server)
}

// notInCallbacks are methods of Server that wait, or are for programs that make loops: as
// their comments say. They are called after the end only.
var notInCallbacks = map[string]bool{
	"ListenAndServe": true, "ListenAndServeTLS": true,
	"Close": true, "Serve": true, "ServeHTTP": true, "ServeTLS": true, "Shutdown": true,
}

var message = Message{Data: []byte("from everywhere")}

func newSurface() surface {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	return surface{
		session: map[string]func(*Session){
			"Buffered":      func(s *Session) { _ = s.Buffered() },
			"Close":         func(s *Session) { s.Close() },
			"CloseNow":      (*Session).CloseNow,
			"CloseWith":     func(s *Session) { _ = s.CloseWith(4000, "over") },
			"Context":       func(s *Session) { _ = context.Cause(s.Context()) },
			"Groups":        func(s *Session) { _ = s.Groups() },
			"ID":            func(s *Session) { _ = s.ID() },
			"InGroup":       func(s *Session) { _ = s.InGroup("group") },
			"Join":          func(s *Session) { s.Join("group"); s.Join(fmt.Sprint(rand.IntN(3))) },
			"PublicID":      func(s *Session) { _ = s.PublicID() },
			"LastHeartbeat": func(s *Session) { _ = s.LastHeartbeat() },
			"Leave":         func(s *Session) { s.Leave("group"); s.Leave(fmt.Sprint(rand.IntN(3))) },
			"Opened":        func(s *Session) { _ = s.Opened() },
			"RemoteAddr":    func(s *Session) { _ = s.RemoteAddr() },
			"Revision":      func(s *Session) { _ = s.Revision() },
			"Send":          func(s *Session) { _ = s.Send(message) },
			"SendPrepared":  func(s *Session) { _ = s.SendPrepared(prepared(message)) },
			"SendWith":      func(s *Session) { _ = s.SendWith(message, SendOptions{NoCompress: true, Sent: func() {}}) },
			"Server":        func(s *Session) { _ = s.Server().Stats() },
			"SetValue":      func(s *Session) { s.SetValue(1) },
			"State":         func(s *Session) { _ = s.State() },
			"Trace": func(s *Session) {
				ctx, cancel := context.WithCancel(context.Background())
				_, _ = s.Trace(ctx, TraceOptions{Payloads: true})
				cancel()
			},
			"Transport": func(s *Session) { _ = s.Transport() },
			"Upgrading": func(s *Session) { _ = s.Upgrading() },
			"Upgraded":  func(s *Session) { _ = s.Upgraded() },
			"Value":     func(s *Session) { _ = s.Value() },
		},
		server: map[string]func(*Server){
			"Broadcast":     func(s *Server) { _ = s.Broadcast(prepared(message)) },
			"CloseGroup":    func(s *Server) { s.CloseGroup("group") },
			"CloseSessions": (*Server).CloseSessions,
			"Close":         func(s *Server) { _ = s.Close() },
			"Driver":        func(s *Server) { _ = s.Driver().LoopOptions() },
			"Count":         func(s *Server) { _ = s.Count("group") },
			"Find":          func(s *Server) { _ = s.Find("nobody") },
			"Agreement":     func(s *Server) { _ = s.Agreement() },
			"DrainPace":     func(s *Server) { _, _ = s.DrainPace(ended) },
			"Home":          func(s *Server) { _, _ = s.Home() },
			"FindPublic": func(s *Server) {
				for session := range s.Sessions() {
					_, _ = s.FindPublic(session.PublicID())
				}
			},
			"GroupNames": func(s *Server) {
				for name, n := range s.GroupNames() {
					_ = fmt.Sprint(name, n)
				}
			},
			"GroupPage":   func(s *Server) { _, _ = s.GroupPage("g", "", 2) },
			"LastRefused": func(s *Server) { _ = s.LastRefused() },
			"Members": func(s *Server) {
				for session := range s.Members("group") {
					_ = session.ID()
				}
			},
			"ListenAndServe":    func(s *Server) { _ = s.ListenAndServe("127.0.0.1:0") },
			"ListenAndServeTLS": func(s *Server) { _ = s.ListenAndServeTLS("127.0.0.1:0") },
			"ReloadTLS":         func(s *Server) { _ = s.ReloadTLS() },
			"Publish":           func(s *Server) { _ = s.Publish("group", prepared(message)) },
			"PublishTo": func(s *Server) {
				_ = s.PublishTo(Audience{Groups: []string{"group"}, Except: []string{"other"}, Done: func(int, int) {}}, prepared(message))
				_ = s.PublishTo(Audience{Keep: func(s *Session) bool { return s.Upgraded() }}, prepared(message))
				_ = s.PublishTo(Audience{Sessions: slices.Collect(s.Sessions())}, prepared(message))
			},
			"ServeHTTP": func(s *Server) {
				s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/engine.io/?EIO=4&transport=polling", nil))
			},
			"ServeTLS": func(s *Server) {
				if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
					_ = s.ServeTLS(l)
				}
			},
			"Serve": func(s *Server) {
				if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
					_ = s.Serve(l)
				}
			},
			"Sessions": func(s *Server) {
				for session := range s.Sessions() {
					_ = session.ID()
				}
			},
			"SessionsFrom": func(s *Server) {
				for _, cursor := range s.SessionsFrom(Cursor{}) {
					_ = cursor.String()
				}
			},
			"SetAccess":     func(s *Server) { _ = s.SetAccess(Access{}) },
			"SetDrain":      func(s *Server) { _ = s.SetDrain(Drain{}) },
			"SetLimits":     func(s *Server) { _ = s.SetLimits(Limits{}) },
			"SetProxies":    func(s *Server) { _ = s.SetProxies(Proxies{}) },
			"SetDebug":      func(s *Server) { s.SetDebug(func(string) *slog.Logger { return nil }) },
			"Shutdown":      func(s *Server) { _ = s.Shutdown(ended) },
			"Stats":         func(s *Server) { _ = s.Stats() },
			"StopAccepting": (*Server).StopAccepting,
		},
	}
}

// Every method has its row, so that a new one is not forgotten here.
func TestSurfaceIsComplete(t *testing.T) {
	all := newSurface()
	names := func(kind reflect.Type) (names []string) {
		for i := range kind.NumMethod() {
			names = append(names, kind.Method(i).Name)
		}
		return names
	}
	keys := func(rows reflect.Value) (names []string) {
		for _, key := range rows.MapKeys() {
			names = append(names, key.String())
		}
		return names
	}
	require.ElementsMatch(t, names(reflect.TypeFor[*Session]()), keys(reflect.ValueOf(all.session)))
	require.ElementsMatch(t, names(reflect.TypeFor[*Server]()), keys(reflect.ValueOf(all.server)))
}

// ends are the methods after which little else happens.
func ends(name string) bool {
	return strings.HasPrefix(name, "Close") || name == "StopAccepting"
}

// call calls the methods for which which says so.
func (u surface) call(server *Server, sessions []*Session, which func(name string) bool) {
	for name, f := range u.server {
		if !notInCallbacks[name] && which(name) {
			f(server)
		}
	}
	for name, f := range u.session {
		if which(name) {
			for _, s := range sessions {
				f(s)
			}
		}
	}
}

// stage is a server whose every callback calls what a test says, and sessions
// to which everything happens.
type stage struct {
	*bench
	mu   sync.Mutex
	seen map[string]int // callbacks
	all  []*Session
	each func(callback string) // called in each callback
}

func (g *stage) in(callback string) {
	g.mu.Lock()
	g.seen[callback]++
	n := g.seen[callback]
	g.mu.Unlock()
	if g.each != nil && n <= stageCalls {
		g.each(callback)
	}
}

// stageCalls is how often each runs in a callback of one kind: a callback that sends in
// Flush each time would never come to rest.
const stageCalls = 4

func (g *stage) sessions() []*Session {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*Session(nil), g.all...)
}

// newStage makes every callback there is call each.
func newStage(t *testing.T, loops int, o Options) *stage {
	g := &stage{seen: map[string]int{}}
	o.Queue.HighWater, o.Queue.LowWater = 3000, 10
	o.Access.Bind = func(*Request) string { g.in("Options.Access.Bind"); return "" }
	o.GenerateID = func(*Request) (string, error) {
		g.in("Options.GenerateID")
		return fmt.Sprint("id", rand.Uint64()), nil
	}
	o.Access.CORS = &CORS{Allow: func(string) bool { g.in("CORS.Allow"); return true }}
	o.Middleware = []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			g.in("Options.Middleware")
			next.ServeHTTP(w, r)
		})
	}}
	g.bench = newSpec(t, loops, o, func(b *bench, e *Events) {
		told := func(name string) func(*Session) {
			return func(*Session) { g.in("Events." + name) }
		}
		e.Admit = func(*Admission) error { g.in("Events.Admit"); return nil }
		e.ConnectionError = func(*Request, *HandshakeError) { g.in("Events.ConnectionError") }
		e.InitialHeaders = func(*Request, http.Header) { g.in("Events.InitialHeaders") }
		e.Headers = func(*Request, http.Header) { g.in("Events.Headers") }
		opened, closed := e.Open, e.Close
		e.Open = func(s *Session, r *Request) {
			opened(s, r)
			g.mu.Lock()
			g.all = append(g.all, s)
			g.mu.Unlock()
			g.in("Events.Open")
		}
		e.Packet = func(*Session, Packet) { g.in("Events.Packet") }
		e.Message = func(*Session, Message) { g.in("Events.Message") }
		e.PacketCreate = func(_ *Session, p Packet) {
			if p.Type != 4 { // which is below Send, on any goroutine
				g.in("Events.PacketCreate")
			}
		}
		e.Heartbeat, e.Upgrading, e.Upgrade = told("Heartbeat"), told("Upgrading"), told("Upgrade")
		e.Flush = func(*Session, int) { g.in("Events.Flush") }
		e.Flushed, e.LowWater, e.Drain = told("Flushed"), told("LowWater"), told("Drain")
		e.HighWater = func(*Session, int) { g.in("Events.HighWater") }
		e.Close = func(s *Session, r Reason, err error) { closed(s, r, err); g.in("Events.Close") }
	})
	g.echo = false
	return g
}

// happen lets everything happen. What a callback has closed does not answer.
func (g *stage) happen() {
	for _, command := range []string{
		"get EIO=4&transport=polling header=Origin:http://elsewhere conn=p", "get EIO=4&transport=none",
		"post sid=A 4hi", "get sid=A conn=q", "ws sid=A conn=w", "frame w text 2probe", "get sid=A conn=r", "frame w text 5",
		"frame w text 4hello", "advance 26s", "frame w text 3", "window w 0",
	} {
		_, _ = g.run(command)
	}
	for _, size := range []int{100_000, 4000} {
		for _, s := range g.sessions() {
			_ = s.Send(Message{Data: make([]byte, size)})
		}
		g.collect()
	}
	_, _ = g.run("window w 1000000")
	_, _ = g.run("frame w text 4still")
	for _, s := range g.sessions() {
		_ = s.SendWith(message, SendOptions{Sent: func() { g.in("SendOptions.Sent") }})
	}
	_ = g.server.PublishTo(Audience{
		Keep: func(*Session) bool { g.in("Audience.Keep"); return true },
		Done: func(int, int) { g.in("Audience.Done") },
	}, prepared(message))
	_, _ = g.run("window w 0")
	for _, s := range g.sessions() {
		_ = s.Send(Message{Data: make([]byte, 100_000)})
		_ = s.SendWith(message, SendOptions{Key: "key"})
	}
	_ = g.server.Broadcast(prepared(message).With(SendOptions{Key: "key", Merge: func(_, next Message) Message {
		g.in("SendOptions.Merge")
		return next
	}}))
	g.collect()
	_, _ = g.run("window w 1000000")
	_, _ = g.run("advance 1s")
	_, _ = g.run("frame w text 4more")
	for _, s := range g.sessions() {
		s.Close()
	}
	_, _ = g.run("close w")
}

func stageOptions(executor bool) Options {
	o := Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Timeouts: Timeouts{SlowCallback: time.Hour}}
	if executor {
		o.Executor = new(byHand)
	}
	return o
}

// On the stage there is every callback that a loop can be in.
func TestStageHasEveryCallback(t *testing.T) {
	for _, executor := range []bool{false, true} {
		g := newStage(t, 1, stageOptions(executor))
		on := map[string]int{}
		g.each = func(callback string) {
			kind := kindOf(g.server.shards[0].mark.call.Load())
			if kind != callNone {
				on[kind.String()]++
				require.Equal(t, callback, kind.String())
			}
		}
		g.happen()
		for kind := callNone + 1; int(kind) < len(callNames); kind++ {
			if kind != callSubmit {
				require.NotZero(t, g.seen[kind.String()], kind)
			}
		}
		require.Equal(t, executor, len(on) != len(g.seen), "callbacks on the loop: %v", on)
		require.Zero(t, g.server.shards[0].mark.call.Load())
		g.finish()
	}
}

// Each method does what it says in each callback, on sessions in whatever state,
// and so do all of them together.
func TestSurfaceInCallbacks(t *testing.T) {
	all := newSurface()
	try := func(t *testing.T, loops int, executor bool, which func(name string) bool) {
		g := newStage(t, loops, stageOptions(executor))
		depth := 0
		g.each = func(string) {
			if depth++; depth == 1 {
				all.call(g.server, g.sessions(), which)
			}
			depth--
		}
		g.happen()
		require.NotEmpty(t, g.seen)
		g.each = nil
		g.finish()
		all.call(g.server, g.sessions(), func(string) bool { return true })
		g.world.Close()
	}
	for _, loops := range []int{1, -2} {
		for _, executor := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d loops, executor %v", max(loops, -loops), executor), func(t *testing.T) {
				for name := range all.session {
					try(t, loops, executor, func(n string) bool { return n == name })
				}
				for name := range all.server {
					try(t, loops, executor, func(n string) bool { return n == name })
				}
				try(t, loops, executor, func(n string) bool { return !ends(n) })
				try(t, loops, executor, func(string) bool { return true })
			})
		}
	}
}

// From other goroutines, while everything happens and after it.
func TestSurfaceFromElsewhere(t *testing.T) {
	all := newSurface()
	for _, executor := range []bool{false, true} {
		g := newStage(t, 2, stageOptions(executor))
		stop := make(chan struct{})
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				for range 500 { // what they publish waits without bound
					select {
					case <-stop:
						return
					default:
						all.call(g.server, g.sessions(), func(n string) bool { return !ends(n) })
						runtime.Gosched()
					}
				}
			})
		}
		for range 5 {
			g.happen()
		}
		for _, s := range g.sessions() {
			callers.Go(func() { s.Close() })
			callers.Go(s.CloseNow)
			callers.Go(func() { _ = s.CloseWith(4000, "over") })
		}
		callers.Go(g.server.CloseSessions)
		_, _ = g.run("advance 1s")
		close(stop)
		callers.Wait()
		g.finish()
	}
}

// After Shutdown, and before Serve, methods return at once and change nothing.
func TestSurfaceAroundServe(t *testing.T) {
	all := newSurface()
	for _, executor := range []Executor{nil, NewExecutor(4)} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		opened := make(chan *Session, 1)
		server, err := New(Options{Loops: 2, Executor: executor}, Events{Open: func(s *Session, _ *Request) { opened <- s }})
		require.NoError(t, err)
		for name, f := range all.server {
			if !notInCallbacks[name] && !ends(name) {
				f(server)
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		dialWire(t, listener.Addr().String()).open()
		session := <-opened
		require.True(t, server.Find(session.ID()) == session)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, server.Shutdown(ctx), context.Canceled)
		require.ErrorIs(t, <-ended, ErrServerClosed)
		for range 2 {
			for _, f := range all.server {
				f(server)
			}
			for _, f := range all.session {
				f(session)
			}
		}
		require.Equal(t, StateClosed, session.State())
		require.ErrorIs(t, session.Send(message), ErrClosed)
		require.Nil(t, server.Find(session.ID()))
		require.ErrorIs(t, server.ListenAndServe("127.0.0.1:0"), ErrServerClosed)
		require.NoError(t, server.Shutdown(t.Context()))
		require.Zero(t, server.Stats().Sessions)
	}
}
