package loop

import "slices"

// A backlog is a queue that is worked off a batch a turn. Its zero value is
// empty.
type backlog[T any] struct {
	items []T
	done  int // so many of items were taken
}

func (b *backlog[T]) add(item T) { b.items = append(b.items, item) }

func (b *backlog[T]) len() int { return len(b.items) - b.done }

// next is the oldest item; there is one.
func (b *backlog[T]) next() T { return b.items[b.done] }

// drop takes the oldest item off.
func (b *backlog[T]) drop() {
	clear(b.items[b.done : b.done+1])
	b.done++
	switch {
	case b.done == len(b.items):
		b.items, b.done = b.items[:0], 0
	case b.done > 1024 && b.done > len(b.items)/2: // it may never be empty
		b.items, b.done = slices.Delete(b.items, 0, b.done), 0
	}
}
