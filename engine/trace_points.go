package engine

import (
	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// Where a session tells its traces what happens. Each place looks at publicTraced of
// Session.public first, which most have at hand anyway, and calls these then. They are
// called on the session's loop.

// traced reports whether there is a trace of the session. Safe from any goroutine.
func (s *Session) traced() bool { return s.has(publicTraced) }

// trace gives a record to the traces of the session. It borrows data.
func (s *Session) trace(r TraceRecord, data []byte) {
	for _, t := range s.server.traces.list() {
		if t.session == s {
			t.add(r, data)
		}
	}
}

// tracePacket is for a packet on the transport that is named. It borrows p.
//
//go:noinline // or its record would be made room for in each caller, at each packet
func (s *Session) tracePacket(out bool, on Transport, p packet.Packet) {
	s.trace(TraceRecord{Event: TracePacket, Out: out, Transport: on, Type: p.Type, Binary: p.Binary, Bytes: len(p.Data)}, p.Data)
}

// traceIn is for a packet from the client that does not come by Session.packet.
func (s *Session) traceIn(on Transport, p packet.Packet) {
	if s.traced() {
		s.tracePacket(false, on, p)
	}
}

// traceProbed is for the answer to the probe of an upgrade.
func (s *Session) traceProbed() {
	if s.traced() {
		s.trace(TraceRecord{Event: TraceUpgradeProbed}, nil)
		s.tracePacket(true, WebSocket, packet.Packet{Type: packet.Pong, Data: []byte("probe")})
	}
}

// traceOwn is for packets of the protocol's own that answer a poll, and are in no batch.
func (s *Session) traceOwn(packets ...packet.Packet) {
	if s.traced() {
		for _, p := range packets {
			s.tracePacket(true, Polling, p)
		}
	}
}

// traceBatch is for a batch that is about to be given to the transport.
func (s *Session) traceBatch(batch []outgoing) {
	on := s.transport.kind()
	for i := range batch {
		o := &batch[i]
		if o.frames == 0 {
			s.tracePacket(true, on, o.packet())
			continue
		}
		for rest := o.data.Bytes(); len(rest) > 0; {
			head, n, err := wsframe.ParseHeader(rest)
			if err != nil { // the frames are our own
				break
			}
			end := n + int(head.Length)
			p, _ := s.revision.Decode(rest[n:end], head.OpCode == ws.OpBinary)
			s.tracePacket(true, on, p)
			rest = rest[end:]
		}
	}
}

// traceChange is for what is rare: changes of the session's state.
func (s *Session) traceChange(r TraceRecord) {
	if s.traced() {
		s.trace(r, nil)
	}
}

// traceClose ends the traces of the session. One that begins meanwhile sees that the
// session has ended.
func (s *Session) traceClose(reason Reason, err error) {
	if !s.traced() {
		return
	}
	for _, t := range s.server.traces.list() {
		if t.session == s {
			t.end(TraceClosed, TraceRecord{Event: TraceClose, Reason: reason, Err: err})
		}
	}
}
