package engine

import (
	"time"

	"turbine/internal/fifo"
	"turbine/internal/invariants"
	"turbine/loop"
	"turbine/wsframe"
)

const (
	// inflateTurn is how many bytes of messages are taken from a compressed
	// WebSocket in one turn, and one message more. What one read brings may become
	// a thousand times as much, which others would wait for.
	inflateTurn = 256 << 10
	// inflateShare is how long a loop may take for compressed messages, of all
	// connections together, until other work has had its turn, and one step of
	// inflating more, or what a callback takes: bytes say little of what they cost.
	// It is as long as the loop's own portions.
	inflateShare = 200 * time.Microsecond
	// inflateSlice is how much of it a connection has while others stand in line.
	inflateSlice = inflateShare / 4
)

// A line is what a loop's connections with compression have of its time. Those
// whose bytes wait for it stand in line: however many they are, all of them
// together have one share between two looks at the sockets.
//
// There are two queues, which take turns, and one slice is a turn. Those that had
// none lately stand in the first, so a client that sends little waits for others
// of its kind, and for one slice between two of them. After its slice a connection
// stands at the end of the second, also if nothing of it waits any more: it is new
// again when it has come to the front of that. Hence no client gains by sending
// small pieces, and new ones can take half of the time at most from those that
// have waited. (These are the two lists of fq_codel, RFC 8290, 4.1.)
//
// A message that does not fit into a slice is inflated in several. There is one
// at a time, of which the loop holds what it has become so far; its connection
// stays in front of the second queue until it is whole. One that is in the first
// queue begins anew once it is there.
type line struct {
	spent   time.Duration        // since the line had its last share
	fresh   fifo.Queue[*Session] // those that had no slice lately
	old     fifo.Queue[*Session] // those that had one
	waiting int                  // those of which something waits
	turn    bool                 // it is that of old
	posted  bool                 // a lineTask is under way
	serving bool                 // it runs

	begun    *Session             // whose message is inflated in several slices; in neither queue
	inflater wsframe.Decompressor // has that message
}

// lineTask is a shard as the Task that gives the line its share.
type lineTask shard

func (t *lineTask) Run() {
	h := (*shard)(t)
	f := &h.line
	f.posted, f.serving, f.spent = false, true, 0
	defer func() { // also where a callback panics
		f.serving = false
		if f.waiting > 0 {
			h.giveShare()
			return
		}
		h.endLine()
	}()
	for n := f.fresh.Len() + f.old.Len() + 1; n > 0 && f.waiting > 0 && f.spent < inflateShare; n-- {
		f.next().haveSlice(f)
	}
}

// next is the session whose turn it is, which leaves its queue. There is one,
// since one waits. In front of the second queue are those first of which nothing
// waits any more: they are new again.
func (f *line) next() (s *Session) {
	for f.old.Len() > 0 && !(*f.old.First()).extra.unread.waits {
		s = f.old.Pop()
		s.extra.unread.inLine = false
	}
	switch {
	case f.fresh.Len() == 0:
		f.turn = true
	case f.begun == nil && f.old.Len() == 0:
		f.turn = false
	default:
		f.turn = !f.turn
	}
	switch {
	case !f.turn:
		s = f.fresh.Pop()
	case f.begun != nil:
		s = f.begun
	default:
		s = f.old.Pop()
	}
	return s
}

// haveSlice gives a session that has left its queue a slice, and a place behind
// all others.
func (s *Session) haveSlice(f *line) {
	u := &s.extra.unread
	f.count(u, false)
	if !s.unread() || s.has(publicPaused) || s.packs() && !s.mayReadOn() { // resumeReading, or the packing's end, is to come
		u.inLine = false
		f.giveUp(s)
		return
	}
	defer func() { // also where a callback panics
		switch {
		case s.state == sessionClosed:
			u.inLine = false
		case f.begun != s:
			f.old.Push(s)
		}
	}()
	s.websocket.readOn() // something of it may wait again
}

// stand puts a session of which something waits in line.
func (sh *shard) stand(s *Session) {
	f, u := &sh.line, &s.extra.unread
	f.count(u, true)
	if !u.inLine {
		u.inLine = true
		if f.begun != s {
			f.fresh.Push(s)
		}
	}
	sh.giveShare()
}

// count notes whether something waits of the session that u is of.
func (f *line) count(u *unread, waits bool) {
	switch {
	case waits && !u.waits:
		f.waiting++
	case !waits && u.waits:
		f.waiting--
	}
	u.waits = waits
}

// giveUp forgets what a message of s has become so far, if it was begun.
func (f *line) giveUp(s *Session) {
	if f.begun == s {
		f.begun = nil
		f.inflater.Done()
	}
}

// giveShare has the line have its share once others had theirs.
func (sh *shard) giveShare() {
	if f := &sh.line; !f.posted {
		f.posted = sh.loop.Post((*lineTask)(sh)) == nil // a stopped loop has closed them
	}
}

// endLine is for a line in which nobody waits. All are new from now on.
func (sh *shard) endLine() {
	f := &sh.line
	invariants.Check(f.begun == nil, "a message that was begun waits for nothing")
	for _, queue := range [...]*fifo.Queue[*Session]{&f.fresh, &f.old} {
		for _, s := range queue.All() {
			s.extra.unread.inLine = false
		}
	}
	f.inflater.Done()
	*f = line{}
	sh.inflater.Done()
}

// over reports whether a connection has to stop that has used so much time in this
// turn: the share is used up, or its slice, and others wait for theirs.
func (f *line) over(used time.Duration) bool {
	return f.spent >= inflateShare || f.waiting > 0 && used >= inflateSlice
}

// hasPlace reports whether a message that takes more than a slice may be the one
// that is begun. New connections let those go first that have waited.
func (f *line) hasPlace() bool {
	return f.begun == nil && (f.turn || f.old.Len() == 0)
}

// A stopwatch measures what a connection takes of its loop for compressed
// messages.
type stopwatch struct {
	line  *line
	loop  *loop.Loop
	begun time.Duration // -1 while it stands
	used  time.Duration
}

func (w *stopwatch) start() {
	if w.begun < 0 {
		w.begun = w.loop.Look()
	}
}

// lap charges the time since start, or the last lap.
func (w *stopwatch) lap() {
	now := w.loop.Look()
	w.line.spent += now - w.begun
	w.used += now - w.begun
	w.begun = now
}

func (w *stopwatch) stop() { w.begun = -1 }
