package engine

import (
	"net/http"
	"runtime/debug"

	"turbine/engine/packet"
	"turbine/httpparse"
	"turbine/loop"
)

// The callbacks of the application. Each is called from exactly one place, where
// a panic is caught: it costs the session, or the client that was asked about,
// and one line in the log. With an Executor the callbacks that tell what has
// happened are called by a worker, in event.call.

func (s *Session) tellOpen(r *Request) {
	if s.server.events.Open == nil {
		return
	}
	if s.server.dispatch != nil {
		s.defers(event{kind: callOpen, with: r.Clone()}, nil)
		return
	}
	returned := false
	defer s.rescue(&returned)
	s.enter(callOpen)
	s.server.events.Open(s, r)
	returned = true
}

// tellMessage is between beginMessages and endMessages.
func (s *Session) tellMessage(m Message) {
	if s.server.events.Message == nil {
		return
	}
	if s.server.dispatch != nil {
		s.defers(event{kind: callMessage, binary: m.Binary}, m.Data)
		return
	}
	returned := false
	defer s.rescueMessage(&returned)
	s.server.events.Message(s, m)
	returned = true
}

func (s *Session) tellPacket(p Packet) {
	if s.server.events.Packet != nil && !s.sealed() {
		returned := false
		defer s.rescue(&returned)
		s.enter(callPacket)
		s.server.events.Packet(s, p)
		returned = true
	}
}

// tellMessageCreate may run on any goroutine: a panic there is the caller's own.
func (s *Session) tellMessageCreate(binary bool, data []byte, with *SendOptions, inTurn bool) {
	if s.server.events.PacketCreate != nil && s.takes(packetSize+len(data), with, inTurn) {
		s.server.events.PacketCreate(s, Packet{Type: packet.Message, Binary: binary, Data: data})
	}
}

// tellOwnPacket calls PacketCreate for packets of the server's own, on the
// session's loop.
func (s *Session) tellOwnPacket(p Packet) {
	if s.server.events.PacketCreate != nil {
		returned := false
		defer s.rescue(&returned)
		s.enter(callPacketCreate)
		s.server.events.PacketCreate(s, p)
		returned = true
	}
}

func (s *Session) tellHeartbeat() {
	s.tell(s.server.events.Heartbeat, callHeartbeat)
}

func (s *Session) tellUpgrading() {
	s.tell(s.server.events.Upgrading, callUpgrading)
}

func (s *Session) tellUpgrade() { s.tell(s.server.events.Upgrade, callUpgrade) }

func (s *Session) tellLowWater() { s.tell(s.server.events.LowWater, callLowWater) }

func (s *Session) tellDrain() { s.tell(s.server.events.Drain, callDrain) }

// tell is for callbacks that are told the session alone.
func (s *Session) tell(callback func(*Session), kind callKind) {
	if callback == nil || s.defers(event{kind: kind}, nil) {
		return
	}
	returned := false
	defer s.rescue(&returned)
	s.enter(kind)
	callback(s)
	returned = true
}

// tellFlush is for whoever has seen that Events.Flush is not nil: packets are counted
// for it alone.
func (s *Session) tellFlush(packets int) {
	returned := false
	defer s.rescue(&returned)
	s.enter(callFlush)
	s.server.events.Flush(s, packets)
	returned = true
}

func (s *Session) tellFlushed() {
	if s.server.events.Flushed != nil {
		returned := false
		defer s.rescue(&returned)
		s.enter(callFlushed)
		s.server.events.Flushed(s)
		returned = true
	}
}

// tellSent calls back for a message that was sent.
func (s *Session) tellSent(f func()) {
	if s.defers(event{kind: callSent, with: f}, nil) {
		return
	}
	returned := false
	defer s.rescue(&returned)
	s.enter(callSent)
	f()
	returned = true
}

func (s *Session) tellHighWater(buffered int) {
	if s.server.events.HighWater == nil || s.defers(event{kind: callHighWater, number: buffered}, nil) {
		return
	}
	returned := false
	defer s.rescue(&returned)
	s.enter(callHighWater)
	s.server.events.HighWater(s, buffered)
	returned = true
}

// tellClose is the last of a session: with an Executor also where the
// application does not ask for it, for what waits is dropped after a panic until
// it comes.
func (s *Session) tellClose(reason Reason, err error) {
	if err == ErrPendingBudget && !s.has(publicOpened) {
		return // there was no room for Open
	}
	if s.defers(event{kind: callClose, reason: reason, with: err}, nil) || s.server.events.Close == nil {
		return
	}
	returned := false
	defer s.rescue(&returned)
	s.enter(callClose)
	s.server.events.Close(s, reason, err)
	returned = true
}

// asked calls an Audience.Keep. The caller defers rescue.
func (s *Session) asked(keep func(*Session) bool) bool {
	s.enter(callKeep)
	kept := keep(s)
	s.server.shard(s.loop).mark.leave()
	return kept
}

// enter notes for the watchdog which callback begins; rescue, that it is over.
func (s *Session) enter(call callKind) { s.server.shard(s.loop).mark.enter(call, s) }

// rescue is deferred around each callback, which sets returned as the last that it
// does: recover does not tell a return from runtime.Goexit.
func (s *Session) rescue(returned *bool) {
	s.server.shard(s.loop).mark.leave()
	if !*returned {
		s.panicked(recover())
	}
}

// rescueMessage is rescue where endMessages says that the callbacks are over.
func (s *Session) rescueMessage(returned *bool) {
	if !*returned {
		s.panicked(recover())
	}
}

// panicked closes the session that a callback has panicked for; p is nil if it has
// called runtime.Goexit, after which nothing but deferred calls is run.
func (s *Session) panicked(p any) {
	if p == nil {
		s.server.shard(s.loop).mark.end()
	}
	s.server.logPanic(s.loop, "panic in a callback; its session is closed", p)
	s.fail(ErrCallbackPanic)
}

// tellAdmit reports whether the application has nothing against a. After a panic
// it has.
func (h *httpConn) tellAdmit(a *Admission) (admitted bool, d denial) {
	d = panicked()
	h.call(callAdmit, func() {
		err := a.ask()
		if admitted = err == nil; !admitted {
			d = denied(err)
		}
	})
	return admitted, d
}

// tellHeaders asks the application for header fields of a response with status
// 200 or 101.
func (h *httpConn) tellHeaders(r *httpparse.Request) {
	e := &h.server.events
	if e.Headers == nil && e.InitialHeaders == nil {
		return
	}
	header, mark, returned := http.Header{}, h.mark(), false
	defer func() {
		mark.leave()
		if !returned {
			h.server.logPanic(h.conn.Loop(), "panic in Headers", recover())
		}
		h.exchange.okay = appendHeaderLines(h.exchange.okay, header)
	}()
	request := h.server.newRequest(r, h.conn)
	if e.InitialHeaders != nil && !h.exchange.query.hasSID {
		mark.enter(callInitialHeaders, nil)
		e.InitialHeaders(request, header)
	}
	if e.Headers != nil {
		mark.enter(callHeaders, nil)
		e.Headers(request, header)
	}
	returned = true
}

func (s *Server) tellConnectionError(on *loop.Loop, r *Request, e *HandshakeError) {
	mark := &s.shard(on).mark
	mark.enter(callConnectionError, nil)
	returned := false
	defer func() {
		mark.leave()
		if !returned {
			s.logPanic(on, "panic in ConnectionError", recover())
		}
	}()
	s.events.ConnectionError(r, e)
	returned = true
}

// mark is that of the connection's loop.
func (h *httpConn) mark() *mark { return &h.server.shard(h.conn.Loop()).mark }

// enter notes that a callback without a session begins. The result's leave is to
// be deferred.
func (h *httpConn) enter(k callKind) *mark {
	m := h.mark()
	m.enter(k, nil)
	return m
}

// call is around f, which asks the application about a client without a session.
// It reports false after a panic in f, for which the caller refuses the client.
func (h *httpConn) call(k callKind, f func()) (ok bool) {
	mark := h.enter(k)
	defer func() {
		mark.leave()
		if !ok {
			h.server.logPanic(h.conn.Loop(), "panic in "+k.String()+"; the client is refused", recover())
		}
	}()
	f()
	ok = true
	return ok
}

// logPanic logs a panic of a callback on the loop l, at most one a second of each
// loop: what a client can cause at will must not fill a disk. p is nil after
// runtime.Goexit, of which the loop tells.
func (s *Server) logPanic(l *loop.Loop, message string, p any) {
	if p == nil {
		return
	}
	if suppressed, ok := s.shard(l).panics.Allow(l.Now()); ok {
		s.options.Logger.Error(message, "panic", p, "stack", string(debug.Stack()), "suppressed", suppressed)
	}
}
