// Package fifo is the queue that loops and sessions keep what waits in: a slice, of
// which the taken front is used again.
package fifo

// Queue is a queue in one slice. When the slice is full and at least half of what
// is in it was taken, what is left moves to its beginning: a queue that never
// empties does not creep through memory, and a Push costs a constant on average. Its
// zero value is empty.
//
//	q.Push(a)
//	item := q.Pop()
//	for _, item := range q.Front(64) { ... }
//	q.Drop(64)
type Queue[T any] struct {
	items []T
	taken int // so many of items were dropped; these are zero
}

// minShrink is the room, in items, from which on a queue that has become much
// shorter than its slice gets a smaller one.
const minShrink = 256

// Push puts item behind all others.
func (q *Queue[T]) Push(item T) {
	if len(q.items) == cap(q.items) {
		q.compact()
	}
	q.items = append(q.items, item)
}

// compact makes room behind what waits, if at least half of the slice was taken. It
// is seldom called, so that Push is inlined instead.
//
//go:noinline
func (q *Queue[T]) compact() {
	if q.taken == 0 || 2*q.taken < len(q.items) {
		return
	}
	left := q.items[q.taken:]
	if cap(q.items) >= minShrink && 8*len(left) <= cap(q.items) {
		q.items = append(make([]T, 0, cap(q.items)/4), left...)
	} else {
		n := copy(q.items, left)
		clear(q.items[n:])
		q.items = q.items[:n]
	}
	q.taken = 0
}

// Len is how many items wait.
func (q *Queue[T]) Len() int { return len(q.items) - q.taken }

// Cap is how many items the slice has room for.
func (q *Queue[T]) Cap() int { return cap(q.items) }

// All lends the items that wait, the oldest first, until the next Push, Pop, Drop,
// Cut or Trim. They may be changed there.
func (q *Queue[T]) All() []T { return q.items[q.taken:] }

// Front lends the first n items, or all if there are fewer, as All does.
func (q *Queue[T]) Front(n int) []T { return q.items[q.taken : q.taken+min(n, q.Len())] }

// First lends the first item, as All does. At least one waits.
func (q *Queue[T]) First() *T { return &q.items[q.taken] }

// Back lends the last item, as All does, or returns nil if none waits.
func (q *Queue[T]) Back() *T {
	if q.Len() == 0 {
		return nil
	}
	return &q.items[len(q.items)-1]
}

// Pop takes the first item out and returns it. At least one waits.
func (q *Queue[T]) Pop() T {
	item := q.items[q.taken]
	var none T
	q.items[q.taken] = none
	if q.taken++; q.taken == len(q.items) {
		q.items, q.taken = q.items[:0], 0
	}
	return item
}

// Drop forgets the first n items and clears them. At least so many wait. For one item
// Pop costs less: clear is a call, with a barrier for each pointer.
func (q *Queue[T]) Drop(n int) {
	clear(q.items[q.taken : q.taken+n])
	if q.taken += n; q.taken == len(q.items) {
		q.items, q.taken = q.items[:0], 0
	}
}

// Cut forgets all items but the first n and clears them. At least so many wait.
func (q *Queue[T]) Cut(n int) {
	clear(q.items[q.taken+n:])
	q.items = q.items[:q.taken+n]
	q.Drop(0)
}

// Trim lets the slice of an empty queue go if it has room for more than n items:
// after a burst it would stay for nothing.
func (q *Queue[T]) Trim(n int) {
	if q.Len() == 0 && cap(q.items) > n {
		q.items = nil
	}
}
