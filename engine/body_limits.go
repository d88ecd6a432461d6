package engine

import (
	"turbine/httpparse"
	"turbine/loop"
)

// What a request's body may be: its size, told by Content-Length, and its share of what all
// bodies may take together. The sum of chunks is limited where they are decoded, by
// httpparse.Chunked.

// tooLarge reports whether a body of size bytes is above Options.MaxPayload.
func (h *httpConn) tooLarge(size int64) bool { return size > int64(h.server.options.MaxPayload) }

// keep copies the next bytes of the body, if Options.Limits.BodyBudget lets it. A small
// body is spared, as a small message is: it is not what has used up the budget.
func (h *httpConn) keep(p []byte) bool {
	if h.body.Len()+len(p) > sparedMessage && !h.affords(len(p)) {
		h.failBody(errBodyBudget)
		return false
	}
	h.server.shard(h.conn.Loop()).bodies += int64(len(p))
	h.body.Append(p)
	return true
}

// affords reports whether Options.Limits.BodyBudget has room for n bytes of a body
// more, whether they are kept here or on their way to the session's loop.
func (h *httpConn) affords(n int) bool {
	return h.server.affords(h.conn.Loop(), h.exchange.home, n)
}

// affords is for a body on the loop on; home is nil where its session is on another node.
func (s *Server) affords(on, home *loop.Loop, n int) bool {
	used := s.shard(on).bodies
	if home != nil {
		used += s.shard(home).carried.Load()
	}
	return used+int64(n) <= s.shares.bodies
}

var errBodyBudget = &httpparse.Error{Status: 503, Reason: "too many bodies at a time"}
