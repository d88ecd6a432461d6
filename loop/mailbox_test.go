package loop

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"turbine/internal/invariants"

	"github.com/stretchr/testify/require"
)

// counter is a Task that allocates nothing.
type counter struct{ runs int }

func (c *counter) Run() { c.runs++ }

func TestMailboxWakesOnceForABatch(t *testing.T) {
	var now time.Duration
	l, k := newFake(&now, tick)
	var c counter
	for range 100 {
		require.NoError(t, l.Post(&c))
	}
	require.EqualValues(t, 1, k.awake.Load())
	require.False(t, l.Mail())
	require.Equal(t, 100, c.runs)
	require.NoError(t, l.Post(&c))
	require.EqualValues(t, 2, k.awake.Load())
}

func TestMailboxRunsOneBatch(t *testing.T) {
	var now time.Duration
	l, k := newFake(&now, tick)
	var order []int
	require.NoError(t, l.Post(Func(func() {
		order = append(order, 1)
		_ = l.Post(Func(func() { order = append(order, 3) }))
	})))
	require.NoError(t, l.Post(Func(func() { order = append(order, 2) })))
	require.True(t, l.Mail(), "there is more")
	require.Equal(t, []int{1, 2}, order)
	require.False(t, l.Mail())
	require.Equal(t, []int{1, 2, 3}, order)
	require.EqualValues(t, 1, k.awake.Load(), "the same Wake for all")
}

func TestMailboxSurvivesPanics(t *testing.T) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	var c counter
	_ = l.Post(Func(func() { panic("task") }))
	_ = l.Post(&c)
	l.Mail()
	require.Equal(t, 1, c.runs)
}

func TestTicksAreWantedWhileAnAlarmIsArmed(t *testing.T) {
	now := time.Hour
	l, k := newFake(&now, tick)
	b := &bell{loop: l}
	b.slot = l.Claim(b)
	require.False(t, k.ticks, "an idle loop is left alone")
	l.Arm(b.slot, now)
	require.True(t, k.ticks)
	l.Tick()
	require.Empty(t, b.rang)
	require.True(t, k.ticks)
	now += tick
	l.Tick()
	require.Len(t, b.rang, 1)
	require.False(t, k.ticks)
}

func TestMailboxForgetsTheRoomOfABurst(t *testing.T) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	var c counter
	for range 10 * maxSpare {
		_ = l.Post(&c)
	}
	for l.Mail() {
	}
	require.Equal(t, 10*maxSpare, c.runs)
	_ = l.Post(&c)
	l.Mail()
	_ = l.Post(&c)
	l.Mail()
	require.LessOrEqual(t, cap(l.mail.tasks)+cap(l.mail.batch)+cap(l.mail.spare), 2*maxSpare)
}

func TestManyTasksRunInBatches(t *testing.T) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	var order []int
	for i := range 2*mailBatch + 1 {
		_ = l.Post(Func(func() {
			order = append(order, i)
			if i == 0 {
				_ = l.Post(Func(func() { order = append(order, -1) }))
			}
		}))
	}
	for _, want := range []int{mailBatch, 2 * mailBatch, 2*mailBatch + 1} {
		require.True(t, l.Mail())
		require.Len(t, order, want)
	}
	require.False(t, l.Mail())
	require.Equal(t, -1, order[2*mailBatch+1], "behind those that were there before")
	require.IsIncreasing(t, order[:2*mailBatch+1])
}

// slowEnd is a handler whose Closed takes a quarter of a portion.
type slowEnd struct {
	discard
	now *time.Duration
}

func (s slowEnd) Closed(error) { *s.now += quantum / 4 }

func TestManyEndsAreToldInPortions(t *testing.T) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	for fd := range 3 * 4 {
		c := open(l, 7+fd)
		c.SetHandler(slowEnd{now: &now})
		c.Abort()
	}
	turns := 1
	for l.Mail() {
		require.GreaterOrEqual(t, l.Conns(), (4-turns)*4, "a descriptor is closed a turn after its end was told")
		turns++
	}
	require.Equal(t, 4, turns)
	require.Zero(t, l.Conns())
}

func TestDescriptorsAreClosedARoundAfterClosed(t *testing.T) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	c := open(l, 7)
	c.Abort()
	require.Nil(t, l.conns.get(7))
	require.True(t, l.Mail())
	require.Equal(t, 1, l.Conns(), "told, not yet closed")
	require.False(t, l.Mail())
	require.Zero(t, l.Conns())
}

func TestTableKeepsTheNewOwner(t *testing.T) {
	var table Table
	a, b := new(Conn), new(Conn)
	table.set(5, a)
	table.set(5, b)
	table.clear(5, a) // late
	require.Same(t, b, table.get(5))
	table.clear(5, b)
	require.Nil(t, table.get(5))
	table.clear(5, nil)
	require.Nil(t, table.get(maxDescriptor))
	require.Nil(t, table.get(-1))
	require.False(t, table.set(maxDescriptor, a))
}

func TestPostDoesNotAllocate(t *testing.T) {
	if invariants.Enabled {
		t.Skip("for the plain build")
	}
	var now time.Duration
	l, _ := newFake(&now, tick)
	var c counter
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for range 10 {
			_ = l.Post(&c)
		}
		l.Mail()
	}))
}

// BenchmarkPost counts a post and its run, a thousand in a batch.
func BenchmarkPost(b *testing.B) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	var c counter
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = l.Post(&c)
		if i%1000 == 0 {
			l.Mail()
		}
	}
}

func BenchmarkPostFromGoroutines(b *testing.B) {
	var now time.Duration
	l, _ := newFake(&now, tick)
	var c counter
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.Mail()
				runtime.Gosched()
			}
		}
	})
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			_ = l.Post(&c)
		}
	})
	close(stop)
	wg.Wait()
}
