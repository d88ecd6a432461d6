package engine

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"time"

	"turbine/httpparse"
	"turbine/internal/proxied"
	"turbine/loop"
)

// A Refusal is an error, of Events.Admit or for Verdict.Refuse, that is made for
// the client: the client is told its Message. Of any other error the client hears
// nothing but "Forbidden".
type Refusal struct {
	// Message is what the client is told. "" is told as "Forbidden".
	Message string
	// Status is that of the response: 401, 403, 429 or 503. Any other number, as
	// 0, is 403 on polling and 400 on WebSocket, as in the reference server. A
	// response with 401 should say how to log in: see Request.ResponseHeader.
	Status int
	// RetryAfter is when the client may come again, with Status 429 or 503. It is
	// told in whole seconds, rounded up. 0 tells nothing.
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

// status of the response, which is a WebSocket handshake's or not.
func (r *Refusal) status(upgrade bool) int {
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return r.Status
	}
	if upgrade {
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

// wait is the value of Retry-After in seconds, 0 for none.
func (r *Refusal) wait() int64 {
	if r.RetryAfter <= 0 || r.Status != http.StatusTooManyRequests && r.Status != http.StatusServiceUnavailable {
		return 0
	}
	return int64(math.Ceil(r.RetryAfter.Seconds()))
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
func (h *httpConn) refuseAdmission(r *httpparse.Request, a *admission, d denial) {
	on, x := h.conn.Loop(), &h.exchange
	if d.fault {
		h.server.logFault("an error of Admit refuses a client; engine.Refuse makes one that the client is told", d.detail, r, h.conn)
	}
	x.headers = appendHeaderLines(x.headers, a.headers)
	if wait := d.refusal.wait(); wait > 0 {
		x.headers = httpparse.AppendHeaderInt(x.headers, "Retry-After", wait)
	}
	h.server.report(r, h.conn, refusedForbidden.because("", d.detail, ""))
	message := d.refusal.Error()
	if !d.fault && !d.logged {
		h.server.logDenial(r, h.conn, message)
	}
	if a.upgrade {
		h.refuseWebSocket(d.refusal.status(true), message, false)
		return
	}
	x.refuseAs(on, d.refusal.status(false), refusedForbidden.code, message)
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
		slog.String("help", "name the page's origin in Origins, or have the proxy pass Host and X-Forwarded-Proto on"), slog.Int64("suppressed", suppressed))...)
}

// logBinding logs a request, on c, that is not bound to its session as
// Options.Bind wants. It is called on the loop on.
func (s *Server) logBinding(on *loop.Loop, c *loop.Conn) {
	if suppressed, ok := s.bindings.Allow(on.Clock()); ok {
		s.options.Logger.Warn("request refused that comes from elsewhere than its session", "peer", peerName(c.RemoteAddr()),
			"help", "Bind", "suppressed", suppressed)
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
