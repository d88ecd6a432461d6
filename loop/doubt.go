package loop

import (
	"time"

	"turbine/internal/fifo"
)

// doubts are the slots whose owners' deadline has passed while what would have
// kept it may still wait in a socket. They ring again once the loop has read
// everything that had come by then.
type doubts struct {
	heard time.Duration    // what had come until then has been read
	looks uint32           // that the driver has had at the sockets, and begun
	slots []Slot           // in doubt
	asked []Slot           // those that the look under way is for
	since time.Duration    // when it began
	until uint32           // the number in looks that ends it
	ready fifo.Queue[Slot] // to ring again
}

// fullLook is the number of calls of Mail until everything that could be read
// has been: the first one may be part of a look that is under way, and the second
// one may come ahead of sockets that became ready during that.
const fullLook = 3

// pending reports whether Mail has to continue.
func (d *doubts) pending() bool { return len(d.slots) > 0 || len(d.asked) > 0 || d.ready.Len() > 0 }

// Late reports whether deadline has passed and all that had come from the
// loop's sockets by then has been read, so that the owner of slot may blame its
// peer. If not, the alarm rings again in time. A loop that was busy for long has
// deadlines behind it whose answers wait unread.
func (l *Loop) Late(slot Slot, deadline time.Duration) bool {
	switch d := &l.doubts; {
	case l.now < deadline:
		l.Arm(slot, deadline)
	case d.heard < deadline:
		d.slots = append(d.slots, slot)
		l.wakeUp()
	default:
		return true
	}
	return false
}

// settle is part of Mail: it begins a look, ends it, and rings.
func (l *Loop) settle(budget time.Duration) {
	d := &l.doubts
	d.looks++
	if !d.pending() {
		return
	}
	if len(d.asked) > 0 && int32(d.looks-d.until) >= 0 {
		d.heard = d.since
		for _, slot := range d.asked {
			d.ready.Push(slot)
		}
		d.asked = d.asked[:0]
		if cap(d.asked) > maxSpare {
			d.asked = nil
		}
	}
	for end := l.now + budget; d.ready.Len() > 0; {
		slot := d.ready.Pop()
		if owner := l.wheel.owners[slot]; owner != nil {
			l.ringOne(owner)
		}
		l.leave()
		if l.look() >= end {
			break
		}
	}
	if len(d.asked) == 0 && len(d.slots) > 0 {
		d.asked, d.slots = d.slots, d.asked
		d.since, d.until = l.now, d.looks+fullLook
	}
}
