package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"runtime/debug"
	"sync"
	"time"

	"turbine/internal/seldom"
	"turbine/loop"
)

// dispatcher brings the events of sessions from their loops to the Executor. It
// keeps what waits, by session, and whose turn it is; workers, each a task of the
// Executor, take sessions in turn and run some of their events, one worker a
// session at a time. Its methods are safe from any goroutine.
//
//	| an inbox  | event                               | next      | does
//	| absent    | first event of a session            | in line   | Submit of a worker
//	| in line   | more events                         | in line   | -
//	| in line   | its turn                            | at work   | events run: maxBatch, or until maxTurn
//	| at work   | more events                         | at work   | -
//	| at work   | turn over, some wait                | in line   | at its end; Submit of another worker if others wait, too
//	| at work   | turn over, none waits               | absent    | -
//	| in line, at work | it holds most when there is no room | same | the session is closed; what waits is dropped
//	| at work   | a callback panics                   | at work   | the session is closed; what waits is dropped
//	| at work   | a callback ends its goroutine       | as above  | the same; Submit of a worker in its place if others wait
//	| at work   | after any of these, none waits, not Close | dropping | more events are dropped
//	| dropping  | Close                               | in line   | Submit of a worker; absent after it
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
	first, last *inbox                          // guarded by mu: the line
	asked       int                             // guarded by mu: tasks that the Executor has taken and not begun
	workers     int                             // guarded by mu: at work
	begun       uint64                          // guarded by mu: workers that have begun
	watched     bool                            // guarded by mu: look comes
	distrusted  bool                            // guarded by mu: the Executor has begun no task since look missed one
	bytes       int64                           // guarded by mu: of all inboxes
	sizes       [bits.UintSize + 1]pendingQueue // guarded by mu: inboxes by how much they hold
}

const (
	// maxBatch is how many events of a session run before it is others' turn, and
	// maxTurn is after what time another one does not begin.
	maxBatch = 16
	maxTurn  = 5 * time.Millisecond
	// maxKeptInboxes is the most places of a map that are kept when it is empty.
	maxKeptInboxes = 4096
	// taskPatience is how long an Executor may leave all that waits alone before
	// its tasks count as lost. It is less than Timeouts.Admit is by default.
	taskPatience = 5 * time.Second
)

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
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bytes
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
		if in.over = true; !in.lined {
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
	d.bytes += int64(e.size())
	d.weigh(in)
	o := &d.server.options
	if !in.paused && e.kind != callClose {
		in.paused = in.bytes >= o.Limits.MaxPending || d.bytes > o.Limits.PendingBudget/2
		pause = in.paused
	}
	d.lineUp(in, s, &d.server.shard(s.loop).mark)
	return pause, nil
}

// admits reports whether another client may wait for its Admit. Those whose time
// is up have been answered, but keep their place in the line, and a copy of their
// request, until it is their turn: so they count.
func (d *dispatcher) admits() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.admitting < d.server.options.Limits.MaxAdmitting
}

// putAdmit lets a worker ask the application about v's request, a clone.
func (d *dispatcher) putAdmit(v *Verdict, r *Request) {
	in := inboxes.Get().(*inbox)
	in.push(event{kind: callAdmit, with: &admitCall{verdict: v, request: r}})
	d.mu.Lock()
	d.admitting++
	d.bytes += int64(in.bytes)
	d.lineUp(in, nil, &d.server.shard(v.loop).mark)
}

// lineUp gives the inbox of s a place at the end of the line, unless it has one or
// a worker has it. It is called on the loop of m. d.mu is held, and given back.
func (d *dispatcher) lineUp(in *inbox, s *Session, m *mark) {
	if in.lined {
		d.mu.Unlock()
		return
	}
	d.line(in)
	d.asked++
	own := d.distrusted && d.workers == 0
	if own {
		d.start()
	}
	if d.workers == 0 && !d.watched {
		d.watch()
	}
	d.mu.Unlock()
	m.enter(callSubmit, s)
	returned := false
	defer func() {
		m.leave()
		if own {
			d.spawn(d.work)
		}
		if !returned && s != nil { // Submit has ended the goroutine
			s.close(ReasonTransportError, ErrCallbackPanic)
		}
	}()
	d.submit()
	returned = true
}

// watch has look called while nobody is at work. d.mu is held.
func (d *dispatcher) watch() {
	d.watched = true
	begun := d.begun
	d.after(taskPatience, func() { d.look(begun) })
}

// look finds out whether the Executor has lost the tasks that it took, taskPatience
// after begun workers had begun. An Executor that drops a task does not report it.
// If sessions wait in the line, nobody works on it and no worker has begun
// meanwhile, a goroutine of the server's own runs their callbacks, and those that
// come later, until the Executor begins a task again. A task that was only late
// does no harm.
func (d *dispatcher) look(begun uint64) {
	d.mu.Lock()
	d.watched = false
	if d.first == nil || d.workers > 0 {
		d.mu.Unlock()
		return
	}
	if d.begun != begun {
		d.watch()
		d.mu.Unlock()
		return
	}
	lost := d.asked
	d.asked, d.distrusted = 0, true
	d.start()
	d.mu.Unlock()
	d.quiet.Error("the executor has taken tasks and begun none; one goroutine of the server's own works until it does", "tasks", lost, "patience", taskPatience)
	d.spawn(d.work)
}

// begin is what a task of the Executor does first.
func (d *dispatcher) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = max(d.asked-1, 0) // it may be one that was given up
	d.distrusted = false
	d.start()
}

// start counts a worker. d.mu is held.
func (d *dispatcher) start() {
	d.workers++
	d.begun++
}

// line puts the inbox at the end of the line. d.mu is held.
func (d *dispatcher) line(in *inbox) {
	in.lined = true
	if d.first == nil {
		d.first = in
	} else {
		d.last.next = in
	}
	d.last = in
}

// submit asks the Executor for a worker, which counts as asked already. If it
// refuses, the workers there are see to all that waits, or those that are to
// begin, which look sees to. When there is none, a goroutine of the server's own
// becomes one: nothing is stuck or lost, whether the Executor is full of others'
// tasks or closed for good.
func (d *dispatcher) submit() {
	err := errExit // unless Submit returns, or panics
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("engine: panic in Submit: %v", p)
		}
		if err != nil {
			d.refused(err)
		}
	}()
	err = d.executor.Submit(d.task)
}

// refused gives up a worker that the Executor does not take.
func (d *dispatcher) refused(err error) {
	d.mu.Lock()
	d.asked = max(d.asked-1, 0)
	if d.asked+d.workers > 0 || d.first == nil {
		d.mu.Unlock()
		return
	}
	d.start()
	d.mu.Unlock()
	if !errors.Is(err, errExecutorBusy) {
		d.quiet.Error("the executor refuses to work; one goroutine of the server's own does", "error", err)
	}
	d.spawn(d.work)
}

// work is what a worker does: it ends when nobody is in the line, or when a
// callback ends its goroutine.
func (d *dispatcher) work() {
	var batch [maxBatch]event
	over := false
	defer func() {
		if !over {
			d.replace()
		}
	}()
	for {
		d.mu.Lock()
		in := d.first
		if in == nil {
			d.workers--
			d.mu.Unlock()
			over = true
			return
		}
		d.first, in.next = in.next, nil
		n, o := copy(batch[:], in.events.Front(maxBatch)), outcome{broken: in.broken}
		in.hands, in.taken = n, 0
		for i := range batch[:n] {
			in.taken += batch[i].size()
		}
		d.weigh(in)
		d.mu.Unlock()
		d.serve(in, batch[:n], o)
	}
}

// serve runs events of one session and gives the batch back, also if a callback
// ends the goroutine.
func (d *dispatcher) serve(in *inbox, batch []event, o outcome) {
	defer func() {
		clear(batch)
		d.done(in, o)
	}()
	d.run(in.session, batch, &o)
}

// replace asks for a worker in the place of one whose goroutine has ended.
func (d *dispatcher) replace() {
	d.mu.Lock()
	d.workers--
	if d.first == nil {
		d.mu.Unlock()
		return
	}
	d.asked++
	if d.workers == 0 && !d.watched {
		d.watch()
	}
	d.mu.Unlock()
	d.submit()
}

// outcome is what became of a batch.
type outcome struct {
	events int // that have run
	bytes  int
	broken bool // nothing but Close may run any more
	closed bool // Close has
}

// run runs events of one session, of which o says whether only Close may: all, or
// some that have taken long.
func (d *dispatcher) run(s *Session, batch []event, o *outcome) {
	for i, begun := 0, d.clock(); i < len(batch) && (i == 0 || d.clock().Sub(begun) < maxTurn); i++ {
		d.runOne(s, &batch[i], o)
	}
}

// runOne counts the event first, for its callback may end the goroutine.
func (d *dispatcher) runOne(s *Session, e *event, o *outcome) {
	o.events++
	o.bytes += e.size()
	if e.kind == callClose {
		o.closed = true
	}
	returned := false
	defer func() {
		e.release()
		if !returned {
			o.broken = true
			d.panicked(s, recover())
		}
	}()
	if !o.broken || o.closed {
		e.call(s)
	}
	returned = true
}

// panicked closes the session that a callback has panicked for; p is nil after
// runtime.Goexit.
func (d *dispatcher) panicked(s *Session, p any) {
	if p == nil {
		p = errExit
	}
	stack := string(debug.Stack())
	if s == nil {
		d.quiet.Error("panic in "+callAdmit.String()+"; the client is refused", "panic", p, "stack", stack)
		return
	}
	d.quiet.Error("panic in a callback; its session is closed", "panic", p, "stack", stack)
	// A loop that was stopped has closed it.
	_ = s.loop.Post(loop.Func(func() { s.close(ReasonTransportError, ErrCallbackPanic) }))
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
	d.bytes -= int64(o.bytes)
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
		d.line(in)
	case (o.broken || in.evicted) && !o.closed && !in.over && s != nil:
		in.lined = false // Close will come, and nothing may go before it
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
	return in.bytes <= o.Limits.MaxPending/2 && d.bytes <= o.Limits.PendingBudget/2
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
