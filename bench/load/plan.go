// Package load makes load for an Engine.IO server, or for a raw WebSocket
// server, and checks every reply. One goroutine on one raw epoll drives all
// sessions, so that the server is the bottleneck; Outcome says when it was not.
package load

import (
	"context"
	"crypto/tls"
	"time"

	"turbine/bench/usage"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Dialect is what the server speaks.
type Dialect uint8

// The dialects.
const (
	EngineIO Dialect = iota // protocol revision 4
	Raw                     // WebSocket alone: messages are echoed unchanged
)

// Via is how sessions come to be.
type Via uint8

// The ways.
const (
	Direct   Via = iota // WebSocket from the start
	Upgraded            // polling first, then the upgrade dance; EngineIO only
)

// Kind is what the load consists of.
type Kind uint8

// The kinds. An operation, which Outcome counts, is given with each.
const (
	// Echo keeps InFlight messages of Size bytes under way in each session,
	// sent in one write: an echoed message. Closed loop.
	Echo Kind = iota
	// OpenLoop sends Rate messages a second in all, evenly over the sessions,
	// each at its own time whether or not earlier ones were answered: an
	// echoed message. Latency counts from when the message was due, so a
	// stalled server is charged for what it held up (no coordinated omission).
	OpenLoop
	// PollHandshake opens polling sessions over kept-alive connections,
	// InFlight at a time: a handshake. The sessions are left to the server's
	// heartbeat.
	PollHandshake
	// PollHandshakeNew does so with a new connection each, which is reset after
	// the response: a handshake.
	PollHandshakeNew
	// WebSocketHandshake opens WebSocket sessions, each on a new connection,
	// and closes them by close frames, InFlight at a time: a handshake. Raw too.
	WebSocketHandshake
	// UpgradeDance opens polling sessions and upgrades them, InFlight at a
	// time: a completed dance, with a message of Size echoed after it.
	UpgradeDance
	// PollCycle sends a message by POST and takes its echo from the GET that
	// waits for it, in each session: a cycle. Closed loop.
	PollCycle
	// Broadcast has one session send a message that the server gives to all,
	// itself too, and waits until all have it: a delivery. Latency is that of
	// the last delivery of each round.
	Broadcast
	// Idle opens Sessions and holds them for Duration, answering heartbeats: a
	// heartbeat answered. Outcome.RSS* tell the memory.
	Idle
	// Connect opens Sessions as fast as it can, at most InFlight at a time: a
	// session opened. Latency is that of each handshake.
	Connect
	// Storm opens Sessions, cuts all at once, and all come back at once, at
	// most InFlight connecting at a time: a session that is back. Latency is
	// from the cut until each session is back. What a deploy causes.
	Storm
	// SlowReaders has Sessions well-behaved ones that echo as in Echo, while
	// Slow other sessions send messages of SlowSize bytes, one a millisecond
	// as long as the server takes them and up to about 512 MiB in all, and never
	// read the echoes: an echoed message of the well-behaved.
	SlowReaders
	// Heartbeats has Sessions echo as in Echo, none if Sessions is 0, and
	// watches the pings of Watched other sessions, which say nothing but their
	// pongs: an echoed message. Latency is the time between two pings, or that
	// without one at the end, where it is longer than PingInterval.
	Heartbeats
	// Updates has Sessions read ReadRate bytes a second each, of messages that the
	// server sends by itself: an update received. A message is a key, its number
	// of this key and when it was made, in nanoseconds since 1970, in decimal, a
	// space behind each; numbers of a key only grow. Latency is the age of what arrives.
	Updates
)

// Plan is one run.
type Plan struct {
	Kind    Kind
	Dialect Dialect
	Addr    string // host:port, an IPv4 address
	Path    string // such as "/engine.io/"; "/" for Raw
	Via     Via
	TLS     *tls.Config // nil for none

	Sessions int
	InFlight int     // 0 means 1, for Idle 100
	Size     int     // bytes of a message
	Binary   bool    // messages are binary, not text
	Rate     float64 // OpenLoop: messages a second
	Sleeps   bool    // OpenLoop: between two messages it sleeps, for machines whose cores others need; latency includes its waking up
	Slow     int     // SlowReaders: sessions that never read
	SlowSize int     // SlowReaders: bytes of each of their messages
	Watched  int     // Heartbeats: sessions that wait for pings
	ReadRate int     // Updates: bytes a second that a session reads

	// Heartbeats: the server's. A client leaves after both together without a ping.
	PingInterval, PingTimeout time.Duration

	// LocalHosts are the loopback addresses that connections come from, in
	// turn, since one has about 28,000 ports only. Empty leaves it to the
	// kernel.
	LocalHosts []string

	WarmUp   time.Duration
	Duration time.Duration // measured time; the kinds that end by themselves are bounded by it
	// Server reads the server's usage; nil where it is not known.
	Server func() (usage.Usage, error)
	// Ready, when not nil, is called once when the sessions are open and the
	// measurement begins; for Idle.
	Ready func()
}

// Outcome is what a run came to. Rates are the reader's to divide.
type Outcome struct {
	Operations int64
	Elapsed    time.Duration
	Latency    *hdrhistogram.Histogram // microseconds; nil where it means nothing
	// Lag is how long after they were due an open loop sent its messages, in
	// microseconds: the part of Latency that is the load generator's own. nil for
	// other kinds.
	Lag        *hdrhistogram.Histogram
	ClientCPU  time.Duration // of the thread that makes the load, during Elapsed
	ServerCPU  time.Duration // during Elapsed
	RSSBefore  int64         // server, bytes, before the first session
	RSSAfter   int64         // server, bytes, at the end, sessions open
	OpenCPU    time.Duration // server CPU spent on opening the sessions
	Opened     int           // sessions that opened
	Lost       int           // sessions that ended without our asking
	Wrong      int64         // replies that were not what was expected
	Retries    int           // tries to open a session that failed and were made again
	SlowClosed int           // slow sessions that the server gave up on; they are not Lost
	Made       float64       // Updates: those that the server has made, a second
	Resumed    int           // TLS handshakes that resumed an earlier session
	Heartbeats int64         // answered, from the first session to the last
	Starved    int           // watched sessions that had no ping for so long that a client leaves; they are not Lost
	Faults     []string      // the first few of what went wrong, in words

	busy bool // the load generator did not sleep, so that its CPU time says nothing
}

// ClientBound reports whether the load generator, not the server, may have
// limited the rate: its core was busier than 95 % and busier than the server's.
// An open loop does not sleep; of it, that half of the median latency is its own.
func (o *Outcome) ClientBound() bool {
	if o.Lag != nil && o.Latency != nil && o.Lag.ValueAtQuantile(50) > o.Latency.ValueAtQuantile(50)/2 {
		return true
	}
	return !o.busy && o.ClientCPU > o.Elapsed*95/100 && o.ClientCPU > o.ServerCPU
}

// Run carries out p, and closes all of its connections before it returns. An
// error means that nothing could be measured; what merely went wrong on the
// way is in the Outcome. It ends early, with ctx's error, when ctx does, and
// with a fault when nothing has come of it for 10 seconds.
// It locks its goroutine to a thread.
//
// After the measured time, replies may be late by a second; what is missing
// then is Wrong. So is whatever is not, byte for byte, what was due.
func Run(ctx context.Context, p Plan) (Outcome, error) { return run(ctx, p) }
