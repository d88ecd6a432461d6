package loop

import "turbine/pool"

const (
	// smallWrite is the size in bytes up to which copying is cheaper than
	// one more piece of a vector.
	smallWrite = 1 << 10
	// corkSize is how much is gathered in one buffer: it fits a size class of
	// the pool, and 64 of them one system call.
	corkSize = 4<<10 - pool.Headroom
	// maxSpareQueues bounds the queues that a loop keeps for later.
	maxSpareQueues = 64
)

// sendQueue holds what a connection has written and the kernel has not taken:
// shared buffers in order, and the tail that small writes are gathered in.
// It exists only while it holds something.
type sendQueue struct {
	bufs   []*pool.Buf
	head   int // first unsent buffer
	offset int // bytes of it that were sent
	size   int // unsent bytes of all
	unsent int // of these, those that Loop.Unsent counts
	cork   *pool.Buf
}

func (l *Loop) sendQueue() *sendQueue {
	if n := len(l.queues); n > 0 {
		q := l.queues[n-1]
		l.queues = l.queues[:n-1]
		return q
	}
	return new(sendQueue)
}

// giveBack releases what q still holds and keeps q for the next writer.
func (l *Loop) giveBack(q *sendQueue) {
	l.unsent.Add(-int64(q.unsent))
	for _, b := range q.bufs[q.head:] {
		b.Release()
	}
	clear(q.bufs)
	bufs := q.bufs[:0]
	if cap(bufs) > 4*MaxVector {
		bufs = nil
	}
	*q = sendQueue{bufs: bufs}
	if len(l.queues) < maxSpareQueues {
		l.queues = append(l.queues, q)
	}
}

// countUnsent brings Loop.Unsent up to date.
func (l *Loop) countUnsent(q *sendQueue) {
	l.unsent.Add(int64(q.size - q.unsent))
	q.unsent = q.size
}

// copy borrows p. A buffer is never grown: the first write gets one of its own
// size, those behind it share others.
func (q *sendQueue) copy(p []byte) {
	if q.cork == nil || q.cork.Room() < len(p) {
		size := len(p)
		if len(q.bufs) > q.head {
			size = max(size, corkSize)
		}
		q.cork = pool.Payloads.Get(size)
		q.add(q.cork)
	}
	q.cork.Append(p)
	q.size += len(p)
}

// share retains b, or copies it behind other small writes.
func (q *sendQueue) share(b *pool.Buf) {
	if len(q.bufs) > q.head && b.Len() <= smallWrite {
		q.copy(b.Bytes())
		return
	}
	b.Retain()
	q.add(b)
	q.size += b.Len()
	q.cork = nil
}

// add appends b, over the places of buffers that are gone when these are many:
// a queue that never empties must not creep through memory.
func (q *sendQueue) add(b *pool.Buf) {
	if q.head >= MaxVector && 2*q.head >= len(q.bufs) {
		n := copy(q.bufs, q.bufs[q.head:])
		clear(q.bufs[n:])
		q.bufs, q.head = q.bufs[:n], 0
	}
	q.bufs = append(q.bufs, b)
}

// send writes until all is gone or the kernel takes no more. A short write
// means that the socket's buffer is full, so it does not ask again. last says
// that the end of the stream follows at once.
func (q *sendQueue) send(l *Loop, fd int, last bool) (taken int, err error) {
	for q.size > 0 {
		n, want, err := q.sendOnce(l, fd, last)
		if err != nil {
			return taken, err
		}
		taken += n
		q.advance(n)
		if n < want {
			return taken, nil
		}
	}
	return taken, nil
}

func (q *sendQueue) sendOnce(l *Loop, fd int, last bool) (n, want int, err error) {
	first := q.bufs[q.head].Bytes()[q.offset:]
	if len(q.bufs) == q.head+1 {
		n, err = l.kernel.Write(fd, first, last)
		return n, len(first), err
	}
	v := append(l.vector[:0], first)
	want = len(first)
	for _, b := range q.bufs[q.head+1:] {
		if len(v) == MaxVector {
			break
		}
		v = append(v, b.Bytes())
		want += b.Len()
	}
	n, err = l.kernel.Writev(fd, v, last)
	clear(v)
	return n, want, err
}

// advance forgets n sent bytes and releases the buffers they were in.
func (q *sendQueue) advance(n int) {
	q.size -= n
	for n > 0 {
		b := q.bufs[q.head]
		left := b.Len() - q.offset
		if n < left {
			q.offset += n
			return
		}
		n -= left
		q.offset = 0
		q.bufs[q.head] = nil
		q.head++
		if b == q.cork {
			q.cork = nil
		}
		b.Release()
	}
	if q.head == len(q.bufs) {
		q.bufs, q.head = q.bufs[:0], 0
	}
}
