package contract

import (
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// closeWrite ends the writing direction alone, in each of the ways that what was written
// gets out, and then the connection, in each of its ways.
func closeWrite(t *testing.T, start Start) {
	big := text(2 << 20)
	for _, c := range []struct {
		name   string
		first  string
		half   func(b *bench, p *probe)
		answer string // what the peer sends behind the end
		end    func(*loop.Conn)
	}{
		{"nothing was written", "", func(b *bench, p *probe) {
			b.on(p, (*loop.Conn).CloseWrite)
		}, "hello", (*loop.Conn).Close},
		{"a few bytes in the same turn", "bye", func(b *bench, p *probe) {
			b.on(p, func(c *loop.Conn) {
				c.Write([]byte("bye"))
				c.CloseWrite()
				c.CloseWrite()
				c.Write([]byte("too late"))
				require.True(t, c.Ready())
			})
		}, "hello", (*loop.Conn).CloseSent},
		{"more than the kernel takes", big, func(b *bench, p *probe) {
			b.on(p, func(c *loop.Conn) { c.Write([]byte(big)) })
			b.on(p, func(c *loop.Conn) { c.CloseWrite(); c.Write([]byte("too late")) })
		}, "hello", (*loop.Conn).CloseIdle},
		{"in a move", "bye", func(b *bench, p *probe) {
			b.on(p, func(c *loop.Conn) {
				c.MoveTo(b.Loops()[1-c.Loop().Index()], nil)
				c.Write([]byte("bye"))
				c.CloseWrite()
				c.Write([]byte("too late"))
			})
		}, text(300 << 10), (*loop.Conn).Close},
		{"before a move", "bye", func(b *bench, p *probe) {
			b.on(p, func(c *loop.Conn) {
				c.Write([]byte("bye"))
				c.CloseWrite()
				c.MoveTo(b.Loops()[1-c.Loop().Index()], nil)
			})
		}, "hello", (*loop.Conn).Close},
		{"on a paused connection", "bye", func(b *bench, p *probe) {
			b.on(p, func(c *loop.Conn) { c.Pause(); c.Write([]byte("bye")); c.CloseWrite() })
			b.on(p, (*loop.Conn).Resume)
		}, "hello", (*loop.Conn).Close},
	} {
		b := set(t, start, 2, quiet(), nil)
		client, p := b.dial()
		c.half(b, p)
		require.True(t, c.first == string(b.drain(client, 1<<20)), c.name)
		require.Zero(t, p.closes.Load(), c.name)
		b.send(client, c.answer)
		b.until("what comes behind the end", func() bool { return p.received() == c.answer })
		client.CloseWrite()
		b.until("the peer's end", func() bool { return p.ends.Load() == 1 })
		settle(t, b)
		require.Zero(t, p.closes.Load(), "%s: it lasts until it is closed", c.name)
		b.on(p, c.end)
		b.gone(p)
		require.NoError(t, p.why(), c.name)
		b.Stop()
	}
}

// A peer that does not end behind CloseWrite and Close is not waited for either.
func closeWriteSilent(t *testing.T, start Start) {
	for _, end := range []func(*loop.Conn){(*loop.Conn).Close, (*loop.Conn).CloseIdle} {
		o := quiet()
		o.Linger = 300 * time.Millisecond
		b := set(t, start, 1, o, nil)
		client, p := b.dial()
		b.on(p, func(c *loop.Conn) { c.Write([]byte("bye")); c.CloseWrite() })
		require.Equal(t, "bye", string(b.drain(client, 100)))
		b.on(p, end)
		b.gone(p)
		require.NoError(t, p.why())
		b.Stop()
	}
}
