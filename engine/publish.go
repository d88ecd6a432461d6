package engine

import (
	"sync"
	"sync/atomic"

	"turbine/internal/fifo"
	"turbine/loop"
)

// An entry is what a caller has asked of sessions of one loop, and waits for its
// turn in the loop's publishQueue.
type entry interface {
	// step does a portion, of one visit or of a walk's, and reports whether
	// there is more. It is called on the loop.
	step() (more bool)
}

// publishQueue keeps the order of one caller's calls on a loop: broadcasts,
// publishes, joins, leaves, and the sends and closes that came while any of the
// first two was not done. First in, first out; an entry begins when the one before
// it has ended. Its methods are safe from any goroutine.
//
// A caller is one goroutine, or the callbacks of one session, one after another.
type publishQueue struct {
	// ahead counts walks, and what has to wait behind them. While it is zero a
	// send goes to its session's outbox at once.
	ahead atomic.Int64
	walks atomic.Uint64 // so many walks have got their place; set under mu

	mu      sync.Mutex
	waiting fifo.Queue[queued] // guarded by mu
	running bool               // guarded by mu: the task is posted, or runs
	stopped bool               // guarded by mu: the loop takes no task any more
}

// queued is an entry in its queue.
type queued struct {
	entry
	holds bool // sends have to wait for it
}

// enqueue gives e its place. holds says that a later send may not overtake it. It
// reports false when the loop has stopped, and has closed all sessions.
func (sh *shard) enqueue(e entry, holds bool) bool {
	q := &sh.publishes
	if holds {
		q.ahead.Add(1)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.running && !q.stopped {
		q.stopped = sh.loop.Post((*publishTask)(sh)) != nil
		q.running = !q.stopped
	}
	if q.stopped {
		if holds {
			q.ahead.Add(-1)
		}
		return false
	}
	if walked(e) {
		q.walks.Add(1)
	}
	q.waiting.Push(queued{e, holds})
	return true
}

// endsWith reports whether e is the last entry, and has not begun.
func (q *publishQueue) endsWith(e entry) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting.Len() > 1 && q.waiting.Back().entry == e
}

// front is the entry whose turn it is. When there is none the task is over.
func (q *publishQueue) front() (e entry, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Len() == 0 {
		q.running = false
		return nil, false
	}
	return q.waiting.First().entry, true
}

// drop takes the front away: it has ended.
func (q *publishQueue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Pop().holds {
		q.ahead.Add(-1)
	}
	q.waiting.Trim(maxKeptItems)
}

// publishTask is a shard as the Task that works off its queue, a portion in each
// turn: of a walk, or of as many entries for one session as a walk visits.
type publishTask shard

func (t *publishTask) Run() {
	sh := (*shard)(t)
	for range walkVisits {
		e, ok := sh.publishes.front()
		if !ok {
			return
		}
		if e.step() {
			break
		}
		sh.publishes.drop()
		if walked(e) {
			break
		}
	}
	t.again()
}

// again asks for another turn. Where the loop has stopped there is none, and what
// waits is over.
func (t *publishTask) again() {
	sh := (*shard)(t)
	if sh.loop.Post(t) == nil {
		return
	}
	sh.publishes.stop()
	for e, ok := sh.publishes.front(); ok; e, ok = sh.publishes.front() {
		if w, ok := e.(*deliveryWalk); ok {
			w.finish()
		}
		sh.publishes.drop()
	}
}

func (q *publishQueue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
}

// Abandon lets the entries behind have their turn: a walk continues behind the
// session at which it was broken off.
func (t *publishTask) Abandon() {
	sh := (*shard)(t)
	if e, ok := sh.publishes.front(); ok && !walked(e) {
		sh.publishes.drop()
	}
	t.again()
}

// walked reports whether e visits more than one session.
func walked(e entry) bool {
	switch e.(type) {
	case *walk, *deliveryWalk, *drainEntry:
		return true
	}
	return false
}

// membershipEntry is a Join or a Leave.
type membershipEntry struct {
	session *Session
	name    string
	leaves  bool
}

func (e *membershipEntry) step() (more bool) {
	if e.leaves {
		e.session.leave(e.name)
	} else {
		e.session.join(e.name)
	}
	return false
}

// heldEntry is a Session as the entry that lets go of the first message that its
// outbox holds, and of those that are joined to it.
type heldEntry Session

func (e *heldEntry) step() (more bool) {
	s := (*Session)(e)
	if s.state == sessionClosed {
		return false
	}
	s.begin()
	s.letGo()
	s.run()
	return false
}

// endEntry is a Session as the entry that closes it, behind what was published and
// sent before Close.
type endEntry Session

func (e *endEntry) step() (more bool) {
	s := (*Session)(e)
	s.mu.Lock()
	s.endFor(endingCalled)
	s.mu.Unlock()
	if s.state != sessionClosed {
		s.begin()
		s.run()
	}
	return false
}

// mustWait reports whether a send has to wait for entries that came before it.
func (s *Session) mustWait() bool { return s.server.shard(s.loop).publishes.ahead.Load() > 0 }

// hold takes o into the outbox, where it waits for its entry, or for that of the
// message before it, if nothing was asked for in between: a client that sends many
// at a time has them all echoed at once, and the queue does not grow beyond what it
// can do. s.mu is held, so that entries have the order of what is held.
func (s *Session) hold(o outgoing) {
	shard := s.server.shard(s.loop)
	o.joined = shard.publishes.endsWith((*heldEntry)(s))
	s.outbox.hold(o)
	if !o.joined {
		shard.enqueue((*heldEntry)(s), true)
	}
}

// each visits the owners of all slots, on their loops, in the order of calls. It
// returns at once.
func (s *Server) each(visit func(owner loop.Alarm)) {
	for _, shard := range s.allShards() {
		shard.enqueue(&walk{loop: shard.loop, visit: visit}, true)
	}
}
