//go:build invariants

package pool_test

import (
	"sync"
	"testing"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

func TestDoubleRelease(t *testing.T) {
	var p pool.Pool
	b := p.Get(8)
	b.Release()
	require.PanicsWithValue(t, "pool: buffer released twice", b.Release)
	require.Zero(t, pool.Outstanding())
}

func TestRetainAfterRelease(t *testing.T) {
	var p pool.Pool
	b := p.Get(8)
	b.Release()
	require.PanicsWithValue(t, "invariant broken: retain of a released buffer", b.Retain)
}

// Who kept the bytes without a hold reads poison, over the whole storage.
func TestPoison(t *testing.T) {
	var p pool.Pool
	b := p.Get(64)
	b.Append([]byte("content"))
	head, content := b.Prepend(3), b.Bytes()
	spare := content[:cap(content)]
	b.Retain()
	b.Release()
	require.Equal(t, "content", string(content[3:]), "poisoned under a holder")
	b.Release()
	for _, part := range [][]byte{head, content, spare} {
		for i := range part {
			require.Equal(t, byte(0xdb), part[i], i)
		}
	}
}

// A released Buf is never lent again, so that a late reader cannot meet the
// content of another holder.
func TestQuarantine(t *testing.T) {
	var p pool.Pool
	seen := map[*byte]bool{}
	for range 100 {
		b := p.Get(8)
		b.Append([]byte("a"))
		first := &b.Bytes()[0]
		require.False(t, seen[first])
		seen[first] = true
		b.Release()
	}
}

func TestOutstanding(t *testing.T) {
	require.Zero(t, pool.Outstanding())
	a, b := pool.Frames.Get(1), pool.Spills.Get(100<<10)
	require.EqualValues(t, 2, pool.Outstanding())
	a.Retain() // one Buf, however many holders
	require.EqualValues(t, 2, pool.Outstanding())
	a.Release()
	require.EqualValues(t, 2, pool.Outstanding())
	a.Release()
	require.EqualValues(t, 1, pool.Outstanding())
	b.Release()
	require.Zero(t, pool.Outstanding())
}

func TestOutstandingAcrossGoroutines(t *testing.T) {
	var p pool.Pool
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				b := p.Get(16)
				b.Retain()
				all.Go(b.Release)
				b.Release()
			}
		})
	}
	all.Wait()
	require.Zero(t, pool.Outstanding())
}

func TestWriteToShared(t *testing.T) {
	for _, c := range []struct {
		name, want string
		write      func(b *pool.Buf)
	}{
		{"Append", "invariant broken: append to a shared buffer", func(b *pool.Buf) { b.Append([]byte("x")) }},
		{"SetTail", "invariant broken: extend a shared buffer", func(b *pool.Buf) { b.SetTail(b.Tail()) }},
		{"Prepend", "invariant broken: prepend to a shared buffer", func(b *pool.Buf) { b.Prepend(1) }},
		{"Reset", "invariant broken: reset a shared buffer", func(b *pool.Buf) { b.Reset() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p pool.Pool
			b := p.Get(8)
			b.Append([]byte("content"))
			b.Retain()
			require.PanicsWithValue(t, c.want, func() { c.write(b) })
			require.Equal(t, "content", string(b.Bytes()))
			b.Release()
			require.NotPanics(t, func() { c.write(b) }, "alone again")
			b.Release()
		})
	}
}

func TestDropTooMuch(t *testing.T) {
	var p pool.Pool
	b := p.Get(8)
	b.Append([]byte("ab"))
	require.PanicsWithValue(t, "invariant broken: drop 3 of 2 bytes", func() { b.Drop(3) })
	b.Release()
}
