package engine

import (
	"net/url"
	"time"

	"turbine/httpparse"
	"turbine/pool"
)

// A request whose session lives on another node is away: its exchange stays in the
// httpConn, in the states that it has on one node, and Options.Node.Peers takes the verbs
// of the connection's loop there instead of a task. What comes back is a Reply.
//
//	| verb     | here                | away
//	| arrive   | exchange.arrive     | Peers.Arrive; without room 503, and the note
//	| complete | exchange.complete   | Peers.Complete
//	| cancel   | exchange.cancel     | Peers.Cancel
//	| end      | httpConn.tellEnd    | Peers.Cancel, with status 0
//	| lost     | exchange.lost       | Peers.Lost; with a GET, the note
//	| answer   | answered            | Reply.Answer
//	| abort    | aborted             | Reply.Abort
//	| -        | -                   | Reply.Failed: code 1, and the note
//
// The note says that the session is gone (noteGone): its client was told so, or an answer
// may have been on its way to a client that was lost, and nobody else knows that its
// messages are missing. Without it the session would wait for a heartbeat.

// arrive brings the request to its session, with its body unless that is still being
// received.
func (h *httpConn) arrive(body []byte, complete bool) {
	if h.exchange.home == nil {
		h.depart(body, complete)
		return
	}
	h.exchange.arrive(body, complete)
}

// complete brings the body of a request that has arrived.
func (h *httpConn) complete(body *pool.Buf) {
	x := &h.exchange
	if x.stream != 0 {
		x.partial = false
		h.server.options.Node.Peers.Complete(h.conn.Loop(), x.query.sid.node, x.stream, body)
		return
	}
	if x.home != nil { // else it was answered
		x.complete(body)
	}
}

// cancel has the request answered with err's status instead of a body, which never came
// whole.
func (h *httpConn) cancel(err *httpparse.Error) {
	x := &h.exchange
	if x.stream != 0 {
		h.server.options.Node.Peers.Cancel(h.conn.Loop(), x.query.sid.node, x.stream, err.Status)
		return
	}
	if x.home != nil { // else it was answered
		x.cancel(err)
	}
}

// lost tells the session, if one holds the exchange, that the connection is gone.
func (h *httpConn) lost() {
	x := &h.exchange
	if x.stream != 0 {
		stream := x.stream
		x.stream = 0
		h.server.options.Node.Peers.Lost(h.conn.Loop(), x.query.sid.node, stream, x.cut)
		if x.method == methodGET {
			h.tellGone()
		}
		return
	}
	x.lost()
}

// awayRetry is when a client comes again that was told that there is no room. It is
// short: a link that has too much to send has less in a moment.
const awayRetry = time.Second

// depart begins the request on the node of its session, on the connection's loop.
func (h *httpConn) depart(body []byte, complete bool) {
	x, on := &h.exchange, h.conn.Loop()
	x.partial = !complete && x.method == methodPOST
	sh := h.server.shard(on)
	head := appendArrival(sh.scratch[:0], &arrival{
		method: x.method, revision: x.query.revision, transport: x.query.transport, encoding: x.encoding,
		octets: x.octets, base64: x.query.base64, jsonp: x.query.jsonp, secure: x.secure, whole: !x.partial,
		binding: x.binding,
	})
	head = h.appendID(head)
	sh.scratch = head[:0]
	x.stream = h.server.options.Node.Peers.Arrive(on, x.query.sid.node, head, body, !x.partial, (*awayReply)(h))
	if x.stream == 0 {
		h.tellGone()
		h.refuse(nil, answer{status: 503, text: "Service Unavailable", retryAfter: awayRetry}, nil)
	}
}

// keepChosenID keeps an id of which the query has the node alone. It borrows r.
func (h *httpConn) keepChosenID(r *httpparse.Request) {
	x := &h.exchange
	if x.home == nil && x.query.sid.chosen && x.request == nil {
		id := url.QueryEscape(queryValue(r, "sid"))
		x.request = &Request{http: &httpparse.Request{Query: append([]byte("sid="), id...)}}
	}
}

// appendID appends the id that the request names, as text.
func (h *httpConn) appendID(dst []byte) []byte {
	if q := &h.exchange.query; !q.sid.chosen {
		return appendSID(dst, q.sid)
	}
	return append(dst, queryValue(h.exchange.request.http, "sid")...)
}

// tellGone tells the session's node that the session cannot go on.
func (h *httpConn) tellGone() {
	on := h.conn.Loop()
	sh := h.server.shard(on)
	note := h.appendID(appendNote(sh.scratch[:0], noteGone))
	sh.scratch = note[:0]
	h.server.options.Node.Peers.Note(on, h.exchange.query.sid.node, note)
}

// awayReply is an httpConn as the Reply to its exchange.
type awayReply httpConn

// over takes the exchange back. It reports false where nothing is waited for: the
// connection is gone, of which the session was told.
func (a *awayReply) over() (waited bool) {
	waited = a.exchange.stream != 0
	a.exchange.stream = 0
	return waited
}

// Answer puts this node's part of the head in front of the session's.
func (a *awayReply) Answer(p []byte) error {
	m, err := parseAnswer(p)
	if err != nil {
		a.Failed()
		return err
	}
	if !a.over() {
		return nil
	}
	h, x := (*httpConn)(a), &a.exchange
	x.keepAlive = x.keepAlive && !h.server.phase.draining() // the next request may reach another node
	if m.refused != nil {
		h.reject(m.refused, m.name, m.detail, m.previous)
		return nil
	}
	x.farewell = m.farewell
	x.okay, x.headers = append(x.okay, m.okay...), append(x.headers, m.headers...)
	b := h.responseHead(h.conn.Loop(), m.status, m.contentType, len(m.body))
	b.SetTail(append(b.Tail(), m.body...))
	h.answered(b)
	b.Release()
	return nil
}

func (a *awayReply) Abort() {
	h := (*httpConn)(a)
	switch {
	case !a.over():
	case h.eof: // the poll was given up, because the client sends nothing more
		h.hangUp()
	default:
		h.conn.Abort()
	}
}

func (a *awayReply) Failed() {
	if !a.over() {
		return
	}
	h := (*httpConn)(a)
	h.exchange.keepAlive = h.exchange.keepAlive && !h.server.phase.draining()
	h.tellGone()
	h.reject(refusedSID, "", "", "")
}
