package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"turbine/httpparse"
	"turbine/internal/proxied"
	"turbine/loop"
)

// An answer is what a client is told whose request is refused.
type answer struct {
	status     int           // 0 is the protocol's own for the refusal
	refusal    *refusal      // the protocol's numbered error; nil where text is all
	text       string        // instead of the refusal's own message
	retryAfter time.Duration // when to come again, told in whole seconds, rounded up; 0 tells nothing
}

func (a answer) message() string {
	if a.text == "" && a.refusal != nil {
		return a.refusal.message
	}
	return a.text
}

// overloaded is the answer while the server drains, or has too much to do.
func (s *Server) overloaded() answer {
	return answer{status: http.StatusServiceUnavailable, text: "Service Unavailable", retryAfter: s.retryAfter()}
}

// tooMany is the answer to a client that takes more than its share.
func tooMany(wait time.Duration) answer {
	return answer{status: http.StatusTooManyRequests, text: "Too Many Requests", retryAfter: wait}
}

// refuse answers the request with a, and tells the application e, unless e is nil:
// then the caller counts why.
// It is the only place that knows how a WebSocket handshake and a plain request are
// refused differently. It borrows r, which only e needs.
func (h *httpConn) refuse(r *httpparse.Request, a answer, e *HandshakeError) {
	if e != nil {
		h.refuses(r, e.cause())
		h.server.report(r, h.conn, e)
	}
	x := &h.exchange
	if a.retryAfter > 0 {
		x.headers = httpparse.AppendHeaderInt(x.headers, "Retry-After", int64(math.Ceil(a.retryAfter.Seconds())))
	}
	if x.webSocket {
		h.refuseWebSocket(a)
		return
	}
	x.refuse(h.conn.Loop(), a)
}

// refuseFor is refuse with the protocol's own answer to e.
func (h *httpConn) refuseFor(r *httpparse.Request, e *HandshakeError) {
	h.refuse(r, answer{refusal: refusals[e.Code]}, e)
}

// unavailable answers 503: the server is draining or has too much to do. While it
// drains, the connection also ends: the next try may reach another server.
func (h *httpConn) unavailable(why Cause) {
	h.refuses(nil, why)
	if h.server.phase.draining() {
		h.exchange.keepAlive = false
	}
	h.refuse(nil, h.server.overloaded(), nil)
}

// refuseWebSocket answers a WebSocket handshake with an HTTP error in the
// reference server's form, and closes.
func (h *httpConn) refuseWebSocket(a answer) {
	h.conn.Write(h.appendRefusedWebSocket(nil, a))
	h.finish()
	h.conn.Close()
}

// appendRefusedWebSocket appends that answer.
func (h *httpConn) appendRefusedWebSocket(dst []byte, a answer) []byte {
	message := a.message()
	dst = httpparse.AppendResponse(dst, cmp.Or(a.status, http.StatusBadRequest))
	dst = httpparse.AppendHeader(dst, "Connection", "close")
	dst = httpparse.AppendHeader(dst, "Content-type", typeHTML)
	dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(len(message)))
	dst = append(dst, h.exchange.headers...)
	return append(httpparse.AppendEnd(dst), message...)
}

// refuse answers with a over plain HTTP. It is called on the loop on.
func (x *exchange) refuse(on *loop.Loop, a answer) {
	if a.refusal == nil {
		x.answer(on, a.status, typeText, a.text)
		return
	}
	body := append(make([]byte, 0, 64), `{"code":`...)
	body = strconv.AppendInt(body, int64(a.refusal.code), 10)
	body = append(body, `,"message":`...)
	body = appendJSON(body, a.message())
	body = append(body, '}')
	x.answer(on, cmp.Or(a.status, a.refusal.status()), typeJSON, string(body))
}

// forbid refuses a request because of where it comes from, whatever it asks for.
// It borrows r.
func (h *httpConn) forbid(r *httpparse.Request, name, detail string) {
	h.server.shard(h.conn.Loop()).tally.forbidden.Add(1)
	h.server.logForbidden(r, h.conn, name)
	h.refuse(r, answer{status: http.StatusForbidden, refusal: refusedForbidden}, refusedForbidden.because(name, detail, ""))
}

// reject is called on the exchange's home, or on the connection's loop where that is on
// another node.
func (h *httpConn) reject(refused *refusal, name, detail, previous string) {
	s, x, e := h.server, &h.exchange, refused.because(name, detail, previous)
	on := x.home
	if on == nil {
		on = h.conn.Loop()
	}
	tell := x.request != nil && s.events.ConnectionError != nil
	var asked *httpparse.Request
	if tell {
		asked = x.request.http
	}
	if refused == refusedForbidden {
		s.shard(on).tally.forbidden.Add(1)
		s.logBinding(on, h.conn)
	}
	s.shard(on).refuses(h.conn, asked, e.cause())
	if tell {
		if refused == refusedSID {
			e.Detail = queryValue(x.request.http, "sid")
		}
		s.tellConnectionError(on, x.request, e)
	}
	x.refuse(on, answer{refusal: refused})
}

// refusal is one of the protocol's numbered answers to a request that cannot
// be served: the code and message that the client is told.
type refusal struct {
	code    int
	message string
}

// The refusals, Engine.IO protocol, section "error codes".
var (
	refusedTransport = &refusal{0, "Transport unknown"}
	refusedSID       = &refusal{1, "Session ID unknown"}
	refusedMethod    = &refusal{2, "Bad handshake method"}
	refusedRequest   = &refusal{3, "Bad request"}
	refusedForbidden = &refusal{4, "Forbidden"}
	refusedRevision  = &refusal{5, "Unsupported protocol version"}
)

// refusals are the same by code.
var refusals = [...]*refusal{refusedTransport, refusedSID, refusedMethod, refusedRequest, refusedForbidden, refusedRevision}

// HandshakeError is a refusal as Events.ConnectionError is told it.
type HandshakeError struct {
	Code    int    // 0 to 5, as the client is told
	Message string // the protocol's own words for the code
	// Name tells apart the refusals that share a code. With code 3 it is
	// MIDDLEWARE_FAILURE, TRANSPORT_MISMATCH, PROTOCOL_MISMATCH, ID_GENERATION_ERROR or
	// TRANSPORT_HANDSHAKE_ERROR; with code 4 FOREIGN_ORIGIN, BINDING_MISMATCH, or "" if
	// Events.Admit refused.
	Name string
	// Detail is what was wrong: the transport (code 0 and TRANSPORT_MISMATCH),
	// the sid (1), the method (2), the text of the error that Admit returned (4), the
	// Origin (FOREIGN_ORIGIN), the revision (5 and PROTOCOL_MISMATCH) or the
	// cause of a failed callback.
	Detail string
	// Previous is the session's own transport or revision in a mismatch.
	Previous string
}

// Error is the message and what was wrong.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("engine: %s (code %d %s %q %s)", e.Message, e.Code, e.Name, e.Detail, e.Previous)
}

func (r *refusal) because(name, detail, previous string) *HandshakeError {
	return &HandshakeError{Code: r.code, Message: r.message, Name: name, Detail: detail, Previous: previous}
}

// report tells the application of a refusal. It borrows r.
func (s *Server) report(r *httpparse.Request, c *loop.Conn, e *HandshakeError) {
	if d := s.debug.engine.Load(); d != nil {
		d.Debug("refused", "code", e.Code, "message", e.Message, "name", e.Name, "target", loggedTarget(r.Target))
	}
	if s.events.ConnectionError != nil {
		s.tellConnectionError(c.Loop(), s.newRequest(r, c).Clone(), e)
	}
}

// status of the answer over plain HTTP.
func (r *refusal) status() int {
	if r.code == refusedForbidden.code {
		return 403
	}
	return 400
}

// A Refusal is an error, of Events.Admit or for Verdict.Refuse, that is made for the
// client: the client is told its Message. For any other error the client is told
// "Forbidden".
type Refusal struct {
	// Message is what the client is told. If it is "", the client is told "Forbidden".
	Message string
	// Status is the status of the response: 401, 403, 429 or 503. For any other number,
	// also 0, the status is 403 on polling and 400 on WebSocket, as in the reference
	// server. A response with 401 should say how to log in: see Admission.ResponseHeader.
	Status int
	// RetryAfter is sent as the field Retry-After with Status 429 or 503, in whole
	// seconds, rounded up: after this time the client may come again. 0 sends no field.
	RetryAfter time.Duration
}

// Refuse is a Refusal with that message.
func Refuse(message string) error { return &Refusal{Message: message} }

// Error is what the client is told.
func (r *Refusal) Error() string {
	if r == nil || r.Message == "" {
		return refusedForbidden.message
	}
	return r.Message
}

// answer is what the client is told.
func (r *Refusal) answer() answer {
	a := answer{refusal: refusedForbidden, text: r.Error()}
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		a.status = r.Status
	}
	switch r.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		a.retryAfter = r.RetryAfter
	}
	return a
}

// denial is what an error of the application comes to: what the client is told,
// and what the application and the log are.
type denial struct {
	refusal Refusal
	detail  string // the error's own text
	fault   bool   // the error was not made for the client
	logged  bool   // that the client is refused: a panic leaves a record of its own
}

// panicked is what a panic of the application comes to: the panic is logged itself.
func panicked() denial { return denial{detail: refusedForbidden.message, logged: true} }

// denied looks at err, which may be nil: then there is no more to say. The
// application's own methods of err may run, and panic, so it is called where the
// application is.
func denied(err error) denial {
	if err == nil {
		return denial{detail: refusedForbidden.message}
	}
	var r *Refusal
	d := denial{fault: !errors.As(err, &r), detail: err.Error()}
	if r != nil {
		d.refusal = *r
	}
	return d
}

// refuseAdmission tells the client that the application does not want it.
func (h *httpConn) refuseAdmission(r *httpparse.Request, a *Admission, d denial) {
	if d.fault {
		h.server.logFault("an error of Admit refuses a client; engine.Refuse makes one that the client is told", d.detail, r, h.conn)
	}
	told := d.refusal.answer()
	if !d.fault && !d.logged {
		h.server.logDenial(r, h.conn, told.text)
	}
	h.exchange.headers = appendHeaderLines(h.exchange.headers, a.headers)
	h.refuse(r, told, refusedForbidden.because("", d.detail, ""))
}

// logFault logs an error of the application that has cost a client its session,
// and that the client is not told. Clients may cause such errors at will.
func (s *Server) logFault(what, fault string, r *httpparse.Request, c *loop.Conn) {
	if suppressed, ok := s.faults.Allow(c.Loop().Clock()); ok {
		s.options.Logger.Warn(what, "error", fault, "client", clientName(s.clientAddr(r, c)), "suppressed", suppressed)
	}
}

// logDenial logs that the application does not want a client, and what the client
// is told.
func (s *Server) logDenial(r *httpparse.Request, c *loop.Conn, told string) {
	if suppressed, ok := s.denials.Allow(c.Loop().Clock()); ok {
		s.options.Logger.Info("client refused by Admit", "told", logged(told), "client", clientName(s.clientAddr(r, c)), "suppressed", suppressed)
	}
}

// logForbidden logs a request that is forbidden for where it comes from, with what
// an operator needs to let it in: it is a browser's, and leaves no other trace that
// the operator could see.
func (s *Server) logForbidden(r *httpparse.Request, c *loop.Conn, name string) {
	if name == "BINDING_MISMATCH" {
		s.logBinding(c.Loop(), c)
		return
	}
	suppressed, ok := s.forbids.Allow(c.Loop().Clock())
	if !ok {
		return
	}
	client := slog.String("client", clientName(s.clientAddr(r, c)))
	attrs := []any{slog.String("origin", logged(string(r.Header("Origin")))), slog.String("host", logged(string(r.Header("Host")))), client}
	if site := r.Header("Sec-Fetch-Site"); r.Header("Origin") == nil {
		attrs = append(attrs, slog.String("site", logged(string(site)))) // a script element says no more
	}
	if known := s.schemeOf(r, c); known != proxied.Unknown {
		attrs = append(attrs, slog.String("scheme", known.String()))
	}
	s.options.Logger.Warn("page of another origin refused", append(attrs,
		slog.String("help", "name the page's origin in CORS.Origins, or in Access.Origins if it takes WebSocket alone, or have the proxy pass Host and X-Forwarded-Proto on"), slog.Int64("suppressed", suppressed))...)
}

// logBinding logs a request, on c, that is not bound to its session as
// Options.Access.Bind wants. It is called on the loop on.
func (s *Server) logBinding(on *loop.Loop, c *loop.Conn) {
	if suppressed, ok := s.bindings.Allow(on.Clock()); ok {
		s.options.Logger.Warn("request refused that comes from elsewhere than its session", "peer", peerName(c.RemoteAddr()),
			"help", "Access.Bind", "suppressed", suppressed)
	}
}

// maxLogged is how many bytes of what a client has written go into a record.
const maxLogged = 200

func logged(text string) string {
	if len(text) > maxLogged {
		return text[:maxLogged] + "..."
	}
	return text
}

// appendJSON appends text as a JSON string, as JSON.stringify writes it.
func appendJSON(dst []byte, text string) []byte {
	buffer := bytes.NewBuffer(dst)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // a string cannot fail
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}
