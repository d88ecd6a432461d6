package loop

import "time"

// A loop has five kinds of work: what comes from sockets, alarms that are due,
// tasks, connections that have ended, and accepts. None of them may hold up the
// others by its mere amount: each is done in portions of time, and once one kind
// has taken a quantum, or has had a single call that took longer, each of the
// others that waits has as much. Hence each has at least a fifth of the loop.

// quantum is how long one kind of work may take while others wait. Shorter ones
// would read the clock more often, and a longer one is what a message waits for
// when 10,000 alarms are due at once.
const quantum = 200 * time.Microsecond

// lookEvery is the number of cheap steps, such as an alarm that only arms itself
// again, that are taken between two looks at the clock.
const lookEvery = 8

// look reads the clock in the middle of a turn, which continues at that time.
func (l *Loop) look() time.Duration {
	l.now = max(l.now, l.clock()-l.lost)
	return l.now
}

// Look reads the clock in the middle of a turn, which continues at that time, for
// handlers that do their work in portions.
func (l *Loop) Look() time.Duration { return l.look() }

// finish ends a turn that has begun with enter. If sockets have had their
// portion, it is the turn of everything else.
func (l *Loop) finish() {
	l.idle, l.warm = l.clock()-l.lost, l.looks
	l.used += l.idle - l.began
	if l.used >= quantum && !l.sharing {
		l.share()
	}
}

// share lets each kind of work that waits have as much time as sockets have
// used, or as a kind before it has taken: calls take longer than a portion, and
// what they write is part of them. Alarms come last, so they have most.
func (l *Loop) share() {
	l.sharing = true
	budget := l.used
	for _, kind := range [...]struct {
		waits func(*Loop) bool
		work  func(*Loop, time.Duration)
	}{
		{(*Loop).posted, (*Loop).runTasks},
		{(*Loop).reapable, (*Loop).reap},
		{(*Loop).crowded, (*Loop).acceptMore},
		{(*Loop).due, (*Loop).ring},
	} {
		if begun := l.look(); kind.waits(l) {
			kind.work(l, budget)
			l.leave()
			budget = max(budget, l.look()-begun)
		}
	}
	l.idle = l.look()
	l.used -= budget // sockets also have as much before it is the others' turn again
	l.sharing = false
}

// crowded reports whether connections wait to be accepted.
func (l *Loop) crowded() bool { return l.accepting != nil }

// acceptMore continues with the listeners that had more than one portion.
func (l *Loop) acceptMore(budget time.Duration) { l.accepting(budget) }

// shortWait is how long a loop waits at most that has something to do all the time.
const shortWait = time.Millisecond

// hurries reports whether the loop is likely to have something to do soon: the last
// time it waited, there was.
func (l *Loop) hurries() bool { return l.waited < shortWait }
