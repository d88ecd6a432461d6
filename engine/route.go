package engine

import (
	"bytes"

	"turbine/httpparse"
	"turbine/loop"
)

// query is what a request's query says to Engine.IO. It owns its values.
type query struct {
	revision  Revision // 0 when EIO is neither 3 nor 4
	transport Transport
	hasSID    bool
	known     bool // sid may be a session's
	sid       sid
	base64    bool
	jsonp     bool // j is present
}

// parseQuery borrows raw. Where a key repeats the last one counts.
func (s *Server) parseQuery(raw []byte) (q query) {
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
			q.sid, q.known = s.findSID(value)
		case "b64":
			q.base64 = len(value) > 0
		case "j":
			q.jsonp = true
		}
	}
	return q
}

// findSID tells where the session with that id would live. value is borrowed,
// as it came in the query.
func (s *Server) findSID(value []byte) (sid, bool) {
	if s.ownIDs.inUse.Load() {
		if id, ok := s.ownIDs.find(unescaped(value)); ok {
			return id, true
		}
	}
	var scratch [64]byte
	id, ok := parseSID(decoded(value, scratch[:0]), s.options.Node != nil)
	if !ok && s.options.Node != nil {
		id.node, id.chosen = nodeOf([]byte(unescaped(value)))
		ok = id.chosen && id.node != s.node()
	}
	return id, ok
}

// sidOf is findSID for an id as text, which another node has sent: it is one of this
// node, or of none that the request could be taken to.
func (s *Server) sidOf(text []byte) (sid, bool) {
	if s.ownIDs.inUse.Load() {
		if id, ok := s.ownIDs.find(string(text)); ok {
			return id, true
		}
	}
	return parseSID(text, true)
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
	s := h.server
	h.become(exchangeWaiting)
	h.exchange = exchange{
		from:      h,
		method:    parseMethod(r.Method),
		minor:     uint8(r.Minor),            // 0 or 1
		keepAlive: r.KeepAlive && !h.relayed, // a relay is for the one request that has come by it
		bodyLeft:  r.HasBody(),
		secure:    s.options.Cookie != nil && s.clientSecure(r, h.conn),
		octets:    string(r.Header("Content-Type")) == typeOctets,
	}
	x := &h.exchange
	// The path, not the target: RFC 9112, 3.2.2 has us also take absolute-form, which
	// some proxies send.
	if !bytes.HasPrefix(r.Path, s.path) {
		return h.elsewhere(r, p, n)
	}
	x.query = s.parseQuery(r.Query)
	if h.around != nil && h.handed == nil && !h.direct(r) {
		return h.lend(h.around, r, p, n)
	}
	x.webSocket = r.WebSocket && s.options.allows(WebSocket)
	if x.webSocket && h.eof { // a WebSocket ends with its client's direction
		h.hangUp()
		return len(p)
	}
	if x.webSocket && h.goHome(r, p) || h.begins() && h.goWhereRoomIs(p) {
		return len(p)
	}
	if h.handed != nil {
		x.headers = append(x.headers, h.handed.headers...)
		x.keepAlive = x.keepAlive && !h.handed.last
	}
	allowed := h.allowsPage(r)
	switch {
	case h.preflight(r, allowed):
	case h.begins() && !(h.mayShake(r) && h.mayOpen(r)):
	case !h.runMiddleware(r):
	case !h.mayComeFrom(r, allowed):
	case !h.verify(r):
	case x.webSocket:
		return h.webSocketRequest(r, p, n)
	default:
		return h.pollingRequest(r, p, n)
	}
	return h.used(p, n) // it was answered
}

// pollingRequest handles a request of the polling transport, and returns how many
// bytes of p it used.
func (h *httpConn) pollingRequest(r *httpparse.Request, p []byte, n int) int {
	x, o := &h.exchange, &h.server.options
	userAgent := r.Header("User-Agent")
	x.oldIE = bytes.Contains(userAgent, []byte(";MSIE")) || bytes.Contains(userAgent, []byte("Trident/"))
	if o.CompressionThreshold > 0 && x.method == methodGET {
		x.encoding = negotiateEncoding(r.Header("Accept-Encoding"))
	}
	if !x.query.hasSID {
		h.handshakeRequest(r, p[:n], nil)
		return h.used(p, n)
	}
	if o.Access.Bind != nil {
		var ok bool
		if x.binding, ok = h.bind(r); !ok {
			h.forbid(r, "BINDING_MISMATCH", ErrCallbackPanic.Error())
			return n
		}
	}
	h.tellHeaders(r)
	return h.sessionRequest(r, p, n)
}

// goHome moves a connection that asks to become a session's WebSocket to the
// session's loop, before anything else: the request is parsed again there, and
// from then on all is local. If the session is another node's the connection becomes
// a relay. goHome reports whether it did either, and borrows r and p.
func (h *httpConn) goHome(r *httpparse.Request, p []byte) bool {
	q := &h.exchange.query
	if !q.hasSID || !q.known {
		return false
	}
	switch home, ok := h.server.homeOf(&q.sid); {
	case home == nil && ok && h.relayed: // a request goes from node to node once
		q.known = false
		return false
	case home == nil && ok:
		h.keepChosenID(r)
		h.relay(p)
		return true
	case home == nil || home == h.conn.Loop():
		return false
	default:
		h.move(home, p)
		return true
	}
}

// begins reports whether the request would begin a session.
func (h *httpConn) begins() bool { return h.exchange.method == methodGET && !h.exchange.query.hasSID }

// goWhereRoomIs moves a connection that is about to begin another session, if its own
// loop has a good deal more than another loop: a session stays where it begins. It
// reports whether it did, and borrows p. The connection was dealt with its first
// session in mind: that begins where it is. A mounted connection also stays, because
// net/http has been asked about the request already, and so does a half-closed one,
// because its end is told once.
func (h *httpConn) goWhereRoomIs(p []byte) bool {
	if !h.settled || h.around != nil || h.handed != nil || h.eof {
		return false
	}
	to := h.server.dealer.Lighter(h.conn.Loop())
	if to == nil {
		return false
	}
	h.move(to, p)
	return true
}

// move takes the connection to another loop, where the request at the front of p,
// which is borrowed, is parsed again.
func (h *httpConn) move(to *loop.Loop, p []byte) {
	h.conn.Loop().Release(h.slot)
	h.slot = 0
	h.become(exchangeIdle)
	h.conn.MoveTo(to, p)
}

// used is how many bytes of p a request with a head of n bytes has used: all,
// if the connection speaks HTTP no more.
func (h *httpConn) used(p []byte, n int) int {
	if h.state == exchangeClosed {
		return len(p)
	}
	return n
}

// direct reports whether a request on a mounted connection is served without
// asking the handlers around the server: one of a session, which has an id. A
// page of another origin may need what a middleware of theirs says to it, and
// another host may be another server's, where a proxy has requests for both on one
// connection.
func (h *httpConn) direct(r *httpparse.Request) bool {
	q := &h.exchange.query
	if !q.hasSID || !q.known || h.exchange.method != methodGET && h.exchange.method != methodPOST || string(r.Header("Host")) != h.host {
		return false
	}
	origin := r.Header("Origin")
	return origin == nil || h.server.cors() != nil || sameOrigin(origin, r.Header("Host"), h.server.schemeOf(r, h.conn))
}

// elsewhere handles a request for a path that is not ours, whose head is the first
// n bytes of p, and returns how many bytes of p it used.
func (h *httpConn) elsewhere(r *httpparse.Request, p []byte, n int) int {
	outside := h.server.fallback
	if h.mounted {
		outside = h.around
	}
	if (h.handed != nil || !h.mounted) && h.healthCheck(r) {
		return n
	}
	if outside != nil && h.handed == nil {
		return h.lend(outside, r, p, n)
	}
	h.unserve(r)
	return n
}

// unserve answers a request that nobody is there for.
func (h *httpConn) unserve(r *httpparse.Request) {
	x, o := &h.exchange, &h.server.options
	if !r.WebSocket {
		// A client that asks for a tunnel may send what is meant for its far end before the
		// answer has come; we would take that for requests.
		x.keepAlive = x.keepAlive && string(r.Method) != "CONNECT"
		if h.mounted {
			h.refuse(r, answer{status: 404, text: "Not Found"}, nil)
			return
		}
		h.refuse(r, answer{status: 501, text: "Not Implemented"}, nil)
		return
	}
	// Somebody else's WebSocket gets no answer and ends a little later, as
	// behind the reference server. Other upgrades are ignored: RFC 9110, 7.8.
	if h.server.phase.ending() {
		h.finish()
		h.conn.Close()
		return
	}
	h.become(exchangeUnserved)
	patience := o.Timeouts.ForeignUpgrade
	if patience < 0 {
		patience = o.Timeouts.Idle
	}
	h.expect(patience)
}

// preflight sets the header fields that CORS wants in the answer, and reports
// whether r was an OPTIONS request, which is answered (Fetch standard, CORS
// protocol): whoever asks, since without Allow-Origin a browser goes no further.
func (h *httpConn) preflight(r *httpparse.Request, allowed bool) (answered bool) {
	x, cors := &h.exchange, h.server.cors()
	switch {
	case cors == nil:
		return false
	case string(r.Method) != "OPTIONS":
		x.headers = cors.appendHeaders(x.headers, r, allowed)
		return false
	}
	x.headers = cors.appendPreflight(x.headers, r, allowed)
	if cors.PreflightContinue {
		return false
	}
	x.answer(h.conn.Loop(), cors.preflightStatus(), "", "")
	return true
}

// mayComeFrom holds a request against the origins of pages, and refuses it if need
// be. allowed says that CORS has its page allowed.
func (h *httpConn) mayComeFrom(r *httpparse.Request, allowed bool) bool {
	ok := h.server.originAllowed(r, h.conn, allowed)
	if !ok {
		h.forbid(r, "FOREIGN_ORIGIN", string(r.Header("Origin")))
	}
	return ok
}

// verify holds a request against what needs no session, and refuses it if need be.
func (h *httpConn) verify(r *httpparse.Request) bool {
	e := h.wrong(r)
	if e != nil {
		h.refuseFor(r, e)
	}
	return e == nil
}

// wrong is what is wrong with a request, as far as that needs no session, in the
// order of the protocol's reference server; nil if nothing is.
func (h *httpConn) wrong(r *httpparse.Request) *HandshakeError {
	s, x := h.server, &h.exchange
	q, tell := &x.query, s.events.ConnectionError != nil
	param := func(name string) string {
		if !tell {
			return ""
		}
		return queryValue(r, name)
	}
	switch {
	case !s.options.allows(q.transport):
		return refusedTransport.because("", param("transport"), "")
	case q.hasSID:
		if q.known {
			x.home, q.known = s.homeOf(&q.sid)
		}
		if !q.known {
			return refusedSID.because("", param("sid"), "")
		}
		if tell && !x.webSocket {
			x.request = s.newRequest(r, h.conn).Clone()
		}
	case x.method != methodGET:
		return refusedMethod.because("", string(r.Method), "")
	case q.transport == WebSocket && !x.webSocket:
		return refusedRequest.because("TRANSPORT_HANDSHAKE_ERROR", "", "")
	}
	return nil
}

// sessionRequest hands a poll or post to where its session lives, which wrong has found.
func (h *httpConn) sessionRequest(r *httpparse.Request, p []byte, n int) int {
	x := &h.exchange
	h.keepChosenID(r)
	switch {
	case x.method != methodPOST:
		h.arrive(nil, false)
		return n
	case h.tooLarge(r.ContentLength):
		h.met(LimitPayload)
		x.answer(h.conn.Loop(), 413, "", "")
		return n
	}
	x.bodyLeft = false
	switch {
	case !r.Chunked && int64(len(p)-n) >= max(r.ContentLength, 0):
		body := p[n : n+int(max(r.ContentLength, 0))]
		if x.home != h.conn.Loop() && len(body) > sparedMessage && !h.affords(len(body)) {
			h.arrive(nil, false)
			h.failBody(errBodyBudget)
		} else {
			h.arrive(body, true)
		}
		return n + len(body)
	}
	h.awaitBody(r)
	h.arrive(nil, false)
	return n
}

// Answers to health checks.
const (
	livePath = "/live" // behind Options.HealthPath
	healthy  = "ok\n"
	draining = "draining\n"
)

// healthCheck answers r if it is a health check, see Options.HealthPath, and
// reports whether it is.
func (h *httpConn) healthCheck(r *httpparse.Request) bool {
	x, s := &h.exchange, h.server
	if len(s.health) == 0 || (x.method != methodGET && x.method != methodHEAD) {
		return false
	}
	what, ok := bytes.CutPrefix(r.Path, s.health)
	if !ok || (len(what) > 0 && string(what) != livePath) {
		return false
	}
	if len(what) == 0 && s.phase.draining() {
		x.answer(h.conn.Loop(), 503, typeText, draining)
	} else {
		x.answer(h.conn.Loop(), 200, typeText, healthy)
	}
	return true
}
