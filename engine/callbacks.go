package engine

import "turbine/engine/packet"

// The callbacks. Each is called from exactly one place, where a panic is
// caught: it costs the session and one line in the log.

func (s *Session) tellOpen(r *Request) {
	if s.server.events.Open != nil {
		defer s.rescue()
		s.server.events.Open(s, r)
	}
}

func (s *Session) tellMessage(m Message) {
	if s.server.events.Message != nil {
		defer s.rescue()
		s.server.events.Message(s, m)
	}
}

func (s *Session) tellPacket(p Packet) {
	if s.server.events.Packet != nil && !s.sealed.Load() {
		defer s.rescue()
		s.server.events.Packet(s, p)
	}
}

// tellMessageCreate may run on any goroutine: a panic there is the caller's own.
func (s *Session) tellMessageCreate(binary bool, data []byte) {
	if s.server.events.PacketCreate != nil && s.takes(packetSize+len(data)) {
		s.server.events.PacketCreate(s, Packet{Type: packet.Message, Binary: binary, Data: data})
	}
}

// tellOwnPacket calls PacketCreate for packets of the server's own, on the
// session's loop.
func (s *Session) tellOwnPacket(p Packet) {
	if s.server.events.PacketCreate != nil {
		defer s.rescue()
		s.server.events.PacketCreate(s, p)
	}
}

func (s *Session) tellHeartbeat() {
	if s.server.events.Heartbeat != nil {
		defer s.rescue()
		s.server.events.Heartbeat(s)
	}
}

func (s *Session) tellUpgrading() {
	if s.server.events.Upgrading != nil {
		defer s.rescue()
		s.server.events.Upgrading(s)
	}
}

func (s *Session) tellFlush(packets int) {
	if s.server.events.Flush != nil {
		defer s.rescue()
		s.server.events.Flush(s, packets)
	}
}

func (s *Session) tellFlushed() {
	if s.server.events.Flushed != nil {
		defer s.rescue()
		s.server.events.Flushed(s)
	}
}

// visit is a callback of Server.Each.
func (s *Session) visit(f func(*Session)) {
	defer s.rescue()
	f(s)
}

// tellSent calls back for a message that was sent.
func (s *Session) tellSent(f func()) {
	defer s.rescue()
	f()
}

func (s *Session) tellUpgrade() {
	if s.server.events.Upgrade != nil {
		defer s.rescue()
		s.server.events.Upgrade(s)
	}
}

func (s *Session) tellHighWater(buffered int) {
	if s.server.events.HighWater != nil {
		defer s.rescue()
		s.server.events.HighWater(s, buffered)
	}
}

func (s *Session) tellLowWater() {
	if s.server.events.LowWater != nil {
		defer s.rescue()
		s.server.events.LowWater(s)
	}
}

func (s *Session) tellDrain() {
	if s.server.events.Drain != nil {
		defer s.rescue()
		s.server.events.Drain(s)
	}
}

func (s *Session) tellClose(reason Reason, err error) {
	if s.server.events.Close != nil {
		defer s.rescue()
		s.server.events.Close(s, reason, err)
	}
}

// rescue is deferred around each callback.
func (s *Session) rescue() {
	p := recover()
	if p == nil {
		return
	}
	s.server.shard(s.loop).logPanic(s.server.options.Logger, "panic in a callback; its session is closed", p)
	s.close(ReasonTransportError, ErrCallbackPanic)
}
