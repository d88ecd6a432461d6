package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"turbine/engine/packet"
)

// What traces may take. The limits are for all of a server together, or for each trace.
const (
	MaxTraces    = 16          // at a time, of all sessions
	MaxTraceTime = time.Minute // of one trace

	traceRecords  = 1024      // that wait for the reader
	tracePayloads = 256 << 10 // bytes of payloads that wait for the reader
	tracePayload  = 4 << 10   // bytes of one payload; the rest is cut off
)

// ErrTooManyTraces is what Session.Trace returns while MaxTraces are under way.
var ErrTooManyTraces = errors.New("engine: too many traces are under way")

// TraceOptions say what a trace has. The zero value is good.
type TraceOptions struct {
	// For is how long the trace goes on. Zero means MaxTraceTime, and so does more.
	For time.Duration
	// Payloads adds the data of packets: what clients and the application tell each
	// other. Without it a trace has their sizes alone.
	Payloads bool
}

// A Trace reads what happens to one session. It belongs to one reader at a time.
type Trace struct {
	session *Session
	hidden  []byte // the session's id, which no payload shows; nil without payloads
	cancel  context.CancelFunc
	wake    chan struct{} // has a value when something is new

	mu       sync.Mutex
	records  []TraceRecord // that wait; guarded by mu
	taken    []TraceRecord // that the reader has
	payloads int           // bytes that wait; guarded by mu
	dropped  int           // since the last record; guarded by mu
	ended    bool          // guarded by mu
}

// Trace begins to record what happens to the session: packets in both directions, the
// switch to WebSocket, the end. The first record is the transport of this moment, and
// the last one is TraceEnd. The trace ends with the session, when ctx is done, or after
// TraceOptions.For; its reader calls Next until then, or ends ctx.
//
// A session without a trace pays nothing for it. One with a trace never waits for the
// reader: where the reader is slow, records are dropped, and TraceDropped says how many.
// Trace returns ErrClosed for a session that has ended, and ErrTooManyTraces while
// MaxTraces of the server are under way. Safe from any goroutine.
func (s *Session) Trace(ctx context.Context, o TraceOptions) (*Trace, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	length := MaxTraceTime
	if o.For > 0 {
		length = min(o.For, MaxTraceTime)
	}
	t := &Trace{session: s, wake: make(chan struct{}, 1)}
	if o.Payloads {
		t.hidden = []byte(s.ID())
	}
	t.mu.Lock() // until the first record is there: what happens meanwhile comes behind it
	err := s.server.traces.add(t)
	if err != nil {
		t.mu.Unlock()
		return nil, err
	}
	t.put(TraceRecord{Event: TraceTransport, Transport: s.Transport()}, nil)
	t.mu.Unlock()
	// A session that ends now finds the trace, or has ended already.
	if s.State() == StateClosed {
		s.server.traces.remove(t)
		return nil, ErrClosed
	}
	ctx, t.cancel = context.WithTimeout(ctx, length)
	context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.end(TraceTimeOver)
		} else {
			t.end(TraceCanceled)
		}
	})
	return t, nil
}

// Next waits until something has happened, and returns all records that it has not
// returned yet, the oldest first. They are valid until the next call. It returns none
// once the trace has ended and its last record, TraceEnd, was returned.
func (t *Trace) Next() []TraceRecord {
	for {
		t.mu.Lock()
		records, ended := t.take(), t.ended
		t.mu.Unlock()
		if len(records) > 0 {
			return records
		}
		if ended {
			t.cancel()
			return nil
		}
		<-t.wake
	}
}

// take takes what waits. t.mu is held.
func (t *Trace) take() []TraceRecord {
	t.tellDropped()
	clear(t.taken)
	t.taken, t.records = t.records, t.taken[:0]
	t.payloads = 0
	return t.taken
}

// add takes a record, and borrows the packet's data. It is called on the session's loop.
func (t *Trace) add(r TraceRecord, data []byte) {
	t.mu.Lock()
	t.put(r, data)
	t.mu.Unlock()
	t.wakeUp()
}

// put is add. t.mu is held.
func (t *Trace) put(r TraceRecord, data []byte) {
	if t.ended {
		return
	}
	if len(t.records) >= traceRecords {
		t.dropped++
		return
	}
	r.Time = time.Now()
	if t.hidden != nil && r.Event == TracePacket && r.Type != packet.Open { // that one has the session's id
		r.Payload = t.payload(data)
	}
	t.records = append(t.records, r)
}

// payload copies what a record shows of data; nil where there is no room.
func (t *Trace) payload(data []byte) []byte {
	shown := min(len(data), tracePayload)
	if t.payloads+shown > tracePayloads {
		return nil
	}
	t.payloads += shown
	// An id that begins in what is shown is hidden as a whole.
	text := slices.Clone(data[:min(len(data), shown+len(t.hidden))])
	hide(text, t.hidden)
	return text[:shown:shown]
}

// tellDropped adds the record of those that were dropped. t.mu is held.
func (t *Trace) tellDropped() {
	if t.dropped > 0 {
		t.records = append(t.records, TraceRecord{Time: time.Now(), Event: TraceDropped, Dropped: t.dropped})
		t.dropped = 0
	}
}

// end is the end of the trace, behind the last records. Only the first call counts. Safe
// from any goroutine.
func (t *Trace) end(why TraceEnding, last ...TraceRecord) {
	t.mu.Lock()
	if !t.ended {
		t.ended = true
		t.tellDropped()
		for _, r := range append(last, TraceRecord{Event: TraceEnd, Why: why}) {
			r.Time = time.Now()
			t.records = append(t.records, r)
		}
	}
	t.mu.Unlock()
	t.session.server.traces.remove(t)
	t.wakeUp()
}

func (t *Trace) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default: // the reader is about to look
	}
}

// traces are those of a server that are under way. The zero value has none. Its methods
// are safe from any goroutine.
type traces struct {
	mu  sync.Mutex               // held to change all
	all atomic.Pointer[[]*Trace] // what it points to does not change
}

func (ts *traces) list() []*Trace {
	if all := ts.all.Load(); all != nil {
		return *all
	}
	return nil
}

// of reports whether one of the traces is that of s.
func of(all []*Trace, s *Session) bool {
	return slices.ContainsFunc(all, func(t *Trace) bool { return t.session == s })
}

// add makes the session report to the trace.
func (ts *traces) add(t *Trace) error {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	all := ts.list()
	if len(all) >= MaxTraces {
		return ErrTooManyTraces
	}
	all = append(slices.Clone(all), t)
	ts.all.Store(&all)
	t.session.set(publicTraced)
	return nil
}

// remove undoes add. It may be called more than once.
func (ts *traces) remove(t *Trace) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	before := ts.list()
	all := slices.DeleteFunc(slices.Clone(before), func(other *Trace) bool { return other == t })
	if len(all) == len(before) {
		return
	}
	ts.all.Store(&all)
	if !of(all, t.session) {
		t.session.clear(publicTraced)
	}
}
