package engine

import (
	"log/slog"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"turbine/internal/seldom"
)

// dispatcher brings the events of sessions from their loops to the Executor. It
// keeps what waits, by session, and whose turn it is; workers, each a task of the
// Executor, take sessions in turn and run some of their events, one worker a
// session at a time. Its methods are safe from any goroutine.
//
//	| an inbox  | event                               | next      | does
//	| absent    | first event of a session            | on roster | Submit of a worker
//	| on roster | more events                         | on roster | -
//	| on roster | its turn                            | at work   | events run: maxBatch, or until maxTurn
//	| at work   | more events                         | at work   | -
//	| at work   | turn over, some wait                | on roster | at its end; Submit of another worker if others wait, too
//	| at work   | turn over, none waits               | absent    | -
//	| on roster, at work | it holds most when there is no room | same | the session is closed; what waits is dropped
//	| at work   | a callback panics                   | at work   | the session is closed; what waits is dropped
//	| at work   | a callback ends its goroutine       | as above  | the same; Submit of a worker in its place if others wait
//	| at work   | after any of these, none waits, not Close | dropping | more events are dropped
//	| dropping  | Close                               | on roster | Submit of a worker; absent after it
type dispatcher struct {
	server   *Server
	executor Executor
	task     func()       // a worker as a value, made once
	quiet    *slog.Logger // for panics, refusals and tasks that do not begin

	// time.Now, the go statement and time.AfterFunc; tests have their own.
	clock func() time.Time
	spawn func(func())
	after func(time.Duration, func())

	mu          sync.Mutex
	inboxes     map[*Session]*inbox             // guarded by mu: sessions that have events waiting or running
	most        int                             // guarded by mu: in inboxes since it was made
	admitting   int                             // guarded by mu: inboxes of Admit, which have no session yet
	first, last *inbox                          // guarded by mu: the roster
	asked       int                             // guarded by mu: tasks that the Executor has taken and not begun
	workers     int                             // guarded by mu: at work
	begun       uint64                          // guarded by mu: workers that have begun
	watched     bool                            // guarded by mu: look comes
	distrusted  bool                            // guarded by mu: the Executor has begun no task since look missed one
	bytes       atomic.Int64                    // changed under mu: of all inboxes
	sizes       [bits.UintSize + 1]pendingQueue // guarded by mu: inboxes by how much they hold
}

// maxKeptInboxes is the most places of a map that are kept when it is empty.
const maxKeptInboxes = 4096

// newDispatcher returns nil without an Executor.
func newDispatcher(s *Server) *dispatcher {
	if s.options.Executor == nil {
		return nil
	}
	d := &dispatcher{
		server: s, executor: s.options.Executor, quiet: slog.New(seldom.Handler(s.options.Logger.Handler())), inboxes: map[*Session]*inbox{},
		clock: time.Now,
		spawn: func(f func()) { go f() },
		after: func(t time.Duration, f func()) { time.AfterFunc(t, f) },
	}
	d.task = func() {
		d.begin()
		d.work()
	}
	return d
}

// idle reports whether no callback runs or waits.
func (d *dispatcher) idle() bool {
	if d == nil {
		return true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.inboxes) == 0 && d.admitting == 0
}

// waiting is the number of bytes of all events that wait or run.
func (d *dispatcher) waiting() int64 {
	if d == nil {
		return 0
	}
	return d.bytes.Load()
}

// put puts e into the session's inbox, and takes its data, unless it is over. It
// is called on the session's loop, and reports whether reading should pause.
func (d *dispatcher) put(s *Session, e event) (pause bool, err error) {
	d.mu.Lock()
	in := d.inboxes[s]
	switch {
	case in != nil && (in.broken || in.evicted) && e.kind != callClose:
		d.mu.Unlock()
		e.release() // its session is about to be closed
		return false, nil
	case in != nil && in.unopened: // Close
		if in.over = true; !in.listed {
			d.remove(in)
		}
		d.mu.Unlock()
		return false, nil
	case e.kind != callClose && !d.makeRoom(in):
		d.mu.Unlock()
		e.release()
		return false, ErrPendingBudget
	case in == nil && e.kind == callClose && d.server.events.Close == nil:
		d.mu.Unlock()
		return false, nil
	case in == nil:
		in = inboxes.Get().(*inbox)
		in.session, in.since = s, d.clock()
		d.inboxes[s] = in
		d.most = max(d.most, len(d.inboxes))
	}
	in.push(e)
	d.bytes.Add(int64(e.size()))
	d.weigh(in)
	o := &d.server.options
	if !in.paused && e.kind != callClose {
		in.paused = in.bytes >= o.Limits.MaxPending || d.bytes.Load() > o.Limits.PendingBudget/2
		pause = in.paused
	}
	wanted, own := d.enlist(in)
	d.mu.Unlock()
	if wanted {
		d.ask(s, &d.server.shard(s.loop).mark, own)
	}
	return pause, nil
}

// admits reports whether another client may wait for its Admit. Those whose time
// is up have been answered, but keep their place on the roster, and a copy of their
// request, until it is their turn: so they count.
func (d *dispatcher) admits() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.admitting < d.server.options.Limits.MaxAdmitting
}

// putAdmit lets a worker ask the application about v's request, a clone.
func (d *dispatcher) putAdmit(v *Verdict) {
	in := inboxes.Get().(*inbox)
	in.push(event{kind: callAdmit, with: v})
	d.mu.Lock()
	d.admitting++
	d.bytes.Add(int64(in.bytes))
	wanted, own := d.enlist(in)
	d.mu.Unlock()
	if wanted {
		d.ask(nil, &d.server.shard(v.loop).mark, own)
	}
}

// enlist gives the inbox a place at the end of the roster, unless it has one or a
// worker has it. It reports whether the Executor is to be asked for a worker, and
// whether a goroutine of the server's own works in addition. d.mu is held.
func (d *dispatcher) enlist(in *inbox) (wanted, own bool) {
	if in.listed {
		return false, false
	}
	d.append(in)
	d.asked++
	own = d.distrusted && d.workers == 0
	if own {
		d.start()
	}
	if d.workers == 0 && !d.watched {
		d.watch()
	}
	return true, own
}

// ask asks the Executor for a worker, for an event of s. It is called on the loop of m.
func (d *dispatcher) ask(s *Session, m *mark, own bool) {
	m.enter(callSubmit, s)
	returned := false
	defer func() {
		m.leave()
		if own {
			d.spawn(d.work)
		}
		if !returned && s != nil { // Submit has ended the goroutine
			s.fail(ErrCallbackPanic)
		}
	}()
	d.submit()
	returned = true
}

// append puts the inbox at the end of the roster. d.mu is held.
func (d *dispatcher) append(in *inbox) {
	in.listed = true
	if d.first == nil {
		d.first = in
	} else {
		d.last.next = in
	}
	d.last = in
}

// done gives a batch back.
func (d *dispatcher) done(in *inbox, o outcome) {
	s := in.session
	d.mu.Lock()
	in.events.Drop(o.events)
	if in.bytes > 0 { // what waits becomes younger by the part that is done
		in.since = in.since.Add(time.Duration(float64(d.clock().Sub(in.since)) * float64(o.bytes) / float64(in.bytes)))
	}
	in.bytes -= o.bytes
	in.hands, in.taken = 0, 0
	d.weigh(in)
	d.bytes.Add(-int64(o.bytes))
	in.broken = o.broken
	left := in.events.Len() > 0
	resume := in.paused && (!left || d.relieved(in))
	if resume {
		in.paused = false
	}
	crowded := false
	switch {
	case left:
		crowded = d.first != nil
		d.append(in)
	case (o.broken || in.evicted) && !o.closed && !in.over && s != nil:
		in.listed = false // Close will come, and nothing may go before it
	default:
		d.remove(in)
	}
	if crowded {
		d.asked++
	}
	d.mu.Unlock()
	if resume {
		_ = s.loop.Post((*resumeReadingTask)(s)) // a stopped loop has closed it
	}
	if crowded {
		d.submit()
	}
}

// relieved reports whether a paused session may be read from again while events
// of it wait. d.mu is held.
func (d *dispatcher) relieved(in *inbox) bool {
	o := &d.server.options
	return in.bytes <= o.Limits.MaxPending/2 && d.bytes.Load() <= o.Limits.PendingBudget/2
}

// remove forgets an empty inbox. d.mu is held.
func (d *dispatcher) remove(in *inbox) {
	if in.session == nil {
		d.admitting--
	} else {
		delete(d.inboxes, in.session)
		if len(d.inboxes) == 0 && d.most > maxKeptInboxes {
			d.inboxes, d.most = map[*Session]*inbox{}, 0 // a map does not shrink
		}
	}
	in.free()
}

// paused reports whether the session is not to be read from.
func (d *dispatcher) paused(s *Session) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := d.inboxes[s]
	return in != nil && in.paused
}
