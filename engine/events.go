package engine

import (
	"net/netip"

	"turbine/httpparse"
	"turbine/loop"
)

// A Message is what an application sends and receives: text in UTF-8, or
// bytes. Empty data is a message without data.
type Message struct {
	Binary bool
	Data   []byte
}

// Events are the callbacks of an application. Nil means not interested.
//
// Each runs on the loop of its session, one after another for one session, and
// must not block: all sessions of that loop wait meanwhile. A panic in one
// closes its session and is logged. What a callback sends leaves in one write
// when it has returned.
type Events struct {
	// Admit is asked before a session is made. An error refuses it: the client
	// is told the error's text, with status 403 (polling) or 400 (WebSocket).
	// r is borrowed.
	Admit func(r *Request) error
	// Open says that a session is ready. r, its handshake request, is
	// borrowed. Messages sent in a polling session's Open go with the next
	// poll, behind the handshake.
	Open func(s *Session, r *Request)
	// Message brings a message from the client. m.Data is borrowed.
	Message func(s *Session, m Message)
	// Upgrade says that the session went from polling to WebSocket.
	Upgrade func(s *Session)
	// Drain says that nothing is queued for a client that had fallen behind.
	Drain func(s *Session)
	// Close says that the session has ended, once and last. err is more about
	// the cause, nil for ends in good order.
	Close func(s *Session, reason Reason, err error)
}

// Request is the request that begins a session. It is borrowed: valid until
// the callback that was handed it returns.
type Request struct {
	http *httpparse.Request
	conn *loop.Conn
}

// Method is the HTTP method.
func (r *Request) Method() string { return string(r.http.Method) }

// Path is the path of the request target, not decoded.
func (r *Request) Path() string { return string(r.http.Path) }

// Query is the value of a query parameter, decoded, the last one where a name
// repeats, and "" where it is absent.
func (r *Request) Query(name string) string {
	found := ""
	for rest := r.http.Query; len(rest) > 0; {
		var key, value []byte
		key, value, rest = httpparse.NextParam(rest)
		if unescaped(key) == name {
			found = unescaped(value)
		}
	}
	return found
}

// unescaped copies p, which stays as it came: a request may be parsed again on
// another loop.
func unescaped(p []byte) string {
	return string(httpparse.Unescape(append([]byte(nil), p...)))
}

// Header is the value of a header field, the first one where a name repeats,
// and "" where it is absent. The name's case does not matter.
func (r *Request) Header(name string) string { return string(r.http.Header(name)) }

// RemoteAddr is the address of the connection's other end.
func (r *Request) RemoteAddr() netip.AddrPort { return r.conn.RemoteAddr() }
