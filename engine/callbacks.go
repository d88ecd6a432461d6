package engine

import "turbine/engine/packet"

// The callbacks of sessions. Each is called from exactly one place, where a panic
// is caught: it costs the session and one line in the log. With an Executor those
// that tell what has happened are called by a worker, in event.call.

func (s *Session) tellOpen(r *Request) {
	if s.server.events.Open == nil {
		return
	}
	if s.server.dispatch != nil {
		s.defers(event{kind: eventOpen, with: r.Clone()}, nil)
		return
	}
	defer s.rescue()
	s.enter(callOpen)
	s.server.events.Open(s, r)
}

// tellMessage is between beginMessages and run.
func (s *Session) tellMessage(m Message) {
	if s.server.events.Message == nil {
		return
	}
	if s.server.dispatch != nil {
		s.defers(event{kind: eventMessage, binary: m.Binary}, m.Data)
		return
	}
	defer s.rescueMessage()
	s.server.events.Message(s, m)
}

func (s *Session) tellPacket(p Packet) {
	if s.server.events.Packet != nil && !s.sealed.Load() {
		defer s.rescue()
		s.enter(callPacket)
		s.server.events.Packet(s, p)
	}
}

// tellMessageCreate may run on any goroutine: a panic there is the caller's own.
func (s *Session) tellMessageCreate(binary bool, data []byte, inTurn bool) {
	if s.server.events.PacketCreate != nil && s.takes(packetSize+len(data), inTurn) {
		s.server.events.PacketCreate(s, Packet{Type: packet.Message, Binary: binary, Data: data})
	}
}

// tellOwnPacket calls PacketCreate for packets of the server's own, on the
// session's loop.
func (s *Session) tellOwnPacket(p Packet) {
	if s.server.events.PacketCreate != nil {
		defer s.rescue()
		s.enter(callPacketCreate)
		s.server.events.PacketCreate(s, p)
	}
}

func (s *Session) tellHeartbeat() {
	s.tell(s.server.events.Heartbeat, callHeartbeat, eventHeartbeat)
}

func (s *Session) tellUpgrading() {
	s.tell(s.server.events.Upgrading, callUpgrading, eventUpgrading)
}

func (s *Session) tellUpgrade() { s.tell(s.server.events.Upgrade, callUpgrade, eventUpgrade) }

func (s *Session) tellLowWater() { s.tell(s.server.events.LowWater, callLowWater, eventLowWater) }

func (s *Session) tellDrain() { s.tell(s.server.events.Drain, callDrain, eventDrain) }

// tell is for callbacks that are told the session alone.
func (s *Session) tell(callback func(*Session), call callKind, kind eventKind) {
	if callback == nil || s.defers(event{kind: kind}, nil) {
		return
	}
	defer s.rescue()
	s.enter(call)
	callback(s)
}

func (s *Session) tellFlush(packets int) {
	if s.server.events.Flush != nil {
		defer s.rescue()
		s.enter(callFlush)
		s.server.events.Flush(s, packets)
	}
}

func (s *Session) tellFlushed() {
	if s.server.events.Flushed != nil {
		defer s.rescue()
		s.enter(callFlushed)
		s.server.events.Flushed(s)
	}
}

// tellSent calls back for a message that was sent.
func (s *Session) tellSent(f func()) {
	if s.defers(event{kind: eventSent, with: f}, nil) {
		return
	}
	defer s.rescue()
	s.enter(callSent)
	f()
}

func (s *Session) tellHighWater(buffered int) {
	if s.server.events.HighWater == nil || s.defers(event{kind: eventHighWater, number: buffered}, nil) {
		return
	}
	defer s.rescue()
	s.enter(callHighWater)
	s.server.events.HighWater(s, buffered)
}

// tellClose is the last of a session: with an Executor also where the
// application does not ask for it, for what waits is dropped after a panic until
// it comes.
func (s *Session) tellClose(reason Reason, err error) {
	if err == ErrPendingBudget && !s.has(publicOpened) {
		return // there was no room for Open
	}
	if s.defers(event{kind: eventClose, reason: reason, with: err}, nil) || s.server.events.Close == nil {
		return
	}
	defer s.rescue()
	s.enter(callClose)
	s.server.events.Close(s, reason, err)
}

// asked calls keep, of BroadcastTo or PublishTo. The caller defers rescue.
func (s *Session) asked(keep func(*Session) bool) bool {
	s.enter(callKeep)
	kept := keep(s)
	s.server.shard(s.loop).mark.leave()
	return kept
}

// enter notes for the watchdog which callback begins; rescue, that it is over.
func (s *Session) enter(call callKind) { s.server.shard(s.loop).mark.enter(call, s) }

// rescue is deferred around each callback.
func (s *Session) rescue() {
	s.server.shard(s.loop).mark.leave()
	if p := recover(); p != nil {
		s.panicked(p)
	}
}

// rescueMessage is rescue where run says that the callbacks are over.
func (s *Session) rescueMessage() {
	if p := recover(); p != nil {
		s.panicked(p)
	}
}

func (s *Session) panicked(p any) {
	s.server.logPanic(s.loop, "panic in a callback; its session is closed", p)
	s.close(ReasonTransportError, ErrCallbackPanic)
}
