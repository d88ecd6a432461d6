package engine

import (
	"time"

	"turbine/loop"
)

// walk is a Task that visits the owners of all slots of a loop, some in each
// turn, so that the loop keeps serving the others.
type walk struct {
	loop  *loop.Loop
	next  loop.Slot
	visit func(owner loop.Alarm)
}

// A walk looks at so many slots and visits so many owners in one turn: a visit may
// cost a system call at the turn's end, while others wait. Visits that take long, in
// a callback, end the turn earlier.
const (
	walkSlots  = 512
	walkVisits = 64
	walkTime   = 200 * time.Microsecond
	walkLook   = 8 // visits between two looks at the clock
)

// portion is what a walk does in one turn.
type portion struct {
	loop   *loop.Loop
	begun  time.Duration
	visits int
}

func newPortion(l *loop.Loop) portion { return portion{loop: l, begun: l.Look()} }

// visited counts a visit, and reports whether that is enough for one turn.
func (p *portion) visited() (enough bool) {
	p.visits++
	if p.visits%walkLook != 0 {
		return false
	}
	return p.visits >= walkVisits || p.loop.Look()-p.begun >= walkTime
}

func (w *walk) Run() {
	if w.step() {
		_ = w.loop.Post(w) // a stopped loop has closed them all
	}
}

// Abandon continues behind the owner at which the walk was broken off.
func (w *walk) Abandon() { _ = w.loop.Post(w) }

// step goes one turn's way, and reports whether there is more.
func (w *walk) step() bool {
	p, enough := newPortion(w.loop), false
	for end := min(w.next+walkSlots, w.loop.Slots()); w.next < end && !enough; {
		slot := w.next
		w.next++ // first: a callback may end the goroutine
		if owner := w.loop.Owner(slot); owner != nil {
			w.visit(owner)
			enough = p.visited()
		}
	}
	return w.next < w.loop.Slots()
}
