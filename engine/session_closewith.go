package engine

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ClosedByApp is what Events.Close is told, with ReasonForcedClose, of a session that
// CloseWith has ended.
type ClosedByApp struct {
	Code   int
	Reason string
}

// Error names both.
func (c *ClosedByApp) Error() string {
	return fmt.Sprintf("engine: closed by the application: %d %q", c.Code, c.Reason)
}

// maxCloseReason is what a close frame has room for behind the code (RFC 6455, 5.5).
const maxCloseReason = 123

// The errors of CloseWith besides ErrClosed.
var (
	errCloseCode   = errors.New("engine: a close code has to be 1000, 1008, 1011 to 1014 or 3000 to 4999")
	errCloseReason = errors.New("engine: a close reason has to be UTF-8 of at most 123 bytes")
)

// check reports what is wrong with c. The other codes of RFC 6455 are the protocol's
// own, or say what only a WebSocket library can know.
func (c *ClosedByApp) check() error {
	switch n := c.Code; {
	case n != 1000 && n != 1008 && (n < 1011 || n > 1014) && (n < 3000 || n > 4999):
		return errCloseCode
	case len(c.Reason) > maxCloseReason || !utf8.ValidString(c.Reason):
		return errCloseReason
	}
	return nil
}

// CloseWith is Close with a code and a reason for the close event of a client's
// WebSocket. engine.io-client 6 hands both on in details.context of its event "close",
// next to the reason "transport close"; versions 1 to 3 hand on nothing. The code is
// 1000, 1008, 1011 to 1014 or 3000 to 4999; the reason is at most 123 bytes of UTF-8.
// Otherwise CloseWith returns an error and does nothing. It returns ErrClosed if the
// session is closing or closed already.
//
// Long-polling has no place for a code and a reason: a polling client is told what
// Close tells it. For clients that are not told, send a last message. Events.Close is told
// ReasonForcedClose and a *ClosedByApp on either transport, unless the client leaves,
// or does not take what is queued in time. Safe from any goroutine.
func (s *Session) CloseWith(code int, reason string) error {
	told := ClosedByApp{Code: code, Reason: reason}
	if err := told.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed() {
		return ErrClosed
	}
	s.set(publicQuit)
	s.endFor(endingInTurn)
	s.server.shard(s.loop).enqueue(&closeWithEntry{s, told}, true)
	return nil
}

// closeWithEntry is a CloseWith that waits for its turn, also where nothing is ahead of
// it: what it tells is in extra, which is the loop's.
type closeWithEntry struct {
	session *Session
	told    ClosedByApp
}

func (e *closeWithEntry) step() (more bool) {
	if e.session.state != sessionClosed {
		e.session.rare().told = &e.told
	}
	return (*endEntry)(e.session).step()
}

// told is what the application says of the session's end with CloseWith, or nil.
func (s *Session) told() *ClosedByApp {
	if s.extra == nil {
		return nil
	}
	return s.extra.told
}

// byApp is told as what Events.Close is told.
func (s *Session) byApp() error {
	if told := s.told(); told != nil {
		return told
	}
	return nil
}
