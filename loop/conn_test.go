package loop

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// told remembers how its connection ended.
type told struct {
	err     error
	closed  int
	drained func()
}

func (*told) Data([]byte) {}
func (t *told) Drained() {
	if t.drained != nil {
		t.drained()
	}
}
func (*told) EOF()               {}
func (t *told) Closed(err error) { t.err = err; t.closed++ }

// pair makes two loops that share a table, and a connection on the first.
func pair(t *testing.T) (a, b *Loop, k *fakeKernel, c *Conn, h *told) {
	t.Helper()
	before := pool.Outstanding()
	now := new(time.Duration)
	a, k = newFake(now, tick)
	b, _ = newFake(now, tick)
	b.conns = a.conns
	c, h = open(a, 3), new(told)
	c.SetHandler(h)
	t.Cleanup(func() {
		a.Close()
		b.Close()
		require.Equal(t, 1, h.closed)
		require.Zero(t, a.Conns()+b.Conns())
		require.Equal(t, before, pool.Outstanding())
	})
	return a, b, k, c, h
}

// On kqueue a pause changes the descriptor's number.
func TestPauseMayChangeTheDescriptor(t *testing.T) {
	a, _, k, c, _ := pair(t)
	k.shift = 10
	c.Pause()
	require.EqualValues(t, 13, c.fd)
	require.Nil(t, a.conns.get(3))
	require.Same(t, c, a.conns.get(13))
	c.Resume()
	require.Same(t, c, a.conns.get(13))
	k.shift = maxDescriptor
	c.Pause()
	require.Equal(t, connClosed, c.state)
}

func TestWatchMayFail(t *testing.T) {
	a, _, k, c, h := pair(t)
	k.refuse = syscall.ENOMEM
	c.Pause()
	require.Zero(t, h.closed)
	a.Mail()
	require.Equal(t, error(syscall.ENOMEM), h.err)
}

func TestMoveOfAConnectionThatEnds(t *testing.T) {
	for name, end := range map[string]func(*Conn, *fakeKernel){
		"aborted": func(c *Conn, _ *fakeKernel) { c.Abort() },
		"closed":  func(c *Conn, _ *fakeKernel) { c.Close() },
		"refused": func(_ *Conn, k *fakeKernel) { k.refuse = syscall.ENOMEM },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, k, c, _ := pair(t)
			c.MoveTo(b, []byte("unread"))
			end(c, k)
			a.leave()
			require.Same(t, a, c.Loop())
			require.Zero(t, b.Conns())
		})
	}
}

func TestMoveToAStoppedLoop(t *testing.T) {
	a, b, _, c, h := pair(t)
	b.Close()
	c.MoveTo(b, []byte("unread"))
	a.leave()
	a.Mail()
	require.ErrorIs(t, h.err, ErrStopped)
}

// A connection that writes in every Drained is still to be flushed when its
// turn ends; if it moves then, its old loop must forget it.
func TestMoveOfAConnectionThatKeepsWriting(t *testing.T) {
	a, b, k, c, h := pair(t)
	a.options.HighWater = 1
	rounds := 0
	h.drained = func() {
		if rounds++; rounds == maxRounds {
			c.Write([]byte("last"))
			c.MoveTo(b, nil)
			return
		}
		c.Write([]byte("more"))
	}
	c.Write([]byte("first"))
	a.leave()
	require.Equal(t, maxRounds, rounds)
	require.Empty(t, a.dirty)
	require.Same(t, b, c.Loop())
	require.False(t, c.dirty)
	h.drained = nil
	sent := len(k.sent)
	b.Mail()
	require.Zero(t, c.Unsent())
	require.Len(t, k.sent, sent, "the last one left from the new loop")
}

func TestAdoptBeyondTheTable(t *testing.T) {
	a, _, _, _, _ := pair(t)
	require.NoError(t, a.Adopt(maxDescriptor, netip.AddrPort{}, nil))
	a.Mail()
	require.Equal(t, 1, a.Conns())
}
