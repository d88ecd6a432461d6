package contract

import (
	"sync"
	"sync/atomic"
	"testing"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// numbered is a task with its place in its poster's order.
type numbered struct {
	seen   *[]int // by poster; the loop's
	wrong  *atomic.Int64
	left   *atomic.Int64
	poster int
	number int
}

func (n *numbered) Run() {
	if (*n.seen)[n.poster] != n.number {
		n.wrong.Add(1)
	}
	(*n.seen)[n.poster]++
	n.left.Add(-1)
}

func tasksInOrder(t *testing.T, start Start) {
	const posters = 8
	each := 20_000 / Less
	b := set(t, start, 2, quiet(), nil)
	var wrong, left atomic.Int64
	left.Store(int64(2 * posters * each))
	var wg sync.WaitGroup
	for _, l := range b.Loops() {
		seen := make([]int, posters)
		for poster := range posters {
			wg.Go(func() {
				for i := range each {
					_ = l.Post(&numbered{&seen, &wrong, &left, poster, i})
				}
			})
		}
	}
	b.until("all tasks", func() bool { return left.Load() == 0 })
	wg.Wait()
	require.Zero(t, wrong.Load())
}

// chain is a task that posts itself until it is told to stop.
type chain struct {
	loop *loop.Loop
	stop atomic.Bool
	runs atomic.Int64
}

func (c *chain) Run() {
	c.runs.Add(1)
	if !c.stop.Load() {
		_ = c.loop.Post(c)
	}
}

func selfPosting(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), echo)
	c, _ := b.dial()
	task := &chain{loop: b.Loops()[0]}
	require.NoError(t, task.loop.Post(task))
	for range 100 {
		b.echoes(c, "still here")
	}
	before := task.runs.Load()
	b.until("the chain goes on", func() bool { return task.runs.Load() > before })
	task.stop.Store(true)
}

func stopWithSelfPosting(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	b.dial()
	b.dial()
	task := &chain{loop: b.Loops()[1]}
	require.NoError(t, task.loop.Post(task))
	b.Stop()
	require.ErrorIs(t, task.loop.Post(task), loop.ErrStopped)
}

func postAfterStop(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	var ran atomic.Int64
	var all []*probe
	for range 4 {
		_, p := b.dial()
		all = append(all, p)
		b.on(p, func(*loop.Conn) {
			p.closed = func(p *probe) { // the last chance of its loop
				_ = p.conn.Loop().Post(loop.Func(func() { ran.Add(1) }))
			}
		})
	}
	for _, l := range b.Loops() {
		require.NoError(t, l.Post(loop.Func(func() { ran.Add(1) })))
	}
	b.Stop()
	require.EqualValues(t, 6, ran.Load())
	for _, l := range b.Loops() {
		require.ErrorIs(t, l.Post(loop.Func(func() { ran.Add(1) })), loop.ErrStopped)
		require.Zero(t, l.Conns())
	}
	require.EqualValues(t, 6, ran.Load())
	for _, p := range all {
		require.ErrorIs(t, p.why(), loop.ErrStopped)
	}
}

// move moves p to l with unread, and waits until it is there.
func (b *bench) move(p *probe, l *loop.Loop, unread string) {
	b.t.Helper()
	b.on(p, func(c *loop.Conn) { c.MoveTo(l, []byte(unread)) })
	b.until("the move", func() bool { return p.conn.Loop() == l })
	on(b.t, b.Machine, l, func() {}) // it has been taken in before this ran
}

func moveUnread(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	c, p := b.dial()
	zero, one := b.Loops()[0], b.Loops()[1]
	if p.conn.Loop() == one {
		zero, one = one, zero
	}
	b.on(p, func(*loop.Conn) {
		p.data = func(p *probe, in []byte) {
			p.data = nil // from now on it only remembers
			p.conn.MoveTo(one, in[len("head "):])
		}
	})
	b.send(c, "head ")
	b.until("the head", func() bool { return p.got.Load() >= 5 })
	b.send(c, "more")
	b.until("the rest", func() bool { return p.received() == "more" })
	require.Same(t, one, p.conn.Loop())
	require.Equal(t, 0, zero.Conns())
	require.Equal(t, 1, one.Conns())

	b.move(p, zero, "unread")
	b.until("the rest again", func() bool { return p.received() == "moreunread" })
	b.send(c, "!")
	b.until("the last", func() bool { return p.received() == "moreunread!" })
}

func moveUnsent(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	want := text(16 << 20)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) { c.Write([]byte(want)) })
	b.on(p, func(c *loop.Conn) { require.NotZero(t, c.Unsent(), "the kernel took it all") })
	b.move(p, b.Loops()[1], "")
	b.on(p, func(c *loop.Conn) { c.Write([]byte("behind")) })
	require.Equal(t, want+"behind", string(b.take(c, len(want)+6)))
	b.until("Drained", func() bool { return p.drains.Load() == 1 })

	// Written and moved in one turn: it leaves from the new loop or the old.
	b.on(p, func(c *loop.Conn) { c.Write([]byte("hello")); c.MoveTo(b.Loops()[0], nil) })
	b.expect(c, "hello")
	b.until("the move", func() bool { return p.conn.Loop() == b.Loops()[0] })
	b.on(p, func(c *loop.Conn) { c.Close() })
	c.CloseWrite()
	b.gone(p)
	require.NoError(t, p.why())
}

func movePaused(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) { c.Pause() })
	b.move(p, b.Loops()[1], "")
	b.send(c, "wait")
	settle(t, b)
	require.Empty(t, p.received())
	b.on(p, func(c *loop.Conn) { c.Resume() })
	b.until("the bytes", func() bool { return p.received() == "wait" })
}

func movePingPong(t *testing.T, start Start) {
	b := set(t, start, 3, quiet(), nil)
	loops := b.Loops()
	c, p := b.dial()
	b.on(p, func(*loop.Conn) {
		p.data = func(p *probe, in []byte) {
			p.conn.Write(in)
			p.conn.MoveTo(loops[(p.conn.Loop().Index()+1)%len(loops)], nil)
		}
	})
	want := text(200_000)
	var got []byte
	rest := []byte(want)
	b.until("the echo", func() bool {
		rest = rest[c.Send(rest[:min(len(rest), 1000)]):]
		got = append(got, c.Recv(1<<20)...)
		return len(got) == len(want)
	})
	require.Equal(t, want, string(got))
}
