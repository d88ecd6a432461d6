package engine

import (
	"math/bits"
	"time"
)

// pendingQueue is inboxes whose events have about the same size together, within a
// power of two, in the order in which they came to it.
type pendingQueue struct{ first, last *inbox }

func (q *pendingQueue) add(in *inbox) {
	in.before = q.last
	if q.last == nil {
		q.first = in
	} else {
		q.last.after = in
	}
	q.last = in
}

func (q *pendingQueue) remove(in *inbox) {
	if in.before == nil {
		q.first = in.after
	} else {
		in.before.after = in.after
	}
	if in.after == nil {
		q.last = in.before
	} else {
		in.after.before = in.before
	}
	in.before, in.after = nil, nil
}

// waits is how many bytes of events would be free without the session: all but those
// that a worker has in its hands, and Close. A client that waits for Admit has none.
func (in *inbox) waits() int {
	n := in.bytes - in.taken
	if in.closing {
		n -= eventSize
	}
	if in.session == nil || in.evicted {
		n = 0
	}
	return max(n, 0)
}

// weigh puts the inbox where it belongs, for heaviest. d.mu is held.
func (d *dispatcher) weigh(in *inbox) {
	size := uint8(bits.Len(uint(in.waits())))
	if size == in.size {
		return
	}
	if in.size > 0 {
		d.sizes[in.size].remove(in)
	}
	if in.size = size; size > 0 {
		d.sizes[size].add(in)
	}
}

// heaviest is the inbox that holds most, and longest, about, or nil. d.mu is held.
func (d *dispatcher) heaviest() (in *inbox) {
	now, most := d.clock(), int64(0)
	for i := range d.sizes {
		first := d.sizes[i].first
		if first == nil {
			continue
		}
		// The second lets the size count where nobody has waited long.
		if weight := int64(first.waits()) * int64((now.Sub(first.since)+time.Second)/time.Millisecond); weight > most {
			in, most = first, weight
		}
	}
	return in
}

// makeRoom ends sessions until an event more may wait: those whose events take most,
// and have for the longest time, not those that come next. It reports whether there
// is room, and that the session whose inbox in is was not one of them. d.mu is held.
func (d *dispatcher) makeRoom(in *inbox) bool {
	for d.bytes.Load() >= d.server.options.Limits.PendingBudget {
		heavy := d.heaviest()
		if heavy == nil {
			return false
		}
		d.evict(heavy)
		if heavy == in {
			return false // whoever puts closes it
		}
		_ = heavy.session.loop.Post((*pendingEviction)(heavy.session)) // a stopped loop has closed it
	}
	return true
}

// evict drops what waits in the inbox but Close, and what comes until Close. Where
// Open is among it there will be no Close. d.mu is held.
func (d *dispatcher) evict(in *inbox) {
	waiting := in.events.All()[in.hands:]
	in.unopened = waiting[0].kind == callOpen
	kept, freed := waiting[:0], 0
	for _, e := range waiting {
		if e.kind == callClose && !in.unopened {
			kept = append(kept, e)
			continue
		}
		in.over = e.kind == callClose
		freed += e.size()
		e.release()
	}
	in.events.Cut(in.hands + len(kept))
	in.bytes -= freed
	d.bytes.Add(-int64(freed))
	in.evicted = true
	d.weigh(in)
}

// pendingEviction is a Session as the Task that ends it for the events that it has
// waiting.
type pendingEviction Session

func (t *pendingEviction) Run() {
	s := (*Session)(t)
	if s.state != sessionClosed {
		s.server.met(LimitPendingBudget, s.loop)
		s.fail(ErrPendingBudget)
	}
}
