package loop

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// resting is a connection whose system calls fail, and the clock.
type resting struct {
	*Loop
	kernel  *fakeKernel
	conn    *Conn
	handler *told
	now     *time.Duration
	drained int
}

func newResting(t *testing.T) *resting {
	t.Helper()
	r := &resting{now: new(time.Duration), handler: new(told)}
	r.Loop, r.kernel = newFake(r.now, tick)
	r.conn = open(r.Loop, 3)
	r.conn.SetHandler(r.handler)
	r.handler.drained = func() { r.drained++ }
	t.Cleanup(func() {
		r.Close()
		require.Equal(t, 1, r.handler.closed)
		require.Zero(t, r.Unsent())
	})
	return r
}

// pass lets d pass, tick by tick.
func (r *resting) pass(d time.Duration) {
	for end := *r.now + d; *r.now < end; {
		*r.now += tick
		r.Tick()
	}
}

func (r *resting) write(p string) {
	r.conn.Write([]byte(p))
	r.leave()
}

func TestShortageDoesNotEndAWriter(t *testing.T) {
	for _, err := range []error{syscall.ENOBUFS, syscall.ENOMEM} {
		r := newResting(t)
		r.kernel.fails = err
		r.write("hello")
		require.Equal(t, Readable, r.kernel.watch, "it would be writable at once, again and again")
		require.EqualValues(t, 5, r.Unsent())
		r.Ready(3, Writable) // an event from before
		r.write(", world")
		require.Equal(t, 1, r.kernel.calls, "no try before its time")
		r.pass(shortageRest + tick) // tries again, and rests again
		require.Equal(t, 2, r.kernel.calls)
		require.Equal(t, Readable, r.kernel.watch)

		r.kernel.fails = nil
		r.pass(shortageRest + tick)
		require.Equal(t, "hello, world", string(r.kernel.sent))
		require.Equal(t, 1, r.drained)
		require.Zero(t, r.conn.Unsent())
		require.Zero(t, r.restSlot)
		r.pass(shortageRest)
		require.False(t, r.ticks, "nothing is left to wait for")
	}
}

func TestShortageDoesNotEndAReader(t *testing.T) {
	r := newResting(t)
	r.kernel.fails = syscall.ENOMEM
	r.Ready(3, Readable)
	require.Zero(t, r.kernel.watch)
	r.kernel.fails = nil
	r.write("meanwhile")
	require.Equal(t, "meanwhile", string(r.kernel.sent))
	require.Zero(t, r.kernel.watch)
	r.pass(shortageRest + tick)
	require.Equal(t, Readable, r.kernel.watch)
	require.Equal(t, connOpen, r.conn.state)
}

func TestInterruptedCallsAreMadeAgain(t *testing.T) {
	for _, err := range []error{syscall.EINTR, syscall.EAGAIN} {
		r := newResting(t)
		r.kernel.fails = err
		r.write("hello")
		r.Ready(3, Readable|Writable)
		require.Equal(t, Readable|Writable, r.kernel.watch)
		r.kernel.fails = nil
		r.Ready(3, Writable)
		require.Equal(t, "hello", string(r.kernel.sent))
		require.Equal(t, 1, r.drained)
	}
}

func TestOtherErrorsEndTheConnection(t *testing.T) {
	for _, err := range []error{syscall.EPIPE, syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EIO} {
		for name, fail := range map[string]func(*resting){
			"write": func(r *resting) { r.write("hello") },
			"read":  func(r *resting) { r.Ready(3, Readable) },
		} {
			r := newResting(t)
			r.kernel.fails = err
			fail(r)
			r.Mail()
			require.Equal(t, err, r.handler.err, name)
		}
	}
}

// Who rests may be closed, aborted or moved meanwhile.
func TestEndOfARest(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *resting)
		sent string
	}{
		"aborted": {func(r *resting) { r.conn.Abort() }, ""},
		"closed":  {func(r *resting) { r.conn.Close() }, "hello"},
		"paused":  {func(r *resting) { r.conn.Pause() }, "hello"},
		"moved": {func(r *resting) {
			r.conn.MoveTo(r.other(), nil)
			r.leave()
			r.conn.Loop().Mail()
			r.conn.Loop().Ready(3, Writable) // its own loop does not make it wait
		}, "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResting(t)
			r.kernel.fails = syscall.ENOBUFS
			r.write("hello")
			r.kernel.fails = nil
			c.do(r)
			r.pass(2 * shortageRest)
			require.Equal(t, c.sent, string(r.kernel.sent))
			require.Zero(t, r.restSlot)
			require.Empty(t, r.resting)
			r.conn.Loop().Close()
		})
	}
}

// other is a second loop with the same kernel.
func (r *resting) other() *Loop {
	return New(1, r.kernel, func() time.Duration { return *r.now }, r.conns, r.options, func(*Conn) Handler { return discard{} })
}

// A close that lacks memory for its last bytes is bounded as any other.
func TestShortageDoesNotOutlastLinger(t *testing.T) {
	r := newResting(t)
	r.kernel.fails = syscall.ENOBUFS
	r.write("hello")
	r.conn.Close()
	r.pass(r.options.Linger + 2*shortageRest)
	r.Mail()
	require.Equal(t, ErrLinger, r.handler.err)
}
