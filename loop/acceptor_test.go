//go:build linux || darwin || freebsd

package loop

import (
	"io"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// accepting is a running reactor, and a way onto loop 0.
type accepting struct {
	*Reactor
	t        *testing.T
	listener *listener
	address  string
}

func startAccepting(t *testing.T) *accepting {
	t.Helper()
	return startOnFaults(t, nil)
}

func startOnFaults(t *testing.T, faults Faults) *accepting {
	t.Helper()
	o := Options{Loops: 1, Tick: tick, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Faults: faults}
	r, err := Open(o, func(c *Conn) Handler {
		c.Write([]byte("hello"))
		c.Close()
		return discard{}
	})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, r.Listen(l, nil))
	served := make(chan error, 1)
	go func() { served <- r.Serve() }()
	t.Cleanup(func() {
		r.Stop()
		require.NoError(t, <-served)
	})
	return &accepting{r, t, (*r.acceptor.listeners.Load())[0], l.Addr().String()}
}

func (a *accepting) on0(f func()) {
	a.t.Helper()
	done := make(chan struct{})
	require.NoError(a.t, a.loops[0].Post(Func(func() { f(); close(done) })))
	<-done
}

func (a *accepting) requireServed() {
	a.t.Helper()
	c, err := net.Dial("tcp", a.address)
	require.NoError(a.t, err)
	defer c.Close()
	require.NoError(a.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	got, err := io.ReadAll(c)
	require.NoError(a.t, err)
	require.Equal(a.t, "hello", string(got))
}

func TestAcceptErrorsOfOneConnection(t *testing.T) {
	a := startAccepting(t)
	for _, err := range []error{syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO, syscall.EPERM} {
		a.on0(func() { require.True(t, a.acceptor.goOn(a.listener, err)) })
	}
	require.EqualValues(t, 4, a.Stats().AcceptErrors)
	a.requireServed()
}

func TestAcceptorRestsWithoutMemory(t *testing.T) {
	a := startAccepting(t)
	for _, err := range []error{syscall.ENOBUFS, syscall.ENOMEM, syscall.EINVAL} {
		a.on0(func() {
			require.False(t, a.acceptor.goOn(a.listener, err))
			require.False(t, a.acceptor.goOn(a.listener, err))
			require.Zero(t, a.listener.watched)
			require.NotZero(t, a.listener.slot)
		})
		a.requireServed() // after the rest
		a.on0(func() { require.Zero(t, a.listener.slot) })
	}
}

func TestAcceptorWithoutReserve(t *testing.T) {
	a := startAccepting(t)
	a.on0(func() {
		a.acceptor.release()
		// Nobody waits, so there is nothing to shed either: it rests.
		require.False(t, a.acceptor.goOn(a.listener, syscall.EMFILE))
		require.GreaterOrEqual(t, a.acceptor.reserve, 0, "the reserve is back")
	})
	a.requireServed()
}

func TestStopAcceptingDuringARest(t *testing.T) {
	a := startAccepting(t)
	a.on0(func() { a.listener.rest() })
	a.StopAccepting()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) { // until the alarm has rung
		free := false
		a.on0(func() { free = a.listener.slot == 0 })
		if free {
			return
		}
		require.True(t, time.Now().Before(end), "the slot is not given back")
	}
}

// An event may come after the listener it is of was closed.
func TestStopAcceptingIsNoFailure(t *testing.T) {
	a := startAccepting(t)
	a.StopAccepting()
	a.on0(func() { a.acceptor.drain(a.listener) })
	require.Zero(t, a.Stats().AcceptErrors)
}

func TestListenTakesSocketsOnly(t *testing.T) {
	a := startAccepting(t)
	require.ErrorIs(t, a.Listen(&strange{}, nil), errNotListening)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Error(t, a.Listen(l, nil))
}

type strange struct{ net.Listener }

func (*strange) Close() error   { return nil }
func (*strange) Addr() net.Addr { return &net.IPAddr{} }
