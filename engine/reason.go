package engine

import (
	"errors"

	"turbine/engine/packet"
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
	// ReasonForcedClose: Session.Close, CloseWith, CloseNow or Server.CloseSessions was
	// called.
	ReasonForcedClose
	// ReasonOverflow: more was sent to the client than Options.Queue.MaxBytes,
	// Queue.MaxPackets or Queue.Budget let wait for it, or more came from it than
	// Limits.PendingBudget lets wait for the application. The reference server has no
	// such limit.
	ReasonOverflow
	// ReasonShutdown: Server.Shutdown was called. The reference server has
	// "forced close" here; the words are Socket.IO's. Clients see no
	// difference.
	ReasonShutdown

	// NumReasons is the length of Stats.Closed: how many reasons there are, with
	// zero, which is none.
	NumReasons = iota + 1
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

// reasonOf is the reason of a session that ends for err. Ends without an error, such as
// a client that leaves or falls silent, name their reason themselves.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, packet.ErrMalformed), errors.Is(err, ErrTooManyPackets):
		return ReasonParseError
	case errors.Is(err, ErrQueueFull), errors.Is(err, ErrBudget), errors.Is(err, ErrPendingBudget):
		return ReasonOverflow
	case errors.Is(err, ErrNeverHeard):
		return ReasonPingTimeout
	}
	return ReasonTransportError
}

// Errors that methods return.
var (
	// ErrClosed: the session is closing or closed; nothing was sent.
	ErrClosed = errors.New("engine: session closed")
	// ErrQueueFull: more than Options.Queue.MaxBytes bytes, or Queue.MaxPackets
	// packets, would wait for the client; nothing was sent.
	ErrQueueFull = errors.New("engine: session queue full")
	// ErrBudget: more than Options.Queue.Budget bytes would wait for all
	// clients together; nothing was sent.
	ErrBudget = errors.New("engine: budget of all queues is used up")
	// ErrPendingBudget: more than Options.Limits.PendingBudget bytes of events would
	// wait for the Executor. It is what Events.Close is told.
	ErrPendingBudget = errors.New("engine: budget of all waiting events is used up")
	// ErrNotUTF8: a message that is not Binary has to be text in UTF-8; nothing
	// was sent. A WebSocket client would close with code 1007.
	ErrNotUTF8 = errors.New("engine: text message is not valid UTF-8")
	// ErrServerClosed is what Serve returns after Shutdown.
	ErrServerClosed = errors.New("engine: server closed")

	// ErrNotServing is what Broadcast, Publish and PublishTo return before Serve, and
	// when a loop has ended.
	ErrNotServing = errors.New("engine: the server does not serve")
)

// Errors of Events.Close that say more about a transport error. Others come from the
// operating system or are a *wsframe.CloseError.
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
