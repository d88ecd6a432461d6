package engine

import (
	"turbine/pool"
	"turbine/wsframe"
)

// unread is what was read from a session's WebSocket and is to be looked at in
// another turn. Its connection is paused meanwhile.
type unread struct {
	message wsframe.Message // in front of bytes; Compressed, or there is none
	packed  *pool.Buf       // has its payload; nil where the reader has it
	bytes   *pool.Buf       // nil when there are none
	over    bool            // the end of the stream has come behind them

	inLine bool // of the loop
	waits  bool // and counts there

	credit int // bytes that may be taken while a large message is compressed; see packing
}

// unread reports whether bytes wait for their turn.
func (s *Session) unread() bool {
	return s.extra != nil && (s.extra.unread.bytes != nil || s.extra.unread.message.Compressed)
}

// keep borrows p, which comes behind what waits and counts for Options.Limits.BodyBudget.
func (t *websocket) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	s := t.session
	u := &s.extra.unread
	if u.bytes == nil {
		u.bytes = pool.Spills.Get(len(p))
	}
	u.bytes.Append(p)
	s.server.shard(s.loop).bodies += int64(len(p))
}

// takeUnread takes the bytes that wait, which count no more; nil when there are none.
func (s *Session) takeUnread() (b *pool.Buf) {
	u := &s.extra.unread
	if b, u.bytes = u.bytes, nil; b != nil {
		s.server.shard(s.loop).bodies -= int64(b.Len())
	}
	return b
}

// putOff borrows p and lets it wait: for the next turn, or for the application to
// catch up.
func (t *websocket) putOff(p []byte) {
	s := t.session
	u := &s.rare().unread
	if !u.message.Compressed {
		_, _, _ = t.next(nil, s.server) // gives back the message before, which was taken
	}
	t.keep(p)
	if shard := s.server.shard(s.loop); len(p) > sparedMessage && shard.bodies > s.server.shares.bodies {
		t.fault(errMessageBudget)
		return
	}
	t.conn.Pause()
	if t.deflate.Accepted {
		s.server.shard(s.loop).stand(s)
	} else {
		s.goOnLater()
	}
}

// putOffMessage is putOff for a message, which is borrowed, and what is behind it.
func (t *websocket) putOffMessage(m wsframe.Message, rest []byte) {
	if u := &t.session.rare().unread; !u.message.Compressed {
		u.message = m
		if t.reader.Held() == 0 {
			u.packed = pool.Spills.Get(len(m.Payload))
			u.packed.Append(m.Payload)
			t.session.server.shard(t.session.loop).bodies += int64(len(m.Payload))
			u.message.Payload = u.packed.Bytes()
			if f := &t.session.server.shard(t.session.loop).line; f.begun == t.session {
				f.inflater.Moved(u.message.Payload)
			}
		}
	}
	t.putOff(rest)
}

// readShare takes messages of p, which is borrowed and comes next, from a compressed
// WebSocket, as many as the turn has time for.
func (t *websocket) readShare(p []byte) {
	s := t.session
	s.beginMessages()
	shard := s.server.shard(s.loop)
	w := stopwatch{line: &shard.line, loop: s.loop, begun: -1} // runs for compressed messages
	turn, slow := beginTurn(s.loop), false
	for taken := 0; s.state != sessionClosed; {
		if slow {
			w.line.spent += turnTime // its callbacks are expensive
		}
		if slow || t.isFull(p, taken, &w) {
			t.putOff(p)
			break
		}
		packed := t.mayInflate(p)
		if packed {
			w.start()
		}
		m, rest, err := t.nextOrUnread(p)
		if err == nil && m.Compressed {
			packed, done := m, false
			if m, done, err = t.unpack(packed, &w); !done {
				t.putOffMessage(packed, rest)
				break
			}
		}
		if err == nil {
			taken += len(m.Payload)
			s.useCredit(len(m.Payload))
			t.message(m)
			p = rest
			slow = len(p) > 0 && turn.over(shard)
		}
		if packed { // one look for the end of a message and the begin of the next
			w.lap()
		} else {
			w.stop()
		}
		if err != nil {
			t.fault(err)
			break
		}
	}
	if w.line.waiting == 0 {
		shard.inflater.Done()
	}
	if w.used == 0 {
		s.endMessages()
		return
	}
	w.start() // also what callbacks have sent is compressed at the cost of the line
	s.endMessages()
	w.lap()
}

// isFull reports whether p, which is in front of a compressed WebSocket, has to
// wait, now that taken bytes of messages were taken in this turn, and used of the
// line's time.
func (t *websocket) isFull(p []byte, taken int, w *stopwatch) bool {
	s := t.session
	first := s.extra != nil && s.extra.unread.message.Compressed // there is a message in front of p
	switch {
	case len(p) == 0 && !first:
		return false
	case s.has(publicPaused), s.packs() && !s.mayReadOn(), taken >= inflateTurn:
		return true
	}
	// What is not compressed, and has nothing in front of it, waits for nobody.
	f := w.line
	return (f.over(w.used) || f.waiting > 0 && !f.serving) && (first || t.mayInflate(p))
}

// mayInflate reports whether the message in front of p, or the one that continues
// there, may be a compressed one.
func (t *websocket) mayInflate(p []byte) bool {
	return len(p) > 0 && (p[0]&rsv1 != 0 || t.reader.Begun()) || t.session.unread()
}

// rsv1 marks a compressed message.
const rsv1 = 0x40

// nextOrUnread is next, where no message waits in front of p.
func (t *websocket) nextOrUnread(p []byte) (m wsframe.Message, rest []byte, err error) {
	s := t.session
	if s.extra != nil && s.extra.unread.message.Compressed {
		return s.extra.unread.message, p, nil
	}
	return t.next(p, s.server)
}

// unpack inflates a compressed message, which is borrowed, unless the connection's
// time is over before that is done.
func (t *websocket) unpack(m wsframe.Message, w *stopwatch) (unpacked wsframe.Message, done bool, err error) {
	s, f := t.session, w.line
	shard := s.server.shard(s.loop)
	d, begun := &shard.inflater, f.begun == s
	if begun {
		d = &f.inflater
	} else {
		beginInflate(m, d, s.takeover(), s.server.frames.Message)
	}
	for {
		payload, done, err := d.Step()
		if done || err != nil {
			if begun {
				f.begun = nil
				w.used = max(w.used, inflateSlice) // a large message is all that it has in its turn
			}
			s.dropMessage()
			m, err = inflated(m, payload, err)
			return m, true, err
		}
		if w.lap(); !f.over(w.used) {
			continue
		}
		switch {
		case begun:
		case f.hasPlace():
			f.begun = s
			f.inflater, shard.inflater = shard.inflater, f.inflater
		default:
			d.Done() // it begins anew
		}
		return m, false, nil
	}
}

// readOn takes what waits, and reads again where nothing waits any more.
func (t *websocket) readOn() {
	s := t.session
	if s.unread() {
		var p []byte
		b := s.takeUnread()
		if b != nil {
			p = b.Bytes()
		}
		if t.deflate.Accepted {
			t.readShare(p)
		} else {
			t.readAll(p)
		}
		if b != nil {
			b.Release()
		}
	}
	switch {
	case t.conn == nil || s.lags() || s.has(publicPaused):
	case s.extra != nil && s.extra.unread.over:
		t.EOF()
	default:
		t.conn.Resume()
	}
}

// dropMessage forgets the message that waits, if there is one.
func (s *Session) dropMessage() {
	if s.extra == nil {
		return
	}
	u := &s.extra.unread
	u.message = wsframe.Message{}
	if u.packed != nil {
		s.server.shard(s.loop).bodies -= int64(u.packed.Len())
		u.packed.Release()
		u.packed = nil
	}
}

// dropUnread forgets what waits.
func (s *Session) dropUnread() {
	if s.extra == nil {
		return
	}
	s.dropMessage()
	f, u := &s.server.shard(s.loop).line, &s.extra.unread
	if b := s.takeUnread(); b != nil {
		b.Release()
	}
	f.count(u, false)
	f.giveUp(s)
}
