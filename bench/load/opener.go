//go:build linux

package load

import (
	"math"
	"slices"
	"time"
)

const (
	maxTries     = 8 // handshakes of a session that are answered wrongly, in a row
	firstBackoff = time.Millisecond
	lastBackoff  = time.Second
)

// opener opens sessions, a limited number at a time.
type opener struct {
	limit  int
	active int // that are opening
	queue  []*session
	later  []retry // the latest first
}

// retry is a session whose next try is at a later time.
type retry struct {
	at int64
	s  *session
}

func (o *opener) add(s *session) { o.queue = append(o.queue, s) }

// idle reports whether no session is opening, nor will be.
func (o *opener) idle() bool { return o.active == 0 && len(o.queue) == 0 && len(o.later) == 0 }

// retry puts s off, longer each time it failed, and lets another one open.
func (o *opener) retry(r *runner, s *session) {
	o.active--
	at := r.now + int64(min(lastBackoff, firstBackoff<<min(s.tries, 20)))
	i, _ := slices.BinarySearchFunc(o.later, at, func(x retry, at int64) int { return int(min(max(at-x.at, -1), 1)) })
	o.later = slices.Insert(o.later, i, retry{at, s})
}

// next is when something is to be done.
func (o *opener) next() int64 {
	if len(o.queue) > 0 && o.active < o.limit {
		return 0
	}
	if n := len(o.later); n > 0 {
		return o.later[n-1].at
	}
	return math.MaxInt64
}

// fill opens what may be opened now.
func (o *opener) fill(r *runner) {
	for n := len(o.later); n > 0 && o.later[n-1].at <= r.now; n-- {
		o.add(o.later[n-1].s)
		o.later = o.later[:n-1]
	}
	if r.phase == draining {
		return // what is not under way need not begin
	}
	n := min(len(o.queue), o.limit-o.active)
	if n <= 0 {
		return
	}
	o.active += n
	for _, s := range o.queue[:n] {
		r.clock()
		s.open()
	}
	o.queue = o.queue[:copy(o.queue, o.queue[n:])]
}
