package engine

import (
	"bytes"
	"time"

	"turbine/engine/packet"
)

// TraceEvent is the kind of a TraceRecord.
type TraceEvent uint8

// The events.
const (
	TracePacket        TraceEvent = iota + 1 // a packet has come, or is given to the transport
	TraceTransport                           // what carries the session at the beginning, and after an upgrade
	TraceUpgradeBegun                        // a WebSocket was opened for an upgrade
	TraceUpgradeProbed                       // the client's probe has come on it, and is answered
	TraceUpgradeFailed                       // the upgrade was given up
	TraceClosing                             // Close was called, or it is the session's turn in the drain: what is queued is being delivered
	TraceClose                               // the session has ended
	TraceDropped                             // the reader was too slow for so many records
	TraceEnd                                 // the trace has ended

	numTraceEvents = iota + 1
)

var traceEventNames = [numTraceEvents]string{
	TracePacket:        "packet",
	TraceTransport:     "transport",
	TraceUpgradeBegun:  "upgrade_begun",
	TraceUpgradeProbed: "upgrade_probed",
	TraceUpgradeFailed: "upgrade_failed",
	TraceClosing:       "closing",
	TraceClose:         "close",
	TraceDropped:       "dropped",
	TraceEnd:           "end",
}

// String is the event's name in logs and lists.
func (e TraceEvent) String() string {
	if int(e) < numTraceEvents && e != 0 {
		return traceEventNames[e]
	}
	return "unknown"
}

// TraceEnding is why a trace has ended.
type TraceEnding uint8

// The endings.
const (
	TraceClosed   TraceEnding = iota + 1 // the session has ended
	TraceTimeOver                        // TraceOptions.For, or a deadline of the context
	TraceCanceled                        // the context was canceled
)

// String is the ending's name in logs and lists.
func (e TraceEnding) String() string {
	switch e {
	case TraceClosed:
		return "closed"
	case TraceTimeOver:
		return "time"
	case TraceCanceled:
		return "canceled"
	}
	return "unknown"
}

// A TraceRecord is one thing that has happened to a session.
type TraceRecord struct {
	Time  time.Time
	Event TraceEvent

	// Of TracePacket: its direction, its type, what carries it, and the size of its data.
	// A packet that the client sends on a WebSocket to upgrade is one of WebSocket.
	// Payload is for TraceOptions.Payloads: at most the first 4 KiB of the data, with "*"
	// in place of each character of the session's id. It is nil in an open packet, which
	// has that id, and while 256 KiB wait for the reader.
	Out     bool // to the client
	Binary  bool
	Type    packet.Type
	Bytes   int
	Payload []byte

	Transport Transport   // of TracePacket and TraceTransport
	Failed    UpgradeEnd  // of TraceUpgradeFailed
	Reason    Reason      // of TraceClose
	Err       error       // of TraceClose, as Events.Close is told it
	Dropped   int         // of TraceDropped
	Why       TraceEnding // of TraceEnd
}

// hide overwrites each place in text where there is secret.
func hide(text, secret []byte) {
	for len(secret) > 0 {
		i := bytes.Index(text, secret)
		if i < 0 {
			return
		}
		for j := range secret {
			text[i+j] = '*'
		}
		text = text[i+len(secret):]
	}
}
