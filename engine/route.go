package engine

import (
	"bytes"
	"encoding/json"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/wsframe"
)

// query is what a request's query says to Engine.IO. It owns its values.
type query struct {
	revision  Revision // 0 when EIO is neither 3 nor 4
	transport Transport
	hasSID    bool
	known     bool // sid has the form of an id
	sid       sid
	base64    bool
}

// parseQuery borrows raw. Where a key repeats the last one counts.
func parseQuery(raw []byte) (q query) {
	for rest := raw; len(rest) > 0; {
		var key, value []byte
		key, value, rest = httpparse.NextParam(rest)
		var scratch [64]byte
		switch string(key) {
		case "EIO":
			q.revision = parseRevision(decoded(value, scratch[:0]))
		case "transport":
			q.transport = parseTransport(decoded(value, scratch[:0]))
		case "sid":
			q.hasSID = len(value) > 0
			q.sid, q.known = parseSID(decoded(value, scratch[:0]))
		case "b64":
			q.base64 = len(value) > 0
		}
	}
	return q
}

// decoded undoes percent encoding in a copy that is cut at the scratch's
// capacity, beyond any value that means something here. Most need no copy.
func decoded(value, scratch []byte) []byte {
	if bytes.IndexByte(value, '%') < 0 && bytes.IndexByte(value, '+') < 0 {
		return value
	}
	if len(value) > cap(scratch) {
		return nil
	}
	return httpparse.Unescape(append(scratch, value...))
}

// parseRevision is strict: the reference server takes all that is not 4 for 3.
func parseRevision(p []byte) Revision {
	switch string(p) {
	case "4":
		return Revision4
	case "3":
		return Revision3
	}
	return 0
}

func parseTransport(p []byte) Transport {
	switch string(p) {
	case "polling":
		return Polling
	case "websocket":
		return WebSocket
	}
	return 0
}

// request handles the request r, whose head is the first n bytes of p, and
// returns how many bytes of p it used. It borrows both.
func (h *httpConn) request(r *httpparse.Request, p []byte, n int) int {
	s, on := h.server, h.conn.Loop()
	h.state = exchangeWaiting
	h.x = exchange{
		http:      h,
		method:    parseMethod(r.Method),
		minor:     r.Minor,
		keepAlive: r.KeepAlive,
		octets:    string(r.Header("Content-Type")) == typeOctets,
	}
	x := &h.x
	if !bytes.HasPrefix(r.Target, s.path) {
		x.keepAlive = x.keepAlive && !r.HasBody()
		x.answer(on, 501, typeText, "Not Implemented")
		return n
	}
	x.query = parseQuery(r.Query)
	if r.Upgrade && s.options.allows(WebSocket) {
		return h.upgradeRequest(r, p, n)
	}
	if refused := s.verify(x, false); refused != nil {
		x.keepAlive = x.keepAlive && !r.HasBody()
		x.refuse(on, refused, "")
		return n
	}
	userAgent := r.Header("User-Agent")
	x.oldIE = bytes.Contains(userAgent, []byte(";MSIE")) || bytes.Contains(userAgent, []byte("Trident/"))
	if !x.query.hasSID {
		x.keepAlive = x.keepAlive && !r.HasBody()
		s.handshake(x, r)
		return n
	}
	return h.sessionRequest(r, p, n)
}

// verify makes the checks that need no session, in the order of the spec,
// section 1.3.
func (s *Server) verify(x *exchange, upgrade bool) *refusal {
	q := &x.query
	switch {
	case !s.options.allows(q.transport):
		return refusedTransport
	case q.hasSID && (!q.known || q.sid.loop >= len(s.shards)):
		return refusedSID
	case q.hasSID:
		return nil
	case x.method != methodGET:
		return refusedMethod
	case q.transport == WebSocket && !upgrade:
		return refusedRequest
	}
	return nil
}

// sessionRequest hands a poll or post to the loop where its session lives.
func (h *httpConn) sessionRequest(r *httpparse.Request, p []byte, n int) int {
	x := &h.x
	x.home = h.server.shards[x.query.sid.loop].loop
	switch {
	case x.method != methodPOST:
		x.keepAlive = x.keepAlive && !r.HasBody()
		x.arrive(nil, false)
		return n
	case r.ContentLength > int64(h.server.options.MaxPayload):
		x.keepAlive = false
		x.answer(h.conn.Loop(), 413, "", "")
		return n
	case !r.Chunked && int64(len(p)-n) >= max(r.ContentLength, 0):
		end := n + int(max(r.ContentLength, 0))
		x.arrive(p[n:end], true)
		return end
	}
	h.awaitBody(r)
	x.arrive(nil, false)
	return n
}

// upgradeRequest handles a WebSocket handshake. The connection leaves HTTP.
func (h *httpConn) upgradeRequest(r *httpparse.Request, p []byte, n int) int {
	s, on, x := h.server, h.conn.Loop(), &h.x
	x.keepAlive = false
	if refused := s.verify(x, true); refused != nil {
		h.refuseUpgrade(400, refused.message, false)
		return len(p)
	}
	var session *Session
	if x.query.hasSID {
		home := s.shards[x.query.sid.loop].loop
		if home != on {
			// From here on everything is local to the session: the request is
			// parsed again there.
			on.Release(h.slot)
			h.slot, h.state = 0, exchangeHead
			h.conn.MoveTo(home, p)
			return len(p)
		}
		session = s.lookup(on, x.query.sid)
		switch {
		case session == nil:
			h.refuseUpgrade(400, refusedSID.message, false)
			return len(p)
		case x.query.revision != session.revision:
			h.refuseUpgrade(400, refusedRequest.message, false)
			return len(p)
		}
	}
	handshake := wsframe.Handshake{
		Method: r.Method, Upgrade: r.Header("Upgrade"), Key: r.Header("Sec-WebSocket-Key"),
		Version: r.Header("Sec-WebSocket-Version"), Protocol: r.Header("Sec-WebSocket-Protocol"),
		Extensions: r.Header("Sec-WebSocket-Extensions"),
	}
	h.acceptUpgrade(r, &handshake, session, p[n:])
	return len(p)
}

// acceptUpgrade answers the handshake and hands the connection to its
// WebSocket, with the bytes behind the request. It borrows all.
func (h *httpConn) acceptUpgrade(r *httpparse.Request, handshake *wsframe.Handshake, session *Session, rest []byte) {
	s := h.server
	if session == nil && s.closing.Load() {
		h.refuseUpgrade(503, "Service Unavailable", false)
		return
	}
	if session == nil && h.x.query.transport == WebSocket {
		if message, ok := s.admit(r, h.conn); !ok {
			h.refuseUpgrade(400, message, false)
			return
		}
		if !s.options.allowsRevision(h.x.query.revision) {
			h.refuseUpgrade(400, refusedRevision.message, false)
			return
		}
	}
	if err := handshake.Check(); err != nil {
		e := err.(*wsframe.HandshakeError)
		h.refuseUpgrade(e.Status, e.Text, e.Version)
		return
	}
	scratch := &s.shard(h.conn.Loop()).scratch
	*scratch = httpparse.AppendEnd(handshake.AppendResponse((*scratch)[:0]))
	h.conn.Write(*scratch)
	conn, base64 := h.conn, h.x.query.base64
	h.finish()
	switch {
	case h.x.query.transport != WebSocket:
		rejectWebSocket(conn)
	case session != nil:
		session.offer(conn, base64, rest)
	default:
		s.openWebSocket(conn, h.x.query, r, rest)
	}
}

// rejectWebSocket closes a WebSocket that was opened in vain, with a close
// frame without status, as the reference server does.
func rejectWebSocket(c *loop.Conn) {
	c.SetHandler(deaf{})
	c.Write(closeFrame)
	c.Close()
}

// refuseUpgrade answers a WebSocket handshake with an HTTP error in the
// reference server's form, and closes.
func (h *httpConn) refuseUpgrade(status int, message string, version bool) {
	dst := httpparse.AppendResponse(nil, status)
	dst = httpparse.AppendHeader(dst, "Connection", "close")
	dst = httpparse.AppendHeader(dst, "Content-type", typeHTML)
	dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(len(message)))
	if version {
		dst = httpparse.AppendHeader(dst, "Sec-WebSocket-Version", "13, 8")
	}
	dst = append(httpparse.AppendEnd(dst), message...)
	h.conn.Write(dst)
	h.finish()
	h.conn.Close()
}

// appendJSON appends text as a JSON string, as JSON.stringify writes it.
func appendJSON(dst []byte, text string) []byte {
	buffer := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string cannot fail
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}

// deaf is the handler of a connection that is only being closed.
type deaf struct{}

func (deaf) Data([]byte)  {}
func (deaf) Drained()     {}
func (deaf) EOF()         {}
func (deaf) Closed(error) {}
