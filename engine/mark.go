package engine

import "sync/atomic"

// callKind is a callback of the application that runs on a loop.
type callKind uint8

const (
	callNone callKind = iota
	callAdmit
	callConnectionError
	callInitialHeaders
	callHeaders
	callOpen
	callPacket
	callMessage
	callPacketCreate
	callHeartbeat
	callUpgrading
	callUpgrade
	callFlush
	callFlushed
	callHighWater
	callLowWater
	callDrain
	callClose
	callSent
	callKeep
	callBind
	callGenerateID
	callMiddleware
	callAllow
	callSubmit
)

// callNames are what an application looks for in its own source.
var callNames = [...]string{
	callNone:            "none",
	callAdmit:           "Events.Admit",
	callConnectionError: "Events.ConnectionError",
	callInitialHeaders:  "Events.InitialHeaders",
	callHeaders:         "Events.Headers",
	callOpen:            "Events.Open",
	callPacket:          "Events.Packet",
	callMessage:         "Events.Message",
	callPacketCreate:    "Events.PacketCreate",
	callHeartbeat:       "Events.Heartbeat",
	callUpgrading:       "Events.Upgrading",
	callUpgrade:         "Events.Upgrade",
	callFlush:           "Events.Flush",
	callFlushed:         "Events.Flushed",
	callHighWater:       "Events.HighWater",
	callLowWater:        "Events.LowWater",
	callDrain:           "Events.Drain",
	callClose:           "Events.Close",
	callSent:            "SendOptions.Sent",
	callKeep:            "keep of BroadcastTo or PublishTo",
	callBind:            "Options.Bind",
	callGenerateID:      "Options.GenerateID",
	callMiddleware:      "Options.Middleware",
	callAllow:           "CORS.Allow",
	callSubmit:          "Executor.Submit",
}

func (k callKind) String() string { return callNames[k] }

// mark is which callback a loop is in, for the watchdog: two atomic stores for
// each callback, or for all messages of one read, and no clock. Callbacks do not
// nest. It belongs to the loop, but for what is atomic.
type mark struct {
	call    atomic.Uint64           // a number of its own, and its kind in 8 bits; 0 outside of callbacks
	session atomic.Pointer[Session] // of that call; nil when it has none

	on       bool
	inside   bool
	calls    uint64    // the last number, shifted
	last     *Session  // what session holds
	messages *Session  // between begin and end: whose
	dog      *watchdog // nil where nobody watches
}

// begin enters Events.Message until end, but for other callbacks in between.
func (m *mark) begin(s *Session) {
	m.messages = s
	m.enter(callMessage, s)
}

func (m *mark) end() {
	m.messages = nil
	m.leave()
}

func (m *mark) enter(k callKind, s *Session) {
	if !m.on {
		return
	}
	if s != m.last {
		m.last = s
		m.session.Store(s)
	}
	m.calls += 1 << 8
	m.inside = true
	m.call.Store(m.calls | uint64(k))
	if m.dog != nil && m.dog.asleep.Load() {
		m.dog.rouse()
	}
}

func (m *mark) leave() {
	switch {
	case !m.inside:
	case m.messages != nil:
		m.enter(callMessage, m.messages)
	default:
		m.inside = false
		m.call.Store(0)
	}
}

// forget lets go of a session that is over.
func (m *mark) forget(s *Session) {
	if m.last == s {
		m.last = nil
		m.session.Store(nil)
	}
}

// kindOf is the kind in what mark.call holds.
func kindOf(call uint64) callKind { return callKind(call & 0xff) }
