package engine

import "turbine/pool"

// An event is a call of the application that waits for a worker.
type event struct {
	kind   callKind
	binary bool
	reason Reason
	number int       // of bytes, for HighWater
	data   *pool.Buf // of a message, held; nil when empty
	with   any       // see call: a clone of the Request, a func(), an error, a *Verdict
}

// eventSize is what an event takes in addition to the data of a large message, in bytes,
// about: itself, and the least that a Buf has.
const eventSize = 400

// size is what the event counts for limits, in bytes.
func (e *event) size() int {
	if e.data == nil {
		return eventSize
	}
	return eventSize + e.data.Len()
}

func (e *event) release() {
	if e.data != nil {
		e.data.Release()
	}
}

// call runs the application's callback on a worker.
func (e *event) call(s *Session) {
	if e.kind == callAdmit {
		e.with.(*Verdict).ask()
		return
	}
	events := &s.server.events
	switch e.kind {
	case callOpen:
		events.Open(s, e.with.(*Request))
	case callMessage:
		e.message(s)
	case callHeartbeat:
		events.Heartbeat(s)
	case callUpgrading:
		events.Upgrading(s)
	case callUpgrade:
		events.Upgrade(s)
	case callHighWater:
		events.HighWater(s, e.number)
	case callLowWater:
		events.LowWater(s)
	case callDrain:
		events.Drain(s)
	case callSent:
		e.with.(func())()
	case callClose:
		if events.Close != nil {
			err, _ := e.with.(error)
			events.Close(s, e.reason, err)
		}
	default: // the other callbacks are never put off
	}
}

// message is not for a session that the application itself has closed
// meanwhile: on a loop also, what comes after Close is dropped.
func (e *event) message(s *Session) {
	if s.has(publicQuit) {
		return
	}
	var data []byte
	if e.data != nil {
		data = e.data.Bytes()
	}
	s.server.events.Message(s, fromClient(e.binary, data))
}

// defers hands e to a worker, where there is an Executor. It borrows data, and
// reports whether it did; else the callback runs here. It is called on the
// session's loop.
func (s *Session) defers(e event, data []byte) bool {
	d := s.server.dispatch
	if d == nil {
		return false
	}
	if len(data) > 0 {
		e.data = pool.Spills.Get(len(data))
		e.data.Append(data)
	}
	pause, err := d.put(s, e)
	if err != nil {
		s.server.met(LimitPendingBudget, s.loop)
		if e.kind == callOpen {
			s.clear(publicOpened) // nobody is told of the end of what never began
		}
		s.fail(err)
		return true
	}
	if pause {
		s.stopReading()
	}
	return true
}

// stopReading lets the client wait: it sends faster than the application works.
func (s *Session) stopReading() {
	s.server.met(LimitPending, s.loop)
	s.set(publicPaused)
	if s.transport == transport(&s.websocket) && s.websocket.conn != nil {
		s.websocket.conn.Pause()
	} // on polling, the post that brought the events is answered later
}

// resumeReadingTask is a Session as the Task that reads from its client again.
type resumeReadingTask Session

func (t *resumeReadingTask) Run() {
	s := (*Session)(t)
	if s.state == sessionClosed || !s.has(publicPaused) || s.server.dispatch.paused(s) {
		return
	}
	s.clear(publicPaused)
	again := s.loop.Now() + s.server.options.PingTimeout // the heartbeat may wait behind all that was not read
	switch {
	case !s.revision.ServerPings():
		s.nextBeat = max(s.nextBeat, again)
	case s.awaitsPong():
		s.nextBeat = again
		s.arm() // the next ping would have been later
	}
	s.goOn()
}

// ask is Events.Admit on a worker, about a request that waits for v.
func (v *Verdict) ask() {
	if v.decided.Load() {
		return // out of time
	}
	decided := false
	defer func() {
		if !decided { // by a panic
			v.decide(false, panicked()) // the worker logs it
		}
	}()
	err := v.admission.ask()
	switch {
	case err != nil:
		v.Refuse(err)
	case !v.admission.later:
		v.Accept()
	}
	decided = true
}
