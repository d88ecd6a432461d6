package engine

import (
	"turbine/loop"
	"turbine/pool"
)

// The spill of an httpConn keeps what a client has sent and its request cannot take
// yet: a piece of a head, or what was sent ahead of a response.

// setAside borrows p and keeps a copy of it in the spill, where it counts for
// Options.Limits.BodyBudget.
func (h *httpConn) setAside(p []byte) {
	if h.spill == nil {
		h.spill = pool.Spills.Get(len(p))
	}
	h.spill.Append(p)
	h.server.shard(h.conn.Loop()).bodies += int64(len(p))
}

// takeSpill takes the spill, which counts no more.
func (h *httpConn) takeSpill() *pool.Buf {
	b := h.spill
	h.spill = nil
	h.server.shard(h.conn.Loop()).bodies -= int64(b.Len())
	return b
}

// sparedAhead is how many bytes ahead of its response a client may have sent
// that are not refused by Options.Limits.BodyBudget: its next request.
const sparedAhead = 4 << 10

// boundAhead ends the connection if too much was sent ahead of a response, by it
// or by all together. It reports whether the connection lives.
func (h *httpConn) boundAhead() bool {
	sh, ahead := h.server.shard(h.conn.Loop()), h.spill.Len()
	switch {
	case ahead > h.server.options.Limits.MaxPipelined:
		h.flooded(LimitPipelined)
	case ahead > sparedAhead && sh.bodies > h.server.shares.bodies:
		h.flooded(LimitBodyBudget)
	default:
		return true
	}
	return false
}

// flooded ends the connection of a client that sends on and on while it waits.
func (h *httpConn) flooded(limit Limit) {
	h.met(limit)
	h.lose()
	h.conn.Abort()
}

// resume continues with the bytes in the spill, and ends a connection whose client
// sent nothing after them.
func (h *httpConn) resume() {
	if h.state == exchangeClosed || h.telling {
		return
	}
	if h.spill != nil {
		b := h.takeSpill()
		h.consume(b.Bytes())
		b.Release()
	}
	if h.eof {
		h.inputEnded()
	}
}

// resumeTask resumes an httpConn, unless it has moved to another loop.
type resumeTask struct {
	http *httpConn
	on   *loop.Loop
}

func (t *resumeTask) Run() {
	if h := t.http; h.conn.Loop() == t.on && h.state.between() && !h.parsing {
		h.resume()
	}
}

// Abandon ends the connection: nobody answers its request.
func (t *resumeTask) Abandon() { t.http.abandon() }
