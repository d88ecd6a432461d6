package engine

import "turbine/pool"

// inflateTurn is how many bytes of messages are taken from a compressed
// WebSocket in one turn, and one message more. What one read brings may become a
// thousand times as much, which others would wait for.
const inflateTurn = 256 << 10

// unread is what was read from a session's WebSocket and is to be looked at in
// another turn. Its connection is paused meanwhile.
type unread struct {
	bytes *pool.Buf // nil when there are none
	over  bool      // the end of the stream has come behind them
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
	_ = s.loop.Post((*readOnTask)(s)) // a stopped loop has closed it
}

// readOnTask is a Session as the Task that goes on with what waits.
type readOnTask Session

func (t *readOnTask) Run() {
	if s := (*Session)(t); s.unread() && !s.has(publicPaused) {
		s.websocket.readOn()
	}
}

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
