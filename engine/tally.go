package engine

import (
	"sync/atomic"

	"turbine/internal/delays"
	"turbine/loop"
)

// tally is what a shard counts for Stats. Its loop writes it and anybody reads it, so
// that a scrape asks no loop; no loop writes what is another's, so none waits for a
// cache line of another.
type tally struct {
	in, out [NumTransports]traffic

	sessions  [NumTransports]byRevision // at present
	opened    [NumTransports]byRevision // since the start
	refused   [NumCauses]atomic.Int64
	forbidden atomic.Int64             // requests refused for where they come from
	closed    [NumReasons]atomic.Int64 // sessions that have ended

	polls    atomic.Int64 // those that wait for something to send
	upgrades atomic.Int64 // under way
	begun    atomic.Int64 // upgrades since the start
	done     atomic.Int64 // of these
	failed   [NumUpgradeEnds]atomic.Int64

	pings delays.Histogram // how late they were
}

// byRevision is one counter for each revision.
type byRevision [2]atomic.Int64

func (b *byRevision) of(r Revision) *atomic.Int64 { return &b[r-Revision3] }

// traffic counts messages of one direction. An atomic store costs more than all else
// that counting a message does, so the loop counts in plain numbers, and shows them when
// its clock ticks, which it does while there are sessions.
type traffic struct {
	messages, bytes int64 // the loop's own
	shown           struct{ messages, bytes atomic.Int64 }
}

func (t *traffic) count(bytes int) {
	t.messages++
	t.bytes += int64(bytes)
}

// show makes known what was counted.
func (t *traffic) show() {
	if t.messages != t.shown.messages.Load() {
		t.shown.messages.Store(t.messages)
		t.shown.bytes.Store(t.bytes)
	}
}

func (t *traffic) addTo(total *Traffic) {
	total.Messages += t.shown.messages.Load()
	total.Bytes += t.shown.bytes.Load()
}

// ticked is called when a loop has come to a tick of its clock, and at its end.
func (s *Server) ticked(l *loop.Loop) {
	if l.Index() < len(s.shards) { // a Driver's loops may be used by nobody
		s.shards[l.Index()].tally.show()
	}
}

// show makes known how many messages were counted.
func (t *tally) show() {
	for kind := Polling; int(kind) < NumTransports; kind++ {
		t.in[kind].show()
		t.out[kind].show()
	}
}

// countSent counts the messages of a batch that goes to the transport.
func (t *tally) countSent(kind Transport, batch []outgoing) {
	var messages, bytes int
	for i := range batch {
		switch o := &batch[i]; {
		case o.frames > 0: // most are
			messages += int(o.frames)
			bytes += o.data.Len() - int(o.heads)
		case !o.ours():
			messages++
			bytes += o.dataLen()
		}
	}
	out := &t.out[kind]
	out.messages += int64(messages)
	out.bytes += int64(bytes)
}

// carries counts a session that has come to the transport t, from the transport from,
// 0 for a new one.
func (t *tally) carries(s *Session, from, now Transport) {
	if from == 0 {
		t.opened[now].of(s.revision).Add(1)
	} else {
		t.sessions[from].of(s.revision).Add(-1)
	}
	t.sessions[now].of(s.revision).Add(1)
}

// ends counts a session that has ended.
func (t *tally) ends(s *Session, reason Reason) {
	t.sessions[s.transport.kind()].of(s.revision).Add(-1)
	t.closed[reason].Add(1)
}

// refuses counts a request that is refused; see shard.refuses.
func (t *tally) refuses(why Cause) { t.refused[why].Add(1) }

// addTo adds all to total.
func (t *tally) addTo(total *Stats) {
	for kind := range total.ByTransport {
		to := &total.ByTransport[kind]
		t.in[kind].addTo(&to.In)
		t.out[kind].addTo(&to.Out)
		to.Sessions.Revision3 += int(t.sessions[kind].of(Revision3).Load())
		to.Sessions.Revision4 += int(t.sessions[kind].of(Revision4).Load())
		to.Opened.Revision3 += t.opened[kind].of(Revision3).Load()
		to.Opened.Revision4 += t.opened[kind].of(Revision4).Load()
	}
	for why := range total.Refused {
		total.Refused[why] += t.refused[why].Load()
	}
	for reason := range total.Closed {
		total.Closed[reason] += t.closed[reason].Load()
	}
	total.Forbidden += t.forbidden.Load()
	total.Polls += int(t.polls.Load())
	total.Upgrades.Now += int(t.upgrades.Load())
	total.Upgrades.Started += t.begun.Load()
	total.Upgrades.Done += t.done.Load()
	for why := range total.Upgrades.Failed {
		total.Upgrades.Failed[why] += t.failed[why].Load()
	}
	total.PingLateness.add(t.pings.Read())
}
