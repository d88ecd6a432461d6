package pool_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

func TestGet(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 1000, 64 << 10, 1 << 20} {
		var p pool.Pool
		b := p.Get(n)
		require.Zero(t, b.Len(), n)
		require.Empty(t, b.Bytes(), n)
		require.GreaterOrEqual(t, b.Room(), n)
		require.True(t, b.Alone(), n)
		b.Prepend(pool.Headroom)
		require.Equal(t, pool.Headroom, b.Len(), n)
		b.Release()
	}
}

// Each row is a script over one Buf, and what it holds afterwards.
func TestContent(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(b *pool.Buf)
		want string
	}{
		{"nothing", func(*pool.Buf) {}, ""},
		{"append", func(b *pool.Buf) { b.Append([]byte("ab")) }, "ab"},
		{"append nothing", func(b *pool.Buf) { b.Append(nil) }, ""},
		{"append twice", func(b *pool.Buf) { b.Append([]byte("ab")); b.Append([]byte("cd")) }, "abcd"},
		{"append past the room", func(b *pool.Buf) { b.Append([]byte(strings.Repeat("x", 1000))) }, strings.Repeat("x", 1000)},
		{"prepend", func(b *pool.Buf) { b.Append([]byte("c")); copy(b.Prepend(2), "ab") }, "abc"},
		{"prepend to nothing", func(b *pool.Buf) { copy(b.Prepend(2), "ab") }, "ab"},
		{"prepend twice", func(b *pool.Buf) { copy(b.Prepend(1), "b"); copy(b.Prepend(1), "a") }, "ab"},
		{"prepend all headroom", func(b *pool.Buf) { copy(b.Prepend(pool.Headroom), "0123456789abcdef"); b.Append([]byte("!")) }, "0123456789abcdef!"},
		{"prepend none", func(b *pool.Buf) { b.Prepend(0); b.Append([]byte("a")) }, "a"},
		{"prepend after growth", func(b *pool.Buf) { b.Append(bytes.Repeat([]byte("x"), 500)); copy(b.Prepend(1), "a") }, "a" + strings.Repeat("x", 500)},
		{"tail", func(b *pool.Buf) { b.Append([]byte("a")); b.SetTail(append(b.Tail(), "bc"...)) }, "abc"},
		{"tail that grows", func(b *pool.Buf) { b.SetTail(append(b.Tail(), strings.Repeat("x", 1000)...)) }, strings.Repeat("x", 1000)},
		{"tail unchanged", func(b *pool.Buf) { b.Append([]byte("a")); b.SetTail(b.Tail()) }, "a"},
		{"drop", func(b *pool.Buf) { b.Append([]byte("abcd")); b.Drop(3) }, "d"},
		{"drop all", func(b *pool.Buf) { b.Append([]byte("abcd")); b.Drop(4) }, ""},
		{"drop none", func(b *pool.Buf) { b.Append([]byte("ab")); b.Drop(0) }, "ab"},
		{"drop and append", func(b *pool.Buf) { b.Append([]byte("abcd")); b.Drop(3); b.Append([]byte("e")) }, "de"},
		{"drop makes headroom", func(b *pool.Buf) {
			b.Append([]byte("abcd"))
			b.Drop(2)
			copy(b.Prepend(pool.Headroom+2), "0123456789abcdefgh")
		}, "0123456789abcdefghcd"},
		{"reset", func(b *pool.Buf) { b.Append([]byte("ab")); b.Reset() }, ""},
		{"reset after prepend", func(b *pool.Buf) { b.Prepend(3); b.Reset(); b.Append([]byte("a")) }, "a"},
		{"reset after drop", func(b *pool.Buf) {
			b.Append([]byte("ab"))
			b.Drop(2)
			b.Reset()
			b.Prepend(pool.Headroom)
			b.Drop(pool.Headroom)
		}, ""},
		{"retain and release", func(b *pool.Buf) { b.Append([]byte("a")); b.Retain(); b.Release(); b.Append([]byte("b")) }, "ab"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p pool.Pool
			b := p.Get(8)
			c.do(b)
			require.Equal(t, c.want, string(b.Bytes()))
			require.Equal(t, len(c.want), b.Len())
			b.Release()

			next := p.Get(8) // whatever was done does not reach the next holder
			require.Zero(t, next.Len())
			require.GreaterOrEqual(t, next.Room(), 8)
			require.True(t, next.Alone())
			next.Release()
		})
	}
}

func TestPrependPastHeadroom(t *testing.T) {
	var p pool.Pool
	b := p.Get(0)
	require.PanicsWithValue(t, "pool: no headroom left", func() { b.Prepend(pool.Headroom + 1) })
	b.Prepend(pool.Headroom)
	require.PanicsWithValue(t, "pool: no headroom left", func() { b.Prepend(1) })
	b.Release()
}

func TestRoom(t *testing.T) {
	var p pool.Pool
	b := p.Get(100)
	before := b.Room()
	b.Append(make([]byte, 60))
	require.Equal(t, before-60, b.Room())
	first := &b.Bytes()[0]
	b.Append(make([]byte, 40))
	require.Same(t, first, &b.Bytes()[0], "moved within its room")
	b.Release()
}

func TestAlone(t *testing.T) {
	var p pool.Pool
	b := p.Get(0)
	b.Retain()
	require.False(t, b.Alone())
	b.Retain()
	b.Release()
	require.False(t, b.Alone())
	b.Release()
	require.True(t, b.Alone())
	b.Release()
}

func TestRoles(t *testing.T) {
	for _, role := range []*pool.Pool{&pool.Frames, &pool.Payloads, &pool.Spills} {
		b := role.Get(10)
		b.Append([]byte("content"))
		require.Equal(t, "content", string(b.Bytes()))
		b.Release()
	}
}

// A Buf of New has no pool to go back to. Its maker keeps the first hold for
// good, so the others come and go without an end.
func TestNew(t *testing.T) {
	b := pool.New(100)
	require.Zero(t, b.Len())
	require.GreaterOrEqual(t, b.Room(), 100)
	b.Append([]byte("content"))
	copy(b.Prepend(2), "a ")
	var all sync.WaitGroup
	for range 8 {
		b.Retain()
		all.Go(b.Release)
	}
	all.Wait()
	require.True(t, b.Alone())
	require.Equal(t, "a content", string(b.Bytes()))
	require.Zero(t, pool.Outstanding())
}

// Writers hand one Buf to many readers, each with a hold of its own, while
// others get and release from the same pool.
func TestShare(t *testing.T) {
	const writers, readers, rounds = 4, 4, 200
	var (
		p    pool.Pool
		all  sync.WaitGroup
		want = bytes.Repeat([]byte("0123456789"), 20)
		bad  = make(chan string, 1)
	)
	for range writers {
		all.Go(func() {
			for range rounds {
				b := p.Get(len(want))
				b.Append(want[1:])
				b.Prepend(1)[0] = want[0]
				for range readers {
					b.Retain()
					all.Go(func() {
						defer b.Release()
						if !bytes.Equal(want, b.Bytes()) {
							select {
							case bad <- string(b.Bytes()):
							default:
							}
						}
					})
				}
				b.Release()
			}
		})
	}
	all.Wait()
	select {
	case got := <-bad:
		require.Equal(t, string(want), got, "a shared buffer changed")
	default:
	}
	require.Zero(t, pool.Outstanding())
}

func BenchmarkGetRelease(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}} {
		data := make([]byte, size.n)
		b.Run(size.name, func(b *testing.B) {
			var p pool.Pool
			b.ReportAllocs()
			for b.Loop() {
				f := p.Get(len(data))
				f.Append(data)
				f.Prepend(2)[0] = 0x81
				f.Release()
			}
		})
	}
	b.Run("parallel/64B", func(b *testing.B) {
		var p pool.Pool
		data := make([]byte, 64)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				f := p.Get(len(data))
				f.Append(data)
				f.Release()
			}
		})
	})
}

func BenchmarkRetainRelease(b *testing.B) {
	var p pool.Pool
	f := p.Get(0)
	b.ReportAllocs()
	for b.Loop() {
		f.Retain()
		f.Release()
	}
	f.Release()
}
