package engine

import (
	"strconv"

	"turbine/engine/packet"
	"turbine/httpparse"
	"turbine/loop"
	"turbine/pool"
	"turbine/wsframe"
)

// handshakeRequest begins a session, on the connection's own loop. It borrows r, its
// bytes, head, and rest, what came behind a WebSocket handshake.
func (h *httpConn) handshakeRequest(r *httpparse.Request, head, rest []byte) {
	if h.server.phase.draining() {
		h.unavailable(CauseDraining)
		return
	}
	if a, ok := h.admit(r, head); ok {
		h.admitted(r, a, rest)
	}
}

// admitted continues a handshake that the application does not refuse.
func (h *httpConn) admitted(r *httpparse.Request, a *Admission, rest []byte) {
	s, x := h.server, &h.exchange
	if e := h.unfit(r, a); e != nil {
		x.headers = appendHeaderLines(x.headers, a.headers)
		h.refuseFor(r, e)
		return
	}
	if !h.takePlace(r, a) {
		return
	}
	defer s.freePlace(a)
	if !x.webSocket {
		h.openPolling(r, a)
		return
	}
	x.okay = appendHeaderLines(x.okay, a.headers)
	h.answerWebSocket(r, func(conn *loop.Conn) { s.openWebSocket(conn, x.query, r, a, rest) })
}

// unfit is why no session can begin that the application has admitted, nil if it
// can. It asks the application for what the session needs: its binding, its id.
func (h *httpConn) unfit(r *httpparse.Request, a *Admission) *HandshakeError {
	s, x := h.server, &h.exchange
	if !s.options.allowsRevision(x.query.revision) {
		return refusedRevision.because("", queryValue(r, "EIO"), "")
	}
	if s.options.Access.Bind != nil {
		var ok bool
		if a.binding, ok = h.bind(r); !ok {
			return refusedForbidden.because("BINDING_MISMATCH", ErrCallbackPanic.Error(), "")
		}
	}
	if a.id == "" && s.options.GenerateID != nil {
		id, err := h.generateID(r)
		if err != nil {
			return refusedRequest.because("ID_GENERATION_ERROR", err.Error(), "")
		}
		a.id = id
	}
	if a.id != "" && !usableID(a.id) {
		s.logFault("an id of the application refuses a client", errUnusableID.Error(), r, h.conn)
		return refusedRequest.because("ID_GENERATION_ERROR", errUnusableID.Error(), "")
	}
	if a.id != "" {
		a.id = s.named(a.id)
		if len(a.id) > maxChosenID && s.options.Node != nil {
			s.logFault("an id of the application refuses a client", errLongID.Error(), r, h.conn)
			return refusedRequest.because("ID_GENERATION_ERROR", errLongID.Error(), "")
		}
	}
	if a.id != "" && s.ownIDs.taken(a.id) {
		return refusedRequest.because("ID_GENERATION_ERROR", "the id is in use", "")
	}
	return nil
}

func (h *httpConn) generateID(r *httpparse.Request) (id string, err error) {
	ok := h.call(callGenerateID, func() { id, err = h.server.options.GenerateID(h.server.newRequest(r, h.conn)) })
	switch {
	case !ok:
		return "", ErrCallbackPanic
	case err != nil:
		h.server.logFault("an error of GenerateID refuses a client", err.Error(), r, h.conn)
	case id == "":
		return "", errEmptyID
	}
	return id, err
}

// maxJSONPIndex is the most digits of a JSONP client's index, which is kept for
// the session's life. Clients count from 0.
const maxJSONPIndex = 32

// openPolling begins a polling session, with the open packet as the answer.
func (h *httpConn) openPolling(r *httpparse.Request, a *Admission) {
	s, x, on := h.server, &h.exchange, h.conn.Loop()
	var jsonp []byte
	if x.query.jsonp {
		jsonp = packet.JSONPIndex(make([]byte, 0, 8), []byte(queryValue(r, "j")))
		if len(jsonp) > maxJSONPIndex {
			h.refuseFor(r, refusedRequest.because("TRANSPORT_HANDSHAKE_ERROR", "j has too many digits", ""))
			return
		}
	}
	session, ok := s.register(on, x.query, a)
	if !ok {
		h.unavailable(CauseSessions)
		return
	}
	h.settled = true
	t := &polling{session: session, remote: s.clientAddr(r, h.conn), jsonp: jsonp, heardBy: on.Now() + s.options.Timeouts.FirstRequest}
	session.setTransport(t)
	session.startHeartbeat()
	if cookie := s.options.Cookie; cookie != nil {
		x.okay = cookie.append(x.okay, []byte(session.ID()), x.secure)
	}
	x.okay = appendHeaderLines(x.okay, a.headers)
	returned := false
	defer session.rescue(&returned) // Headers may end the goroutine
	h.tellHeaders(r)
	returned = true

	t.park(x)
	session.sendOpen()
	session.opened(s.newRequest(r, h.conn), a)
}

// opened lets the application have the session. It borrows r.
func (s *Session) opened(r *Request, a *Admission) {
	r.context = a.carried
	if s.state == sessionClosed { // by a panic
		return
	}
	s.set(publicOpened)
	s.begin()
	s.tellOpen(r)
	s.run()
}

// openWebSocket begins a session on a WebSocket just opened. It borrows r and
// rest, what came behind the handshake.
func (s *Server) openWebSocket(conn *loop.Conn, q query, r *httpparse.Request, a *Admission, rest []byte) {
	session, ok := s.register(conn.Loop(), q, a)
	if !ok {
		s.shard(conn.Loop()).refuses(conn, r, CauseSessions)
		rejectWebSocket(conn)
		return
	}
	t := &session.websocket
	t.conn = conn
	t.compress(s.negotiated(r))
	session.setTransport(t)
	conn.SetHandler(t)
	session.startHeartbeat()

	session.sendOpen()
	session.opened(s.newRequest(r, conn), a)
	if session.state != sessionClosed {
		t.Data(rest)
	}
}

// sendOpen gives the transport the open packet, and the initial packet behind
// it, before anything else.
func (s *Session) sendOpen() {
	if d := s.server.debug.engine.Load(); d != nil {
		d.Debug("handshake", "session", s.PublicID(), "transport", s.Transport().String(), "revision", s.revision, "client", s.RemoteAddr())
	}
	data := s.openData()
	open := pool.Frames.Get(len(data))
	open.Append(data)
	s.tellOwnPacket(packet.Packet{Type: packet.Open, Data: data})
	batch := append(s.server.shard(s.loop).batch[:0], outgoing{kind: packet.Open, data: open})
	if initial := s.server.initial; initial != nil && s.state != sessionClosed {
		s.tellOwnPacket(packet.Packet{Type: packet.Message, Binary: initial.binary, Data: initial.data})
		batch = append(batch, outgoing{kind: packet.Message, binary: initial.binary, prepared: initial})
	}
	s.deliver(batch)
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

func revisionText(r Revision) string { return strconv.Itoa(int(r)) }

// negotiated is what the client's offer of permessage-deflate came to. It gives
// the same answer each time.
func (s *Server) negotiated(r *httpparse.Request) (p wsframe.DeflateParams) {
	if o := s.options.PerMessageDeflate; o != nil {
		// A header that makes no sense was refused by the handshake's check.
		p, _ = o.wire().Negotiate(r.Header("Sec-WebSocket-Extensions"))
	}
	return p
}
