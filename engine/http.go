package engine

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"time"

	"turbine/httpparse"
	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/pool"
)

// exchangeState is what an HTTP connection is doing. What may be true in any state
// (eof, mounted, parsing) is a field of httpConn.
//
//	| state    | event                                        | next                  | does
//	| idle     | bytes of a head                              | head                  | deadline
//	| idle     | deadline, the server ends                    | closed                | silently
//	| idle, head, body | end of stream                        | closed                | serve what is complete in the spill; Close
//	| head     | complete head / too large / malformed        | body, waiting / closed | deadline off / 431 or 414 / 400
//	| head     | complete head, for a handler of net/http     | lent                  | lend the connection
//	| head     | complete head, session on another loop       | idle                  | move there, parse it again
//	| head     | complete head, the application takes its time | deciding             | its own deadline
//	| head     | complete head, somebody else's upgrade       | unserved              | deadline
//	| head, body | deadline                                   | closed                | 408
//	| body     | complete / over MaxPayload, BodyBudget       | waiting / closed      | hand to the session / 413, 503
//	| waiting  | response written, keep-alive / not           | idle / closed         | parse spill again / Close
//	| waiting, deciding, unserved | more bytes (pipelining)   | the same              | into spill, bounded; over the bound: closed
//	| waiting  | connection lost                              | closed                | tell the session
//	| waiting  | end of stream, a poll waits                  | closed                | tell the session; Close
//	| waiting  | end of stream, a response is under way       | waiting               | then serve what is complete in the spill; Close
//	| deciding | verdict                                      | waiting               | begin the session, or refuse it
//	| deciding | verdict out of time, or server closing       | waiting               | 503
//	| deciding | end of stream, of a WebSocket / of another   | closed / deciding     | Close / -
//	| unserved | deadline, end of stream, the server ends     | closed                | silently
//	| lent     | answered, keep-alive / not                   | idle / closed         | parse spill again / Close
//	| lent     | given back with a request of ours            | idle                  | parse it
//	| lent     | no goroutine in time                         | waiting               | 503
//	| lent     | more bytes                                   | lent                  | on loan, or into spill; over the bound: reading pauses
//	| lent     | hijacked                                     | lent                  | all bytes are the hijacker's, until it closes: closed
//	| lent     | end of stream / connection lost              | lent / closed         | tell the handler
type exchangeState uint8

const (
	exchangeIdle     exchangeState = iota // nothing of the next request has come
	exchangeHead                          // a part of its head has
	exchangeBody                          // its body comes
	exchangeWaiting                       // for the response
	exchangeDeciding                      // waiting, for a Verdict
	exchangeUnserved                      // waiting, with somebody else's upgrade, to be ended
	exchangeLent                          // to net/http, see lentConn
	exchangeClosed                        // answered for the last time, moved to a WebSocket, or lost
)

// exchangeNext has a bit for each state that may come after one.
var exchangeNext = [...]uint8{
	exchangeIdle:     1<<exchangeHead | 1<<exchangeClosed,
	exchangeHead:     1<<exchangeWaiting | 1<<exchangeClosed,
	exchangeBody:     1<<exchangeWaiting | 1<<exchangeClosed,
	exchangeWaiting:  1<<exchangeIdle | 1<<exchangeBody | 1<<exchangeDeciding | 1<<exchangeUnserved | 1<<exchangeLent | 1<<exchangeClosed,
	exchangeDeciding: 1<<exchangeWaiting | 1<<exchangeClosed,
	exchangeUnserved: 1 << exchangeClosed,
	exchangeLent:     1<<exchangeIdle | 1<<exchangeWaiting | 1<<exchangeClosed,
	exchangeClosed:   0,
}

func (s exchangeState) mayBecome(next exchangeState) bool { return exchangeNext[s]>>next&1 != 0 }

// between reports whether the next request has not come yet, or only a part of its
// head.
func (s exchangeState) between() bool { return s <= exchangeHead }

// reads reports whether the client's next bytes are looked at.
func (s exchangeState) reads() bool { return s <= exchangeBody }

// waits reports whether a request has come that is not answered, so that the client's
// next bytes are set aside.
func (s exchangeState) waits() bool { return exchangeWaiting <= s && s <= exchangeUnserved }

// httpConn is the handler of a connection that speaks HTTP.
type httpConn struct {
	server   *Server
	conn     *loop.Conn
	exchange exchange
	spill    *pool.Buf // bytes that wait: an unfinished head, or pipelined
	body     *pool.Buf // what has come of the body
	left     int64     // bytes of a counted body to come
	chunks   httpparse.Chunked
	deadline time.Duration // of head or body
	slot     loop.Slot     // on conn's loop
	state    exchangeState
	chunked  bool     // the body comes in chunks
	verdict  *Verdict // that is waited for while deciding
	parsing  bool     // consume is running
	mounted  bool     // taken from an http.Server
	eof      bool     // the client sends nothing more
	telling  bool     // home is being told that: x is not to be used anew
	settled  bool     // a session has begun on it
	relayed  bool     // it carries a client of another node
	host     string   // of a mounted connection's last request that came through handlers
	around   *outside // what a mounted connection's other requests go to; nil without
	lent     *lentConn
	handed   *handed // the request comes from a handler of net/http; nil else
}

func newHTTPConn(s *Server, c *loop.Conn) *httpConn {
	h := &httpConn{server: s, conn: c}
	h.exchange.from = h
	h.slot = c.Loop().Claim((*httpAlarm)(h))
	timeout := s.options.Timeouts.Idle
	if s.phase.ending() { // accepted just before the end
		timeout = min(timeout, firstRequest)
	}
	h.expect(timeout)
	return h
}

// become is the only place that sets h.state.
func (h *httpConn) become(next exchangeState) {
	invariants.Check(h.state.mayBecome(next), "exchange %d -> %d", h.state, next)
	h.state = next
}

// expect sets the deadline of what has to come next.
func (h *httpConn) expect(timeout time.Duration) {
	l := h.conn.Loop()
	h.deadline = l.Now() + timeout
	l.Arm(h.slot, h.deadline)
}

// Data borrows p.
func (h *httpConn) Data(p []byte) {
	if h.slot == 0 { // moved here from another loop
		h.slot = h.conn.Loop().Claim((*httpAlarm)(h))
		h.expect(h.server.options.Timeouts.Header)
	}
	if h.lent != nil {
		h.dataLent(p)
		return
	}
	if h.spill == nil {
		h.consume(p)
		return
	}
	h.setAside(p)
	switch {
	case h.state.waits():
		h.boundAhead()
	case h.state.between() && bytes.IndexByte(p, '\n') < 0 && h.spill.Len() <= h.server.limits.Head():
		// A head can only end, or go wrong, with a line: a slow sender does
		// not make parsing quadratic.
	default:
		h.resume()
	}
}

// abandon ends the connection because a task of it was broken off. Once it has
// moved to another loop it waits for nothing. Safe from any goroutine.
func (h *httpConn) abandon() {
	on := h.conn.Loop()
	_ = on.Post(loop.Func(func() { // a stopped loop has aborted it
		if h.conn.Loop() == on {
			h.conn.Abort()
		}
	}))
}

// consume borrows p and handles the requests in it. What is left waits in the
// spill: a piece of a head, requests behind one that waits for its answer, or
// all that a client sends that does not read our answers.
func (h *httpConn) consume(p []byte) {
	h.parsing = true
	for len(p) > 0 && h.conn.Ready() && h.state.reads() {
		if h.state == exchangeBody {
			p = h.receive(p)
			continue
		}
		n := h.head(p)
		if n == 0 {
			break
		}
		p = p[n:]
	}
	h.parsing = false
	if len(p) == 0 || h.state == exchangeClosed {
		return
	}
	if h.state.waits() && len(p) > h.server.options.Limits.MaxPipelined {
		h.flooded(LimitPipelined)
		return
	}
	h.setAside(p)
	if h.state.waits() && !h.boundAhead() {
		return
	}
	if !h.conn.Ready() {
		h.conn.Pause() // until Drained
	}
}

func (h *httpConn) met(limit Limit) {
	client := h.conn.RemoteAddr().Addr()
	if h.server.proxies.Load().Trust(client) {
		client = netip.Addr{} // that is a proxy's
	}
	h.server.metBy(limit, h.conn.Loop(), client)
}

// head handles the request at the front of p, and returns how many bytes it
// used: 0 for a piece of a head.
func (h *httpConn) head(p []byte) int {
	if h.state == exchangeIdle {
		h.become(exchangeHead)
		h.expect(h.server.options.Timeouts.Header)
	}
	r := &h.server.shard(h.conn.Loop()).request
	n, err := httpparse.Parse(p, r, h.server.limits)
	if errors.Is(err, httpparse.ErrIncomplete) {
		return 0
	}
	if err != nil {
		h.malformed(err)
		return len(p)
	}
	h.conn.Loop().Disarm(h.slot)
	return h.request(r, p, n)
}

// malformed answers what is no request, and closes: nothing behind it can be
// understood.
func (h *httpConn) malformed(err error) {
	h.exchange = exchange{from: h, minor: 1}
	if h.state == exchangeHead {
		h.become(exchangeWaiting)
	}
	e := asHTTPError(err)
	if limit, ok := limitOf(e); ok {
		h.met(limit)
	}
	h.exchange.answer(h.conn.Loop(), e.Status, "", "")
}

func asHTTPError(err error) *httpparse.Error {
	var e *httpparse.Error
	if errors.As(err, &e) {
		return e
	}
	return &httpparse.Error{Status: 400, Reason: err.Error()}
}

// answered shares response and sends it: the exchange is over.
func (h *httpConn) answered(response *pool.Buf) (taken bool) {
	if h.state == exchangeClosed {
		return false
	}
	h.conn.WriteBuf(response)
	// The rest of the body would be taken for a request, and home may not have
	// let go of the exchange while it waits for the body.
	h.exchange.headers, h.exchange.okay, h.exchange.request, h.handed = nil, nil, nil, nil
	early := h.state == exchangeBody || h.exchange.partial
	h.dropBody()
	h.exchange.home = nil
	if early || !h.exchange.keepAlive || h.eof && h.spill == nil && !h.parsing {
		h.finish()
		h.conn.Close()
		return true
	}
	h.become(exchangeIdle)
	h.expect(h.server.options.Timeouts.Idle)
	if !h.parsing && h.spill != nil {
		on := h.conn.Loop()
		_ = on.Post(&resumeTask{http: h, on: on}) // not on the session's stack
	}
	return true
}

// aborted destroys the connection.
func (h *httpConn) aborted() { h.conn.Abort() }

// finish frees what the connection holds; it speaks HTTP no more.
func (h *httpConn) finish() {
	h.become(exchangeClosed)
	h.verdict = nil
	if h.lent != nil {
		h.dropLent().lose()
	}
	if h.around != nil {
		h.server.leave(h.around)
		h.around = nil
	}
	if h.spill != nil {
		h.takeSpill().Release()
	}
	h.dropBody()
	if h.relayed {
		h.server.carried.drop(h.conn)
	}
	if h.slot != 0 {
		h.conn.Loop().Release(h.slot)
		h.slot = 0
	}
}

// lose tells a waiting session that the connection is gone.
func (h *httpConn) lose() {
	if h.state == exchangeClosed {
		return
	}
	if h.state == exchangeWaiting || h.state == exchangeBody {
		h.lost()
	}
	h.finish()
}

// Drained takes the requests that waited for a slow reader.
func (h *httpConn) Drained() {
	if h.lent != nil {
		h.lent.acknowledge()
		return
	}
	h.conn.Resume()
	if h.state.reads() {
		h.resume()
	}
}

// EOF says that the client sends nothing more. It may read on, as clients do that
// shut down their direction behind a request: whatever it asked for is answered,
// except a poll that waits, and a request that waits for a goroutine, whose place
// another client can use.
func (h *httpConn) EOF() {
	h.eof = true
	if h.lent != nil && h.server.seats.leave(h.lent) {
		h.hangUp()
		return
	}
	if h.state.reads() {
		h.resume()
		return
	}
	h.inputEnded()
}

// inputEnded ends a connection by which no further request comes, unless a response
// is under way: the connection ends behind that.
func (h *httpConn) inputEnded() {
	switch {
	case h.state == exchangeClosed || h.telling:
	case h.state == exchangeLent: // the handler may answer still, as in net/http
		h.lent.end(io.EOF)
	case h.state == exchangeWaiting && h.exchange.stream != 0: // Abort or Answer comes
		h.server.options.Node.Peers.Cancel(h.conn.Loop(), h.exchange.query.sid.node, h.exchange.stream, 0)
	case h.state == exchangeWaiting && h.exchange.home != nil:
		h.telling = true
		h.tellEnd()
	case h.state == exchangeDeciding && !h.exchange.webSocket:
	case h.state.reads() && h.spill != nil && !h.conn.Ready(): // until Drained
	default:
		h.hangUp()
	}
}

// heardEnd continues when the session of the exchange knows that the client sends
// nothing more. waits says that the session had nothing for it.
func (h *httpConn) heardEnd(waits bool) {
	h.telling = false
	switch {
	case waits:
		h.hangUp()
	case h.state.between(): // answered meanwhile
		h.resume()
	}
}

// hangUp ends a connection whose request was given up.
func (h *httpConn) hangUp() {
	h.lose()
	h.conn.Close()
}

// Closed is the last event.
func (h *httpConn) Closed(error) { h.lose() }

// httpAlarm is an httpConn as the owner of its slot.
type httpAlarm httpConn

func (a *httpAlarm) Alarm() {
	h := (*httpConn)(a)
	switch h.state {
	case exchangeWaiting, exchangeDeciding, exchangeClosed:
		return
	default:
	}
	if !h.conn.Loop().Late(h.slot, h.deadline) {
		return
	}
	switch h.state {
	case exchangeLent:
		h.refuseLent()
	case exchangeBody:
		h.met(LimitBodyTimeout)
		h.failBody(errTimeout)
	case exchangeHead:
		h.met(LimitHeaderTimeout)
		h.malformed(errTimeout)
	case exchangeIdle:
		h.met(LimitIdleTimeout)
		fallthrough
	default:
		h.finish()
		h.conn.Close()
	}
}

// Abandon ends the connection: nobody sees to its deadline.
func (a *httpAlarm) Abandon() { (*httpConn)(a).abandon() }

var errTimeout = &httpparse.Error{Status: 408, Reason: "request too slow"}

// refuseWaiting answers a request that waits for a verdict on its session: there
// will be no new sessions.
func (h *httpConn) refuseWaiting() {
	if h.state == exchangeDeciding {
		h.decided()
		h.unavailable(CauseDraining)
	}
}

// firstRequest is how long, at the server's end, a connection on which nothing
// has come yet may take: its first request may be on its way.
const firstRequest = time.Second

// closeIdle closes the connection if it is between two requests, or waits for
// what will not be wanted any more. hasty says that there are no sessions whose next
// request may be on its way: then a client that has been sent nothing that it may still
// have to read is not waited for.
func (h *httpConn) closeIdle(hasty bool) {
	switch {
	case h.state == exchangeDeciding:
		h.refuseWaiting()
	case h.state == exchangeIdle && !h.exchange.keepAlive:
		h.expect(firstRequest)
	case h.state == exchangeIdle && hasty && !h.exchange.farewell && h.conn.Unsent() == 0:
		h.finish()
		h.conn.CloseIdle()
	case h.state == exchangeIdle, h.state == exchangeUnserved:
		h.finish()
		h.conn.Close()
	}
}
