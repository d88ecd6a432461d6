package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"turbine/loop"
)

// The workers of a dispatcher: tasks of the Executor that run the events of those on
// the roster, and what replaces tasks that it refuses, drops or breaks off.

const (
	// maxBatch is how many events of a session run before it is others' turn, and
	// maxTurn is after what time another one does not begin.
	maxBatch = 16
	maxTurn  = 5 * time.Millisecond
	// taskPatience is how long an Executor may leave all that waits alone before
	// its tasks count as lost. It is less than Timeouts.Admit is by default.
	taskPatience = 5 * time.Second
)

// watch has look called while nobody is at work. d.mu is held.
func (d *dispatcher) watch() {
	d.watched = true
	begun := d.begun
	d.after(taskPatience, func() { d.look(begun) })
}

// look finds out whether the Executor has lost the tasks that it took, taskPatience
// after begun workers had begun. An Executor that drops a task does not report it.
// If sessions wait on the roster, nobody works on it and no worker has begun
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

// work is what a worker does: it ends when nobody is on the roster, or when a
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
	_ = s.loop.Post(loop.Func(func() { s.fail(ErrCallbackPanic) }))
}
