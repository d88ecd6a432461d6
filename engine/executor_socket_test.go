package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/internal/invariants"

	"github.com/panjf2000/ants/v2"
	"github.com/stretchr/testify/require"
)

// gate is what callbacks of a test wait at.
type gate struct {
	open    chan struct{}
	waiting atomic.Int32
	past    atomic.Int32
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) pass() {
	g.waiting.Add(1)
	<-g.open
	g.past.Add(1)
}

// While callbacks of some sessions block, others are served, as is the loop; and
// Shutdown waits for all.
func TestExecutorBlocks(t *testing.T) {
	const goroutines = 4
	g := newGate()
	var closed atomic.Int32
	server, address, ended := serveWith(t,
		Options{Loops: 1, Executor: NewExecutor(goroutines + 1), Timeouts: Timeouts{SlowCallback: time.Hour}},
		Events{
			Message: func(s *Session, m Message) {
				if string(m.Data) == "block" {
					g.pass()
				}
				_ = s.Send(m)
			},
			Close: func(*Session, Reason, error) { closed.Add(1) },
		})
	var blocked []*wire
	for range goroutines {
		w := dialWire(t, address)
		blocked = append(blocked, w)
		require.Equal(t, "ok", w.post(w.open(), "4block"))
	}
	until(t, "all block", func() bool { return g.waiting.Load() == goroutines })
	w := dialWire(t, address)
	sid := w.open()
	require.Equal(t, "ok", w.post(sid, "4hello"))
	r := w.request("EIO=4&transport=polling&sid=" + sid)
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "4hello", string(body))

	for _, w := range append(blocked, w) {
		w.hangUp()
	}
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(t.Context()) }()
	for s := range server.Sessions() {
		s.CloseNow()
	}
	until(t, "the sessions end", func() bool { now := server.Stats(); return now.Sessions == 0 && now.Conns == 0 })
	until(t, "the one that runs nothing is told", func() bool { return closed.Load() == 1 }) // by a worker
	require.EqualValues(t, 1, closed.Load(), "Close comes behind what runs")
	require.Empty(t, down)
	close(g.open)
	require.NoError(t, <-down)
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.EqualValues(t, goroutines, g.past.Load())
	require.EqualValues(t, goroutines+1, closed.Load())
	if invariants.Enabled {
		require.Zero(t, OnLoan())
	}
}

// The context of Shutdown ends the wait for a callback that does not return.
func TestExecutorShutdownDoesNotWaitForEver(t *testing.T) {
	g := newGate()
	server, address, ended := serveWith(t, Options{Loops: 1, Executor: NewExecutor(2)},
		Events{Message: func(s *Session, _ Message) { g.pass() }})
	w := dialWire(t, address)
	require.Equal(t, "ok", w.post(w.open(), "4block"))
	until(t, "it blocks", func() bool { return g.waiting.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(ctx) }()
	cancel()
	require.ErrorIs(t, <-down, context.Canceled)
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.False(t, server.dispatch.idle())
	close(g.open)
	until(t, "the callback ends", server.dispatch.idle)
}

// A callback that waits for its client's context ends with the session.
func TestExecutorContext(t *testing.T) {
	causes := make(chan error, 1)
	server, address, ended := serveWith(t, Options{Loops: 1, Executor: NewExecutor(1)},
		Events{Message: func(s *Session, _ Message) {
			<-s.Context().Done()
			causes <- context.Cause(s.Context())
		}})
	w := dialWire(t, address)
	sid := w.open()
	require.Equal(t, "ok", w.post(sid, "4wait"))
	require.Equal(t, "ok", w.post(sid, "1"))
	require.Equal(t, &ClosedError{Reason: ReasonTransportClose}, <-causes)
	w.hangUp()
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-ended, ErrServerClosed)
}

// The pool of a library is an Executor, whether it is ours alone, full of others'
// tasks or released: whatever waits is done.
func TestExecutorOfOthers(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(p *ants.Pool, g *gate)
		logged bool
	}{
		{"free", func(*ants.Pool, *gate) {}, false},
		{"full", func(p *ants.Pool, g *gate) {
			for p.Submit(g.pass) == nil {
			}
		}, true},
		{"released", func(p *ants.Pool, _ *gate) { p.Release() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			executor, err := ants.NewPool(2, ants.WithNonblocking(true))
			require.NoError(t, err)
			defer executor.Release()
			g := newGate()
			defer close(g.open)
			c.spoil(executor, g)
			log := new(counter)
			var mu sync.Mutex
			var heard []string
			server, address, ended := serveWith(t, Options{Loops: 2, Executor: executor, Logger: slog.New(log)}, Events{
				Open: func(*Session, *Request) { mu.Lock(); heard = append(heard, "open"); mu.Unlock() },
				Message: func(s *Session, m Message) {
					mu.Lock()
					heard = append(heard, string(m.Data))
					mu.Unlock()
				},
				Close: func(*Session, Reason, error) { mu.Lock(); heard = append(heard, "close"); mu.Unlock() },
			})
			w := dialWire(t, address)
			sid := w.open()
			want := []string{"open"}
			for i := range 50 {
				require.Equal(t, "ok", w.post(sid, fmt.Sprint("4", i)))
				want = append(want, fmt.Sprint(i))
			}
			require.Equal(t, "ok", w.post(sid, "1"))
			w.hangUp()
			require.NoError(t, server.Shutdown(t.Context()))
			require.ErrorIs(t, <-ended, ErrServerClosed)
			require.Equal(t, append(want, "close"), heard)
			require.Equal(t, c.logged, log.lines.Load() > 0)
		})
	}
}

// wild is an Executor that does what it should not.
type wild struct{ panics bool }

func (w wild) Submit(task func()) error {
	if w.panics {
		panic("no")
	}
	return errors.New("no")
}

// Also one that never takes anything, or panics.
func TestExecutorRefuses(t *testing.T) {
	for _, panics := range []bool{false, true} {
		log := new(warnings)
		var messages atomic.Int32
		server, address, ended := serveWith(t, Options{Loops: 2, Executor: wild{panics}, Logger: slog.New(log)},
			Events{Message: func(*Session, Message) { messages.Add(1) }})
		for range 5 {
			w := dialWire(t, address)
			sid := w.open()
			require.Equal(t, "ok", w.post(sid, "4a\x1e4b"))
			require.Equal(t, "ok", w.post(sid, "1"))
			w.hangUp()
		}
		require.NoError(t, server.Shutdown(t.Context()))
		require.ErrorIs(t, <-ended, ErrServerClosed)
		require.EqualValues(t, 10, messages.Load())
		require.Contains(t, strings.Join(log.take(), ""), "ERROR the executor refuses to work")
	}
}

// NewExecutor has no more goroutines than it was told, and none when idle.
func TestNewExecutor(t *testing.T) {
	e := NewExecutor(2).(*goroutines)
	g := newGate()
	var all sync.WaitGroup
	task := func() { defer all.Done(); g.pass() }
	all.Add(2)
	require.NoError(t, e.Submit(task))
	require.NoError(t, e.Submit(task))
	require.ErrorIs(t, e.Submit(task), errExecutorBusy)
	close(g.open)
	all.Wait()
	until(t, "its goroutines end", func() bool { return e.running.Load() == 0 })
	require.EqualValues(t, defaultGoroutines, NewExecutor(0).(*goroutines).limit)
}

// What a callback has of a message is its own until it returns, whatever comes
// meanwhile.
func TestExecutorOwnsBytes(t *testing.T) {
	const clients, rounds = 8, 30
	bad := make(chan string, 1)
	server, address, ended := serveWith(t, Options{Loops: 2, Executor: NewExecutor(3), Limits: Limits{MaxPending: 4000}}, Events{
		Message: func(s *Session, m Message) {
			if want := bytes.Repeat(m.Data[:1], len(m.Data)); !bytes.Equal(want, m.Data) {
				select {
				case bad <- string(m.Data):
				default:
				}
			}
			for i := range m.Data {
				m.Data[i] = '!' // it may be changed, as on the loop
			}
		},
	})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			w := dialWire(t, address)
			sid := w.open()
			for n := range rounds {
				piece := "4" + strings.Repeat(string(rune('a'+i)), 1+n*37)
				if w.post(sid, piece+"\x1e"+piece) != "ok" {
					bad <- "not answered"
				}
			}
			w.post(sid, "1")
			w.hangUp()
		})
	}
	all.Wait()
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.Empty(t, bad)
}
