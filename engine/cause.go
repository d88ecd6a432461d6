package engine

import "turbine/httpparse"

// Cause is why a request to Engine.IO was refused; Stats.Refused counts by it. A
// client that was refused has no session by that request, or keeps the one it had.
type Cause uint8

const causeNone Cause = 0 // the request is none to Engine.IO

// The causes. The first ones may be of any request.
const (
	CauseTransport     Cause = iota + 1 // transport unknown or switched off (code 0)
	CauseForeignOrigin                  // a page of another origin (code 4)
	CauseMiddleware                     // Options.Middleware has answered itself, or failed (code 3)
	CauseWebSocket                      // no valid WebSocket handshake
	CauseConns                          // a WebSocket of a client that has too many connections, by what a proxy says of it
	CauseRequest                        // the rest of code 3

	// Of handshakes.

	CauseMethod        // not GET (code 2)
	CauseRevision      // revision unknown or switched off (code 5)
	CauseAdmit         // Events.Admit or its Verdict
	CauseID            // Options.GenerateID has failed, or the id was not usable (code 3)
	CauseDraining      // nobody new is let in
	CauseHandshakeRate // the limit of that name, and so below
	CauseSessions
	CauseSessionsPerIP
	CauseAdmitting
	CauseAdmitTimeout

	// Of requests with a session's id.

	CauseSID               // there is no such session (code 1)
	CauseBinding           // Options.Access.Bind (code 4)
	CauseTransportMismatch // the session is on another transport (code 3)
	CauseRevisionMismatch  // the session speaks another revision (code 3)
	CauseUpgrades          // as many upgrades as may be are under way
	CauseUpgrade           // an upgrade that is not allowed, or one too many of its session

	// NumCauses is the length of Stats.Refused: how many causes there are, with zero,
	// which is none.
	NumCauses = iota + 1
)

// String is the cause's name in logs and metrics.
func (c Cause) String() string {
	if int(c) < NumCauses && c != causeNone {
		return causeNames[c]
	}
	return "unknown"
}

var causeNames = [NumCauses]string{
	CauseTransport:         "transport_unknown",
	CauseForeignOrigin:     "foreign_origin",
	CauseMiddleware:        "middleware",
	CauseWebSocket:         "websocket_handshake",
	CauseConns:             "conns",
	CauseRequest:           "bad_request",
	CauseMethod:            "bad_method",
	CauseRevision:          "revision",
	CauseAdmit:             "admit",
	CauseID:                "id",
	CauseDraining:          "draining",
	CauseHandshakeRate:     "handshake_rate",
	CauseSessions:          "sessions",
	CauseSessionsPerIP:     "sessions_per_ip",
	CauseAdmitting:         "admitting",
	CauseAdmitTimeout:      "admit_timeout",
	CauseSID:               "session_unknown",
	CauseBinding:           "binding",
	CauseTransportMismatch: "transport_mismatch",
	CauseRevisionMismatch:  "revision_mismatch",
	CauseUpgrades:          "upgrades",
	CauseUpgrade:           "upgrade",
}

// cause is what the refusal counts as.
func (e *HandshakeError) cause() Cause {
	switch e.Name {
	case "MIDDLEWARE_FAILURE":
		return CauseMiddleware
	case "TRANSPORT_MISMATCH":
		return CauseTransportMismatch
	case "PROTOCOL_MISMATCH":
		return CauseRevisionMismatch
	case "ID_GENERATION_ERROR":
		return CauseID
	case "FOREIGN_ORIGIN":
		return CauseForeignOrigin
	case "BINDING_MISMATCH":
		return CauseBinding
	}
	return refusalCauses[e.Code]
}

// refusalCauses are the causes of refusals without a name of their own, by code.
var refusalCauses = [...]Cause{CauseTransport, CauseSID, CauseMethod, CauseRequest, CauseAdmit, CauseRevision}

// refuses counts a request on the connection that is refused. It borrows r, which is nil
// where the request is not at hand.
func (h *httpConn) refuses(r *httpparse.Request, why Cause) {
	h.server.shard(h.conn.Loop()).refuses(h.conn, r, why)
}
