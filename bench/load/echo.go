//go:build linux

package load

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// echo keeps InFlight messages under way in each session.
type echo struct{ base }

func (e *echo) timing() timing {
	return timing{opens: true, warms: true, missing: "%d messages were never echoed"}
}

func (e *echo) begin() {
	for _, s := range e.sessions[:e.plan.Sessions] {
		if s.state == stateOpen {
			s.times = make([]int64, e.plan.InFlight)
			s.ready = e.plan.InFlight
			e.settled(s)
		}
	}
}

func (e *echo) message(s *session, data []byte, binary bool) {
	sent := e.now
	if n := uint32(len(s.times)); n > 0 {
		sent = s.times[s.received%n]
	}
	n := e.check(s, data, binary)
	if n > 0 {
		e.done(1, sent) // the lost ones are no operations
	}
	e.inFlight -= n
	s.ready += n
}

// settled sends as many messages as came back, in one write.
func (e *echo) settled(s *session) {
	if s.ready == 0 || !e.loaded() {
		return
	}
	e.clock()
	e.inFlight += s.ready
	s.send(e.messages, s.ready)
	s.ready = 0
}

func (e *echo) lost(s *session) { e.inFlight -= int(s.sent - s.received) }
func (e *echo) pending() int    { return e.inFlight }

// openLoop sends by the clock: message i of all is due i/Rate after the
// beginning, and is session i modulo Sessions's.
type openLoop struct {
	base
	start    int64
	interval float64 // nanoseconds
	count    int64   // messages that were due up to now
}

func (o *openLoop) timing() timing {
	return timing{opens: true, warms: true, missing: "%d messages were never echoed"}
}

func (o *openLoop) begin() {
	o.interval = float64(time.Second) / o.plan.Rate
	o.start = o.now
	o.out.Lag = hdrhistogram.New(1, maxLatency.Microseconds(), 3)
}

func (o *openLoop) due(i int64) int64 { return o.start + int64(float64(i)*o.interval) }

func (o *openLoop) next() int64 { return o.due(o.count) }

// tick sends what is due; several messages of a session go in one write.
func (o *openLoop) tick() {
	n := int64(float64(o.now-o.start)/o.interval) + 1 - o.count
	all := int64(len(o.sessions))
	if o.phase == measuring {
		for i := range n {
			_ = o.out.Lag.RecordValue(inRange(o.now - o.due(o.count+i)))
		}
	}
	for k := range min(n, all) {
		s := o.sessions[(o.count+k)%all]
		if s.state != stateOpen {
			continue // it was lost, and says so
		}
		m := int((n - k + all - 1) / all)
		o.inFlight += m
		s.send(o.messages, m)
	}
	o.count += max(n, 0)
}

// end sends what was due up to the end.
func (o *openLoop) end() { o.tick() }

// message counts a reply to a message that was due while it was measured, also if the
// reply comes later.
func (o *openLoop) message(s *session, data []byte, binary bool) {
	due := o.due(int64(s.received)*int64(len(o.sessions)) + int64(s.number))
	n := o.check(s, data, binary)
	o.inFlight -= n
	o.progress = o.now
	if n == 1 && due >= o.from && due < o.stop() && (o.phase == measuring || o.phase == draining) {
		o.out.Operations++
		o.record(o.now - due)
	}
}

// stop is when the measurement ends.
func (o *openLoop) stop() int64 {
	if o.phase == draining {
		return o.from + int64(o.out.Elapsed)
	}
	return math.MaxInt64
}

func (o *openLoop) lost(s *session) { o.inFlight -= int(s.sent - s.received) }
func (o *openLoop) pending() int    { return o.inFlight }

// broadcast gives rounds, one at a time: a message of session 0 that comes to
// all.
type broadcast struct {
	base
	round uint32
	began int64
	due   int // deliveries of this round
}

func (b *broadcast) timing() timing {
	return timing{opens: true, warms: true, missing: "%d deliveries never came"}
}

func (b *broadcast) begin() { b.nextRound() }

// nextRound begins a round. What each session is to get is kept as if each had
// sent it itself.
func (b *broadcast) nextRound() {
	first := b.sessions[0]
	if first.state != stateOpen {
		b.finish("the session that sends was lost")
		return
	}
	b.clock()
	b.began = b.now
	first.send(b.messages, 1)
	b.round = first.sent
	for _, s := range b.sessions {
		s.sent = b.round
		if s.state == stateOpen {
			b.due++
		}
	}
}

func (b *broadcast) message(s *session, data []byte, binary bool) {
	n := b.match(s, 0, data, binary)
	if n == 0 {
		return
	}
	s.received++
	b.due--
	b.progress = b.now
	if b.phase == measuring {
		b.out.Operations++
	}
	if b.due > 0 {
		return
	}
	if b.phase == measuring {
		b.record(b.now - b.began)
	}
	if b.loaded() {
		b.nextRound()
	}
}

func (b *broadcast) lost(s *session) {
	if s.received == b.round {
		return
	}
	if b.due--; b.due == 0 && b.loaded() {
		b.nextRound()
	}
}

func (b *broadcast) pending() int { return b.due }
