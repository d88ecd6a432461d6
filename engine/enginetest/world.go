package enginetest

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"
	"turbine/loop"
	"turbine/loop/looptest"
)

// patience is how long a method waits, on the wall clock, for other goroutines.
var patience = 5 * time.Second

// A World is a server in memory, on one loop, with a clock of its own. It and its
// clients belong to the goroutine of the test.
type World struct {
	t       testing.TB
	server  *engine.Server
	world   *looptest.World
	options engine.Options
	host    string
	path    string
	log     *testLog
	inside  bool // of a callback
	wires   []*memory
	alarms  []*alarm
	counter executor
}

// An alarm rings for a client each time its interval has passed.
type alarm struct {
	c     *Client
	at    time.Duration
	every time.Duration
	f     func() // nil once it is stopped
}

// New runs a server in memory until the test ends. Of o, Loops and what is for
// listeners is not used. Where o.Logger is nil, records of level warn go to the
// test's log, and one of level error, such as that of a panic in a callback, fails the
// test.
func New(t testing.TB, o engine.Options, e engine.Events) *World {
	t.Helper()
	w := &World{t: t, options: o, host: "example.com"}
	w.path = cmp.Or(o.Path, "/engine.io/")
	if !o.NoTrailingSlash {
		w.path = strings.TrimSuffix(w.path, "/") + "/"
	}
	if o.Logger == nil {
		w.log = &testLog{t: t}
		o.Logger = slog.New(w.log)
	}
	if o.Executor != nil {
		w.counter.inner, w.counter.stirred = o.Executor, make(chan struct{}, 1)
		o.Executor = &w.counter
	}
	server, err := engine.New(o, e)
	if err != nil {
		t.Fatalf("enginetest: New: %v", err)
	}
	w.server = server
	w.world = looptest.NewWorld(1, server.Driver().LoopOptions(), server.Driver().Accept)
	server.Driver().UseLoops(w.world.Loops())
	t.Cleanup(w.end)
	return w
}

// Server is the server.
func (w *World) Server() *engine.Server { return w.server }

// Dial opens a session. It fails the test when the server refuses the client.
func (w *World) Dial(o Options) *Client {
	w.t.Helper()
	c, err := w.TryDial(o)
	return c.dialled(err)
}

// TryDial opens a session. The error is a *Refused where the server refuses the
// client; the Client is of no use then.
func (w *World) TryDial(o Options) (*Client, error) {
	w.t.Helper()
	c := newClient(w.t, w, w.host, w.path, o)
	if o.TLS != nil && w.options.TLS == nil {
		w.t.Fatalf("enginetest: Dial: expected a server with TLS, but its engine.Options.TLS is nil. Set it in New")
	}
	return c, c.dial()
}

// Advance moves the clock by d, step by step, so that all heartbeats and timeouts on
// the way happen when they are due, and clients answer at once. After each step it
// waits as Settle does.
func (w *World) Advance(d time.Duration) {
	w.t.Helper()
	if d < 0 {
		w.t.Fatalf("enginetest: Advance: expected a time of zero or more, came %v. The clock does not go back", d)
	}
	w.settle("Advance")
	for tick := w.world.Tick(); d > 0; d -= tick {
		w.world.Advance(min(d, tick))
		if !w.rest() {
			w.unsettled("Advance")
		}
	}
}

// Settle waits until the server and the clients have nothing left to do at this
// moment, callbacks on engine.Options.Executor included. It fails the test when these
// take longer than 5 seconds. Goroutines that the program starts by itself are not
// waited for.
func (w *World) Settle() {
	w.t.Helper()
	w.settle("Settle")
}

func (w *World) settle(method string) {
	w.t.Helper()
	w.outside()
	if !w.rest() {
		w.unsettled(method)
	}
}

func (w *World) unsettled(method string) {
	w.t.Helper()
	w.t.Fatalf("enginetest: %s: expected all callbacks to return, but after %v %s. A callback on the Executor must not wait for what the test does next",
		method, patience, w.running())
}

// rest works until callbacks on the Executor have also returned, and reports whether
// they have in time.
func (w *World) rest() bool {
	var late *time.Timer
	for {
		ended, resting := w.counter.ended.Load(), w.resting()
		w.turn()
		if resting && w.resting() && w.counter.ended.Load() == ended {
			return true
		}
		if resting {
			continue // new tasks: look again before waiting for them
		}
		if late == nil {
			late = time.NewTimer(patience)
			defer late.Stop()
		}
		if !w.sleep(late) {
			return false
		}
	}
}

func (w *World) resting() bool {
	return w.counter.inner == nil || w.counter.running.Load() == 0 && w.server.Stats().Pending == 0
}

// running says which callbacks are not done.
func (w *World) running() string {
	return fmt.Sprintf("%d tasks of the Executor run or wait, and %d bytes of events", w.counter.running.Load(), w.server.Stats().Pending)
}

// sleep waits for other goroutines, until late at most, and reports whether one has
// given the server or the test something to do.
func (w *World) sleep(late *time.Timer) bool {
	select {
	case <-w.world.Woken():
		return true
	case <-w.counter.stirred: // nil without an Executor
		return true
	case <-late.C:
		return false
	}
}

// outside fails the test where a method is called in a callback.
func (w *World) outside() {
	if w.inside {
		w.t.Helper()
		w.t.Fatalf("enginetest: a method of the World or of a Client was called in a callback. Call it in the test; a callback has the Session")
	}
}

func (w *World) work() {
	w.t.Helper()
	w.outside()
	w.turn()
}

// turn lets the loop and the clients work until neither has anything to do.
func (w *World) turn() {
	for busy := true; busy; {
		w.run()
		busy = w.ring()
		// The newest first: so the pong of an upgrade comes before the end of the poll, and
		// the client does not poll again, for which the server has the next noop later.
		for i := len(w.wires) - 1; i >= 0; i-- { // some may be added meanwhile
			busy = w.wires[i].turn() || busy
		}
		kept := w.wires[:0]
		for _, m := range w.wires {
			if !m.over {
				kept = append(kept, m)
			}
		}
		clear(w.wires[len(kept):])
		w.wires = kept
	}
}

// run lets the loop work.
func (w *World) run() {
	w.inside = true
	defer func() { w.inside = false }() // also where a callback ends the test
	w.world.Run()
}

// ring calls the alarms that are due.
func (w *World) ring() (busy bool) {
	for _, a := range w.alarms {
		for a.f != nil && a.at <= w.world.Now() {
			a.at += a.every
			busy = true
			a.c.mu.Lock()
			a.f()
			a.c.mu.Unlock()
		}
	}
	return busy
}

func (w *World) wait(c *Client, done func() bool) bool {
	w.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	w.outside()
	for {
		w.turn()
		c.mu.Lock()
		ok := done()
		c.mu.Unlock()
		if ok {
			w.turn() // what done has asked for
			return true
		}
		if !w.sleep(late) {
			return false
		}
	}
}

func (w *World) each(c *Client, f func()) (stop func()) {
	a := &alarm{c: c, at: w.world.Now() + c.open.PingInterval, every: c.open.PingInterval, f: f}
	w.alarms = append(w.alarms, a)
	return func() { a.f = nil }
}

func (w *World) hint() string {
	return "In a World time passes in World.Advance only. The server tells the end of a session to Events.Close, and a panic to its Logger"
}

// maxEnd bounds how long sessions have at the end of a test, of Timeouts.Close: that is
// many steps of the clock, even if nothing happens in them.
const maxEnd = time.Hour

// end ends the server, as a process does that closes all sessions first, and looks
// for what is left.
func (w *World) end() {
	w.t.Helper()
	w.server.CloseSessions()
	w.rest()
	rested := true
	closing := cmp.Or(w.options.Timeouts.Close, 30*time.Second)
	for left := min(closing, maxEnd) + time.Second; left > 0 && rested && w.left() != ""; left -= w.world.Tick() {
		w.world.Advance(w.world.Tick())
		rested = w.rest()
	}
	if closing > maxEnd && rested {
		for s := range w.server.Sessions() {
			s.CloseNow()
		}
		for _, m := range w.wires { // what was sent waits for clients that read nothing
			m.reset()
		}
		rested = w.rest()
	}
	if left := w.left(); !w.t.Failed() {
		switch {
		case !rested:
			w.t.Errorf("enginetest: expected all callbacks to return by the end of the test, but %v later %s", patience, w.running())
		case left != "":
			w.t.Errorf("enginetest: expected nothing to be left at the end of the test, but there are %s", left)
		}
	}
	w.log.close()
	w.world.Close()
}

// left says what the server holds, "" for nothing.
func (w *World) left() string {
	s := w.server.Stats()
	if s.Sessions == 0 && s.Conns == 0 && s.Queued == 0 && s.Pending == 0 && w.world.Sockets() == 0 {
		return ""
	}
	return fmt.Sprintf("%d sessions, %d connections, %d bytes queued for clients, %d bytes of events", s.Sessions, s.Conns, s.Queued, s.Pending)
}

// An executor counts the tasks of another one.
type executor struct {
	inner   engine.Executor
	running atomic.Int64
	ended   atomic.Int64
	stirred chan struct{} // a task has ended
}

func (e *executor) Submit(task func()) error {
	e.running.Add(1)
	err := e.inner.Submit(func() {
		defer e.end()
		task()
	})
	if err != nil {
		e.running.Add(-1)
	}
	return err
}

func (e *executor) end() {
	e.ended.Add(1)
	e.running.Add(-1)
	select {
	case e.stirred <- struct{}{}:
	default:
	}
}

// connect implements network.
func (w *World) connect(l *link) (wire, error) {
	accept, config := loopAccept(nil), l.c.options.TLS
	if config != nil {
		accept = w.server.Driver().AcceptTLS
	}
	m := &memory{link: l, peer: w.world.DialFrom(l.c.options.Address, 0, accept)}
	m.far = m.peer.Client()
	w.wires = append(w.wires, m)
	if config == nil {
		return m, nil
	}
	if config = config.Clone(); config.ServerName == "" {
		config.ServerName = w.host
	}
	secure := looptest.NewTLSClient(m.far, config, w.run)
	m.far = secure
	if secure.Shake(); secure.Err() != nil {
		m.reset()
		return nil, fmt.Errorf("TLS handshake: %w", secure.Err())
	}
	return m, nil
}

type loopAccept = func(*loop.Conn) loop.Handler
