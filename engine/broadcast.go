package engine

import (
	"turbine/loop"
)

// Broadcast sends p to every session that can take it. It returns at once:
// each loop goes through its sessions, some in each turn, so that it keeps
// serving others. What one caller does reaches each session in the order of the
// calls: Broadcast, Publish, Join, Leave, Send and Close, in all their forms. A
// caller is one goroutine, or the callbacks of one session. A session that is
// closing does not get p; to one whose queue is full, Options.Queue.Overflow applies.
//
// A Broadcast that has not begun waits, and no limit counts it: about 100 bytes a
// loop, and p itself. An application that broadcasts faster than its loops reach all
// sessions, in a loop of its own, fills the memory and has to hold itself back.
// Whoever lets clients broadcast bounds how often they may.
func (s *Server) Broadcast(p *Prepared) { s.BroadcastTo(p, nil) }

// BroadcastTo is Broadcast to those sessions for which keep, called on the
// session's loop, returns true. keep must not block. Nil keeps all.
func (s *Server) BroadcastTo(p *Prepared, keep func(*Session) bool) {
	if p == nil {
		return // not made by Prepare
	}
	s.each(func(owner loop.Alarm) {
		if a, ok := owner.(*sessionAlarm); ok {
			(*Session)(a).give(p, keep)
		}
	})
}

// give is SendPrepared on the session's loop, outside of its callbacks.
func (s *Session) give(p *Prepared, keep func(*Session) bool) {
	returned := false
	defer s.rescue(&returned)
	if keep == nil || s.asked(keep) {
		s.givePrepared(p)
	}
	returned = true
}

func (s *Session) givePrepared(p *Prepared) {
	if s.takesDirectly(p) {
		s.websocket.conn.WriteBuf(p.frame(s.revision))
		return
	}
	s.begin()
	_ = s.sendPrepared(p, true)
	s.run()
}

// takesDirectly reports whether p can go to the connection at once: nothing waits
// before it, so it needs to ask no limit, and no callback is to be called for it.
func (s *Session) takesDirectly(p *Prepared) bool {
	e := &s.server.events
	if s.state != sessionOpen || p.with.Sent != nil || e.PacketCreate != nil || e.Flush != nil || e.Flushed != nil || s.server.debug.socket != nil {
		return false
	}
	if s.transport != transport(&s.websocket) || !s.websocket.ready() || s.websocket.conn.Blocked() || s.websocket.deflate.Accepted && !p.with.NoCompress || p.binary && s.base64 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outbox == nil && !s.scheduled && !s.sealed.Load()
}
