package main

import (
	"bytes"
	"errors"
	"math"
	"time"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/pool"
)

// httpConn is the handler of a connection that speaks HTTP. What a request is
// answered with, whatever its method:
//
//	| target               | answer
//	| under Engine.IO's path | the connection becomes the engine's, for good
//	| /ws, with an upgrade | the connection becomes a WebSocket
//	| /echo                | 200, the header fields, one "Name: value" a line
//	| /cookie              | 200, the cookie pairs, one "name=value" a line
//	| any other            | 200, the body of the request
//	| CONNECT              | 501, and the end: a 200 would promise a tunnel
//
// A request that is malformed is answered with its status and ends the
// connection.
type httpConn struct {
	target  *target
	conn    *loop.Conn
	request httpparse.Request // the one being looked at; kept for its room
	spill   *pool.Buf         // bytes that wait: part of a head, or what is behind answers not taken
	answer  *pool.Buf         // the body of the answer, as far as it is known

	chunks    httpparse.Chunked
	left      int64 // bytes of a counted body to come
	got       int   // bytes of the body so far
	receiving bool  // a body
	chunked   bool
	echoing   bool // the body is the answer
	bodiless  bool // the request was a HEAD
	keepAlive bool
	minor     int
	over      bool // closed, or somebody else's
}

// Data borrows p.
func (h *httpConn) Data(p []byte) {
	b := h.spill
	if b == nil {
		h.consume(p)
		return
	}
	seen := b.Len()
	b.Append(p)
	if h.conn.Ready() && (httpparse.HeadEnd(b.Bytes(), seen) >= 0 || b.Len() > h.target.heads.Head()) {
		h.resume()
	}
}

// resume continues with the bytes in the spill.
func (h *httpConn) resume() {
	if b := h.spill; b != nil {
		h.spill = nil
		h.consume(b.Bytes())
		b.Release()
	}
}

// Drained continues with requests that waited for a slow reader.
func (h *httpConn) Drained() {
	h.conn.Resume()
	h.resume()
}

// EOF ends the connection when its answers have been sent.
func (h *httpConn) EOF() { h.finish() }

// Closed is the last event.
func (h *httpConn) Closed(error) { h.free() }

// consume borrows p and handles the requests in it.
func (h *httpConn) consume(p []byte) {
	for len(p) > 0 && !h.over {
		switch {
		case !h.conn.Ready():
			h.keep(p)
			h.conn.Pause() // until Drained
			return
		case h.receiving:
			p = h.receive(p)
		default:
			p = h.head(p)
		}
	}
}

func (h *httpConn) keep(p []byte) {
	h.spill = pool.Spills.Get(len(p))
	h.spill.Append(p)
}

// head handles the request head at the front of p, and returns what is behind
// it: nothing, when more has to come, or when the connection is HTTP no more.
func (h *httpConn) head(p []byte) (rest []byte) {
	r := &h.request
	n, err := httpparse.Parse(p, r, h.target.heads)
	switch {
	case errors.Is(err, httpparse.ErrIncomplete):
		h.keep(p)
		return nil
	case err != nil:
		h.bodiless = false // of an earlier request
		h.fail(err)
		return nil
	case bytes.HasPrefix(r.Path, h.target.path):
		h.over = true
		e := h.target.engine.Driver().Accept(h.conn)
		h.conn.SetHandler(e)
		e.Data(p) // the head as well: the engine has its own eyes
		return nil
	case wantsWebSocket(r):
		h.over = true
		acceptWebSocket(h.target, h.conn, r, p[n:])
		return nil
	}
	h.begin(r, len(p) > n)
	return p[n:]
}

// begin starts the answer to r, and ends it if r has no body. It borrows r.
func (h *httpConn) begin(r *httpparse.Request, more bool) {
	h.bodiless = string(r.Method) == "HEAD"
	h.keepAlive, h.minor = r.KeepAlive, r.Minor
	if string(r.Method) == "CONNECT" {
		h.fail(errTunnel)
		return
	}
	if r.ContentLength > int64(h.target.maxBody) {
		h.fail(errTooLarge)
		return
	}
	h.answer = pool.Payloads.Get(0)
	h.echoing = false
	switch string(r.Path) {
	case "/echo":
		h.answer.SetTail(appendFields(h.answer.Tail(), r))
	case "/cookie":
		h.answer.SetTail(appendCookies(h.answer.Tail(), r))
	default:
		h.echoing = true
	}
	if !r.HasBody() {
		h.respond()
		return
	}
	h.receiving, h.chunked, h.left, h.got = true, r.Chunked, r.ContentLength, 0
	h.chunks = httpparse.Chunked{}
	if r.ExpectContinue && !more { // RFC 9110, 10.1.1: not to a client that did not wait
		h.conn.Write(continueResponse)
	}
}

var continueResponse = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// Faults of requests that httpparse has no objection to.
var (
	errRequest  = &httpparse.Error{Status: 400, Reason: "bad request"}
	errTooLarge = &httpparse.Error{Status: 413, Reason: "body too large"}
	errTunnel   = &httpparse.Error{Status: 501, Reason: "no tunnels here"}
)

// appendFields appends the header fields of r as they came, one a line.
func appendFields(dst []byte, r *httpparse.Request) []byte {
	for _, f := range r.Headers {
		dst = append(append(dst, f.Name...), ": "...)
		dst = append(append(dst, f.Value...), '\n')
	}
	return dst
}

// appendCookies appends the cookie pairs of r, one a line: RFC 6265, 5.4. What
// has no name is no pair.
func appendCookies(dst []byte, r *httpparse.Request) []byte {
	for _, f := range r.Headers {
		if !bytes.EqualFold(f.Name, []byte("Cookie")) {
			continue
		}
		for piece := range bytes.SplitSeq(f.Value, []byte{';'}) {
			pair := bytes.Trim(piece, " \t")
			if bytes.IndexByte(pair, '=') > 0 {
				dst = append(append(dst, pair...), '\n')
			}
		}
	}
	return dst
}

// receive takes the next piece of the body and returns what is behind it.
func (h *httpConn) receive(p []byte) (rest []byte) {
	var piece []byte
	done := false
	if h.chunked {
		var err error
		if piece, rest, done, err = h.chunks.Decode(p, math.MaxUint64); err != nil {
			h.fail(err)
			return nil
		}
	} else {
		n := int(min(int64(len(p)), h.left))
		piece, rest = p[:n], p[n:]
		h.left -= int64(n)
		done = h.left == 0
	}
	if h.got += len(piece); h.got > h.target.maxBody {
		h.fail(errTooLarge)
		return nil
	}
	if h.echoing {
		h.answer.Append(piece)
	}
	if done {
		h.receiving = false
		h.respond()
	}
	return rest
}

// respond answers the request that has come whole.
func (h *httpConn) respond() {
	body := h.answer
	h.answer = nil
	h.send(200, body)
	body.Release()
	if !h.keepAlive {
		h.finish()
	}
}

// fail answers what cannot be served, and ends the connection: nobody knows
// where the next request would begin.
func (h *httpConn) fail(err error) {
	fault := errRequest
	_ = errors.As(err, &fault)
	h.keepAlive = false
	body := pool.Payloads.Get(len(fault.Reason) + 1)
	body.Append([]byte(fault.Reason + "\n"))
	h.send(fault.Status, body)
	body.Release()
	h.finish()
}

// send shares body. Head and body leave in one write: both are queued in the
// same turn of the loop.
func (h *httpConn) send(status int, body *pool.Buf) {
	head := pool.Payloads.Get(headSize)
	dst := httpparse.AppendResponse(head.Tail(), status)
	dst = httpparse.AppendDate(dst, time.Now())
	dst = httpparse.AppendHeader(dst, "Content-Type", "text/plain; charset=UTF-8")
	dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(body.Len()))
	switch {
	case !h.keepAlive:
		dst = httpparse.AppendHeader(dst, "Connection", "close")
	case h.minor == 0:
		dst = httpparse.AppendHeader(dst, "Connection", "keep-alive")
	}
	head.SetTail(httpparse.AppendEnd(dst))
	h.conn.WriteBuf(head)
	head.Release()
	if !h.bodiless {
		h.conn.WriteBuf(body)
	}
}

// headSize is the bound of the head of an answer, in bytes.
const headSize = 256

// finish closes the connection when all is sent.
func (h *httpConn) finish() {
	h.over = true
	h.conn.Close()
	h.free()
}

// free gives back what the connection holds.
func (h *httpConn) free() {
	if h.spill != nil {
		h.spill.Release()
		h.spill = nil
	}
	if h.answer != nil {
		h.answer.Release()
		h.answer = nil
	}
}
