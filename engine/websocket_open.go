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
	// RFC 9110, 7.8: the new protocol begins behind the whole request. A proxy
	// may pass on a body that we would take for frames.
	if x.bodyLeft {
		h.refuseFor(r, refusedRequest.because("TRANSPORT_HANDSHAKE_ERROR", "", ""))
		return len(p)
	}
	if !x.query.hasSID {
		if x.query.transport != WebSocket {
			h.answerWebSocket(r, h.rejectFor(CauseRequest))
			return len(p)
		}
		h.handshakeRequest(r, p[:n], p[n:])
		return h.used(p, n)
	}
	session := s.lookup(on, x.query.sid)
	switch {
	case session == nil:
		h.refuseFor(r, refusedSID.because("", queryValue(r, "sid"), ""))
	case !h.boundTo(session, r):
		h.forbid(r, "BINDING_MISMATCH", "")
	case x.query.revision != session.revision:
		h.refuseFor(r, refusedRequest.because("PROTOCOL_MISMATCH", revisionText(x.query.revision), revisionText(session.revision)))
	case x.query.transport != WebSocket:
		h.answerWebSocket(r, h.rejectFor(CauseUpgrade))
	case s.shard(on).tally.upgrades.Load() >= s.shares.upgrades:
		h.met(LimitUpgrades)
		h.unavailable(CauseUpgrades)
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
		if e.Version {
			h.exchange.headers = httpparse.AppendHeader(h.exchange.headers, "Sec-WebSocket-Version", "13, 8")
		}
		h.refuses(r, CauseWebSocket)
		h.refuse(r, answer{status: e.Status, text: e.Text}, nil)
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

// rejectFor is rejectWebSocket for a request that is refused.
func (h *httpConn) rejectFor(why Cause) func(*loop.Conn) {
	return func(c *loop.Conn) {
		h.server.shard(c.Loop()).refuses(c, nil, why)
		rejectWebSocket(c)
	}
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
