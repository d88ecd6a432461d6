package engine

import (
	"time"

	"turbine/pool"
)

const (
	// inflateTurn is how many bytes of messages are taken from a compressed
	// WebSocket in one turn, and one message more. What one read brings may become
	// a thousand times as much, which others would wait for.
	inflateTurn = 256 << 10
	// inflateShare is how long a loop may take for compressed messages, of all
	// connections together, until other work has had its turn, and one message
	// more: bytes say little of what they cost. It is as long as the loop's own
	// portions.
	inflateShare = 200 * time.Microsecond
)

// inflating is what a loop's connections with compression have of its time. Those
// whose bytes wait for it stand in line: however many they are, all of them
// together have one share between two looks at the sockets.
type inflating struct {
	spent   time.Duration // since the line had its last share
	line    []*Session    // those with unread bytes, the first to come in front
	posted  bool          // a lineTask is under way
	serving bool          // it runs
}

// lineTask is a shard as the Task that gives the line its share.
type lineTask shard

func (t *lineTask) Run() {
	h := (*shard)(t)
	f := &h.inflating
	f.posted, f.serving, f.spent = false, true, 0
	defer func() { // also where a callback panics
		f.serving = false
		if len(f.line) > 0 {
			h.giveShare()
			return
		}
		f.line, f.spent = nil, 0
	}()
	for n := len(f.line); n > 0 && f.spent < inflateShare; n-- {
		s := f.line[0]
		f.line[0] = nil
		f.line = f.line[1:]
		if s.extra == nil {
			continue
		}
		s.extra.unread.inLine = false
		if s.unread() && !s.has(publicPaused) {
			s.websocket.readOn() // may stand in line again
		}
	}
}

// giveShare has the line have its share once others had theirs.
func (sh *shard) giveShare() {
	if f := &sh.inflating; !f.posted {
		f.posted = sh.loop.Post((*lineTask)(sh)) == nil // a stopped loop has closed them
	}
}

// unread is what was read from a session's WebSocket and is to be looked at in
// another turn. Its connection is paused meanwhile.
type unread struct {
	bytes  *pool.Buf // nil when there are none
	over   bool      // the end of the stream has come behind them
	inLine bool      // of the loop's inflating
}

// unread reports whether bytes wait for their turn.
func (s *Session) unread() bool { return s.extra != nil && s.extra.unread.bytes != nil }

// putOff borrows p and lets it wait: for the next turn, or for the application to
// catch up.
func (t *websocket) putOff(p []byte) {
	s := t.session
	b := pool.Spills.Get(len(p))
	b.Append(p)
	s.rare().unread.bytes = b
	_, _, _ = t.receive(nil, s.server, nil) // gives back the message before, which was taken
	t.conn.Pause()
	h := s.server.shard(s.loop)
	if u := &s.extra.unread; !u.inLine {
		u.inLine = true
		h.inflating.line = append(h.inflating.line, s)
	}
	h.giveShare()
}

// readShare takes messages of p, which is borrowed, from a compressed WebSocket, as
// many as the turn has time for.
func (t *websocket) readShare(p []byte) {
	s := t.session
	f := &s.server.shard(s.loop).inflating
	begun := time.Duration(-1) // with the compressed message in front, or not at all
	for taken := 0; s.state != sessionClosed; {
		if t.isFull(p, taken) {
			t.putOff(p)
			break
		}
		packed := t.mayInflate(p)
		if packed && begun < 0 {
			begun = s.loop.Look()
		}
		m, rest, err := t.receive(p, s.server, s.takeover())
		if err == nil {
			taken += len(m.Payload)
			t.message(m)
			p = rest
		}
		if packed { // one look for the end of a message and the begin of the next
			now := s.loop.Look()
			f.spent += now - begun
			begun = now
		} else {
			begun = -1
		}
		if err != nil {
			t.fault(err)
			break
		}
	}
	s.server.shard(s.loop).inflater.Done()
}

// isFull reports whether p, which is in front of a compressed WebSocket, has to
// wait, now that taken bytes of messages were taken in this turn.
func (t *websocket) isFull(p []byte, taken int) bool {
	s := t.session
	switch {
	case len(p) == 0:
		return false
	case s.has(publicPaused), taken >= inflateTurn:
		return true
	}
	// What is not compressed, and has nothing in front of it, waits for nobody.
	f := &s.server.shard(s.loop).inflating
	return (f.spent >= inflateShare || len(f.line) > 0 && !f.serving) && t.mayInflate(p)
}

// mayInflate reports whether the message in front of p, or the one that goes on
// there, may be a compressed one.
func (t *websocket) mayInflate(p []byte) bool {
	return len(p) > 0 && (p[0]&rsv1 != 0 || t.reader.Begun())
}

// rsv1 marks a compressed message.
const rsv1 = 0x40

// readOn goes on with what waits, and reads again where nothing does any more.
func (t *websocket) readOn() {
	s := t.session
	if s.unread() {
		b := s.extra.unread.bytes
		s.extra.unread.bytes = nil
		t.Data(b.Bytes())
		b.Release()
	}
	switch {
	case t.conn == nil || s.unread() || s.has(publicPaused):
	case s.extra != nil && s.extra.unread.over:
		t.EOF()
	default:
		t.conn.Resume()
	}
}

// dropUnread forgets what waits.
func (s *Session) dropUnread() {
	if s.unread() {
		s.extra.unread.bytes.Release()
		s.extra.unread.bytes = nil
	}
}
