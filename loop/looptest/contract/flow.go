package contract

import (
	"encoding/binary"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

func fastSender(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	flooder, flood := b.dial()
	victim, p := b.dial()
	b.on(p, func(*loop.Conn) { echo(p) })
	b.on(flood, func(*loop.Conn) { flood.data = func(*probe, []byte) {} })
	chunk := []byte(text(256 << 10))
	for range 200 {
		flooder.Send(chunk)
		b.send(victim, "x")
		b.until("the victim's echo", func() bool {
			flooder.Send(chunk)
			return len(victim.Recv(1)) == 1
		})
	}
	require.NotZero(t, flood.got.Load())
}

func flushBeforeClose(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	want := text(16 << 20)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) {
		for i := 0; i < len(want); i += 256 << 10 {
			piece := buf(want[i : i+256<<10])
			c.WriteBuf(piece)
			piece.Release()
		}
		c.Close()
		c.Write([]byte("too late"))
	})
	var got []byte
	for !c.EOF() && !c.Broken() {
		b.until("more of the stream", func() bool {
			c.Send([]byte("bytes that nobody reads must not break the connection"))
			piece := c.Recv(256 << 10)
			got = append(got, piece...)
			return len(piece) > 0 || c.EOF() || c.Broken()
		})
	}
	require.False(t, c.Broken(), "reset after %d bytes", len(got))
	require.True(t, want == string(got), "%d of %d bytes", len(got), len(want))
	c.CloseWrite()
	b.gone(p)
	require.NoError(t, p.why())
	require.Zero(t, p.got.Load(), "bytes after Close are dropped")
}

func drained(t *testing.T, start Start) {
	o := quiet()
	o.HighWater = 10_000
	b := set(t, start, 1, o, nil)
	c, p := b.dial()

	// Below the mark, and the kernel takes all: nothing to tell.
	b.on(p, func(c *loop.Conn) {
		c.Write(make([]byte, o.HighWater-1))
		require.True(t, c.Ready())
	})
	b.take(c, o.HighWater-1)
	settle(t, b)
	require.Zero(t, p.drains.Load())

	// At the mark: once, although the kernel takes all.
	b.on(p, func(c *loop.Conn) {
		c.Write(make([]byte, o.HighWater-1))
		c.Write(make([]byte, 1))
		require.False(t, c.Ready())
		require.Equal(t, o.HighWater, c.Unsent())
	})
	b.take(c, o.HighWater)
	b.until("Drained", func() bool { return p.drains.Load() == 1 })
	b.on(p, func(c *loop.Conn) { require.True(t, c.Ready()) })

	// Refused by the kernel: when all is gone, not before, and once.
	const big = 16 << 20
	b.on(p, func(c *loop.Conn) { c.Write(make([]byte, big)) })
	b.take(c, 1<<20)
	b.on(p, func(c *loop.Conn) {
		require.False(t, c.Ready())
		require.NotZero(t, c.Unsent())
		require.EqualValues(t, 1, p.drains.Load())
	})
	b.take(c, big-1<<20)
	b.until("Drained", func() bool { return p.drains.Load() == 2 })
	settle(t, b)
	require.EqualValues(t, 2, p.drains.Load())

	// A writer that continues in Drained: everything arrives in order.
	left := 50
	b.on(p, func(c *loop.Conn) {
		p.drained = func(p *probe) {
			if left--; left >= 0 {
				p.conn.Write(make([]byte, o.HighWater))
			} else {
				p.conn.Close()
			}
		}
		c.Write(make([]byte, o.HighWater))
	})
	require.Len(t, b.drain(c, 1<<20), 51*o.HighWater)
}

func pause(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) { p.data = func(*probe, []byte) {}; c.Pause(); c.Pause() })
	before := p.got.Load()
	chunk := make([]byte, 64<<10)
	sent, stalled := 0, 0
	b.until("the sender is stalled", func() bool { // buffers may still grow a little
		n := c.Send(chunk)
		sent += n
		if stalled++; n > 0 {
			stalled = 0
		}
		return stalled == 20
	})
	settle(t, b)
	require.Equal(t, before, p.got.Load())
	b.on(p, func(c *loop.Conn) { c.Resume() })
	b.until("all bytes", func() bool { return p.got.Load() == int64(sent) })
	// A paused connection still sends, even what the kernel refuses at first.
	const big = 8 << 20
	b.on(p, func(c *loop.Conn) { c.Pause(); c.Write(make([]byte, big)) })
	b.on(p, func(c *loop.Conn) { c.Resume(); c.Pause() }) // both directions on and off
	require.Len(t, b.take(c, big), big)
	b.send(c, "x")
	settle(t, b)
	require.EqualValues(t, sent, p.got.Load())
	// Close reads on, so that it sees the peer's end.
	b.on(p, func(c *loop.Conn) { c.Close(); c.Pause() })
	c.CloseWrite()
	b.gone(p)
	require.NoError(t, p.why())
}

func pauseInAccept(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), func(p *probe) { p.conn.Pause() })
	for range 2 {
		c, p := b.dial()
		b.send(c, "early")
		settle(t, b)
		require.Zero(t, p.got.Load())
		b.on(p, func(c *loop.Conn) { c.Resume() })
		b.until("the bytes", func() bool { return p.received() == "early" })
	}
}

func manyPieces(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	const pieces, size = 1025, 2 << 10
	want := text(pieces * size)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) {
		for i := range pieces {
			piece := buf(want[i*size : (i+1)*size])
			c.WriteBuf(piece)
			piece.Release()
		}
	})
	require.True(t, want == string(b.take(c, len(want))))
}

func sharedBuffer(t *testing.T, start Start) {
	b := set(t, start, 2, quiet(), nil)
	want := text(8 << 20 / min(Less, 4))
	shared, head := buf(want), buf("head")
	var clients []looptest.Client
	for range 4 {
		c, p := b.dial()
		clients = append(clients, c)
		b.on(p, func(c *loop.Conn) {
			c.WriteBuf(head)
			c.WriteBuf(shared)
			c.WriteBuf(shared)
		})
	}
	for i, c := range clients { // each has got a different part by then
		b.take(c, i<<20)
	}
	require.True(t, want == string(shared.Bytes()))
	for i, c := range clients {
		whole := "head" + want + want
		require.True(t, whole[i<<20:] == string(b.take(c, len(whole)-i<<20)), "client %d", i)
	}
	require.True(t, want == string(shared.Bytes()))
	shared.Release()
	head.Release()
}

func smallBacklog(t *testing.T, start Start) {
	messages := 100_000 / Less
	b := set(t, start, 1, quiet(), nil)
	c, p := b.dial()
	// Fill what the kernel takes first, so that the backlog is ours.
	const plug = 16 << 20
	b.on(p, func(c *loop.Conn) { c.Write(make([]byte, plug)) })
	for i := 0; i < messages; i += 1000 { // 100 turns
		b.on(p, func(c *loop.Conn) {
			for n := i; n < i+1000; n++ {
				message := pool.Frames.Get(8)
				message.Append(binary.BigEndian.AppendUint64(nil, uint64(n))) // #nosec G115 -- counts up from 0
				c.WriteBuf(message)
				message.Release()
			}
		})
	}
	b.take(c, plug)
	got := b.take(c, 8*messages)
	for i := range messages {
		require.EqualValues(t, i, binary.BigEndian.Uint64(got[8*i:]))
	}
}

func failingWrite(t *testing.T, start Start) {
	b := set(t, start, 1, quiet(), nil)
	var victims []looptest.Client
	var all []*probe
	for range 8 {
		c, p := b.dial()
		victims, all = append(victims, c), append(all, p)
		b.on(p, func(c *loop.Conn) { c.Pause() }) // so that only a write finds out
	}
	c, p := b.dial()
	b.on(p, func(*loop.Conn) {
		p.data = func(p *probe, _ []byte) {
			for _, v := range all {
				for range 3 {
					v.conn.Write(make([]byte, 1<<20))
					require.Zero(t, v.closes.Load())
				}
			}
			p.conn.Write([]byte("done"))
		}
	})
	for _, v := range victims {
		v.Reset()
	}
	b.send(c, "go")
	b.expect(c, "done")
	for _, v := range all {
		b.gone(v)
		require.Error(t, v.why())
	}
}

func lingerUnsent(t *testing.T, start Start) {
	o := quiet()
	o.Linger = 300 * time.Millisecond
	b := set(t, start, 1, o, nil)
	_, p := b.dial()
	b.on(p, func(c *loop.Conn) { c.Write(make([]byte, 16<<20)); c.Close() })
	b.gone(p) // the client takes nothing
	require.ErrorIs(t, p.why(), loop.ErrLinger)
}

func lingerSilent(t *testing.T, start Start) {
	o := quiet()
	o.Linger = 300 * time.Millisecond
	b := set(t, start, 1, o, nil)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) { c.Write([]byte("bye")); c.Close() })
	require.Equal(t, "bye", string(b.drain(c, 100)))
	b.gone(p) // the client says nothing
	require.NoError(t, p.why())
}

func closeSent(t *testing.T, start Start) {
	o := quiet()
	o.Linger = time.Hour
	b := set(t, start, 1, o, nil)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) { c.Write([]byte("bye")); c.CloseSent() })
	require.Equal(t, "bye", string(b.drain(c, 100)))
	b.gone(p) // the client says nothing, and is not waited for
	require.NoError(t, p.why())
}

func closeIdle(t *testing.T, start Start) {
	o := quiet()
	o.Linger = time.Hour
	b := set(t, start, 1, o, nil)
	c, p := b.dial()
	b.on(p, func(c *loop.Conn) { c.Write([]byte("all there was")) })
	b.expect(c, "all there was")
	b.on(p, func(c *loop.Conn) { c.CloseIdle() })
	b.gone(p) // over TLS also, where a goodbye might come
	require.NoError(t, p.why())
	require.Empty(t, b.drain(c, 100))
}
