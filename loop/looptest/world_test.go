package looptest_test

import (
	"bytes"
	"log/slog"
	"runtime"
	"sync"
	"testing"

	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

type echo struct{ conn *loop.Conn }

func (e *echo) Data(p []byte) { e.conn.Write(p) }
func (e *echo) Drained()      {}
func (e *echo) EOF()          { e.conn.Close() }
func (e *echo) Closed(error)  {}

func accept(c *loop.Conn) loop.Handler { return &echo{c} }

func TestWorldEchoes(t *testing.T) {
	w := looptest.NewWorld(2, loop.Options{}, accept)
	p := w.Dial()
	p.Write([]byte("hello"))
	w.Run()
	require.Equal(t, "hello", string(p.Read()))
	p.CloseWrite()
	w.Run()
	require.True(t, p.EOF())
	require.True(t, p.Closed())
	require.False(t, p.Broken())
	require.Zero(t, w.Sockets())
}

func TestWorldEchoDoesNotAllocate(t *testing.T) {
	if invariants.Enabled {
		t.Skip("buffers are quarantined, so each write allocates one")
	}
	w := looptest.NewWorld(1, loop.Options{}, accept)
	p := w.Dial()
	hello := []byte("hello")
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		p.Write(hello)
		w.Run()
		p.Read()
	}))
}

func BenchmarkWorldEcho(b *testing.B) {
	w := looptest.NewWorld(1, loop.Options{}, accept)
	p := w.Dial()
	hello := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		p.Write(hello)
		w.Run()
		p.Read()
	}
}

// leaver ends its goroutine when it is told to.
type leaver struct{ echo }

func (l *leaver) Data(p []byte) {
	if string(p) == "leave" {
		runtime.Goexit()
	}
	l.echo.Data(p)
}

// A callback that ends its goroutine ends the test that runs the World, as FailNow
// does; what the test defers can still use the World, which has lost nothing.
func TestWorldCallbackThatEndsItsGoroutine(t *testing.T) {
	w := looptest.NewWorld(2, loop.Options{}, func(c *loop.Conn) loop.Handler { return &leaver{echo{c}} })
	var peers []*looptest.Peer
	for range 6 {
		peers = append(peers, w.Dial())
	}
	w.Run()
	for i, p := range peers {
		if i == 2 {
			p.Write([]byte("leave"))
		} else {
			p.Write([]byte("hello"))
		}
	}
	for _, l := range w.Loops() {
		require.NoError(t, l.Post(loop.Func(runtime.Goexit)))
	}
	for range 3 { // once for the peer, and for each task
		var running sync.WaitGroup
		ran := false
		running.Go(func() {
			w.Run()
			ran = true
		})
		running.Wait()
		require.False(t, ran)
	}
	w.Run()
	for i, p := range peers {
		if i == 2 {
			require.True(t, p.Closed())
			continue
		}
		require.Equal(t, "hello", string(p.Read()))
		p.Write([]byte("again"))
		w.Run()
		require.Equal(t, "again", string(p.Read()))
	}
	w.Close()
	require.Zero(t, w.Sockets())
}

// After that, connections with more to read than a turn reads are reported again and
// again as before.
func TestWorldReportsAfterCallbackThatEndsItsGoroutine(t *testing.T) {
	for conns := 1; conns <= 4; conns++ {
		w := looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, func(c *loop.Conn) loop.Handler { return &leaver{echo{c}} })
		var peers []*looptest.Peer
		for range conns {
			peers = append(peers, w.Dial())
		}
		long := bytes.Repeat([]byte("more than a read takes"), 10_000)
		for range 3 {
			leaving := w.Dial()
			w.Run()
			leaving.Write([]byte("leave"))
			var running sync.WaitGroup
			running.Go(w.Run)
			running.Wait()
			for _, p := range peers {
				p.Write(long)
			}
			w.Run()
			for _, p := range peers {
				require.True(t, bytes.Equal(long, p.Read()))
			}
		}
		w.Close()
		require.Zero(t, w.Sockets())
	}
}
