package engine

import (
	"time"

	"turbine/loop"
	"turbine/pool"
)

const (
	// turnTime is how long one client's messages may take their loop in one turn.
	// One read brings up to 9,000 messages and one POST 16,384, and each of them may
	// be a callback of a millisecond. It is ten portions of the loop, so that only
	// slow callbacks end a turn before all is taken.
	turnTime = 2 * time.Millisecond
	// turnLook is after how many messages the clock is looked at.
	turnLook = 32
)

// A turn is what a client's messages have of their loop's time before it is the
// turn of others.
type turn struct {
	began    time.Duration
	messages int
}

func beginTurn(l *loop.Loop) turn { return turn{began: l.Now()} }

// over counts a message, and reports whether the turn ends behind it.
func (t *turn) over(l *loop.Loop) bool {
	t.messages++
	return t.messages%turnLook == 0 && l.Look()-t.began > turnTime
}

// posted is what is left of a POST that a turn had no time for. The POST is
// answered behind it.
type posted struct {
	body    *pool.Buf // nil when nothing waits
	octets  bool
	packets int // of the payload, in front of body
}

// lags reports whether something that the client has sent waits for its turn.
func (s *Session) lags() bool {
	return s.extra != nil && (s.unread() || s.extra.posted.body != nil)
}

// setAside borrows rest and keeps it for another turn.
func (p *polling) setAside(rest []byte, octets bool, packets int) {
	s := p.session
	b := pool.Spills.Get(len(rest))
	b.Append(rest)
	s.rare().posted = posted{b, octets, packets}
	s.server.shard(s.loop).bodies += int64(len(rest))
	s.goOnLater()
}

// takePosted takes what was set aside, which counts no more.
func (s *Session) takePosted() (w posted) {
	if s.extra != nil && s.extra.posted.body != nil {
		w, s.extra.posted = s.extra.posted, posted{}
		s.server.shard(s.loop).bodies -= int64(w.body.Len())
	}
	return w
}

// decodeOn continues with a POST that was set aside, and answers it behind its last
// packet.
func (p *polling) decodeOn() {
	s := p.session
	w := s.takePosted()
	defer w.body.Release() // also where a callback ends the goroutine
	x := p.data
	p.data, p.held, x.session = nil, false, nil
	s.beginMessages()
	p.decoded(x, p.decode(w.body.Bytes(), w.octets, w.packets))
	s.endMessages()
}

// decodeAll takes at once what waits of a POST: what comes next came behind it.
func (p *polling) decodeAll() {
	for p.session.state != sessionClosed && p.session.lags() {
		p.decodeOn()
	}
}

// goOnTask is a Session as the Task that continues with what its client has sent.
type goOnTask Session

// goOnLater posts the task that continues once others had their turn.
func (s *Session) goOnLater() {
	if e := s.rare(); !e.goesOn {
		e.goesOn = s.loop.Post((*goOnTask)(s)) == nil // a stopped loop has closed the session
	}
}

func (t *goOnTask) Run() {
	s := (*Session)(t)
	s.extra.goesOn = false
	switch {
	case s.state == sessionClosed, s.has(publicPaused): // resumeReading is to come
	case s.unread():
		s.websocket.readOn()
	case s.extra.posted.body != nil:
		s.transport.(*polling).decodeOn()
	}
}
