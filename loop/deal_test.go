//go:build linux

package loop

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// Connections are dealt by what the loops have, whichever of them that is.
func TestDealByLoad(t *testing.T) {
	for _, c := range []struct {
		name                    string
		conns, residents, after []int // by loop
		arriving                []int
		dealt                   int
	}{
		{"equal", []int{5, 5, 5, 5}, []int{5, 5, 5, 5}, []int{8, 8, 8, 8}, []int{0, 0, 0, 0}, 12},
		{"connections", []int{9, 0, 3, 6}, []int{0, 0, 0, 0}, []int{9, 9, 9, 9}, []int{0, 0, 0, 0}, 18},
		{"residents", []int{0, 0, 0}, []int{4, 0, 2}, []int{0, 12, 6}, []int{0, 0, 0}, 18},
		{"both", []int{6, 0}, []int{0, 2}, []int{7, 1}, []int{0, 0}, 2},
		{"those on their way", []int{5, 5}, []int{5, 0}, []int{10, 10}, []int{0, 5}, 10},
		{"one loop", []int{7}, []int{1}, []int{9}, []int{0}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var loops []*Loop
			for i := range c.conns {
				l := &Loop{index: i}
				l.count.Store(int64(c.conns[i]))
				l.AddResidents(c.residents[i])
				l.arriving.Store(int64(c.arriving[i]))
				loops = append(loops, l)
			}
			d := NewDealer(loops)
			for range c.dealt {
				d.Deal().count.Add(1)
			}
			var after []int
			for _, l := range loops {
				after = append(after, l.Conns())
			}
			require.Equal(t, c.after, after)
		})
	}
}

// A loop that has no time to open its connections gets no more than its part of
// a crowd that comes meanwhile, though the others have theirs open.
func TestDealToABusyLoop(t *testing.T) {
	b := startBounded(t, Options{Loops: 2}, func(_ *bounded, c *Conn) Handler {
		c.Loop().AddResidents(1)
		return discard{}
	})
	busy, idle := b.loops[1], make(chan struct{})
	require.NoError(t, busy.Post(Func(func() { <-idle })))
	const crowd = 100
	for i := range crowd {
		b.dial("127.0.0.1")
		b.eventually("the connection is dealt", func() bool { return b.Stats().Conns == i+1 })
		b.eventually("loop 0 has opened its own", func() bool { return b.loops[0].arriving.Load() == 0 })
	}
	require.InDelta(t, crowd/2, busy.Conns(), 1)
	require.Zero(t, busy.Residents())
	close(idle)
	b.eventually("all are open", func() bool { return busy.arriving.Load() == 0 })
	require.InDelta(t, crowd/2, busy.Residents(), 1)
}

// Places for connections that others have accepted are dealt like these.
func TestReserveByLoad(t *testing.T) {
	b := startBounded(t, Options{Loops: 3}, func(*bounded, *Conn) Handler { return discard{} })
	b.loops[0].AddResidents(2)
	b.loops[2].AddResidents(1)
	counts := map[int]int{}
	var places []*Place
	for range 6 {
		p, why := b.Reserve(netip.AddrPort{})
		require.Zero(t, why)
		counts[p.loop.index]++
		places = append(places, p)
	}
	require.Equal(t, map[int]int{0: 1, 1: 3, 2: 2}, counts)
	for _, p := range places {
		p.Release()
	}
	require.Zero(t, b.Stats().Conns)
}

// A connection moves only from a loop that has a good deal more than the least.
func TestLighter(t *testing.T) {
	for _, c := range []struct {
		own, other int
		moves      bool
	}{
		{0, 0, false},
		{spareLoad, 0, false},
		{spareLoad + 1, 0, true},
		{spareLoad + 800, 800, false},
		{spareLoad + 900, 800, false},
		{spareLoad + 901, 800, true},
		{800, 2000, false},
	} {
		loops := []*Loop{{index: 0}, {index: 1}, {index: 2}}
		loops[0].count.Store(int64(c.own))
		loops[1].count.Store(int64(c.other))
		loops[2].count.Store(int64(c.other) + 1)
		d := NewDealer(loops)
		var want *Loop
		if c.moves {
			want = loops[1]
		}
		require.Same(t, want, d.Lighter(loops[0]), "%+v", c)
	}
	alone := &Loop{}
	alone.AddResidents(1000)
	require.Nil(t, NewDealer([]*Loop{alone}).Lighter(alone))
}

func BenchmarkDeal(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("%d loops", n), func(b *testing.B) {
			var loops []*Loop
			for i := range n {
				loops = append(loops, &Loop{index: i})
			}
			d := NewDealer(loops)
			b.ReportAllocs()
			for b.Loop() {
				d.Deal().count.Add(1)
			}
		})
	}
}
