package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"turbine/httpparse"
	"turbine/loop"
)

// phase is how far the server is on the way to its end. It only goes up. Safe
// from any goroutine.
//
//	| phase    | new sessions      | sessions                | connections
//	| serving  | made              | served                  | accepted, kept alive
//	| draining | 503, Retry-After  | served until their turn | the same
//	| ending   | 503, Retry-After  | closing                 | each ends with its response, idle ones at once
type phase struct{ reached atomic.Uint32 }

const (
	phaseServing uint32 = iota
	phaseDraining
	phaseEnding
)

func (p *phase) draining() bool { return p.reached.Load() >= phaseDraining }
func (p *phase) ending() bool   { return p.reached.Load() >= phaseEnding }

// reach is the only place that changes the phase.
func (p *phase) reach(next uint32) {
	for {
		now := p.reached.Load()
		if now >= next || p.reached.CompareAndSwap(now, next) {
			return
		}
	}
}

// drainPlan is when a loop's sessions are closed.
type drainPlan struct {
	from time.Duration // the loop's time
	over time.Duration
}

// drainRate is how many sessions a second are closed where Options.Drain.Period
// is not given. Half of what one acceptor takes: so their clients can come back
// to one other process at that rate.
const drainRate = 10_000

// Shutdown ends the server in good order. At once health checks and new sessions are
// told 503; the sessions there are continue, also over new connections. After
// Options.Drain.Delay each session is closed, as Session.Close does, at a moment of
// its own in Options.Drain.Period. When all are gone it stops accepting, closes idle
// connections, waits until all connections have ended, and makes Serve return.
//
// When ctx ends first, the rest is cut off and its error is returned. If a callback
// still holds up its loop then, Shutdown waits one second longer. The loop and its
// sessions end, and Serve returns, when the callback returns.
//
// A polling client that does not poll again, as at the end of a test, is waited for
// until ctx or Options.Timeouts.Close ends: give ctx a deadline.
//
// If ctx has a deadline the delay and the period are cut to three quarters of the
// time left, so that the last session has the fourth quarter to take what was
// queued for it.
//
// With Options.Executor it also waits for callbacks that run or wait, Close as the
// last of each session. Callbacks that are not done when ctx ends continue after
// Shutdown has returned.
//
// It waits for the loops and for callbacks, so it must not be called in one;
// start a goroutine there.
func (s *Server) Shutdown(ctx context.Context) error {
	s.phase.reach(phaseDraining)
	s.mu.Lock()
	reactor, done := s.reactor, s.done
	s.mu.Unlock()
	if reactor == nil {
		s.closeOutsides() // loops of UseLoops may have lent connections
		return nil
	}
	delay, over := s.pace(ctx)
	start := time.Now()
	if ctx.Err() == nil { // else a session that reads would still end in good order, before it is cut off
		s.beginDrain(delay, over)
	}
	err := wait(ctx, done, func() bool { return s.residents() == 0 && time.Since(start) >= delay })
	reactor.StopAccepting()
	s.endConnections()
	if err == nil {
		// A handler that has hijacked a connection is not waited for, as in net/http.
		err = wait(ctx, done, func() bool {
			return s.residents() == 0 && s.conns() <= s.tunnels()+s.links() && s.dispatch.idle()
		})
	}
	if err != nil {
		s.cutSessions(err)
	}
	reactor.Stop()
	if err == nil {
		<-done
		return nil
	}
	hold := time.NewTimer(cutWait)
	defer hold.Stop()
	select {
	case <-done:
	case <-hold.C: // a callback has not returned
	}
	return err
}

// Close ends the server at once, as Shutdown does with a context that has ended:
// sessions end with ReasonShutdown and context.Canceled, what is queued is dropped,
// connections are cut, and Serve returns ErrServerClosed. Clients see a transport
// close or a failed poll. If a callback holds up its loop, Close waits one second
// for it; the loop ends when the callback returns. The error is always nil. A server
// without loops of its own, by Driver or before Serve, has nothing to close.
//
// It waits for the loops, so it must not be called in a callback; start a goroutine
// there.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// cutWait is how long Shutdown waits, after ctx's end, for loops that are cut
// off: a turn's work for those that run.
const cutWait = time.Second

// pace is how long Shutdown waits before it closes the first session, and over
// how long it closes all.
func (s *Server) pace(ctx context.Context) (delay, over time.Duration) {
	pace := s.drainPace.Load()
	delay, over = pace.Delay, pace.Period
	if over == 0 {
		over = time.Duration(s.residents()) * time.Second / drainRate
	}
	if deadline, ok := ctx.Deadline(); ok {
		room := max(time.Until(deadline)*3/4, 0)
		delay = min(delay, room)
		over = min(over, room-delay)
	}
	return delay, over
}

// drainStep is how often Shutdown looks whether all are gone.
const drainStep = 10 * time.Millisecond

// wait waits until gone, ctx's end, or the end of the loops.
func wait(ctx context.Context, done <-chan struct{}, gone func() bool) error {
	ticker := time.NewTicker(drainStep)
	defer ticker.Stop()
	for !gone() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done:
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

// StopAccepting closes the server's listeners, for when another process accepts
// connections on the same sockets from now on. Sessions continue, and new ones can
// begin on connections that are open. Polls on new connections reach the other
// process. Therefore Shutdown, which comes next, first closes sessions whose clients
// do not keep connections alive.
func (s *Server) StopAccepting() {
	s.handedOver.Store(true)
	s.mu.Lock()
	reactor := s.reactor
	s.mu.Unlock()
	if reactor != nil {
		reactor.StopAccepting()
	}
}

// CloseSessions refuses new sessions from now on. It closes all sessions, as
// Session.Close does, and connections as soon as they are idle. It returns at once.
func (s *Server) CloseSessions() {
	s.phase.reach(phaseEnding)
	s.each(func(owner loop.Alarm) {
		if a, ok := owner.(*sessionAlarm); ok {
			(*Session)(a).end(endingCalled)
			return
		}
		endIdle(owner, false)
	})
}

// beginDrain refuses new sessions from now on and gives each session there is
// its turn to be closed. A second call changes nothing.
func (s *Server) beginDrain(delay, over time.Duration) {
	s.phase.reach(phaseDraining)
	s.retryWithin.CompareAndSwap(0, int64(over/time.Second)+1)
	for _, sh := range s.allShards() {
		sh.enqueue(&drainEntry{shard: sh, delay: delay, over: over}, true)
	}
}

// drainEntry begins the drain of a loop, behind what was published before.
type drainEntry struct {
	walk
	shard       *shard
	delay, over time.Duration
}

func (e *drainEntry) step() (more bool) {
	if e.visit == nil {
		if e.shard.drain != nil {
			return false
		}
		e.shard.drain = &drainPlan{from: e.shard.loop.Now() + e.delay, over: e.over}
		e.walk = walk{loop: e.shard.loop, visit: drainOwner}
	}
	return e.walk.step()
}

func drainOwner(owner loop.Alarm) {
	switch o := owner.(type) {
	case *sessionAlarm:
		(*Session)(o).drain()
	case *httpAlarm:
		(*httpConn)(o).refuseWaiting()
	}
}

// endConnections closes connections that no session needs any more.
func (s *Server) endConnections() {
	s.phase.reach(phaseEnding)
	s.endKeepAlive()
	s.each(func(owner loop.Alarm) { endIdle(owner, true) })
}

// endIdle ends the connection that owns the slot of owner, if it has nothing to
// do, or sees to it that it will not be long. hasty is for closeIdle.
func endIdle(owner loop.Alarm, hasty bool) {
	switch o := owner.(type) {
	case *httpAlarm:
		(*httpConn)(o).closeIdle(hasty)
	case *preambleAlarm:
		(*preamble)(o).leave()
	default:
		loop.HurryTLS(owner, firstRequest)
	}
}

// cutSessions ends all sessions there are at once. The loops do not see to that
// when they stop: a polling session need not have a connection. It is all one
// task: nobody has to be served in between, and a loop that stops does not wait
// for one that posts itself again and again.
func (s *Server) cutSessions(err error) {
	for _, shard := range s.allShards() {
		_ = shard.loop.Post(&cutTask{walk{loop: shard.loop, visit: func(owner loop.Alarm) {
			if a, ok := owner.(*sessionAlarm); ok {
				(*Session)(a).close(ReasonShutdown, err)
			}
		}}}) // a stopped loop has had its chance
	}
}

// cutTask is a walk in one turn.
type cutTask struct{ walk }

func (t *cutTask) Run() {
	for t.step() {
	}
}

func (t *cutTask) Abandon() { _ = t.loop.Post(t) }

// retryAfter is how long a client is told to wait before it tries again: a whole
// number of seconds, at random, so that clients come back spread over the
// drain's period.
// Safe from any goroutine.
func (s *Server) retryAfter() time.Duration {
	seconds := max(s.retryWithin.Load(), 1)
	return time.Duration(1+rand.Int64N(seconds)) * time.Second // #nosec G404 -- it spreads, and need not be secret
}

// appendRetryAfter appends the header line that says so.
func (s *Server) appendRetryAfter(dst []byte) []byte {
	return httpparse.AppendHeaderInt(dst, "Retry-After", int64(s.retryAfter()/time.Second))
}

// drain begins the wait for the session's turn, unless it has come.
func (s *Session) drain() {
	at, ok := s.drainAt()
	switch {
	case !ok:
	case s.loop.Now() >= at, s.strays():
		s.end(endingDrain)
	default:
		s.arm()
	}
}

// strays reports whether the client's next poll will not come here: it is on a
// connection of its own, and another process accepts that.
func (s *Session) strays() bool {
	p, ok := s.transport.(*polling)
	return ok && p.poll != nil && p.poll.last() && s.server.handedOver.Load()
}

// drainAt is when the session is closed by the drain, false where it is not. Its
// secret is as good as any random number to choose the moment by, and costs no
// memory.
func (s *Session) drainAt() (at time.Duration, ok bool) {
	plan := s.server.shard(s.loop).drain
	if plan == nil || s.state != sessionOpen || s.sealed() {
		return 0, false
	}
	return plan.from + s.secret.share(plan.over), true
}

// share is a part of d, from nothing to almost all, by the secret's bytes.
func (s secret) share(d time.Duration) time.Duration {
	return time.Duration(float64(d) * float64(binary.BigEndian.Uint32(s[:])) / (1 << 32))
}
