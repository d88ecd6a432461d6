package contract

import (
	"sync"
	"sync/atomic"
	"testing"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// A probe is a Handler that remembers what it was told and does what a case
// asks of it. The hooks run on the loop; nil does nothing.
type probe struct {
	conn *loop.Conn

	data    func(p *probe, b []byte)
	eof     func(p *probe)
	drained func(p *probe)
	closed  func(p *probe)

	inside  int          // calls that have not returned; the loop's
	late    atomic.Int32 // calls after Closed
	nested  atomic.Int32 // calls during another
	got     atomic.Int64 // bytes
	drains  atomic.Int32
	ends    atomic.Int32
	closes  atomic.Int32
	mu      sync.Mutex
	content []byte
	err     error
}

func (p *probe) enter() func() {
	if p.closes.Load() > 0 {
		p.late.Add(1)
	}
	if p.inside > 0 {
		p.nested.Add(1)
	}
	p.inside++
	return func() { p.inside-- }
}

func (p *probe) Data(b []byte) {
	defer p.enter()()
	p.got.Add(int64(len(b)))
	if p.data != nil {
		p.data(p, b)
		return
	}
	p.mu.Lock()
	p.content = append(p.content, b...)
	p.mu.Unlock()
}

func (p *probe) Drained() {
	defer p.enter()()
	p.drains.Add(1)
	if p.drained != nil {
		p.drained(p)
	}
}

func (p *probe) EOF() {
	defer p.enter()()
	p.ends.Add(1)
	if p.eof != nil {
		p.eof(p)
	}
}

func (p *probe) Closed(err error) {
	defer p.enter()()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	p.closes.Add(1)
	if p.closed != nil {
		p.closed(p)
	}
}

// why is the error that Closed was told.
func (p *probe) why() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// received is what Data got, when no hook took it.
func (p *probe) received() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.content)
}

// bench is a machine under test with the probes of its connections.
type bench struct {
	Machine
	t *testing.T

	mu     sync.Mutex
	probes []*probe
}

// set starts a bench whose new connections are set up by arrange, on the loop.
func set(t *testing.T, start Start, loops int, o loop.Options, arrange func(*probe)) *bench {
	t.Helper()
	b := &bench{t: t}
	b.Machine = start(t, loops, o, func(c *loop.Conn) loop.Handler {
		p := &probe{conn: c}
		b.mu.Lock()
		b.probes = append(b.probes, p)
		b.mu.Unlock()
		if arrange != nil {
			arrange(p)
		}
		return p
	})
	t.Cleanup(func() {
		b.Stop()
		for i, p := range b.probes {
			require.EqualValues(t, 1, p.closes.Load(), "Closed of connection %d", i)
			require.Zero(t, p.late.Load(), "calls after Closed of connection %d", i)
			require.Zero(t, p.nested.Load(), "nested calls of connection %d", i)
		}
	})
	return b
}

// count is the number of connections that were accepted.
func (b *bench) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.probes)
}

// probe returns the probe of the i-th connection that was accepted.
func (b *bench) probe(i int) *probe {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.probes[i]
}

// dial connects and waits for the connection's probe.
func (b *bench) dial() (looptest.Client, *probe) {
	b.t.Helper()
	before := b.count()
	c := b.Dial()
	b.until("an accept", func() bool { return b.count() > before })
	return c, b.probe(before)
}

func (b *bench) until(what string, done func() bool) {
	b.t.Helper()
	until(b.t, b.Machine, what, done)
}

// on runs f on p's loop.
func (b *bench) on(p *probe, f func(c *loop.Conn)) {
	b.t.Helper()
	on(b.t, b.Machine, p.conn.Loop(), func() { f(p.conn) })
}

// send sends all of p.
func (b *bench) send(c looptest.Client, p string) {
	b.t.Helper()
	rest := []byte(p)
	b.until("a send", func() bool {
		rest = rest[c.Send(rest):]
		return len(rest) == 0
	})
}

// expect receives as many bytes as want has and compares.
func (b *bench) expect(c looptest.Client, want string) {
	b.t.Helper()
	require.Equal(b.t, want, string(b.take(c, len(want))))
}

// take receives n bytes.
func (b *bench) take(c looptest.Client, n int) (got []byte) {
	b.t.Helper()
	for len(got) < n && !c.EOF() && !c.Broken() {
		got = append(got, b.more(c, n-len(got))...)
	}
	return got
}

// more receives what comes next, at most n bytes: nothing at the end of the stream. The
// patience is for each piece, since a large stream takes a busy machine its time.
func (b *bench) more(c looptest.Client, n int) (piece []byte) {
	b.t.Helper()
	b.until("bytes, or the end of the stream", func() bool {
		piece = c.Recv(n)
		return len(piece) > 0 || c.EOF() || c.Broken()
	})
	return piece
}

// drain receives everything up to the end of the stream, in pieces of at most
// step bytes, and requires a good end.
func (b *bench) drain(c looptest.Client, step int) (got []byte) {
	b.t.Helper()
	for !c.EOF() && !c.Broken() {
		got = append(got, b.more(c, step)...)
	}
	require.False(b.t, c.Broken(), "reset after %d bytes", len(got))
	return got
}

// echoes requires that c is served.
func (b *bench) echoes(c looptest.Client, text string) {
	b.t.Helper()
	b.send(c, text)
	b.expect(c, text)
}

// gone waits for Closed.
func (b *bench) gone(p *probe) {
	b.t.Helper()
	b.until("Closed", func() bool { return p.closes.Load() > 0 })
}

// echo makes p send back what it gets.
func echo(p *probe) { p.data = func(p *probe, b []byte) { p.conn.Write(b) } }
