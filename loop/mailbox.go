package loop

import (
	"errors"
	"sync"
	"time"
)

// ErrStopped is returned by Post when the loop takes no more work.
var ErrStopped = errors.New("loop: stopped")

// A Task is work for a loop's goroutine.
type Task interface{ Run() }

// Func is a Task made of a function. Hot paths use a type of their own, which
// does not allocate.
type Func func()

// Run calls f.
func (f Func) Run() { f() }

// mailbox is the queue of tasks that others hand to a loop. A locked slice
// beats a lock-free list here: a post costs an append, a turn one swap.
type mailbox struct {
	mu      sync.Mutex
	tasks   []Task
	awake   bool // a Wake is under way or Mail is running
	stopped bool
	batch   []Task // the loop's: taken from tasks
	ran     int    // the loop's: how many of batch have run
	spare   []Task // the loop's: an emptied slice, for tasks
}

// mailBatch is the most tasks that run in one portion, and the number of
// connections with something to write that ends one: their writes come at its
// end.
const mailBatch = 256

// maxSpare is the number of tasks whose room a mailbox keeps after a burst.
const maxSpare = 4096

// Post queues t to run on the loop's goroutine, first in, first out, and wakes
// the loop if it sleeps. A task posted by a task waits for the next round, so
// that no chain of tasks starves the sockets. It returns ErrStopped when the
// loop takes no more tasks; t will not run then. Safe from any goroutine.
func (l *Loop) Post(t Task) error {
	m := &l.mail
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return ErrStopped
	}
	m.tasks = append(m.tasks, t)
	wake := !m.awake
	m.awake = true
	m.mu.Unlock()
	if wake {
		l.kernel.Wake()
	}
	return nil
}

// Mail runs one portion of the mailbox, at most of the tasks found at its start,
// in order, flushes the connections they touched, closes what was marked before and
// rings the alarms of those in doubt. Then it continues with alarms that are due,
// which have as much time as all of that took: what tasks write costs more than the
// tasks. The driver calls it when Wake asked for it; when Mail returns true there
// is more to do, and the driver calls it again after its next look at the sockets,
// without another Wake.
func (l *Loop) Mail() (more bool) {
	l.enter()
	l.sharing = true
	l.closable = l.closing.Len() - l.fresh
	l.runTasks(quantum)
	l.leave()
	l.reap(quantum)
	l.fresh = 0
	l.settle(quantum)
	l.leave()
	l.idle = l.look()
	if l.due() {
		l.ring(max(quantum, l.idle-l.began))
		l.leave()
		l.idle = l.look()
	}
	l.sharing = false

	m := &l.mail
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.busy() {
		return true
	}
	l.kernel.Sleep()
	m.awake = false
	return false
}

// runTasks runs one portion of the mailbox.
func (l *Loop) runTasks(budget time.Duration) {
	m := &l.mail
	if m.ran == len(m.batch) {
		l.takeMail()
	}
	end := l.now + budget
	for n := 1; m.ran < len(m.batch) && n <= mailBatch; n++ {
		t := m.batch[m.ran]
		m.batch[m.ran] = nil
		m.ran++
		l.runTask(t)
		if n%lookEvery == 0 && (len(l.dirty) >= mailBatch || l.look() >= end) {
			break
		}
	}
}

// posted reports whether tasks wait.
func (l *Loop) posted() bool {
	m := &l.mail
	if m.ran < len(m.batch) {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tasks) > 0
}

// takeMail takes what was posted.
func (l *Loop) takeMail() {
	m := &l.mail
	if cap(m.batch) <= maxSpare {
		m.spare = m.batch[:0]
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batch, m.ran = m.tasks, 0
	m.tasks, m.spare = m.spare, nil
}

// busy reports whether Mail has more to do. It is called under the mailbox's
// lock.
func (l *Loop) busy() bool {
	m := &l.mail
	return len(m.tasks) > 0 || m.ran < len(m.batch) || l.ended.Len() > 0 || l.closing.Len() > 0 ||
		len(l.dirty) > 0 || l.wheel.late || l.doubts.pending()
}

func (l *Loop) runTask(t Task) {
	returned := false
	defer l.survive(t, &returned)
	t.Run()
	returned = true
}

// wakeUp makes sure that Mail runs again, for work that is not a task.
func (l *Loop) wakeUp() {
	m := &l.mail
	m.mu.Lock()
	wake := !m.awake
	m.awake = true
	m.mu.Unlock()
	if wake {
		l.kernel.Wake()
	}
}

// closeRounds is how many batches of tasks a closing loop runs before it
// refuses new ones: a task that posts itself forever must not hold it up.
const closeRounds = 1000

// Close ends the loop: every connection is aborted with ErrStopped, tasks that
// wait are run, and Posts fail from then on. The driver calls it once, after
// its last Ready and Mail, on the loop's goroutine or where that has ended; and
// once more if a callback has ended the goroutine that Close was called on.
func (l *Loop) Close() {
	m := &l.mail
	rested := false
	for round := 0; ; round++ {
		l.enter()
		l.conns.each(l, func(c *Conn) { c.end(ErrStopped) })
		l.leave()
		l.Mail()
		for l.ended.Len() > 0 || l.closing.Len() > 0 { // nobody waits for others any more
			l.closable = l.closing.Len()
			l.reap(quantum)
			l.leave()
		}
		m.mu.Lock()
		resting := !l.busy()
		// Connections on their way to this loop are also counted. Once it is
		// stopped they do not arrive; the last ones had a round to be ended.
		over := resting && (l.count.Load() == 0 || m.stopped && rested)
		rested = resting && m.stopped
		if over || round == closeRounds {
			m.stopped = true
		}
		m.mu.Unlock()
		if over {
			l.ticked() // for the last time
			return
		}
	}
}
