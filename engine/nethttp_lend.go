package engine

import (
	"bytes"
	"context"
	"errors"
	"math"

	"turbine/httpparse"
)

// A handed request is one that handlers of net/http give to the loop.
type handed struct {
	first   []byte // head and body
	headers []byte // header lines for the response, by the handlers around the server
	context context.Context
	host    string // that the request is for
	last    bool   // the connection ends with the response
}

// lend gives the connection to o for the request r, whose head is the first n
// bytes of p, and returns how many bytes of p it used. It borrows both.
func (h *httpConn) lend(o *outside, r *httpparse.Request, p []byte, n int) int {
	c := newLentConn(h, o)
	h.lent = c
	h.become(exchangeLent)
	h.exchange.bodyLeft = false // the handler has it, or c knows
	h.chunked, h.chunks, h.left = r.Chunked, httpparse.Chunked{}, max(r.ContentLength, 0)
	h.exchange.keepAlive = h.exchange.keepAlive && string(r.Method) != "CONNECT" // see elsewhere
	c.push(bytes.TrimPrefix(p[:n], crlf))                                        // RFC 9112, 2.2; net/http would not have it
	used := len(p) - len(h.feed(p[n:]))
	h.flow()
	switch ok, waits := h.server.seats.enter(c); {
	case !ok:
		h.busy()
	case waits:
		h.met(LimitFallback)
		h.expect(h.server.options.Timeouts.Admit)
	}
	return used
}

var crlf = []byte("\r\n")

// errChunks is what handlers are told of a malformed body, in net/http's words.
var errChunks = errors.New("malformed chunked encoding")

// busy answers a request that no goroutine was found for.
func (h *httpConn) busy() {
	h.met(LimitFallbackWaiting)
	c := h.dropLent()
	h.become(exchangeWaiting)
	h.exchange.keepAlive = h.exchange.keepAlive && c.complete
	c.lose()
	h.conn.Resume()
	h.unavailable(causeNone)
}

// feed gives the lent connection what of p belongs to its request, and returns
// what is behind that.
func (h *httpConn) feed(p []byte) (rest []byte) {
	c := h.lent
	switch {
	case c.complete: // only the loop changes it
		return p
	case h.chunked:
		rest = p
		for done := false; !done; {
			good := p[:len(p)-len(rest)]
			var err error
			if _, rest, done, err = h.chunks.Decode(rest, math.MaxUint64); err != nil {
				// net/http takes chunk extensions that are malformed, and would take
				// what is behind the body for requests of its own.
				c.push(good)
				c.end(errChunks)
				h.exchange.keepAlive = false
				return nil
			}
			if len(rest) == 0 && !done {
				c.push(p)
				return nil
			}
		}
	default:
		n := min(int64(len(p)), h.left)
		h.left -= n
		if rest = p[n:]; h.left > 0 {
			c.push(p)
			return nil
		}
	}
	c.push(p[:len(p)-len(rest)])
	c.completed()
	return rest
}

// dataLent takes bytes that come while the connection is lent: for the request, for
// the handler that has hijacked the connection, or pipelined ones, which wait.
func (h *httpConn) dataLent(p []byte) {
	if h.lent.tunnel {
		h.lent.push(p)
	} else if p = h.feed(p); len(p) > 0 {
		h.setAside(p)
	}
	h.flow()
}

// flow reads on or not, as there is room for what comes.
func (h *httpConn) flow() {
	if h.lent.isFull() || h.spill != nil && h.spill.Len() > h.server.options.Limits.MaxPipelined {
		h.conn.Pause()
	} else {
		h.conn.Resume()
	}
}

// dropLent ends the loan.
func (h *httpConn) dropLent() *lentConn {
	c := h.lent
	h.lent = nil
	if c.tunnel {
		h.server.shard(c.loop).tunnels.Add(-1)
	}
	return c
}

// unlend takes the connection back, after its response was written. keep says
// that the client may send the next request, or has.
func (h *httpConn) unlend(keep bool) {
	h.dropLent()
	if !keep || !h.exchange.keepAlive || h.server.phase.ending() {
		h.finish()
		h.conn.Close()
		return
	}
	h.become(exchangeIdle)
	h.exchange.keepAlive = true
	h.expect(h.server.options.Timeouts.Idle)
	h.conn.Resume()
	h.resume()
}

// receiveHanded serves a request that net/http gives back, whose head is not
// looked at by handlers of net/http any more.
func (h *httpConn) receiveHanded(r *handed) {
	h.dropLent()
	h.become(exchangeIdle)
	h.handed, h.host = r, r.host
	h.conn.Resume()
	p := r.first
	r.first = nil
	if h.spill != nil {
		behind := h.takeSpill()
		if !r.last {
			p = append(p, behind.Bytes()...)
		}
		behind.Release()
	}
	h.consume(p)
	if h.eof {
		h.inputEnded()
	}
}

// refuseLent answers 503 if the lent connection still waits for a goroutine.
func (h *httpConn) refuseLent() {
	if h.server.seats.leave(h.lent) {
		h.busy()
	}
}

// push gives c more to read. It is called on the loop, and borrows p.
func (c *lentConn) push(p []byte) {
	if len(p) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.in = append(c.in, p...)
	c.stopped = len(c.in) >= lentWindow
	c.changed.Broadcast()
}

// completed says that nothing of the request is to come.
func (c *lentConn) completed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
}

// isFull reports whether the loop has to stop reading; take posts when it may read
// again.
func (c *lentConn) isFull() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// end says that nothing more of the client's is to be read, and why: io.EOF if it
// sends nothing more.
func (c *lentConn) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inErr = why
	c.changed.Broadcast()
}

// lose says that the connection is no more.
func (c *lentConn) lose() {
	c.http.server.seats.leave(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone, c.inErr = true, errLost
	c.changed.Broadcast()
}

// acknowledge says that what was written so far is on its way.
func (c *lentConn) acknowledge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending -= c.unacked
	c.unacked = 0
	c.changed.Broadcast()
}

// lentTask is a lentConn at which its loop has to look.
type lentTask lentConn

func (t *lentTask) Run() {
	c := (*lentConn)(t)
	h := c.http
	c.mu.Lock()
	out, hijacked, closed, returned := c.out, c.hijacked, c.closed, c.returned
	keep, broken := c.answered && c.complete, c.broken
	c.out, c.posted = nil, false
	c.mu.Unlock()

	if h.lent != c { // lost
		for _, b := range out {
			b.Release()
		}
		return
	}
	for _, b := range out {
		c.unacked += b.Len()
		h.conn.WriteBuf(b)
		b.Release()
	}
	if len(out) > 0 && h.conn.Ready() {
		c.acknowledge() // else Drained comes
	}
	if hijacked && !c.tunnel {
		h.beginTunnel()
	}
	switch {
	case returned != nil:
		h.receiveHanded(returned)
	case closed && broken:
		h.finish()
		h.conn.Abort()
	case closed:
		h.unlend(keep && !c.tunnel)
	default:
		h.flow()
	}
}

// Abandon ends the connection: nobody answers the request that was given back.
func (t *lentTask) Abandon() { t.http.abandon() }

// beginTunnel gives the hijacker all that comes.
func (h *httpConn) beginTunnel() {
	h.lent.tunnel = true
	h.server.shard(h.conn.Loop()).tunnels.Add(1)
	if h.spill != nil {
		b := h.takeSpill()
		h.lent.push(b.Bytes())
		b.Release()
	}
}
