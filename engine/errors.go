package engine

import (
	"errors"
	"fmt"

	"turbine/httpparse"
	"turbine/loop"
)

// Reason is why a session ended. The texts are those of the reference server.
type Reason uint8

// The reasons.
const (
	// ReasonTransportClose: the client closed the session or its connection.
	ReasonTransportClose Reason = iota + 1
	// ReasonTransportError: the transport failed or the client broke a rule
	// of it.
	ReasonTransportError
	// ReasonPingTimeout: the client did not answer, or did not ping, in time.
	ReasonPingTimeout
	// ReasonParseError: the client sent what is no packet.
	ReasonParseError
	// ReasonForcedClose: Session.Close, CloseNow or Server.CloseSessions was
	// called.
	ReasonForcedClose
	// ReasonOverflow: more was sent to the client than Options.MaxQueue,
	// MaxQueuePackets or QueueBudget let wait for it, or came from it than
	// PendingBudget lets wait for the application. The reference server has no
	// such limit.
	ReasonOverflow
	// ReasonShutdown: Server.Shutdown was called. The reference server has
	// "forced close" here; the words are Socket.IO's. Clients see no
	// difference.
	ReasonShutdown

	reasons = iota + 1 // how many values there are, with zero, which is none
)

// String is the reason in the reference server's words.
func (r Reason) String() string {
	switch r {
	case ReasonTransportClose:
		return "transport close"
	case ReasonTransportError:
		return "transport error"
	case ReasonPingTimeout:
		return "ping timeout"
	case ReasonParseError:
		return "parse error"
	case ReasonForcedClose:
		return "forced close"
	case ReasonOverflow:
		return "queue overflow"
	case ReasonShutdown:
		return "server shutting down"
	}
	return "unknown"
}

// Errors that methods return.
var (
	// ErrClosed: the session is closing or closed; nothing was sent.
	ErrClosed = errors.New("engine: session closed")
	// ErrQueueFull: more than Options.MaxQueue bytes, or MaxQueuePackets
	// packets, would wait for the client; nothing was sent.
	ErrQueueFull = errors.New("engine: session queue full")
	// ErrBudget: more than Options.QueueBudget bytes would wait for all
	// clients together; nothing was sent.
	ErrBudget = errors.New("engine: budget of all queues is used up")
	// ErrPendingBudget: more than Options.PendingBudget bytes of events would
	// wait for the Executor. It is what Events.Close is told.
	ErrPendingBudget = errors.New("engine: budget of all waiting events is used up")
	// ErrNotUTF8: a message that is not Binary has to be text in UTF-8; nothing
	// was sent. A WebSocket client would close with code 1007.
	ErrNotUTF8 = errors.New("engine: text message is not valid UTF-8")
	// ErrServerClosed is what Serve returns after Shutdown.
	ErrServerClosed = errors.New("engine: server closed")
)

// Errors that tell Events.Close more about a transport error. Others come from
// the operating system or are a *wsframe.CloseError.
var (
	ErrPollOverlap   = errors.New("overlap from client")
	ErrDataOverlap   = errors.New("data request overlap from client")
	ErrPollLost      = errors.New("poll connection closed prematurely")
	ErrDataLost      = errors.New("data request connection closed prematurely")
	ErrContentType   = errors.New("invalid content")
	ErrHeartbeat     = errors.New("invalid heartbeat direction")
	ErrCallbackPanic = errors.New("engine: panic in a callback")
	ErrCloseTimeout  = errors.New("engine: client did not take what was queued in time")
)

// errExit is what is told instead of a panic's value where a callback has ended its
// goroutine.
var errExit = errors.New("runtime.Goexit was called")

// refusal is one of the protocol's numbered answers to a request that cannot
// be served: the code and message that the client is told.
type refusal struct {
	code    int
	message string
}

// The refusals, Engine.IO protocol, section "error codes".
var (
	refusedTransport = &refusal{0, "Transport unknown"}
	refusedSID       = &refusal{1, "Session ID unknown"}
	refusedMethod    = &refusal{2, "Bad handshake method"}
	refusedRequest   = &refusal{3, "Bad request"}
	refusedForbidden = &refusal{4, "Forbidden"}
	refusedRevision  = &refusal{5, "Unsupported protocol version"}
)

// HandshakeError is a refusal as Events.ConnectionError hears of it.
type HandshakeError struct {
	Code    int    // 0 to 5, as the client is told
	Message string // the protocol's own words for the code
	// Name tells apart what shares code 3: MIDDLEWARE_FAILURE,
	// TRANSPORT_MISMATCH, PROTOCOL_MISMATCH, ID_GENERATION_ERROR,
	// TRANSPORT_HANDSHAKE_ERROR, or code 4: FOREIGN_ORIGIN, BINDING_MISMATCH,
	// or nothing where Events.Admit refused.
	Name string
	// Detail is what was wrong: the transport (code 0 and TRANSPORT_MISMATCH),
	// the sid (1), the method (2), the text of the error that Admit returned (4), the
	// Origin (FOREIGN_ORIGIN), the revision (5 and PROTOCOL_MISMATCH) or the
	// cause of a failed callback.
	Detail string
	// Previous is the session's own transport or revision in a mismatch.
	Previous string
}

// Error is the message and what was wrong.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("engine: %s (code %d %s %q %s)", e.Message, e.Code, e.Name, e.Detail, e.Previous)
}

func (r *refusal) because(name, detail, previous string) *HandshakeError {
	return &HandshakeError{Code: r.code, Message: r.message, Name: name, Detail: detail, Previous: previous}
}

// report tells the application of a refusal. It borrows r.
func (s *Server) report(r *httpparse.Request, c *loop.Conn, e *HandshakeError) {
	if d := s.debug.engine; d != nil {
		d.Debug("refused", "code", e.Code, "message", e.Message, "name", e.Name, "target", string(r.Target))
	}
	if s.events.ConnectionError != nil {
		s.tellConnectionError(c.Loop(), s.newRequest(r, c).Clone(), e)
	}
}

// status of the answer over plain HTTP; over WebSocket it is 400, unless the
// request was forbidden for where it comes from.
func (r *refusal) status() int {
	if r.code == refusedForbidden.code {
		return 403
	}
	return 400
}
