package engine

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"turbine/httpparse"
	"turbine/loop"
)

// An Admission is a handshake request that waits for an answer, and what
// Events.Admit decides about the session to be. It is borrowed, as its Request is:
// when Admit has returned, its own methods panic and its Request is empty. A decision
// that comes later is made by the Verdict of Later, about a Clone of the Request.
type Admission struct {
	*Request // nil where the application is not asked

	http *httpConn
	head []byte // of the request; borrowed

	headers http.Header // for the response
	value   any         // for Session.Value
	id      string      // instead of a generated one
	verdict *Verdict    // not nil when it comes later
	binding binding     // with Options.Access.Bind
	over    atomic.Bool // Admit has returned
	later   bool        // Later was called
	placed  bool        // it has a place among the sessions
	holder  holder      // the address that the place counts for
	carried context.Context
}

// ResponseHeader is for header fields to add to the response that begins the
// session, or refuses it.
func (a *Admission) ResponseHeader() http.Header {
	a.mustBeAsked()
	return a.header()
}

func (a *Admission) header() http.Header {
	if a.headers == nil {
		a.headers = http.Header{}
	}
	return a.headers
}

// SetValue makes v the session's Value.
func (a *Admission) SetValue(v any) {
	a.mustBeAsked()
	a.value = v
}

// SetID makes id the session's id, see Options.GenerateID.
func (a *Admission) SetID(id string) {
	a.mustBeAsked()
	a.id = id
}

// Later postpones the decision: the request waits until Accept, Refuse or Unavailable
// of the Verdict is called, for Options.Timeouts.Admit at most. Admit then returns
// nil. To read the request after Admit has returned, make a Clone in Admit.
func (a *Admission) Later() *Verdict {
	a.mustBeAsked()
	a.later = true
	return a.postpone()
}

// mustBeAsked panics after Admit has returned: what is decided then would be lost, or
// race with the session's beginning.
func (a *Admission) mustBeAsked() {
	if a.over.Load() {
		panic("engine: an Admission is used after Events.Admit has returned; use the Verdict of Later")
	}
}

// ask calls Events.Admit, on the connection's loop or on a worker.
func (a *Admission) ask() error {
	defer a.answered()
	return a.http.server.events.Admit(a)
}

// nothing is the request of an Admission that was answered: whoever still reads it
// must not take another client's request, which is parsed into the same place, for it,
// nor ask a connection that may be another loop's.
var nothing httpparse.Request

func (a *Admission) answered() {
	a.over.Store(true)
	*a.Request = Request{http: &nothing}
}

// postpone makes the Verdict, once. It is called on the connection's loop first.
func (a *Admission) postpone() *Verdict {
	if a.verdict == nil {
		a.verdict = &Verdict{admission: a, http: a.http, loop: a.http.conn.Loop(), head: append([]byte(nil), a.head...)}
	}
	return a.verdict
}

// Verdict decides about a request that waits for it. Only the first call of Accept,
// Refuse or Unavailable counts; these are safe from any goroutine. When the client
// has gone meanwhile, or the time is up, they do nothing.
type Verdict struct {
	admission *Admission
	http      *httpConn
	loop      *loop.Loop    // of the connection, which stays there while it waits
	head      []byte        // of the request, to be parsed again
	slot      loop.Slot     // its alarm; the loop's
	deadline  time.Duration // the loop's
	decided   atomic.Bool
	ok        bool   // these two travel with the task
	denial    denial // unless ok
}

// SetValue makes value the session's Value. It is called before Accept, by the
// goroutine that will call it.
func (v *Verdict) SetValue(value any) { v.admission.value = value }

// SetID makes id the session's id, see Options.GenerateID. It is called before Accept,
// by the goroutine that will call it.
func (v *Verdict) SetID(id string) { v.admission.id = id }

// ResponseHeader is for header fields to add to the response that begins the session,
// or refuses it. It is used before Accept, Refuse or Unavailable, by the goroutine
// that will call it.
func (v *Verdict) ResponseHeader() http.Header { return v.admission.header() }

// Accept lets the session begin.
func (v *Verdict) Accept() { v.decide(true, denial{}) }

// Refuse refuses the client, as if Admit had returned err: if err is a Refusal, or
// wraps one, the client is told its message. Any other error is logged, and the
// client is told "Forbidden", also if err is nil.
func (v *Verdict) Refuse(err error) { v.decide(false, denied(err)) }

// Unavailable refuses the client for now, with status 503 and Retry-After: whatever
// decides about it cannot at present. retryAfter is told in whole seconds, rounded up;
// 0 or less tells nothing.
func (v *Verdict) Unavailable(retryAfter time.Duration) {
	v.Refuse(&Refusal{Status: http.StatusServiceUnavailable, Message: "Service Unavailable", RetryAfter: retryAfter})
}

func (v *Verdict) decide(ok bool, d denial) {
	if v.decided.Swap(true) {
		return
	}
	v.ok, v.denial = ok, d
	_ = v.loop.Post((*verdictTask)(v)) // a stopped loop has closed it
}

// verdictTask is a Verdict on its way to the connection's loop.
type verdictTask Verdict

func (t *verdictTask) Run() {
	v := (*Verdict)(t)
	h := v.http
	v.settle()
	if !v.waitedFor() {
		return // lost, or out of time
	}
	h.decided()
	if h.server.phase.draining() { // the drain may have been past a session made now
		h.unavailable(CauseDraining)
		return
	}
	r := &h.server.shard(h.conn.Loop()).request
	if _, err := httpparse.Parse(v.head, r, h.server.limits); err != nil {
		h.malformed(err) // it was parsed before
		return
	}
	if !v.ok {
		h.refuseAdmission(r, v.admission, v.denial)
		return
	}
	var rest []byte
	if h.exchange.webSocket && h.spill != nil {
		behind := h.takeSpill() // what came behind the request
		rest = behind.Bytes()
		defer behind.Release()
	}
	h.admitted(r, v.admission, rest)
}

// Abandon ends the connection: nobody answers its request.
func (t *verdictTask) Abandon() { t.http.abandon() }

// admit asks the application about r, whose head is the bytes head. If it does
// not say that the session may begin now, r was refused or waits.
func (h *httpConn) admit(r *httpparse.Request, head []byte) (a *Admission, ok bool) {
	a = &Admission{http: h, head: head}
	if h.handed != nil {
		a.carried = h.handed.context
	}
	if h.server.events.Admit == nil {
		return a, true
	}
	a.Request = h.server.newRequest(r, h.conn)
	a.context = a.carried
	if d := h.server.dispatch; d != nil {
		if !d.admits() {
			h.met(LimitAdmitting)
			h.unavailable(CauseAdmitting)
			return nil, false
		}
		a.Request = a.Clone()
		if v := a.postpone(); h.park(v) {
			d.putAdmit(v)
		}
		return nil, false
	}
	admitted, d := h.tellAdmit(a)
	switch {
	case !admitted:
		h.refuseAdmission(r, a, d)
	case a.verdict != nil:
		h.park(a.verdict)
	default:
		return a, true
	}
	return nil, false
}

// park lets the exchange wait for v, bounded in number and time, or refuses it.
func (h *httpConn) park(v *Verdict) (waits bool) {
	o, sh := &h.server.options, h.server.shard(v.loop)
	if sh.parked >= h.server.shares.admitting {
		h.met(LimitAdmitting)
		h.unavailable(CauseAdmitting)
		return false
	}
	sh.parked++
	h.verdict = v
	h.become(exchangeDeciding)
	v.deadline = v.loop.Now() + o.Timeouts.Admit
	v.slot = v.loop.Claim((*verdictAlarm)(v))
	v.loop.Arm(v.slot, v.deadline)
	return true
}

// settle gives back v's place: when it was decided or its time is up, not
// when the client has gone. What the application is still doing for a client
// that has gone counts, or one that comes and goes would make it do any amount.
func (v *Verdict) settle() {
	if v.slot != 0 {
		v.loop.Release(v.slot)
		v.slot = 0
		v.http.server.shard(v.loop).parked--
	}
}

// verdictAlarm is a Verdict as the owner of its slot.
type verdictAlarm Verdict

func (a *verdictAlarm) Alarm() {
	v := (*Verdict)(a)
	if v.loop.Now() < v.deadline {
		v.loop.Arm(v.slot, v.deadline)
		return
	}
	v.settle()
	v.decided.Store(true) // an Admit that waits for a worker need not run
	if v.waitedFor() {
		v.http.met(LimitAdmitTimeout)
		v.http.decided()
		v.http.unavailable(CauseAdmitTimeout)
	}
}

// waitedFor reports whether the exchange still waits for v.
func (v *Verdict) waitedFor() bool {
	h := v.http
	return h.conn.Loop() == v.loop && h.verdict == v
}

// decided ends the wait for the Verdict.
func (h *httpConn) decided() {
	h.verdict = nil
	h.become(exchangeWaiting)
}
