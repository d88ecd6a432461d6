package engine

import (
	"time"

	"turbine/internal/delays"
	"turbine/loop"
)

// Stats are figures of a server, of all its loops together: for its operators, and for
// tests. What is called a count counts since New; all else is of this moment. A loop
// goes on between one figure and the next, so that sums may differ by what happened
// meanwhile.
type Stats struct {
	Phase  Phase
	Uptime time.Duration // since the loops began, at the first Serve; 0 before
	Loops  []LoopStats   // by loop; nil before the loops began

	Sessions int // open and closing
	Conns    int // connections, also those without a session
	MaxConns int // Options.Limits.MaxConns, or what it stands for; 0 where a Driver's program accepts

	// ByTransport has the sessions, and their messages, by what carries them:
	// stats.ByTransport[engine.WebSocket]. There is no transport 0.
	ByTransport [NumTransports]TransportStats

	Refused   [NumCauses]int64  // count of requests that were refused, by Cause
	Upgrades  UpgradeStats      // from polling to WebSocket
	Closed    [NumReasons]int64 // count of sessions that have ended, by Reason
	Forbidden int64             // count of requests refused for their Origin or by Options.Access.Bind, which Refused has, too

	// Limits is the count of how often each limit was met:
	//
	//	for limit, n := range stats.Limits {
	//		export(engine.Limit(limit).String(), n)
	//	}
	Limits [NumLimits]int64

	Polls int // requests of the polling transport that wait for something to send

	Queued        int64 // bytes that wait for clients, as Options.Queue.Budget counts them
	QueuedLargest int64 // the most of these that wait on one loop, which has an equal share of the budget
	QueueBudget   int64 // Options.Queue.Budget
	Pending       int64 // bytes of events that wait for Options.Executor, as PendingBudget counts them
	PendingBudget int64 // Options.Limits.PendingBudget

	Slow int64 // count of callbacks that have held up their loop for Options.Timeouts.SlowCallback

	Accepts     AcceptStats
	TLS         TLSStats // of the connections of ServeTLS
	Descriptors DescriptorStats

	PingLateness Delays // how much later than due the server has sent its pings, or queued them where no poll waited
	LoopLag      Delays // how much later than due the loops have come to a tick of their clocks; they tick while a deadline is set
}

// LoopStats are figures of one loop at this moment.
type LoopStats struct {
	Sessions int
	Conns    int
	Queued   int64 // bytes, as in Stats
}

// TransportStats are figures of one transport.
type TransportStats struct {
	Sessions RevisionStats // that it carries; all of them together are Stats.Sessions
	Opened   RevisionCount // of sessions that began on it: of handshakes that were done
	In       Traffic       // from clients
	Out      Traffic       // to clients
}

// RevisionStats are figures of this moment, by Revision.
type RevisionStats struct{ Revision3, Revision4 int }

// RevisionCount are counts by Revision.
type RevisionCount struct{ Revision3, Revision4 int64 }

// Traffic are counts of messages, without the protocol's own packets, and of their
// bytes as the application has them: without frames and heads, binary as binary, not
// compressed. A message from a client counts when it was read, unless the session was
// closing; one to a client when it was given to the transport. Both are told up to the
// last tick of their loop's clock, which ticks 20 to 100 times a second.
type Traffic struct{ Messages, Bytes int64 }

// UpgradeStats are figures of upgrades from polling to WebSocket. Those that have
// begun are under way, done, or have failed; those that were not allowed to begin are
// in Stats.Refused.
type UpgradeStats struct {
	Now     int                   // under way
	Started int64                 // count
	Done    int64                 // count
	Failed  [NumUpgradeEnds]int64 // count, by UpgradeEnd
}

// UpgradeEnd is why an upgrade was given up. The session stays on polling, unless it
// has ended itself.
type UpgradeEnd uint8

// The ends of upgrades.
const (
	UpgradeTimeout UpgradeEnd = iota + 1 // it took longer than Options.Timeouts.Upgrade
	UpgradeLost                          // the client has closed the WebSocket or its connection
	UpgradeInvalid                       // what the client has sent on the WebSocket is no upgrade
	UpgradeSession                       // the session has ended

	// NumUpgradeEnds is the length of UpgradeStats.Failed: how many ends there are,
	// with zero, which is none.
	NumUpgradeEnds = iota + 1
)

// String is the end's name in logs and metrics.
func (e UpgradeEnd) String() string {
	switch e {
	case UpgradeTimeout:
		return "timeout"
	case UpgradeLost:
		return "lost"
	case UpgradeInvalid:
		return "invalid"
	case UpgradeSession:
		return "session_closed"
	}
	return "unknown"
}

// AcceptStats are counts of connections at the server's own listeners.
type AcceptStats struct {
	Accepted  uint64
	Refused   uint64 // closed at once for want of room: of connections or of descriptors
	OverPerIP uint64 // closed at once because of Options.Limits.MaxConnsPerIP
	OverRate  uint64 // closed at once because of Options.Limits.ConnRate
	Errors    uint64 // failed accepts, whatever the cause
}

// DescriptorStats are the file descriptors of the process.
type DescriptorStats struct {
	Used  int // those that are open; where only a long look would tell (Linux before 6.2, other systems), the server's connections
	Limit int // how many there may be: the soft limit; 0 if it is not known
}

// Left is how many more may be opened.
func (d DescriptorStats) Left() int { return max(d.Limit-d.Used, 0) }

// Phase is how far a server's life has come.
type Phase uint8

// The phases.
const (
	PhaseNew      Phase = iota // it does not serve yet
	PhaseServing               // it serves
	PhaseDraining              // Shutdown, Close or CloseSessions was called: nobody new is let in
	PhaseEnded                 // its loops have ended
)

// String is the phase's name in logs and metrics.
func (p Phase) String() string {
	switch p {
	case PhaseNew:
		return "new"
	case PhaseServing:
		return "serving"
	case PhaseDraining:
		return "draining"
	case PhaseEnded:
		return "ended"
	}
	return "unknown"
}

// DelayBounds are the upper bounds of the Counts of Delays. They are not to be changed.
var DelayBounds = delays.Bounds

// Delays is a histogram of how late something has happened.
type Delays struct {
	// Counts are how many were up to each of DelayBounds, and above the one before. The
	// last were above all of them.
	Counts [len(DelayBounds) + 1]int64
	Sum    time.Duration // of all
}

// Count is how many there were.
func (d Delays) Count() (n int64) {
	for _, c := range d.Counts {
		n += c
	}
	return n
}

func (d *Delays) add(counts delays.Counts, sum time.Duration) {
	for i, n := range counts {
		d.Counts[i] += n
	}
	d.Sum += sum
}

// Stats adds up the figures of all loops, while they run. No loop waits for it, and it
// allocates little more than Stats.Loops, however many sessions there are.
// Safe from any goroutine.
func (s *Server) Stats() (total Stats) {
	s.mu.Lock()
	shards, reactor, done, since := s.shards, s.reactor, s.done, s.since
	s.mu.Unlock()
	total.Phase = s.phase.public(shards != nil, done)
	if shards != nil {
		total.Uptime = time.Since(since)
		total.Loops = make([]LoopStats, len(shards))
	}
	for i, sh := range shards {
		one := LoopStats{Sessions: sh.loop.Residents(), Conns: sh.loop.Conns(), Queued: sh.queued.Load() + sh.loop.Unsent()}
		total.Loops[i] = one
		total.Sessions += one.Sessions
		total.Conns += one.Conns
		total.Queued += one.Queued
		total.QueuedLargest = max(total.QueuedLargest, one.Queued)
		sh.tally.addTo(&total)
		total.LoopLag.add(sh.loop.Lag())
	}
	total.QueueBudget, total.PendingBudget = s.options.Queue.Budget, s.options.Limits.PendingBudget
	total.Pending = s.dispatch.waiting()
	if w := s.watchdog.Load(); w != nil {
		total.Slow = w.slow.Load()
	}
	for limit := range total.Limits {
		total.Limits[limit] = s.meter.counts[limit].Load()
	}
	if reactor != nil {
		total.MaxConns = reactor.MaxConns()
		r := reactor.Stats()
		total.Accepts = AcceptStats{Accepted: r.Accepted, Refused: r.Refused, OverPerIP: r.OverPerIP, OverRate: r.OverRate, Errors: r.AcceptErrors}
	}
	if s.tls != nil {
		total.TLS = TLSStats(s.tls.loops.Stats())
	}
	total.Descriptors = descriptors(total.Conns)
	return total
}

// descriptors are those of the process, of which the server has conns.
func descriptors(conns int) (d DescriptorStats) {
	if limit, err := loop.DescriptorLimit(); err == nil {
		d.Limit = int(min(limit, 1<<31-1)) // RLIM_INFINITY is no number of descriptors
	}
	var ok bool
	if d.Used, ok = loop.OpenDescriptors(); !ok {
		d.Used = conns
	}
	return d
}

// public is the phase of a server that has loops or not; done is closed when its own
// loops have ended, and nil without.
func (p *phase) public(loops bool, done <-chan struct{}) Phase {
	select {
	case <-done:
		return PhaseEnded
	default:
	}
	switch {
	case p.draining() && !loops:
		return PhaseEnded // it was never begun, and cannot be any more
	case p.draining():
		return PhaseDraining
	case loops:
		return PhaseServing
	}
	return PhaseNew
}

// residents are Stats.Sessions alone.
func (s *Server) residents() (n int) {
	for _, sh := range s.allShards() {
		n += sh.loop.Residents()
	}
	return n
}

// conns are Stats.Conns alone.
func (s *Server) conns() (n int) {
	for _, sh := range s.allShards() {
		n += sh.loop.Conns()
	}
	return n
}
