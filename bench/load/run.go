//go:build linux

package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"turbine/bench/usage"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	patience  = 10 * time.Second // without progress, then the run is given up
	grace     = time.Second      // for replies that are due at the end
	longest   = 50 * time.Millisecond
	maxFaults = 10
	openers   = 100 // sessions that open at a time, where the plan does not say

	maxLatency = 60 * time.Second // what the histogram holds
)

// phase is where a run is. They follow each other; a kind may pass over
// opening, warming and draining.
type phase uint8

const (
	opening phase = iota
	warming
	measuring
	draining
	over
)

// runner carries out one plan. It belongs to one goroutine.
type runner struct {
	plan Plan
	kind kind

	epoll    *epoll
	dialer   *dialer
	requests requests
	opens    opens
	messages *messages

	conns   []*conn // by descriptor
	broken  []*conn // that failed and whose sessions have not heard of it
	dead    []*conn // closed in this turn
	free    []*conn
	buf     []byte // what is read
	scratch []byte

	base time.Time
	now  int64 // since base, in nanoseconds, as of the present event

	phase     phase
	until     int64 // when the phase ends
	finished  bool  // the load ended before its time
	reason    string
	patience  int64 // the constants of that name
	grace     int64
	progress  int64 // when there was some last
	from      int64 // when the measurement began
	cpu       time.Duration
	server    usage.Usage
	opening   opener
	sessions  []*session
	unopened  int // sessions that have not been open yet
	alive     int // sessions that are open
	closing   int // sessions that wait for the server's close frame
	inFlight  int // messages that are due to come back
	heartbeat int64

	heartbeats int64
	latency    *hdrhistogram.Histogram
	out        Outcome
	err        error
}

func run(ctx context.Context, p Plan) (Outcome, error) {
	r, err := newRunner(p)
	if err != nil {
		return Outcome{}, err
	}
	return r.run(ctx)
}

func newRunner(p Plan) (*runner, error) {
	if p.InFlight == 0 {
		p.InFlight = 1
		if p.Kind == Idle {
			p.InFlight = openers
		}
	}
	k, err := newKind(&p)
	if err != nil {
		return nil, err
	}
	r := &runner{
		plan:     p,
		kind:     k,
		requests: *newRequests(&p),
		buf:      make([]byte, 256<<10),
		base:     time.Now(),
		patience: int64(patience),
		grace:    int64(grace),
		latency:  hdrhistogram.New(1, maxLatency.Microseconds(), 3),
	}
	if r.dialer, err = newDialer(p.Addr, p.LocalHosts); err != nil {
		return nil, err
	}
	if p.Size > 0 {
		r.messages = newMessages(p.Size, p.InFlight, p.Binary, p.Dialect)
	}
	k.attach(r)
	return r, nil
}

func (r *runner) run(ctx context.Context) (Outcome, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer sharpen()()
	var err error
	if r.epoll, err = newEpoll(); err != nil {
		return Outcome{}, err
	}
	defer r.epoll.close()
	defer r.closeAll()

	if r.server, err = r.usage(); err != nil {
		return Outcome{}, err
	}
	r.out.RSSBefore = r.server.RSS
	r.start()
	for r.phase != over && r.err == nil {
		if err := ctx.Err(); err != nil {
			return r.outcome(), err
		}
		r.turn()
	}
	return r.outcome(), r.err
}

func (r *runner) outcome() Outcome {
	r.out.Heartbeats = r.heartbeats
	if r.latency.TotalCount() > 0 {
		r.out.Latency = r.latency
	}
	return r.out
}

func (r *runner) usage() (usage.Usage, error) {
	if r.plan.Server == nil {
		return usage.Usage{}, nil
	}
	u, err := r.plan.Server()
	if err != nil {
		return u, fmt.Errorf("load: usage of the server: %w", err)
	}
	return u, nil
}

func (r *runner) clock() { r.now = int64(time.Since(r.base)) }

// turn waits for events, and does what follows from them and from the time.
func (r *runner) turn() {
	events, err := r.epoll.wait(r.wait())
	if err != nil {
		r.err = err
		return
	}
	for i := range events {
		if c := r.conns[events[i].Fd]; c != nil {
			r.clock() // for each, since latency counts from when it is its turn to be sent
			c.ready(events[i].Events)
		}
	}
	r.clock()
	r.mend()
	r.advance()
	if r.loaded() {
		r.kind.tick()
	}
	r.opening.fill(r)
	for i, c := range r.dead {
		r.dead[i] = nil
		if !c.queued {
			r.free = append(r.free, c)
		}
	}
	r.dead = r.dead[:0]
}

// wait is how long nothing is to be done. An open loop does not sleep, unless
// it is told to: waking would take longer than what it measures, and come late
// for what is due.
func (r *runner) wait() time.Duration {
	if len(r.broken) > 0 || r.spins() && r.loaded() {
		return 0
	}
	at := r.now + int64(longest)
	if r.phase != opening {
		at = min(at, r.until)
	}
	if r.phase != draining { // when nothing is opened any more
		at = min(at, r.opening.next())
	}
	if r.loaded() {
		at = min(at, r.kind.next())
	}
	return max(0, time.Duration(at)-time.Since(r.base))
}

func (r *runner) spins() bool { return r.plan.Kind == OpenLoop && !r.plan.Sleeps }

// loaded reports whether the kind makes its load at present.
func (r *runner) loaded() bool { return r.phase == warming || r.phase == measuring }

// mend tells the sessions of connections that failed while they were sent to.
func (r *runner) mend() {
	for len(r.broken) > 0 {
		c := r.broken[0]
		r.broken = r.broken[:copy(r.broken, r.broken[1:])]
		c.queued = false
		if c.s.conns[c.role] == c {
			c.s.disconnected(c, c.err)
		} else {
			c.close()
		}
	}
}

// opened: a session is open.
func (r *runner) opened(s *session) {
	r.out.Opened++
	r.alive++
	r.opening.active--
	r.progress = r.now
	if r.unopened > 0 {
		r.unopened--
	}
	r.kind.opened(s)
}

// failed: a session could not be opened. It is tried again.
func (r *runner) failed(s *session, err error) {
	r.out.Retries++
	if err != errWrong { // which was told
		r.fault("session %d did not open: %v", s.number, err)
	}
	r.opening.retry(r, s)
	s.tries++
	if err == errWrong && s.tries >= maxTries {
		r.finish("%d wrong replies to a handshake", s.tries)
	}
}

// lost: a session ended that should not have.
func (r *runner) lost(s *session, err error) {
	r.alive--
	if s.slow {
		r.out.SlowClosed++
		return
	}
	r.out.Lost++
	r.fault("session %d was lost: %v", s.number, err)
	r.kind.lost(s)
	if r.alive == 0 && r.opening.idle() {
		r.finish("no session is left")
	}
}

// finish ends the load before its time.
func (r *runner) finish(format string, args ...any) {
	r.finished = true
	if format != "" {
		r.reason = fmt.Sprintf(format, args...)
		r.fault("%s", r.reason)
	}
}

// wrong counts n wrong replies.
func (r *runner) wrong(n int64, format string, args ...any) {
	r.out.Wrong += n
	r.fault(format, args...)
}

func (r *runner) fault(format string, args ...any) {
	if len(r.out.Faults) < maxFaults {
		r.out.Faults = append(r.out.Faults, fmt.Sprintf(format, args...))
	}
}

// done counts n operations that began at the time since.
func (r *runner) done(n int64, since int64) {
	r.progress = r.now
	if r.phase == measuring {
		r.out.Operations += n
		r.record(r.now - since)
	}
}

func (r *runner) record(ns int64) {
	_ = r.latency.RecordValue(inRange(ns)) // so no error
}

// inRange is the value, in microseconds, that a histogram keeps of a time.
func inRange(ns int64) int64 { return min(max(ns/1000, 1), maxLatency.Microseconds()) }

func (r *runner) closeAll() {
	for _, c := range r.conns {
		if c != nil {
			c.close()
		}
	}
}

var errNothing = errors.New("load: nothing could be measured")
