package engine

import (
	"sync"
	"time"

	"turbine/internal/fifo"
)

// inbox is the events of a session that wait for the application. It exists
// only as long as there are some.
type inbox struct {
	session *Session          // nil for Admit
	next    *inbox            // behind it on the roster
	events  fifo.Queue[event] // that have not been done
	bytes   int               // of these
	listed  bool
	paused  bool // nothing is read from the client until it is shorter
	broken  bool // a callback has panicked
	closing bool // Close is the last of events
	evicted bool // it made room for others; what comes until Close is dropped

	unopened bool      // evicted before Open: the application is not told
	over     bool      // unopened, and its session has ended
	hands    int       // events in front that a worker has in its hands
	taken    int       // bytes of these
	since    time.Time // about when what is in front came

	size          uint8 // where it is among the dispatcher's sizes; 0 for nowhere
	before, after *inbox
}

var inboxes = sync.Pool{New: func() any { return new(inbox) }}

// maxKeptEvents bounds the room of an inbox that is kept for another session.
const maxKeptEvents = 256

func (in *inbox) push(e event) {
	in.events.Push(e)
	in.bytes += e.size()
	in.closing = e.kind == callClose
}

// free gives an empty inbox back.
func (in *inbox) free() {
	in.events.Trim(maxKeptEvents)
	*in = inbox{events: in.events}
	inboxes.Put(in)
}
