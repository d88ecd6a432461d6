//go:build linux

package load

import (
	"errors"
	"fmt"
	"math"
)

// kind is a load: what is done with sessions. Embed base for the methods that
// have nothing to do.
type kind interface {
	timing() timing
	attach(r *runner) // makes the sessions; once, first
	begin()           // the load begins
	end()             // and ends: nothing more is to be sent
	tick()            // every turn while there is load
	next() int64      // when tick has something to do
	pending() int     // replies that are due

	opened(s *session)
	closed(s *session) // after session.close
	lost(s *session)
	posted(s *session)                            // its POST was taken
	message(s *session, data []byte, binary bool) // borrows data
	settled(s *session)                           // all that one read brought was dealt with
	pinged(s *session)                            // the server's heartbeat came
}

// timing tells which phases a kind has.
type timing struct {
	opens   bool   // the sessions are opened first
	warms   bool   // there is a time to warm up
	ends    bool   // it ends by itself, or waits for nothing at its end
	missing string // the fault when n replies never came
}

var kinds = map[Kind]func() kind{
	Echo:               func() kind { return new(echo) },
	OpenLoop:           func() kind { return new(openLoop) },
	PollHandshake:      func() kind { return new(pollHandshake) },
	PollHandshakeNew:   func() kind { return new(pollHandshake) },
	WebSocketHandshake: func() kind { return new(wsHandshake) },
	UpgradeDance:       func() kind { return new(upgradeDance) },
	PollCycle:          func() kind { return new(pollCycle) },
	Broadcast:          func() kind { return new(broadcast) },
	Idle:               func() kind { return new(idle) },
	Connect:            func() kind { return new(connect) },
	Storm:              func() kind { return new(storm) },
	SlowReaders:        func() kind { return new(slowReaders) },
	Heartbeats:         func() kind { return new(heartbeats) },
	Updates:            func() kind { return new(updates) },
}

// newKind returns the kind of p, which it checks.
func newKind(p *Plan) (kind, error) {
	k := kinds[p.Kind]
	if k == nil {
		return nil, fmt.Errorf("load: no kind %d", p.Kind)
	}
	var sized, sessions, polls bool
	switch p.Kind {
	case Echo, OpenLoop, Broadcast, SlowReaders:
		sized, sessions = true, true
	case PollCycle:
		sized, sessions, polls = true, true, true
	case UpgradeDance:
		sized, polls = true, true
	case Idle, Connect, Storm, Updates:
		sessions = true
	case PollHandshake, PollHandshakeNew:
		polls = true
	case Heartbeats:
		sized = p.Sessions > 0
	case WebSocketHandshake:
	}
	switch {
	case p.Duration <= 0:
		return nil, errors.New("load: a plan needs a Duration")
	case sized && p.Size < 1:
		return nil, errors.New("load: this kind needs a Size")
	case sessions && p.Sessions < 1:
		return nil, errors.New("load: this kind needs Sessions")
	case p.Kind == Heartbeats && (p.Watched < 1 || p.PingInterval <= 0 || p.Dialect == Raw):
		return nil, errors.New("load: this kind needs Watched and PingInterval, and a server with heartbeats")
	case p.Kind == Updates && (p.ReadRate < sipsPerSecond || p.Via == Upgraded || p.TLS != nil):
		return nil, errors.New("load: this kind needs a ReadRate, and WebSocket from the start without TLS")
	case p.InFlight < 0 || p.Sessions < 0 || p.WarmUp < 0 || p.Slow < 0:
		return nil, errors.New("load: a number in the plan is negative")
	case p.Dialect == Raw && (polls || p.Via == Upgraded):
		return nil, errors.New("load: a raw WebSocket server knows no polling")
	case p.Kind == OpenLoop && !(p.Rate > 0 && p.Rate <= 1e8):
		return nil, errors.New("load: an open loop needs a Rate")
	case p.Kind == SlowReaders && (p.Slow < 1 || p.SlowSize < 1):
		return nil, errors.New("load: this kind needs Slow and SlowSize")
	}
	return k(), nil
}

// base is a kind that does nothing.
type base struct{ *runner }

func (b *base) attach(r *runner) {
	b.runner = r
	r.populate(r.plan.Sessions, r.plan.way(), openers)
}

func (b *base) begin()           {}
func (b *base) end()             {}
func (b *base) tick()            {}
func (b *base) next() int64      { return math.MaxInt64 }
func (b *base) pending() int     { return 0 }
func (b *base) opened(*session)  {}
func (b *base) closed(*session)  {}
func (b *base) lost(*session)    {}
func (b *base) posted(*session)  {}
func (b *base) settled(*session) {}
func (b *base) pinged(*session)  {}
func (b *base) message(s *session, data []byte, _ bool) {
	b.wrong(1, "session %d: an unexpected message: %.80q", s.number, data)
}

// populate makes n more sessions, which open so many at a time.
func (r *runner) populate(n int, w way, limit int) {
	for range n {
		r.sessions = append(r.sessions, &session{r: r, number: uint32(len(r.sessions)), way: w})
	}
	r.opening.limit = limit
}

func (p *Plan) way() way {
	if p.Via == Upgraded {
		return byUpgrade
	}
	return byWebSocket
}

// check takes a reply to a message of s and returns how many of them are no
// longer due: one, or more where some were lost. It borrows data.
func (r *runner) check(s *session, data []byte, binary bool) int {
	n := r.match(s, s.number, data, binary)
	if n > int(s.sent-s.received) {
		n = int(s.sent - s.received)
	}
	s.received += uint32(n)
	return n
}

// match compares data with the next message of sender that s is to get, every
// byte. What differs is wrong. If it is a later message, those before it are
// lost; the result is how many messages s has dealt with by it, 0 for one that
// came twice.
func (r *runner) match(s *session, sender uint32, data []byte, binary bool) int {
	if s.sent != s.received && r.messages.is(data, binary, sender, s.received) {
		return 1
	}
	seq, ok := r.messages.find(data, binary, sender)
	switch ahead := int32(seq - s.received); {
	case ok && ahead < 0:
		r.wrong(1, "session %d: message %d came again", s.number, seq)
		return 0
	case s.sent == s.received:
		r.wrong(1, "session %d: a message more than was sent: %.80q", s.number, data)
		return 0
	case ok && ahead > 0 && seq-s.received < s.sent-s.received:
		r.wrong(int64(ahead), "session %d: message %d instead of %d: %d lost", s.number, seq, s.received, ahead)
		return int(ahead) + 1
	}
	r.wrong(1, "session %d: wrong content instead of message %d: %.80q", s.number, s.received, data)
	return 1
}
