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
	// turnLook is after how many messages the clock is looked at while callbacks are
	// quick.
	turnLook = 8
	// turnWary is for how many messages it is looked at behind each one, once a turn
	// had no time for all.
	turnWary = 1024
)

// A turn is what a client's messages have of their loop's time before it is the
// turn of others.
type turn struct {
	began    time.Duration
	messages int
}

func beginTurn(l *loop.Loop) turn { return turn{began: l.Now()} }

// over counts a message, and reports whether the turn ends behind it. It is asked only
// while more has come: the clock costs as much as a tenth of a message.
func (t *turn) over(sh *shard) bool {
	t.messages++
	if sh.wary == 0 && t.messages%turnLook != 0 {
		return false
	}
	sh.wary = max(sh.wary-1, 0)
	if sh.loop.Look()-t.began <= turnTime {
		return false
	}
	sh.wary = turnWary
	return true
}

// posted is what is left of a POST that a turn had no time for. The POST is
// answered behind it, or while it waits where an upgrade needs the answer. What the
// client sends then, by another POST or on its WebSocket, waits behind it.
type posted struct {
	body    *pool.Buf // nil when nothing waits
	octets  bool
	packets int     // of the payload, in front of body
	next    *posted // the POST behind it
}

// posts reports whether something that the client has posted waits for its turn.
func (s *Session) posts() bool { return s.extra != nil && s.extra.posted.body != nil }

// lags reports whether something that the client has sent waits for its turn.
func (s *Session) lags() bool { return s.unread() || s.posts() }

// setAside borrows rest and keeps it for another turn, in front of what waits.
func (s *Session) setAside(rest []byte, octets bool, packets int) {
	first := s.keepPosted(rest, octets)
	first.packets = packets
	if e := s.rare(); e.posted.body != nil {
		behind := e.posted
		first.next = &behind
	}
	s.extra.posted = first
	s.goOnLater()
}

// follow borrows the body of another POST, which waits behind what was set aside.
func (s *Session) follow(body []byte, octets bool) {
	last := &s.extra.posted
	for last.next != nil {
		last = last.next
	}
	behind := s.keepPosted(body, octets)
	last.next = &behind
}

// keepPosted copies body, which counts for Options.Limits.BodyBudget until takePosted.
func (s *Session) keepPosted(body []byte, octets bool) posted {
	b := pool.Spills.Get(len(body))
	b.Append(body)
	s.server.shard(s.loop).bodies += int64(len(body))
	return posted{body: b, octets: octets}
}

// takePosted takes the first that was set aside, which counts no more.
func (s *Session) takePosted() (w posted) {
	if !s.posts() {
		return w
	}
	w, s.extra.posted = s.extra.posted, posted{}
	if w.next != nil {
		s.extra.posted = *w.next
	}
	s.server.shard(s.loop).bodies -= int64(w.body.Len())
	return w
}

// dropPosted forgets what was set aside.
func (s *Session) dropPosted() {
	for s.posts() {
		s.takePosted().body.Release()
	}
}

// decodeOn continues with a POST that was set aside, and answers it behind its last
// packet, if the client still waits for the answer.
func (s *Session) decodeOn() {
	w := s.takePosted()
	defer w.body.Release() // also where a callback ends the goroutine
	s.beginMessages()
	err := s.decode(w.body.Bytes(), w.octets, w.packets)
	p, ok := s.transport.(*polling)
	switch {
	case ok:
		p.decoded(p.takeHeld(), err)
	case err != nil:
		s.fail(err)
	}
	s.endMessages()
	if s.state != sessionClosed && (s.posts() || !ok) {
		s.goOnLater()
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
	if s.state != sessionClosed && !s.has(publicPaused) { // else resumeReading is to come
		s.goOn()
	}
}

// goOn continues with what the client has sent, the oldest first, and lets it send
// more once nothing waits.
func (s *Session) goOn() {
	switch t := s.transport.(type) {
	case *polling:
		t.letGo()
	case *websocket:
		if s.posts() {
			s.decodeOn()
		} else if t.conn != nil {
			t.readOn()
		}
	}
}
