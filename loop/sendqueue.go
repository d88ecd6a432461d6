package loop

import (
	"time"

	"turbine/internal/fifo"
	"turbine/pool"
)

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
	bufs   fifo.Queue[*pool.Buf]
	offset int // bytes of the first that were sent
	size   int // unsent bytes of all
	own    int // of these, those in buffers that are not for many
	cork   *pool.Buf

	unsent int           // of own, those that Loop.Unsent counts
	shared int           // of bufs, those in front that Loop.Unsent counts where they are for many
	since  time.Duration // about when the kernel refused what is in front
	counts bool          // Loop.Unsent counts q: the kernel has refused some of it
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
	l.uncount(q)
	if n := q.bufs.Len(); n > 0 {
		for _, b := range q.bufs.All() {
			b.Release()
		}
		q.bufs.Drop(n)
	}
	q.bufs.Trim(4 * MaxVector)
	*q = sendQueue{bufs: q.bufs}
	if len(l.queues) < maxSpareQueues {
		l.queues = append(l.queues, q)
	}
}

// placeSize is what a connection takes to hold a buffer for many, in bytes, about.
const placeSize = 128

// countUnsent brings Loop.Unsent up to date: the kernel has refused what is in q.
// A buffer for many counts whole, once for all connections that hold it.
func (l *Loop) countUnsent(q *sendQueue) {
	if !q.counts {
		q.counts, q.since = true, l.now
	}
	l.unsent.Add(int64(q.own - q.unsent))
	q.unsent = q.own
	for _, b := range q.bufs.All()[q.shared:] {
		if b.ForMany() {
			l.hold(b)
		}
	}
	q.shared = q.bufs.Len()
	if l.options.Blocked != nil {
		l.options.Blocked(l)
	}
}

// uncount undoes countUnsent.
func (l *Loop) uncount(q *sendQueue) {
	if !q.counts {
		return
	}
	l.unsent.Add(-int64(q.unsent))
	for _, b := range q.bufs.Front(q.shared) {
		if b.ForMany() {
			l.letGo(b)
		}
	}
	q.unsent, q.shared, q.counts = 0, 0, false
}

// hold counts a place more that holds b.
func (l *Loop) hold(b *pool.Buf) {
	if l.places == nil {
		l.places = map[*pool.Buf]int{}
	}
	if l.places[b]++; l.places[b] == 1 {
		l.unsent.Add(int64(b.Len()))
	}
	l.unsent.Add(placeSize)
}

// letGo undoes hold.
func (l *Loop) letGo(b *pool.Buf) {
	if l.places[b]--; l.places[b] == 0 {
		delete(l.places, b)
		l.unsent.Add(-int64(b.Len()))
	}
	l.unsent.Add(-placeSize)
}

// holds is how many bytes would be free without q, about, and for how long the
// kernel has refused them.
func (q *sendQueue) holds(l *Loop) (bytes int, age time.Duration) {
	if q == nil || !q.counts {
		return 0, 0
	}
	bytes = q.own
	for _, b := range q.bufs.Front(q.shared) {
		if b.ForMany() {
			bytes += placeSize + b.Len()/l.places[b]
		}
	}
	return bytes, l.now - q.since
}

// copy borrows p. A buffer is never grown: the first write gets one of its own
// size, those behind it share others.
func (q *sendQueue) copy(p []byte) {
	if q.cork == nil || q.cork.Room() < len(p) {
		size := len(p)
		if q.bufs.Len() > 0 {
			size = max(size, corkSize)
		}
		q.cork = pool.Payloads.Get(size)
		q.bufs.Push(q.cork)
	}
	q.cork.Append(p)
	q.size += len(p)
	q.own += len(p)
}

// share retains b, or copies it behind other small writes.
func (q *sendQueue) share(b *pool.Buf) {
	if q.bufs.Len() > 0 && b.Len() <= smallWrite {
		q.copy(b.Bytes())
		return
	}
	b.Retain()
	q.bufs.Push(b)
	q.size += b.Len()
	if !b.ForMany() {
		q.own += b.Len()
	}
	q.cork = nil
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
		q.advance(l, n)
		if n < want {
			return taken, nil
		}
	}
	return taken, nil
}

func (q *sendQueue) sendOnce(l *Loop, fd int, last bool) (n, want int, err error) {
	first := (*q.bufs.First()).Bytes()[q.offset:]
	if q.bufs.Len() == 1 {
		n, err = l.kernel.Write(fd, first, last)
		return n, len(first), err
	}
	v := append(l.vector[:0], first)
	want = len(first)
	for _, b := range q.bufs.Front(MaxVector)[1:] {
		v = append(v, b.Bytes())
		want += b.Len()
	}
	n, err = l.kernel.Writev(fd, v, last)
	clear(v)
	return n, want, err
}

// advance forgets n sent bytes and releases the buffers they were in. What waits
// becomes younger by the part that was taken: so a client that lags and reads has a
// young queue, and one that does not an old one.
func (q *sendQueue) advance(l *Loop, n int) {
	if q.counts {
		q.since += time.Duration(float64(l.now-q.since) * float64(n) / float64(q.size))
	}
	q.size -= n
	for n > 0 {
		b := *q.bufs.First()
		gone := min(n, b.Len()-q.offset)
		n -= gone
		if !b.ForMany() {
			q.own -= gone
		}
		if q.offset += gone; q.offset < b.Len() {
			return
		}
		if q.shared > 0 {
			if q.shared--; b.ForMany() {
				l.letGo(b)
			}
		}
		q.offset = 0
		q.bufs.Pop()
		if b == q.cork {
			q.cork = nil
		}
		b.Release()
	}
}
