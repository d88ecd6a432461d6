// Package pool lends byte buffers with room in front of their content, counts their
// holders, and takes them back.
//
// A Buf is born with one holder. Whoever keeps it longer than a call says Retain,
// and every holder says Release once. While a Buf has more than one holder
// nobody writes to it. In builds with the tag `invariants` a Buf that was
// released is overwritten and never handed out again, a Release too many
// panics, and Outstanding counts the Bufs on loan.
//
//	b := pool.Frames.Get(len(payload))
//	b.Append(payload)
//	b.Prepend(2)[0] = 0x81 // the frame header goes into the headroom
//	conn.WriteBuf(b)       // shares b
//	b.Release()
package pool

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"turbine/internal/invariants"

	"github.com/valyala/bytebufferpool"
)

const (
	// Headroom is the number of bytes that a new Buf leaves free in front of
	// its content: a WebSocket frame header (at most 10 bytes from a server)
	// and a packet type.
	Headroom = 16

	// minKept and maxKept are the capacities in bytes of the smallest and the
	// largest buffers that are kept for their role. large.go has the larger ones.
	minKept = 1 << minKeptBits
	maxKept = 128 << 10

	minKeptBits = 6
	maxKeptBits = 17

	poison = 0xdb
)

// A Pool lends buffers for one role. Each role has its own Pool, because the
// storage underneath calibrates itself to the sizes that it sees. Within a
// role there is a class for each power of two, whose buffers have that capacity
// or more: a small piece that waits for its peer does not pin the room of a
// large one, and what a class lends always fits.
// The zero value is ready. Safe from any goroutine.
type Pool struct {
	classes [maxKeptBits - minKeptBits + 1]bytebufferpool.Pool
	least   int // bytes that each Buf has room for; kept last: as the first field it made an echo 10 % slower
}

// lender returns the pool whose buffers have n bytes or more, and how many they
// have; nil when that is too large for a role.
func (p *Pool) lender(n int) (class *bytebufferpool.Pool, capacity int) {
	if n > maxKept {
		return nil, n
	}
	i := max(bits.Len(uint(n-1))-minKeptBits, 0)
	return &p.classes[i], minKept << i
}

// keeper returns the pool for a buffer of that capacity, nil when the role keeps none
// of that size.
func (p *Pool) keeper(capacity int) *bytebufferpool.Pool {
	if capacity < minKept || capacity > maxKept {
		return nil
	}
	return &p.classes[bits.Len(uint(capacity))-1-minKeptBits]
}

// The roles.
var (
	Frames   Pool                     // outgoing messages, one packet or frame each; thousands may wait
	Payloads = Pool{least: leastRoom} // outgoing HTTP responses and corked writes
	Spills   = Pool{least: leastRoom} // incoming pieces that wait for the rest of their message
)

// leastRoom is room for what most often comes behind a small beginning: a piece
// that outgrows its buffer is copied.
const leastRoom = 256 - Headroom

// headers recycles the Bufs themselves; their storage has its own pools.
var headers = sync.Pool{New: func() any { return new(Buf) }}

var outstanding atomic.Int64

// Outstanding is the number of Bufs on loan from all pools. It counts only in
// builds with the tag invariants and is 0 in all others.
// Safe from any goroutine.
func Outstanding() int64 { return outstanding.Load() }

// Buf is a counted buffer on loan from a Pool.
//
// Retain and Release are safe from any goroutine. All other methods belong to
// the holder, and those that write, to a holder that is alone.
type Buf struct {
	storage *bytebufferpool.ByteBuffer
	home    *Pool
	start   int
	holders atomic.Int32
}

// Get lends an empty Buf with room for n bytes behind its headroom. It grows
// past n when asked to. The caller is its one holder.
func (p *Pool) Get(n int) *Buf {
	b := headers.Get().(*Buf)
	b.home, b.start = p, Headroom
	class, capacity := p.lender(Headroom + max(n, p.least))
	if class != nil {
		b.storage = class.Get()
	} else {
		b.storage = lendLarge(capacity)
	}
	if cap(b.storage.B) < capacity {
		b.storage.B = make([]byte, Headroom, capacity)
	}
	b.storage.B = b.storage.B[:Headroom]
	b.holders.Store(1)
	if invariants.Enabled {
		outstanding.Add(1)
	}
	return b
}

// New makes an empty Buf that never goes back to a pool: its memory is left to the
// garbage collector, so that nobody has to know its last holder. It is for content
// that is written once and shared by many.
func New(n int) *Buf {
	b := &Buf{
		storage: &bytebufferpool.ByteBuffer{B: make([]byte, Headroom, Headroom+n)},
		start:   Headroom,
	}
	b.holders.Store(1)
	return b
}

// Bytes shares the content. It is valid until the Buf grows or is released.
func (b *Buf) Bytes() []byte { return b.storage.B[b.start:] }

// Len is the length of the content in bytes.
func (b *Buf) Len() int { return len(b.storage.B) - b.start }

// Room is the number of bytes that can be appended without a reallocation.
func (b *Buf) Room() int { return cap(b.storage.B) - len(b.storage.B) }

// ForMany reports whether b was made by New: many may hold it.
func (b *Buf) ForMany() bool { return b.home == nil }

// Alone reports whether the caller is the only holder, and may therefore write.
func (b *Buf) Alone() bool { return b.holders.Load() == 1 }

// Append borrows p and copies it behind the content.
func (b *Buf) Append(p []byte) {
	invariants.Check(b.Alone(), "append to a shared buffer")
	b.storage.B = append(b.storage.B, p...)
}

// Tail shares the storage for an append-style encoder without a closure: the
// caller appends to what Tail returns and gives the result to SetTail.
func (b *Buf) Tail() []byte { return b.storage.B }

// SetTail takes the slice that grew out of Tail.
func (b *Buf) SetTail(p []byte) {
	invariants.Check(b.Alone(), "extend a shared buffer")
	b.storage.B = p
}

// Prepend grows the content by n bytes to the front, into the headroom, and
// returns the new bytes for the caller to fill. More than the headroom that is
// left panics: the sizes are the caller's constants.
func (b *Buf) Prepend(n int) []byte {
	invariants.Check(b.Alone(), "prepend to a shared buffer")
	if n > b.start {
		panic("pool: no headroom left")
	}
	b.start -= n
	return b.storage.B[b.start : b.start+n]
}

// Drop forgets the first n bytes of the content.
func (b *Buf) Drop(n int) {
	invariants.Check(n <= b.Len(), "drop %d of %d bytes", n, b.Len())
	b.start += n
}

// Reset empties the content and restores the headroom.
func (b *Buf) Reset() {
	invariants.Check(b.Alone(), "reset a shared buffer")
	b.start = Headroom
	b.storage.B = b.storage.B[:Headroom]
}

// Retain adds a holder, which must Release in turn.
func (b *Buf) Retain() {
	n := b.holders.Add(1)
	invariants.Check(n > 1, "retain of a released buffer")
}

// Release gives up one hold. After the last one the Buf must not be touched.
func (b *Buf) Release() {
	switch n := b.holders.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("pool: buffer released twice")
	}
	if b.home == nil { // made by New
		return
	}
	if invariants.Enabled {
		outstanding.Add(-1)
		whole := b.storage.B[:cap(b.storage.B)]
		for i := range whole {
			whole[i] = poison
		}
		return // quarantined: a late reader sees poison, a late Release panics
	}
	storage, home := b.storage, b.home
	b.storage, b.home = nil, nil
	headers.Put(b)
	if class := home.keeper(cap(storage.B)); class != nil {
		// The pool judges by length what sizes are worth keeping. Ours were
		// made for their content or for a class, so all are.
		storage.B = storage.B[:cap(storage.B)]
		class.Put(storage)
		return
	}
	if cap(storage.B) > maxKept {
		keepLarge(storage)
	}
}
