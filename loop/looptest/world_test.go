package looptest_test

import (
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
