package engine

import (
	"bytes"

	"turbine/httpparse"
)

// Answers to health checks.
const (
	healthy  = "ok\n"
	draining = "draining\n"
)

// healthCheck answers r if it is a health check, see Options.HealthPath, and
// reports whether it is.
func (h *httpConn) healthCheck(r *httpparse.Request) bool {
	x, s := &h.exchange, h.server
	if len(s.health) == 0 || (x.method != methodGET && x.method != methodHEAD) {
		return false
	}
	what, ok := bytes.CutPrefix(r.Path, s.health)
	if !ok || (len(what) > 0 && string(what) != "/live") {
		return false
	}
	if len(what) == 0 && s.phase.draining() {
		x.answer(h.conn.Loop(), 503, typeText, draining)
	} else {
		x.answer(h.conn.Loop(), 200, typeText, healthy)
	}
	return true
}
