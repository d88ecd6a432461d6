package engine

import (
	"turbine/engine/packet"
	"turbine/httpparse"
	"turbine/loop"
	"turbine/pool"

	"github.com/gobwas/ws"

	"turbine/wsframe"
)

// admit asks the application. message is what the client is told if not ok.
func (s *Server) admit(r *httpparse.Request, conn *loop.Conn) (message string, ok bool) {
	if s.events.Admit == nil {
		return "", true
	}
	defer func() {
		if p := recover(); p != nil {
			s.shard(conn.Loop()).logPanic(s.options.Logger, "panic in Admit; the client is refused", p)
			message, ok = refusedForbidden.message, false
		}
	}()
	if err := s.events.Admit(&Request{http: r, conn: conn}); err != nil {
		if message = err.Error(); message == "" {
			message = refusedForbidden.message
		}
		return message, false
	}
	return "", true
}

// handshake begins a polling session on x's own loop, with the open packet as
// the answer.
func (s *Server) handshake(x *exchange, r *httpparse.Request) {
	conn := x.http.conn
	on := conn.Loop()
	if s.closing.Load() {
		x.answer(on, 503, typeText, "Service Unavailable")
		return
	}
	if message, ok := s.admit(r, conn); !ok {
		x.refuse(on, refusedForbidden, message)
		return
	}
	if !s.options.allowsRevision(x.query.revision) {
		x.refuse(on, refusedRevision, "")
		return
	}
	session, ok := s.register(on, x.query)
	if !ok {
		x.answer(on, 503, typeText, "Service Unavailable")
		return
	}
	t := &polling{session: session}
	session.setTransport(t)
	session.startHeartbeat()

	open := packet.Packet{Type: packet.Open, Data: session.openData()}
	t.poll = x
	t.respond([]packet.Packet{open})
	session.begin()
	session.tellOpen(&Request{http: r, conn: conn})
	session.run()
}

// openWebSocket begins a session on a WebSocket just opened. It borrows r and
// rest, what came behind the handshake.
func (s *Server) openWebSocket(conn *loop.Conn, q query, r *httpparse.Request, rest []byte) {
	session, ok := s.register(conn.Loop(), q)
	if !ok {
		rejectWebSocket(conn)
		return
	}
	t := &session.websocket
	t.conn = conn
	session.setTransport(t)
	conn.SetHandler(t)
	session.startHeartbeat()

	data := session.openData()
	b := pool.Frames.Get(len(data) + 1)
	b.Append(data)
	b.Prepend(1)[0] = '0'
	wsframe.PutHeader(b, ws.OpText)
	conn.WriteBuf(b)
	b.Release()

	session.begin()
	session.tellOpen(&Request{http: r, conn: conn})
	session.run()
	if session.state != sessionClosed {
		t.Data(rest)
	}
}

// openData is the JSON of the open packet, in the loop's scratch: valid until
// the next use of it.
func (s *Session) openData() []byte {
	o := &s.server.options
	shard := s.server.shard(s.loop)
	var upgrades []string
	if s.Transport() == Polling && o.allows(WebSocket) && !o.NoUpgrades {
		upgrades = upgradesFromPolling
	}
	shard.scratch = packet.AppendOpen(shard.scratch[:0], packet.OpenData{
		SID:          s.ID(),
		Upgrades:     upgrades,
		PingInterval: o.PingInterval,
		PingTimeout:  o.PingTimeout,
		MaxPayload:   o.MaxPayload,
	})
	return shard.scratch
}

var upgradesFromPolling = []string{"websocket"}
