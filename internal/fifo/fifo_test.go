package fifo

import (
	"runtime"
	"slices"
	"testing"

	"turbine/internal/race"

	"github.com/stretchr/testify/require"
)

// check compares q with the model, by all that can be asked of it, and looks at
// the places that hold nothing.
func check(t *testing.T, model []*int, q *Queue[*int]) {
	t.Helper()
	require.Equal(t, len(model), q.Len())
	require.True(t, slices.Equal(model, q.All()))
	for _, n := range []int{0, 1, len(model), len(model) + 7} {
		got := q.Front(n)
		require.True(t, slices.Equal(model[:min(n, len(model))], got), "the first %d", n)
	}
	if len(model) == 0 {
		require.Nil(t, q.Back())
		require.Zero(t, q.taken, "an empty queue begins in front again")
	} else {
		require.Same(t, model[0], *q.First())
		require.Same(t, model[len(model)-1], *q.Back())
	}
	room := q.items[:cap(q.items)]
	for i, p := range room {
		if p != nil && (i < q.taken || i >= len(q.items)) {
			require.FailNow(t, "a place holds what was dropped", "%d of %d, %d taken", i, len(q.items), q.taken)
		}
	}
}

// play does what script says on a queue and on a slice: each byte is one call, and
// how many items it is about.
func play(t *testing.T, script []byte) {
	var q Queue[*int]
	var model []*int
	next := 0
	for i, b := range script {
		n := int(b >> 2)
		switch b & 3 {
		case 0, 1:
			if b&3 == 1 {
				n *= 8 // bursts: past each threshold
			}
			for range n {
				p := new(int)
				*p = next
				next++
				q.Push(p)
				model = append(model, p)
			}
		case 2:
			if n%3 == 1 && len(model) > 0 {
				require.Same(t, model[0], q.Pop())
				model = model[1:]
				break
			}
			n = min(n*(1+i%7), len(model))
			q.Drop(n)
			model = model[n:]
		case 3:
			if n%4 == 0 {
				q.Trim(n)
				break
			}
			n = max(len(model)-n, 0)
			q.Cut(n)
			model = model[:n]
		}
		check(t, model, &q)
	}
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte{4 << 2, 2<<2 | 2, 200, 63<<2 | 2, 3})
	f.Add([]byte{63<<2 | 1, 63<<2 | 1, 63<<2 | 2, 63<<2 | 2, 63<<2 | 2, 1 << 2, 5<<2 | 3, 63<<2 | 2, 0<<2 | 3})
	f.Add(slices.Repeat([]byte{7 << 2, 5<<2 | 2, 1<<2 | 3}, 40))
	f.Fuzz(play)
}

// TestQueueIsASlice plays many scripts; a fuzzer makes others.
func TestQueueIsASlice(t *testing.T) {
	script, state := make([]byte, 400), uint64(1)
	for range 20 / race.Less {
		for i := range script {
			state = state*6364136223846793005 + 1442695040888963407
			script[i] = byte(state >> 56)
		}
		play(t, script)
	}
}

func TestQueueDoesNotCreep(t *testing.T) {
	for _, waiting := range []int{1, 10, 1000} {
		var q Queue[int]
		for range waiting {
			q.Push(0)
		}
		for i := range 100_000 { // never empty
			q.Push(i)
			q.Pop()
		}
		require.Equal(t, waiting, q.Len())
		require.LessOrEqual(t, cap(q.items), 4*waiting+4)
	}
}

func TestQueueShrinksAfterABurst(t *testing.T) {
	var q Queue[int]
	for i := range 100_000 {
		q.Push(i)
	}
	q.Drop(99_990)
	for i := range 200_000 { // ten wait all the time
		q.Push(i)
		q.Drop(1)
	}
	require.Equal(t, 10, q.Len())
	require.LessOrEqual(t, cap(q.items), minShrink)
	q.Drop(10)
	q.Trim(minShrink)
	require.NotZero(t, cap(q.items), "small enough to be kept")
	q.Push(1)
	q.Trim(0)
	require.Equal(t, []int{1}, q.Front(2), "what waits stays")
	q.Drop(1)
	q.Trim(0)
	require.Zero(t, cap(q.items))
}

// What was dropped can be collected while others wait.
func TestQueueForgetsWhatItDrops(t *testing.T) {
	gone := make(chan struct{})
	var q Queue[*[64]byte]
	func() {
		first := new([64]byte)
		runtime.AddCleanup(first, func(int) { close(gone) }, 0)
		q.Push(first)
	}()
	q.Push(new([64]byte))
	q.Pop()
	runtime.GC()
	<-gone
	require.Equal(t, 1, q.Len())
}

func TestQueueAllocatesNothingInUse(t *testing.T) {
	var q Queue[[4]int]
	for range 100 {
		q.Push([4]int{})
	}
	q.Drop(100)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for range 10 {
			q.Push([4]int{1})
		}
		_ = q.Front(4)
		q.Pop()
		q.Drop(9)
	}))
}

func BenchmarkQueue(b *testing.B) {
	var q Queue[[4]int]
	q.Push([4]int{})
	b.ReportAllocs()
	for b.Loop() {
		q.Push([4]int{1})
		q.Pop()
	}
}
