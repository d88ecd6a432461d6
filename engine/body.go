package engine

import (
	"turbine/httpparse"
	"turbine/pool"
)

// awaitBody begins to receive the body of x, which has arrived at its session.
func (h *httpConn) awaitBody(r *httpparse.Request) {
	h.become(exchangeBody)
	h.chunked, h.chunks, h.left = r.Chunked, httpparse.Chunked{}, r.ContentLength
	h.body = pool.Spills.Get(0)
	h.expect(h.server.options.Timeouts.Body)
	if r.ExpectContinue {
		h.conn.Write(continueResponse)
	}
}

var continueResponse = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// receive takes the next piece of the body and returns what is behind it.
func (h *httpConn) receive(p []byte) (rest []byte) {
	if h.chunked {
		return h.receiveChunked(p)
	}
	n := int(min(int64(len(p)), h.left))
	if !h.keep(p[:n]) {
		return nil
	}
	if h.left -= int64(n); h.left == 0 {
		h.received()
	}
	return p[n:]
}

func (h *httpConn) receiveChunked(p []byte) []byte {
	piece, rest, done, err := h.chunks.Decode(p, uint64(h.server.options.MaxPayload-h.body.Len())) // #nosec G115 -- no body is longer
	if err != nil {
		h.failBody(asHTTPError(err))
		return nil
	}
	if !h.keep(piece) {
		return nil
	}
	if done {
		h.received()
	}
	return rest
}

// failBody ends a body that cannot be used. Too large a one leaves its session
// open; a broken one ends it.
func (h *httpConn) failBody(err *httpparse.Error) {
	if limit, ok := limitOf(err); ok {
		h.met(limit)
	}
	h.dropBody()
	if h.state == exchangeBody {
		h.become(exchangeWaiting)
	}
	h.cancel(err)
}

// received hands the complete body on.
func (h *httpConn) received() {
	h.become(exchangeWaiting)
	h.conn.Loop().Disarm(h.slot)
	body := h.takeBody()
	h.complete(body)
	body.Release()
}

func (h *httpConn) takeBody() *pool.Buf {
	body := h.body
	h.body = nil
	h.server.shard(h.conn.Loop()).bodies -= int64(body.Len())
	return body
}

func (h *httpConn) dropBody() {
	if h.body != nil {
		h.takeBody().Release()
	}
}
