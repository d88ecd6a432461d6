package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// What is too small to be compressed costs a compressed connection no more than
// any other: messages that wait are frames one behind the other, in one buffer.
// Where one in between is compressed, all keep their order.
func TestDeflateSmallMessagesShareABuffer(t *testing.T) {
	const n = 20
	large := text(5000)
	var buffers []int
	b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, func(_ *bench, e *Events) {
		e.Message = func(s *Session, m Message) {
			for i := range n {
				require.NoError(t, s.Send(Message{Data: fmt.Appendf(nil, "small %d", i)}))
			}
			buffers = append(buffers, s.outbox.items.Len())
			require.NoError(t, s.Send(Message{Data: []byte(large)}))
			require.NoError(t, s.Send(m))
		}
	})
	var k unpacker
	b.speak(t, "ws EIO=4&transport=websocket", &k)
	b.events()
	b.client("w", "").peer.Write(frame(ws.OpText, "4go"))
	got := b.take(t, "w", &k)
	require.Equal(t, []int{1}, buffers)
	require.Len(t, got, n+2)
	for i := range n {
		require.Equal(t, fmt.Sprintf("4small %d", i), got[i].text)
		require.False(t, got[i].packed)
	}
	require.True(t, got[n].packed)
	require.Equal(t, "4"+large, got[n].text)
	require.Equal(t, "4go", got[n+1].text)
	b.finish()
}

// A compressed message that waits for its client holds what it counts for, and not
// what it was before it was compressed.
func TestDeflateHoldsWhatItCounts(t *testing.T) {
	heap := func() int {
		runtime.GC()
		runtime.GC() // pools give up what they keep at the second one
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	message := Message{Data: []byte(text(9000) + strings.Repeat("x", 400_000))}
	b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, nil)
	var k unpacker
	b.speak(t, "ws EIO=4&transport=websocket", &k)
	s := b.session("A")
	b.client("w", "").peer.SetWindow(0)
	b.world.Run()
	before := heap()
	const n = 10
	for range n {
		require.NoError(t, s.Send(message))
		b.world.Run()
		require.Zero(t, s.Buffered(), "it is compressed, and the connection has it")
	}
	waits := int(s.loop.Unsent())
	took := heap() - before
	t.Logf("%d bytes wait, %d are held", waits, took)
	require.Less(t, took, 4*waits+shardRoom)
	b.client("w", "").peer.SetWindow(1 << 20)
	require.Len(t, b.take(t, "w", &k), n)
	b.finish()
}

// shardRoom is what a loop keeps to compress with.
const shardRoom = 1 << 20
