//go:build linux

package load

import "time"

const (
	slowPace = int64(time.Millisecond) // between two messages of a slow session
	// slowTotal and slowEach bound what slow sessions send, all and each: a
	// server that queues without a limit would use up the machine's memory.
	slowTotal = 512 << 20
	slowEach  = 64 << 20
)

// slowReaders is echo next to sessions that send and never read.
type slowReaders struct {
	echo
	slow  []*session
	large *messages
	at    int64  // when the slow ones send next
	most  uint32 // messages of each
}

func (l *slowReaders) attach(r *runner) {
	l.echo.attach(r)
	p := &r.plan
	r.populate(p.Slow, p.way(), openers)
	l.slow = r.sessions[p.Sessions:]
	for _, s := range l.slow {
		s.slow = true
	}
	l.large = newMessages(p.SlowSize, 1, p.Binary, p.Dialect)
	l.most = uint32(max(1, min(slowEach, slowTotal/p.Slow)/l.large.frame))
}

// opened stops a slow session's reading, heartbeats included.
func (l *slowReaders) opened(s *session) {
	if s.slow {
		s.conns[roleSocket].deaf = true
	}
}

// tick sends a message of each slow session whose last one has left.
func (l *slowReaders) tick() {
	if l.now < l.at {
		return
	}
	l.at = l.now + slowPace
	for _, s := range l.slow {
		if s.state == stateOpen && s.sent < l.most && len(s.conns[roleSocket].out) == 0 {
			s.send(l.large, 1)
		}
	}
}

func (l *slowReaders) next() int64 { return l.at }
