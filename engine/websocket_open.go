package engine

import (
	"bytes"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/wsframe"
)

// webSocketRequest handles a WebSocket handshake, and returns how many bytes of p
// it used. If all goes well the connection leaves HTTP.
func (h *httpConn) webSocketRequest(r *httpparse.Request, p []byte, n int) int {
	s, on, x := h.server, h.conn.Loop(), &h.exchange
	x.keepAlive = false
	if refused, e := s.verify(x, r, true); refused != nil {
		h.refuseHandshake(r, refused, e)
		return len(p)
	}
	// RFC 9110, 7.8: the new protocol begins behind the whole request. A proxy
	// may pass on a body that we would take for frames.
	if r.HasBody() {
		h.refuseHandshake(r, refusedRequest, refusedRequest.because("TRANSPORT_HANDSHAKE_ERROR", "", ""))
		return len(p)
	}
	if !x.query.hasSID {
		if x.query.transport != WebSocket {
			h.answerWebSocket(r, rejectWebSocket)
			return len(p)
		}
		sh := s.shard(on)
		sh.rest = p[n:]
		h.handshakeRequest(r, p[:n], true)
		sh.rest = nil
		return h.used(p, n)
	}
	session := s.lookup(on, x.query.sid)
	switch {
	case session == nil:
		h.refuseHandshake(r, refusedSID, refusedSID.because("", queryValue(r, "sid"), ""))
	case !h.boundTo(session, r):
		h.forbid(r, true, "BINDING_MISMATCH", "")
	case x.query.revision != session.revision:
		h.refuseHandshake(r, refusedRequest, refusedRequest.because("PROTOCOL_MISMATCH", revisionText(x.query.revision), revisionText(session.revision)))
	case x.query.transport != WebSocket:
		h.answerWebSocket(r, rejectWebSocket)
	case s.shard(on).upgrades >= s.upgradeShare:
		h.met(LimitUpgrades)
		h.unavailable(true)
	default:
		h.answerWebSocket(r, func(conn *loop.Conn) {
			session.offer(conn, x.query, s.negotiated(r), p[n:])
		})
	}
	return len(p)
}

// answerWebSocket answers the WebSocket handshake and gives the connection to
// open. It borrows r.
func (h *httpConn) answerWebSocket(r *httpparse.Request, open func(*loop.Conn)) {
	handshake := wsframe.Handshake{
		Method: r.Method, Key: onlyHeader(r, "Sec-WebSocket-Key"),
		Version: onlyHeader(r, "Sec-WebSocket-Version"), Protocol: r.Header("Sec-WebSocket-Protocol"),
	}
	if h.server.options.PerMessageDeflate != nil { // it is nobody's business otherwise
		handshake.Extensions = r.Header("Sec-WebSocket-Extensions")
	}
	if err := handshake.Check(); err != nil {
		e := err.(*wsframe.HandshakeError)
		h.refuseWebSocket(e.Status, e.Text, e.Version)
		return
	}
	if !h.becomeClients(r) {
		return
	}
	h.tellHeaders(r)
	scratch := &h.server.shard(h.conn.Loop()).scratch
	dst := handshake.AppendResponse((*scratch)[:0])
	dst = h.server.negotiated(r).AppendHeader(dst)
	dst = append(append(dst, h.exchange.okay...), h.exchange.headers...)
	*scratch = httpparse.AppendEnd(dst)
	h.conn.Write(*scratch)
	conn := h.conn
	h.finish()
	open(conn)
}

// onlyHeader is r.Header for a field that is sent once, RFC 6455, 11.3: nil when
// it is repeated, because a proxy may have looked at the other one.
func onlyHeader(r *httpparse.Request, name string) (value []byte) {
	for _, h := range r.Headers {
		if !bytes.EqualFold(h.Name, []byte(name)) {
			continue
		}
		if value != nil {
			return nil
		}
		value = h.Value
	}
	return value
}

// refuseHandshake answers a WebSocket handshake with one of the protocol's
// numbered errors.
func (h *httpConn) refuseHandshake(r *httpparse.Request, refused *refusal, e *HandshakeError) {
	h.server.report(r, h.conn, e)
	h.refuseWebSocket(400, refused.message, false)
}

// refuseWebSocket answers a WebSocket handshake with an HTTP error in the
// reference server's form, and closes.
func (h *httpConn) refuseWebSocket(status int, message string, version bool) {
	dst := httpparse.AppendResponse(nil, status)
	dst = httpparse.AppendHeader(dst, "Connection", "close")
	dst = httpparse.AppendHeader(dst, "Content-type", typeHTML)
	dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(len(message)))
	dst = append(dst, h.exchange.headers...)
	if version {
		dst = httpparse.AppendHeader(dst, "Sec-WebSocket-Version", "13, 8")
	}
	dst = append(httpparse.AppendEnd(dst), message...)
	h.conn.Write(dst)
	h.finish()
	h.conn.Close()
}
