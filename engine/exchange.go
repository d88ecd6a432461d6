package engine

import (
	"time"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/pool"
)

// An exchange is one HTTP request, as far as a session needs it, and the way
// back to its connection. It is part of its httpConn, which has one at a time.
//
// The connection's loop fills it in and hands it to the session's home loop,
// the same or another; from then on it belongs to home until it is answered
// or dropped, and what happens in between travels as tasks.
type exchange struct {
	from origin
	home *loop.Loop // where the session lives

	query        query
	binding      binding // with Options.Access.Bind
	stream       Stream  // while it is at another node
	method       method
	minor        uint8 // of HTTP/1
	keepAlive    bool
	webSocket    bool // it asks for a WebSocket, and the server has WebSocket
	bodyLeft     bool // nobody has taken the body: it would be read as the next request
	secure       bool // came over TLS
	octets       bool // the body is application/octet-stream
	oldIE        bool // wants X-XSS-Protection: 0
	byMiddleware bool // the answer is a middleware's own
	cut          bool // the connection was lost to keep the budget
	partial      bool // the body has not come to home yet: an answer closes the connection
	farewell     bool // the answer is a session's last: its client is given the time to read it

	encoding contentEncoding // that the client accepts for a poll's response
	headers  []byte          // header lines for any response, from CORS and middleware
	okay     []byte          // header lines for a response with status 200 or 101
	request  *Request        // a copy, for Events.ConnectionError

	session *Session // set by home while the session holds the exchange
}

// An origin is where an exchange has come from, and goes back to.
type origin interface {
	engine() *Server
	current() *exchange
	// loop is the one that the answer goes to, where answered and aborted are called.
	loop() *loop.Loop
	// responseHead begins a response with a body of length bytes, to be appended to the
	// result's Tail. contentType may be empty. It is called on the loop on.
	responseHead(on *loop.Loop, status int, contentType string, length int) *pool.Buf
	// reject refuses the exchange at its home, and tells the application.
	reject(refused *refusal, name, detail, previous string)
	// answered shares response, which ends the exchange. It reports false where the
	// client is gone, so that nobody takes it.
	answered(response *pool.Buf) bool
	// aborted ends the exchange, and its client's connection, without an answer.
	aborted()
	// abandon does the same because a task was broken off. It is safe from any goroutine.
	abandon()
}

type method uint8

const (
	methodOther method = iota
	methodGET
	methodPOST
	methodHEAD
)

func parseMethod(p []byte) method {
	switch string(p) {
	case "GET":
		return methodGET
	case "POST":
		return methodPOST
	case "HEAD":
		return methodHEAD
	}
	return methodOther
}

// headSize is the bound of the head of a response, in bytes.
const headSize = 320

// Content types of the protocol. The reference server answers a POST with
// text/html on purpose: old browsers offer other types for download.
const (
	typeText   = "text/plain; charset=UTF-8"
	typeOctets = "application/octet-stream"
	typeJSON   = "application/json"
	typeHTML   = "text/html"
)

func (h *httpConn) engine() *Server { return h.server }

func (h *httpConn) current() *exchange { return &h.exchange }

func (h *httpConn) loop() *loop.Loop { return h.conn.Loop() }

func (h *httpConn) responseHead(on *loop.Loop, status int, contentType string, length int) *pool.Buf {
	x := &h.exchange
	if x.last() || h.server.phase.ending() {
		x.keepAlive = false
	}
	b := pool.Payloads.Get(headSize + len(x.headers) + len(x.okay) + length)
	dst := httpparse.AppendResponse(b.Tail(), status)
	if contentType != "" {
		dst = httpparse.AppendHeader(dst, "Content-Type", contentType)
	}
	dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(length))
	if status == 200 && !x.byMiddleware {
		dst = append(dst, "cache-control: no-store\r\n"...)
		if x.oldIE {
			dst = append(dst, "X-XSS-Protection: 0\r\n"...)
		}
		dst = append(dst, x.okay...)
	}
	dst = append(dst, x.headers...)
	dst = append(dst, h.server.shard(on).date(on.Now())...)
	switch {
	case !x.keepAlive || x.partial:
		dst = append(dst, "Connection: close\r\n"...)
	case x.minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	b.SetTail(httpparse.AppendEnd(dst))
	return b
}

// last reports whether the connection ends with the response, whatever that is.
func (x *exchange) last() bool { return !x.keepAlive || x.bodyLeft }

// answer sends a complete response. It is called on the loop on.
func (x *exchange) answer(on *loop.Loop, status int, contentType, body string) {
	b := x.from.responseHead(on, status, contentType, len(body))
	if x.method != methodHEAD {
		b.SetTail(append(b.Tail(), body...))
	}
	x.send(on, b)
}

// send takes b, a complete response, to the connection. The exchange is over.
func (x *exchange) send(on *loop.Loop, b *pool.Buf) {
	from, session := x.from, x.session
	x.session = nil
	if l := from.loop(); l != on {
		t := &answerTask{to: from, response: b}
		if x.method == methodGET {
			t.session = session
		}
		if err := l.Post(t); err != nil {
			b.Release()
		}
		return
	}
	from.answered(b)
	b.Release()
}

// answerTask brings a response from the session's loop to the connection's.
type answerTask struct {
	to       origin
	response *pool.Buf // taken
	session  *Session  // whose messages the response has; nil without
}

// Run ends the session where the connection was lost before its messages came to it:
// nobody else knows that they are missing.
func (t *answerTask) Run() {
	if s := t.session; !t.to.answered(t.response) && s != nil {
		// A stopped loop has closed it.
		_ = s.loop.Post(loop.Func(func() { s.fail(ErrPollLost) }))
	}
	t.response.Release()
}

// abort destroys the connection without an answer. It is called on the loop on.
func (x *exchange) abort(on *loop.Loop) {
	x.session = nil
	from := x.from
	if l := from.loop(); l != on {
		_ = l.Post(loop.Func(from.aborted)) // a stopped loop has aborted it
		return
	}
	from.aborted()
}

// arrive brings the exchange to the session's loop, with its body unless that
// is still being received.
func (x *exchange) arrive(body []byte, complete bool) {
	x.partial = !complete && x.method == methodPOST
	if x.home == x.from.loop() {
		if s := x.from.engine(); s.arrived(x) && complete {
			s.completed(x, body)
		}
		return
	}
	t := &arriveTask{from: x.from, home: uint8(x.home.Index()), complete: complete}
	if len(body) > 0 {
		t.body = pool.Spills.Get(len(body))
		t.body.Append(body)
	}
	t.post()
}

// complete brings the rest of an exchange that has arrived: its body.
func (x *exchange) complete(body *pool.Buf) {
	if x.home == x.from.loop() {
		x.from.engine().completed(x, body.Bytes())
		return
	}
	body.Retain()
	t := &arriveTask{from: x.from, home: uint8(x.home.Index()), body: body, here: true, complete: true}
	t.post()
}

// arriveTask is an exchange on its way to the session's loop. What it says of the exchange
// is its own: once that is answered, it is its connection's again, and may be in use.
type arriveTask struct {
	from     origin
	body     *pool.Buf // held; nil when empty
	home     uint8     // the index of the session's loop
	here     bool      // the head came before
	complete bool      // the body has come
}

func (t *arriveTask) shard() *shard { return t.from.engine().shards[t.home] }

func (t *arriveTask) post() {
	t.count(1)
	if err := t.shard().loop.Post(t); err != nil {
		t.release()
	}
}

func (t *arriveTask) release() {
	t.count(-1)
	if t.body != nil {
		t.body.Release()
	}
}

// count has the body count for Options.Limits.BodyBudget as long as the task is under way:
// a loop that is busy may have any number of them coming.
func (t *arriveTask) count(sign int64) {
	if t.body != nil {
		t.shard().carried.Add(sign * int64(t.body.Len()))
	}
}

func (t *arriveTask) Run() {
	defer t.release()
	s, x := t.from.engine(), t.from.current()
	if !t.here && !s.arrived(x) {
		return // answered: x is its connection's again, or waits as a poll
	}
	if !t.complete {
		return
	}
	var body []byte
	if t.body != nil {
		body = t.body.Bytes()
	}
	s.completed(x, body)
}

// Abandon ends the connection: nobody answers its request.
func (t *arriveTask) Abandon() { t.from.abandon() }

// requestTask is what a connection's request waits for, on whatever loop.
type requestTask struct {
	from origin
	run  func()
}

func (t requestTask) Run() { t.run() }

// Abandon ends the connection: nobody answers its request.
func (t requestTask) Abandon() { t.from.abandon() }

// cancel answers with err's status instead of a body, which never came whole.
// It is called on the connection's loop.
func (x *exchange) cancel(err *httpparse.Error) {
	s := x.from.engine()
	if x.home == x.from.loop() {
		s.cancelled(x, err)
		return
	}
	// An answer may be on its way here: then home has no exchange to cancel.
	_ = x.home.Post(requestTask{x.from, func() { s.cancelled(x, err) }}) // a stopped loop has closed the session
}

// lost tells the session, if one holds the exchange, that its connection is
// gone. It is called on the connection's loop.
func (x *exchange) lost() {
	if x.home == nil {
		return
	}
	if x.home == x.from.loop() {
		x.gone()
		return
	}
	_ = x.home.Post(loop.Func(x.gone)) // a stopped loop has closed the session
}

// tellEnd tells the session that the client sends nothing more on the connection.
// Home is told behind the request, so an exchange that the session still holds then
// is a poll that waits, or a post that is answered once the application has caught up.
func (h *httpConn) tellEnd() {
	x := &h.exchange
	if x.home == h.conn.Loop() {
		h.heardEnd(x.giveUp())
		return
	}
	_ = x.home.Post(requestTask{h, func() { // a stopped loop has closed the session
		waits := x.giveUp()
		_ = h.conn.Loop().Post(requestTask{h, func() { h.heardEnd(waits) }}) // a stopped loop has ended the connection
	}})
}

// giveUp takes a waiting exchange from its session, and reports whether there was
// one. It is called on the home loop.
func (x *exchange) giveUp() (waited bool) {
	s := x.session
	if s == nil {
		return false // answered
	}
	if p := s.transport.(*polling); p.held && p.data == x {
		return false
	}
	s.exchangeLost(x)
	return true
}

func (x *exchange) gone() {
	if s := x.session; s != nil {
		s.exchangeLost(x)
	}
}

// date returns a Date header, made once a second.
func (sh *shard) date(now time.Duration) []byte {
	if second := now / time.Second; second != sh.dateSecond || len(sh.dateHeader) == 0 {
		sh.dateSecond = second
		sh.dateHeader = httpparse.AppendDate(sh.dateHeader[:0], time.Now())
	}
	return sh.dateHeader
}

// arrived is called on the session's home loop when x comes there, from this
// loop or another. It reports whether the session waits for the body of x. If
// not, x may be in use for the next request already.
func (s *Server) arrived(x *exchange) (receiving bool) {
	home := x.home
	session := s.lookup(home, x.query.sid)
	switch {
	case session == nil:
		x.from.reject(refusedSID, "", "", "")
	case !session.boundTo(x.binding):
		x.from.reject(refusedForbidden, "BINDING_MISMATCH", "", "")
	case x.query.transport != Polling || session.Transport() != Polling:
		x.from.reject(refusedRequest, "TRANSPORT_MISMATCH", x.query.transport.String(), session.Transport().String())
	case x.query.revision != session.revision:
		x.from.reject(refusedRequest, "PROTOCOL_MISMATCH", revisionText(x.query.revision), revisionText(session.revision))
	default:
		x.request = nil // a poll may wait for long, and the copy is as large as its client likes
		return session.transport.(*polling).arrived(x)
	}
	return false
}

// completed is called on the session's home loop with the body of x.
func (s *Server) completed(x *exchange, body []byte) {
	if x.session != nil {
		x.partial = false
		x.session.transport.(*polling).received(x, body)
	}
}

// cancelled is called on the session's home loop when the body of x will not
// come. Only a body that is too large leaves the session open.
func (s *Server) cancelled(x *exchange, err *httpparse.Error) {
	session := x.session
	if session == nil { // answered already
		return
	}
	session.transport.(*polling).data = nil
	x.session = nil
	if err != httpparse.ErrBodyBytes {
		session.fail(ErrDataLost)
	}
	if err == errBodyBudget {
		x.headers = s.appendRetryAfter(x.headers)
	}
	x.answer(session.loop, err.Status, "", "")
}
