package contract

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// Less divides what cases have many of, where fewer show the same: tests set it to
// race.Less.
var Less = 1

// TestReactor is the contract of loops on any kernel. Cases with a number are
// the hazards of gnet that the loops avoid, in the order in which they were
// found; the missing numbers concern the operating system, and are tests of
// package loop. Those named in except are left out.
func TestReactor(t *testing.T, start Start, except ...string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Start)
	}{
		{"02 a write after close reaches nobody else", writeAfterClose},
		{"03 tasks run in order", tasksInOrder},
		{"04 a task that posts itself starves nobody", selfPosting},
		{"05 a fast sender starves nobody", fastSender},
		{"06 all is flushed before close", flushBeforeClose},
		{"07 Drained comes after pressure", drained},
		{"08 Pause stops the peer", pause},
		{"08 Pause in accept", pauseInAccept},
		{"09 a reply after half close", halfClose},
		{"10 a panic costs one connection", panics},
		{"11 more pieces than a vector holds", manyPieces},
		{"12 a shared buffer stays as it is", sharedBuffer},
		{"13 a backlog of small messages", smallBacklog},
		{"14 a failing write calls nobody back", failingWrite},
		{"17 a reused descriptor hears nothing old", reusedDescriptor},
		{"18 connections are dealt by load", dealtByLoad},
		{"19 Adopt", adopt},
		{"20 the address outlives the connection", address},
		{"21 Data takes all", dataTakesAll},
		{"Post after stop", postAfterStop},
		{"Stop with a task that posts itself", stopWithSelfPosting},
		{"MoveTo with unread bytes", moveUnread},
		{"MoveTo with unsent bytes", moveUnsent},
		{"MoveTo of a paused connection", movePaused},
		{"MoveTo and back, many times", movePingPong},
		{"linger ends a close that does not get on", lingerUnsent},
		{"linger ends a close without goodbye", lingerSilent},
		{"CloseWrite ends one direction", closeWrite},
		{"CloseWrite, Close and a silent peer", closeWriteSilent},
		{"CloseSent does not wait for the peer", closeSent},
		{"CloseIdle does not wait for the peer", closeIdle},
		{"Abort", abort},
		{"a reset by the peer", reset},
		{"alarms", alarms},
	} {
		if slices.Contains(except, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { // after all is closed
				require.Zero(t, pool.Outstanding(), "buffers not released")
			})
			c.test(t, start)
		})
	}
}

// quiet are options whose log goes nowhere.
func quiet() loop.Options {
	return loop.Options{Tick: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

// text is n bytes without a short period.
func text(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = 'a' + byte(x>>24)%26
	}
	return string(b)
}

// buf lends a Buf with content p.
func buf(p string) *pool.Buf {
	b := pool.Frames.Get(len(p))
	b.Append([]byte(p))
	return b
}

func writeAfterClose(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	for range 20 {
		first, p := b.dial()
		first.Reset()
		b.gone(p)
		settle(t, b) // the descriptor is closed, its number free
		second, q := b.dial()
		b.on(p, func(c *loop.Conn) {
			c.Write([]byte("SECRET"))
			shared := buf("SECRET")
			c.WriteBuf(shared)
			shared.Release()
			c.Pause()
			c.Resume()
			c.Close()
			c.Abort()
			require.Zero(t, c.Unsent())
			require.False(t, c.Ready())
		})
		b.on(q, func(c *loop.Conn) { c.Write([]byte("hello")); c.Close() })
		require.Equal(t, "hello", string(b.drain(second, 100)))
		second.CloseWrite()
		b.gone(q)
	}
}

func dealtByLoad(t *testing.T, start Start) {
	const loops = 4
	b := set(t, start, loops, quiet(), nil)
	conns := func() (each []int) {
		for _, l := range b.Loops() {
			each = append(each, l.Conns())
		}
		return each
	}
	var probes []*probe
	for i := range 5 * loops {
		_, p := b.dial()
		probes = append(probes, p)
		each := conns()
		require.LessOrEqual(t, slices.Max(each)-slices.Min(each), 1, "after %d: %v", i+1, each)
	}
	for _, p := range probes {
		if p.conn.Loop().Index() == 2 {
			b.on(p, func(c *loop.Conn) { c.Abort() })
		}
	}
	b.until("loop 2 is empty", func() bool { return b.Loops()[2].Conns() == 0 })
	for range 5 {
		_, p := b.dial()
		require.Equal(t, 2, p.conn.Loop().Index())
	}
	b.Loops()[1].AddResidents(1)
	for range 2 * (loops - 1) {
		b.dial()
	}
	require.Equal(t, []int{7, 5, 7, 7}, conns())
	b.Loops()[1].AddResidents(-1)
}

func adopt(t *testing.T, start Start) {
	b := set(t, start, 3, quiet(), echo)
	for i := range 6 {
		l := b.Loops()[i%3]
		c, err := b.Adopt(l, nil)
		require.NoError(t, err)
		b.echoes(c, "adopted")
		require.Same(t, l, b.probe(i).conn.Loop())
	}
	var own atomic.Pointer[loop.Loop]
	c, err := b.Adopt(b.Loops()[2], func(c *loop.Conn) loop.Handler {
		own.Store(c.Loop())
		return &probe{conn: c, data: func(_ *probe, p []byte) { c.Write(bytes.ToUpper(p)) }}
	})
	require.NoError(t, err)
	b.send(c, "its own")
	b.expect(c, "ITS OWN")
	require.Same(t, b.Loops()[2], own.Load())
	require.Equal(t, 6, b.count(), "the loop's own choice is not asked")
	b.Stop()
	c, err = b.Adopt(b.Loops()[1], nil)
	require.ErrorIs(t, err, loop.ErrStopped)
	b.until("the end", func() bool { c.Recv(1); return c.EOF() || c.Broken() })
	require.Equal(t, 6, b.count())
	require.Zero(t, b.Loops()[1].Conns())
}

func address(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	c, p := b.dial()
	want := c.Addr()
	require.Equal(t, want, p.conn.RemoteAddr().String())
	local := make(chan netip.AddrPort, 1)
	require.NoError(t, p.conn.Loop().Post(loop.Func(func() { local <- p.conn.LocalAddr() })))
	b.until("the address of this end", func() bool { return len(local) == 1 })
	require.True(t, (<-local).IsValid())
	c.Reset()
	b.gone(p)
	require.Equal(t, want, p.conn.RemoteAddr().String())
}

func dataTakesAll(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	want := text(300_000)
	c, p := b.dial()
	for i, rest := 1, want; rest != ""; i = i*3 + 1 {
		n := min(i, len(rest))
		b.send(c, rest[:n])
		rest = rest[n:]
	}
	b.until("all bytes", func() bool { return p.got.Load() == int64(len(want)) })
	settle(t, b)
	require.Equal(t, want, p.received())
}

func reusedDescriptor(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), func(p *probe) {
		p.data = func(p *probe, in []byte) {
			if bytes.HasPrefix(in, []byte("die")) {
				p.conn.Abort()
				return
			}
			p.conn.Write(in)
		}
	})
	for range 30 {
		var dying, living []looptest.Client
		for range 8 {
			c, _ := b.dial()
			dying = append(dying, c)
		}
		for _, c := range dying { // the loop has them in one batch, more or less
			b.send(c, "die and then some")
		}
		for range 8 {
			c, _ := b.dial()
			b.send(c, "hello")
			living = append(living, c)
		}
		for _, c := range living {
			b.expect(c, "hello")
			c.Reset()
		}
	}
}

func halfClose(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), func(p *probe) {
		p.eof = func(p *probe) {
			l := p.conn.Loop()
			go func() { // the answer comes later, from elsewhere
				_ = l.Post(loop.Func(func() {
					p.conn.Write([]byte("late"))
					p.conn.Close()
				}))
			}()
		}
	})
	c, p := b.dial()
	b.send(c, "question")
	c.CloseWrite()
	require.Equal(t, "late", string(b.drain(c, 100)))
	b.gone(p)
	require.NoError(t, p.why())
	require.Equal(t, "question", p.received())
	require.EqualValues(t, 1, p.ends.Load())
}

func panics(t *testing.T, start Start) {
	var inAccept atomic.Bool
	b := set(t, start, 1, quiet(), func(p *probe) {
		if inAccept.Load() {
			p.closes.Store(1) // nobody will tell it
			panic("accept")
		}
		echo(p)
	})
	other, _ := b.dial()
	for _, at := range []string{"Data", "Drained", "EOF", "Closed"} {
		c, p := b.dial()
		b.on(p, func(*loop.Conn) {
			p.data = func(p *probe, in []byte) {
				switch at {
				case "Data":
					panic(at)
				case "Drained":
					p.conn.Write(make([]byte, 1<<20))
				case "Closed":
					p.conn.Abort()
				}
			}
			p.drained = func(*probe) { panic(at) }
			p.eof = func(*probe) { panic(at) }
			p.closed = func(*probe) { panic(at) }
		})
		if at == "EOF" {
			c.CloseWrite()
		} else {
			b.send(c, "go")
		}
		b.until("Closed", func() bool { c.Recv(1 << 20); return p.closes.Load() > 0 })
		if at == "Closed" {
			require.ErrorIs(t, p.why(), loop.ErrAborted)
		} else {
			require.ErrorIs(t, p.why(), loop.ErrPanic)
		}
		b.echoes(other, "after "+at)
	}
	inAccept.Store(true)
	c := b.Dial()
	b.until("the end", func() bool { c.Recv(1); return c.EOF() || c.Broken() })
	b.echoes(other, "after accept")

	l := b.Loops()[0]
	require.NoError(t, l.Post(loop.Func(func() { panic("task") })))
	b.echoes(other, "after a task")
	rung := make(chan struct{})
	on(t, b, l, func() {
		l.Arm(l.Claim(alarmFunc(func() { panic("alarm") })), l.Now())
		l.Arm(l.Claim(alarmFunc(func() { close(rung) })), l.Now())
	})
	b.until("the alarm after the one that panics", func() bool { return over(rung) })
	b.echoes(other, "after an alarm")
}

type alarmFunc func()

func (f alarmFunc) Alarm() { f() }

func alarms(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	for _, l := range b.Loops() {
		var times []time.Duration
		var due []time.Duration
		done := make(chan struct{})
		on(t, b, l, func() {
			for _, d := range []time.Duration{0, 15, 50, 51, 200} {
				at := l.Now() + d*time.Millisecond
				due = append(due, at)
				var slot loop.Slot
				slot = l.Claim(alarmFunc(func() {
					if l.Now() < at {
						l.Arm(slot, at)
						return
					}
					times = append(times, at)
					l.Release(slot)
					if len(times) == 5 {
						close(done)
					}
				}))
				l.Arm(slot, at)
			}
		})
		b.until("all alarms", func() bool { return over(done) })
		slices.Sort(times)
		require.Equal(t, due, times)
	}
}

func abort(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) {
		c.Write([]byte(strings.Repeat("x", 1<<20)))
		c.Abort()
		c.Abort()
		c.Close()
		require.Zero(t, p.closes.Load(), "Closed is a later event")
	})
	b.gone(p)
	require.ErrorIs(t, p.why(), loop.ErrAborted)
	b.until("the end", func() bool { c.Recv(1 << 20); return c.EOF() || c.Broken() })
}

func reset(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	c, p := b.dial()
	c.Reset()
	b.gone(p)
	require.Error(t, p.why())
}
