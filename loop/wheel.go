package loop

import (
	"sync"
	"time"

	"turbine/internal/delays"
	"turbine/internal/invariants"
)

// A Slot is a numbered place on a loop with an alarm clock. Its number is
// stable until Release, so it can be part of an identifier. 0 is no slot.
type Slot uint32

// An Alarm is the owner of a slot.
type Alarm interface {
	// Alarm tells the owner that the time it armed its slot for has come, or
	// an earlier one. It compares its deadlines with Loop.Now, and if one is
	// still ahead it arms the slot again.
	Alarm()
}

// buckets is the size of the wheel. A time further ahead than buckets ticks
// rings at the wheel's horizon, and its owner arms it again.
const buckets = 1024

// maxBucket is the number of entries whose room an emptied bucket keeps.
const maxBucket = 256

// wheel is a timing wheel with buckets of slot numbers (4 bytes an alarm, no
// pointers to follow). Each slot has at most one valid entry: an entry whose
// tick differs from the slot's is left over from an earlier Arm and is skipped.
type wheel struct {
	tick    time.Duration
	last    uint32 // the tick that rang last
	mu      sync.Mutex
	owners  []Alarm  // by slot; changed under mu by the loop, which reads it without
	armed   []uint32 // by slot: the tick its entry rings at, 0 = no entry
	silent  []bool   // by slot: disarmed, but the entry is still there
	free    []Slot
	buckets [buckets][]Slot
	entries int    // in all buckets, stale ones too
	ringing []Slot // what is left of the bucket of tick last
	bucket  []Slot // that bucket from its start, to be used again
	late    bool   // a turn ended with alarms due
}

// Claim takes a free slot for owner.
func (l *Loop) Claim(owner Alarm) Slot {
	w := &l.wheel
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.free); n > 0 {
		slot := w.free[n-1]
		w.free = w.free[:n-1]
		w.owners[slot] = owner
		return slot
	}
	if len(w.owners) == 0 { // slot 0 stays empty
		w.owners, w.armed, w.silent = append(w.owners, nil), append(w.armed, 0), append(w.silent, false)
	}
	w.owners, w.armed, w.silent = append(w.owners, owner), append(w.armed, 0), append(w.silent, false)
	return Slot(len(w.owners) - 1)
}

// Release gives slot back. Its alarm does not ring any more.
func (l *Loop) Release(slot Slot) {
	w := &l.wheel
	invariants.Check(w.owners[slot] != nil, "slot %d is free already", slot)
	w.mu.Lock()
	w.owners[slot] = nil
	w.mu.Unlock()
	w.armed[slot] = 0
	w.free = append(w.free, slot)
}

// Owner returns the owner of slot, nil if the slot is free or was never claimed.
func (l *Loop) Owner(slot Slot) Alarm {
	if uint64(slot) >= uint64(len(l.wheel.owners)) { // any number may be asked for, and an int may have 32 bits
		return nil
	}
	return l.wheel.owners[slot]
}

// Owners copies the owners of the slots from from on into room, nil for free slots,
// and returns how many slots it looked at: fewer than room has places if there are no
// more. An owner may have given its slot back since. The loop waits for no longer
// than the copy takes. Safe from any goroutine.
func (l *Loop) Owners(from Slot, room []Alarm) int {
	w := &l.wheel
	w.mu.Lock()
	defer w.mu.Unlock()
	if uint64(from) >= uint64(len(w.owners)) { // as in Owner
		return 0
	}
	return copy(room, w.owners[from:])
}

// Slots is the upper bound of slot numbers in use, for walks over all owners.
func (l *Loop) Slots() Slot { return Slot(len(l.wheel.owners)) }

// Arm makes sure that slot's alarm rings at the first tick not before at, or
// earlier. An alarm that is already due to ring before costs nothing here, so
// postponing a deadline is free: the owner looks again when it rings.
func (l *Loop) Arm(slot Slot, at time.Duration) {
	w := &l.wheel
	if !l.ticks { // the wheel stood still: nothing was in it
		w.last = uint32(l.now / w.tick)
		l.ticks, l.idle = true, l.now
		l.kernel.Ticks(true)
	}
	at = min(at, l.now+buckets*w.tick) // "never" must not overflow
	tick := uint32((at + w.tick - 1) / w.tick)
	if ahead := int32(tick - w.last); ahead < 1 {
		tick = w.last + 1
	} else if ahead >= buckets {
		tick = w.last + buckets - 1
	}
	if tick == 0 { // means "not armed"; comes once in 2^32 ticks
		if tick--; tick == w.last {
			tick = 1
		}
	}
	w.silent[slot] = false
	if now := w.armed[slot]; now != 0 && int32(now-tick) <= 0 {
		return
	}
	w.armed[slot] = tick
	bucket := &w.buckets[tick%buckets]
	*bucket = append(*bucket, slot)
	w.entries++
}

// Disarm silences slot's alarm until it is armed again. The entry stays for the
// next Arm to use, so that a pair of the two for each request leaves nothing
// behind.
func (l *Loop) Disarm(slot Slot) { l.wheel.silent[slot] = true }

// due reports whether alarms' time has come.
func (l *Loop) due() bool {
	w := &l.wheel
	return l.ticks && (len(w.ringing) > 0 || int32(uint32(l.now/w.tick)-w.last) > 0)
}

// ring rings alarms whose tick has come, for about as long as budget, and sees to
// it that Mail continues with those for which there was no time. What an alarm
// writes leaves before the next one rings: each may cost a system call, and
// thousands may be due at one tick.
func (l *Loop) ring(budget time.Duration) {
	w := &l.wheel
	l.noteLag()
	defer l.ticked() // also where a callback ends the goroutine
	end := l.now + budget
	for n := 1; ; n++ {
		if len(w.ringing) == 0 && !w.next(uint32(l.now/w.tick)) {
			break
		}
		slot := w.ringing[0]
		w.ringing = w.ringing[1:]
		if due := w.armed[slot]; due != 0 && int32(due-w.last) <= 0 {
			w.armed[slot] = 0
			if !w.silent[slot] {
				l.ringOne(w.owners[slot])
			}
		}
		wrote := len(l.dirty) > 0
		if wrote {
			l.leave()
		}
		if (wrote || n%lookEvery == 0) && l.look() >= end {
			break
		}
	}
	now := uint32(l.now / w.tick)
	if w.late = len(w.ringing) > 0 || w.entries > 0 && int32(now-w.last) > 0; w.late {
		l.wakeUp()
		return
	}
	if w.entries == 0 && l.ticks {
		w.reuse()
		l.ticks = false
		l.kernel.Ticks(false)
	}
}

func (l *Loop) ticked() {
	if f := l.options.Ticked; f != nil {
		f(l)
	}
}

// noteLag notes how late the loop has come to the first of the ticks that are due
// now. It says how long a message has to wait at worst, as often as the clock ticks: a
// look at each turn would cost more than it tells.
func (l *Loop) noteLag() {
	w := &l.wheel
	now := uint32(l.now / w.tick)
	if missed := int32(now - w.last); l.ticks && missed > 0 && len(w.ringing) == 0 {
		l.lag.Observe(l.now%w.tick + time.Duration(missed-1)*w.tick)
	}
}

// Lag is a histogram of how much later than due the loop has come to the ticks of its
// clock: how many times by up to 1, 2, 5, 10, 20, 50, 100, 200 and 500 ms, 1, 2 and 5
// s, and by more, and the sum of all. It ticks while an alarm is set. Safe from any
// goroutine.
func (l *Loop) Lag() (counts delays.Counts, sum time.Duration) { return l.lag.Read() }

// next goes to the next tick up to now that has entries, and reports whether
// there is one.
//
// Alarms armed while a bucket rings ring at a later tick, at most buckets-1
// ahead, hence never in this bucket.
func (w *wheel) next(now uint32) bool {
	w.reuse()
	if int32(now-w.last) >= buckets { // no tick had its turn for long: one
		w.last = now - buckets // round is enough, every bucket comes by once
	}
	for int32(now-w.last) > 0 {
		w.last++
		bucket := &w.buckets[w.last%buckets]
		if len(*bucket) > 0 {
			w.entries -= len(*bucket)
			w.ringing, w.bucket = *bucket, *bucket
			*bucket = nil
			return true
		}
	}
	return false
}

// reuse gives the bucket that has rung its room back.
func (w *wheel) reuse() {
	if w.bucket != nil && cap(w.bucket) <= maxBucket {
		w.buckets[w.last%buckets] = w.bucket[:0]
	}
	w.ringing, w.bucket = nil, nil
}

func (l *Loop) ringOne(owner Alarm) {
	returned := false
	defer l.survive(owner, &returned)
	owner.Alarm()
	returned = true
}
