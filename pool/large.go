package pool

import (
	"math/bits"
	"sync"

	"github.com/valyala/bytebufferpool"
)

// Large buffers are lent again as well. A client may have the server make many of
// them with few bytes, since a compressed message becomes a thousand times as large,
// and what is left to the garbage collector is cleared, found and freed each time:
// with 2 MB of live memory one collection for every four messages of 500 KB, each of
// which stops all loops. The storage underneath forgets at the second collection what
// nobody has borrowed, so one large message does not pin its memory for good.

const (
	// maxLarge is the room in bytes of the largest buffers that are kept: for a message
	// that fills a queue of the default size.
	maxLarge     = 1 << maxLargeBits
	maxLargeBits = 24

	// largeSteps is how many classes there are for each power of two: what waits
	// holds at most a quarter more than it counts for, or a little more than half
	// where its storage had grown before.
	largeSteps     = 1 << largeStepsBits
	largeStepsBits = 2
)

// large has the classes above maxKept, for all roles.
var large [(maxLargeBits - maxKeptBits) * largeSteps]sync.Pool

// largeClass is the class of which all buffers have room for n bytes or more behind
// their headroom, and how much the smallest has: a power of two is not rounded up. n is
// above maxKept, and not above maxLarge.
func largeClass(n int) (class *sync.Pool, room int) {
	octave := bits.Len(uint(n-1)) - 1 // 1<<octave < n
	shift := octave - largeStepsBits
	steps := (n-1)>>shift + 1 // largeSteps+1 to 2*largeSteps
	return &large[(octave-maxKeptBits)*largeSteps+steps-largeSteps-1], steps << shift
}

// lendLarge returns storage of capacity bytes or more, which are above maxKept.
func lendLarge(capacity int) *bytebufferpool.ByteBuffer {
	if capacity-Headroom > maxLarge {
		return &bytebufferpool.ByteBuffer{B: make([]byte, 0, capacity)}
	}
	class, room := largeClass(max(capacity-Headroom, maxKept+1))
	if b, ok := class.Get().(*bytebufferpool.ByteBuffer); ok {
		return b
	}
	return &bytebufferpool.ByteBuffer{B: make([]byte, 0, Headroom+room)}
}

// keepLarge takes storage back whose capacity is above maxKept. What has grown to a
// room between two classes goes to the lower one.
func keepLarge(b *bytebufferpool.ByteBuffer) {
	n := cap(b.B) - Headroom
	octave := bits.Len(uint(n)) - 1 // 1<<octave <= n
	steps := n >> (octave - largeStepsBits)
	if at := (octave-maxKeptBits)*largeSteps + steps - largeSteps - 1; at >= 0 && n <= maxLarge {
		large[at].Put(b)
	}
}
