package engine

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a queue counts for its limits is about what it takes, also of the smallest
// messages and those that just do not fit a size of buffer.
func TestQueueCountsWhatItTakes(t *testing.T) {
	heap := func() int {
		runtime.GC()
		runtime.GC() // pools give up what they keep at the second one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for _, size := range []int{0, 1, 40, 60, 100, 120, 230, 250, 500, 1000, 5000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			b := newSpec(t, 1, Options{}, nil)
			b.play(hsPolling)
			s, m := b.session("A"), Message{Data: make([]byte, size)}
			const n = 1500
			before := heap()
			for range n {
				require.NoError(t, s.Send(m))
			}
			took := heap() - before
			t.Logf("%d bytes each, counted %d", took/n, s.Buffered()/n)
			require.Less(t, took, 2*s.Buffered())
			b.finish()
		})
	}
}
