package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"turbine/loop"
	"turbine/pool"
)

const (
	dialTime    = 2 * time.Second
	requestWait = 3 * time.Second  // for a link
	noteWait    = 10 * time.Second // for a link
	maxWaiting  = 4096             // requests, and as many notes
	wrongPause  = 30 * time.Second // after a wrong key
	leastRetry  = 200 * time.Millisecond
	mostRetry   = 2 * time.Second
	steady      = time.Second // a link that was up for longer is redialed at once
)

// State is what an Out is doing.
//
//	| state          | event                                   | next    | does
//	| absent         | first request or note, node learnt      | dialing | requests wait: 4,096 and 4 MiB at most, each 3 s; notes wait 10 s
//	| absent         | request, soon after a refused dial      | absent  | Reply.Failed, a turn later
//	| dialing        | connected                               | hello   | greets
//	| dialing        | refused, 2 s                            | absent  | what waits: Failed; again after 100 ms to 2 s, with jitter
//	| hello          | right proof                             | up      | what waits goes out
//	| hello          | wrong proof                             | absent  | the same as refused, and a pause of 30 s
//	| hello          | no common version                       | absent  | Failed; no room from then on
//	| hello          | another node, end, 3 s                  | absent  | the same as refused
//	| up             | unsent > 4 MiB                          | pressed | Arrive has no room
//	| pressed        | unsent <= 4 MiB                         | up      | -
//	| up, pressed    | unsent > 64 MiB, malformed, 6 s silence, end | absent | each stream Failed; the next request dials, or at once where the link is kept
//	| any            | node dead or gone                       | over    | each stream Failed
type State uint8

// The states.
const (
	Absent State = iota
	Dialing
	Greeting
	Up
	Pressed
	Over
)

func (s State) String() string {
	return [...]string{"absent", "dialing", "hello", "up", "pressed", "over"}[s]
}

func (s State) mayBecome(next State) bool {
	switch s {
	case Absent:
		return next == Dialing || next == Over
	case Dialing:
		return next == Greeting || next == Absent || next == Over
	case Greeting:
		return next == Up || next == Absent || next == Over
	case Up:
		return next == Pressed || next == Absent || next == Over
	case Pressed:
		return next == Up || next == Absent || next == Over
	case Over:
	}
	return false
}

// Event is what OutOptions.Event is told.
type Event uint8

// The events.
const (
	EventUp           Event = iota + 1 // a link is up
	EventDown                          // it has ended
	EventRefused                       // no connection, or it ended before the proof
	EventWrongKey                      // the nodes have different keys
	EventIncompatible                  // no common version
	EventWrongNode                     // another node, or another cluster, is at the address
)

// OutOptions of an Out.
type OutOptions struct {
	Self     *Self
	Node     uint32 // to be reached
	Address  string // empty: requests wait for SetAddress
	Dial     Dialer
	Keep     bool                     // it is dialed again on its own
	Pressed  int                      // above so many unsent bytes there is no room; 0: MaxPressed
	Unsent   int                      // above so many the link ends; 0: MaxUnsent
	Gathered *Gathered                // of the loop
	Counts   *Counts                  // of the loop; nil: nothing is counted
	Event    func(Event, Peer, error) // on the loop; nil: nobody
}

// An Out is the end of a link at the clients' node: for the requests of one loop to one
// node. It stays while connections come and go, until Forget.
type Out struct {
	options OutOptions
	on      *loop.Loop
	conn    *loop.Conn // from hello on
	cancel  func()     // while dialing
	peer    Peer       // while up
	line    line
	reader  reader
	streams streams
	pulse   pulse

	state        State
	ending       bool // Closed is under way
	incompatible bool
	refused      bool // the last dial was, so that requests before retry fail at once
	posted       bool // failing will be continued
	slot         loop.Slot
	attempt      uint32
	waiting      int           // requests in line
	notes        int           // notes in line
	deadline     time.Duration // of the dial
	retry        time.Duration // not before
	backoff      time.Duration // how long until retry at most
	since        time.Duration // when the link came up
	expires      time.Duration // the earliest time at which something in line has waited enough
	failing      []uint32      // streams that are to be told
	failure      error         // why this side has ended the link
	released     int           // the place up to which Release has come
}

// NewOut makes an Out on a loop, where it is called. Nothing is dialed yet.
func NewOut(on *loop.Loop, o OutOptions) *Out {
	if o.Event == nil {
		o.Event = func(Event, Peer, error) {}
	}
	if o.Gathered == nil {
		o.Gathered = new(Gathered)
	}
	if o.Pressed == 0 {
		o.Pressed = MaxPressed
	}
	if o.Unsent == 0 {
		o.Unsent = MaxUnsent
	}
	out := &Out{options: o, on: on, backoff: leastRetry}
	out.line = line{owner: out, counts: o.Counts}
	out.slot = on.Claim(out)
	o.Counts.links(Absent, 1)
	return out
}

// State says what the link is doing.
func (o *Out) State() State { return o.state }

// Peer is the node that has proven to be at the other end, while the link is up.
func (o *Out) Peer() Peer { return o.peer }

// Streams is how many requests are under way.
func (o *Out) Streams() int { return o.streams.open }

func (o *Out) isUp() bool { return (o.state == Up || o.state == Pressed) && !o.ending }

// become is the only place that sets o.state.
func (o *Out) become(next State) {
	if !o.state.mayBecome(next) {
		panic(fmt.Sprintf("link: %v becomes %v", o.state, next))
	}
	o.options.Counts.links(o.state, -1)
	o.options.Counts.links(next, 1)
	o.state = next
}

// SetAddress has later dials go to another address.
func (o *Out) SetAddress(address string) {
	if address != o.options.Address {
		o.options.Address, o.refused, o.retry = address, false, 0
		if o.state == Absent && o.wanted() {
			o.dial()
		}
	}
}

// Dial makes sure that a link is up, or tried.
func (o *Out) Dial() {
	if o.state == Absent && !o.incompatible && o.options.Address != "" && o.on.Now() >= o.retry {
		o.dial()
	}
}

// Arrive begins a request, whose answer comes to back. It borrows head, which is MaxHead
// bytes long at most, and body; whole says that body is all of it. Zero says that there is
// no room.
func (o *Out) Arrive(head, body []byte, whole bool, back Reply) uint32 {
	size := len(head) + len(body)
	switch {
	case o.state == Over, o.state == Pressed && !o.ending, o.incompatible, o.streams.full(), len(head) > MaxHead,
		o.state != Up && (o.waiting == maxWaiting || o.line.size+size > o.options.Pressed):
		o.options.Counts.noRoom()
		return 0
	}
	stream := o.streams.take(back)
	o.options.Counts.streams(1)
	if o.ending {
		return stream // Closed fails it with all others: its client is told what theirs are
	}
	if o.state == Absent && o.refused && o.on.Now() < o.retry {
		o.failLater(stream)
		return stream
	}
	together := 2+size <= onePiece || len(body) == 0
	flags := FlagMore
	if together && whole {
		flags = 0
	}
	if o.isUp() {
		if together {
			o.line.writeArrive(flags, stream, head, body)
		} else {
			o.line.writeArrive(flags, stream, head, nil)
			o.pushCopy(Body, stream, body, whole)
		}
		o.settle()
		return stream
	}
	b := pool.Frames.Get(2 + len(head) + len(body))
	b.Append([]byte{byte(len(head)), byte(len(head) >> 8)}) // #nosec G115 -- MaxHead
	b.Append(head)
	if together {
		b.Append(body)
	}
	o.waiting++
	o.await(entry{buf: b, by: o.on.Now() + requestWait, stream: stream, kind: Arrive, flags: flags})
	if !together {
		o.pushCopy(Body, stream, body, whole)
	}
	o.Dial()
	o.arm()
	return stream
}

// pushCopy has a copy of p, of which last says that it is the end, wait for its turn.
func (o *Out) pushCopy(kind Kind, stream uint32, p []byte, last bool) {
	b := pool.Frames.Get(len(p))
	b.Append(p)
	flags := FlagMore
	if last {
		flags = 0
	}
	o.line.push(entry{buf: b, stream: stream, kind: kind, flags: flags})
}

// Complete brings the body of a request that Arrive had without it. It shares body.
func (o *Out) Complete(stream uint32, body *pool.Buf) {
	if o.ending || o.streams.get(stream) == nil {
		return // the stream has ended, or is about to be told so
	}
	if o.isUp() && o.line.length == 0 && body.Len() <= onePiece {
		o.line.write(Body, 0, stream, body.Bytes(), nil)
	} else {
		body.Retain()
		o.line.push(entry{buf: body, stream: stream, kind: Body})
	}
	o.settle()
}

// Cancel says that the client will send nothing more, and with which status it is to be
// answered, 0 for none.
func (o *Out) Cancel(stream uint32, status int) {
	if o.ending || o.streams.get(stream) == nil {
		return
	}
	body := [2]byte{byte(status), byte(status >> 8)} // #nosec G115 -- a status of HTTP
	if o.isUp() && o.line.length == 0 {
		o.line.write(Cancel, 0, stream, body[:], nil)
	} else {
		o.pushCopy(Cancel, stream, body[:], true)
	}
	o.settle()
}

// Lost says that the client's connection is gone. The stream is over: its Reply is not
// called any more.
func (o *Out) Lost(stream uint32, overBudget bool) {
	if o.streams.get(stream) == nil {
		return
	}
	o.drop(stream, overBudget)
}

// drop ends a stream from this side.
func (o *Out) drop(stream uint32, overBudget bool) {
	o.finish(stream, true)
	if !o.isUp() {
		return
	}
	var flags uint8
	if overBudget {
		flags = FlagOverBudget
	}
	o.line.write(Lost, flags, stream, nil, nil)
	o.settle()
}

// finish is the only place where an open stream becomes free.
func (o *Out) finish(stream uint32, rest bool) {
	o.streams.end(stream, rest)
	o.options.Counts.streams(-1)
	if b := o.options.Gathered.take(o, stream); b != nil {
		b.Release()
	}
}

// giveUp fails a stream of which too much is gathered.
func (o *Out) giveUp(stream uint32) {
	back := o.streams.get(stream)
	o.drop(stream, false)
	o.options.Counts.failed()
	back.Failed()
}

// Note tells the node something. It borrows p. It is dropped if no link comes up in 10
// seconds, or if too many wait.
func (o *Out) Note(p []byte) {
	switch {
	case len(p) > MaxBody, o.state == Over, o.incompatible:
		return
	case o.isUp():
		o.line.write(Note, 0, 0, p, nil)
		o.settle()
		return
	case o.notes >= maxWaiting, o.line.size+len(p) > o.options.Pressed:
		return
	}
	b := pool.Frames.Get(len(p))
	b.Append(p)
	o.notes++
	o.await(entry{buf: b, by: o.on.Now() + noteWait, kind: Note})
	o.Dial()
	o.arm()
}

// Release has the home answer requests that only wait, of at most n streams, and reports
// whether it has come to all of them. Streams that begin meanwhile may be left out.
func (o *Out) Release(n int) (all bool) {
	if !o.isUp() {
		return true
	}
	for range n {
		stream, place := o.streams.next(o.released)
		if o.released = place; stream == 0 {
			o.released = 0
			return true
		}
		o.line.write(Release, 0, stream, nil, nil)
	}
	o.settle()
	return false
}

// Forget ends the link for good: the node is dead, or gone. Streams that are open fail.
func (o *Out) Forget() {
	if o.state == Over {
		return
	}
	o.hangUp()
	o.become(Over)
	o.line.sweep(func(*entry) bool { return false })
	o.waiting, o.notes = 0, 0
	o.failAll()
	o.on.Release(o.slot)
	o.slot = 0
}

// live, of what waits in line, says whether it is still to be sent.
func (o *Out) live(stream uint32) bool { return o.streams.get(stream) != nil }

// sent says that e was.
func (o *Out) sent(e *entry) { o.uncount(e) }

func (o *Out) uncount(e *entry) {
	switch e.kind {
	case Arrive:
		o.waiting--
	case Note:
		o.notes--
	default:
	}
}

// settle is called after what adds to the line: it sends what may go, and looks how much
// waits.
func (o *Out) settle() {
	if !o.isUp() {
		return
	}
	o.line.pump()
	switch unsent := o.line.unsent(); {
	case unsent > o.options.Unsent:
		o.fail(ErrUnsent)
	case unsent > o.options.Pressed && o.state == Up:
		o.become(Pressed)
		o.conn.WantDrained()
	case unsent <= o.options.Pressed && o.state == Pressed:
		o.become(Up)
	}
}

// dial begins an attempt.
func (o *Out) dial() {
	o.become(Dialing)
	o.attempt++
	n := o.attempt
	o.deadline = o.on.Now() + dialTime
	o.cancel = o.options.Dial(o.on, o.options.Address, func(c *loop.Conn) loop.Handler {
		if o.attempt != n || o.state != Dialing {
			c.Abort()
			return closedConn{}
		}
		o.become(Greeting)
		o.conn, o.cancel = c, nil
		o.options.Counts.conns(1)
		return Greet(c, o.options.Self, Requests, o.proven, func(err error) {
			if o.attempt == n && o.state == Greeting {
				o.gone()
				o.noLink(err)
			}
		})
	}, func(err error) {
		if o.attempt == n && o.state == Dialing {
			o.cancel = nil
			o.noLink(err)
		}
	})
	o.arm()
}

// proven is what follows the greeting.
func (o *Out) proven(c *loop.Conn, p Peer) loop.Handler {
	if o.state != Greeting || o.conn != c {
		c.Abort()
		return closedConn{}
	}
	if p.Node != o.options.Node {
		o.gone()
		c.Abort()
		o.peer = p
		o.noLink(errWrongNode)
		return closedConn{}
	}
	now := o.on.Now()
	o.become(Up)
	o.peer, o.since, o.refused = p, now, false
	o.pulse = pulse{heard: now}
	o.line.conn = c
	c.SetHandler(o) // so that what is called from here on finds it
	o.options.Event(EventUp, p, nil)
	o.settle()
	o.arm()
	return o
}

var errWrongNode = errors.New("link: another node is at the address")

// noLink is the end of an attempt.
func (o *Out) noLink(err error) {
	o.become(Absent)
	now := o.on.Now()
	o.refused = true
	o.backOff(now)
	event := EventRefused
	switch {
	case errors.Is(err, ErrProof):
		event = EventWrongKey
		o.retry = now + wrongPause
	case errors.Is(err, ErrVersion):
		event = EventIncompatible
		o.incompatible = true
	case errors.Is(err, errWrongNode), errors.Is(err, ErrCluster), errors.Is(err, ErrSelf):
		event = EventWrongNode
	}
	o.failAll()
	if o.incompatible {
		o.line.sweep(func(*entry) bool { return false })
		o.notes = 0
	}
	p := o.peer
	o.peer = Peer{}
	o.options.Event(event, p, err)
	o.arm()
}

// backOff sets when the next dial may be, and doubles the wait for the one after it.
func (o *Out) backOff(now time.Duration) {
	o.retry = now + o.backoff/2 + rand.N(o.backoff/2) // #nosec G404 -- jitter
	o.backoff = min(2*o.backoff, mostRetry)
}

// wanted reports whether the link is to be dialed without a request.
func (o *Out) wanted() bool {
	return !o.incompatible && o.options.Address != "" && (o.options.Keep && o.attempt > 0 || o.notes > 0 || o.waiting > 0)
}

// fail ends the connection of a link that is up, for a reason of this side. Closed follows.
func (o *Out) fail(err error) {
	if !o.ending {
		o.ending, o.failure = true, err
		o.conn.Abort()
	}
}

// gone forgets the connection.
func (o *Out) gone() {
	o.conn, o.line.conn = nil, nil
	o.options.Counts.conns(-1)
}

// hangUp ends what is under way with a connection.
func (o *Out) hangUp() {
	o.attempt++ // what comes of the last one is not for us
	if o.cancel != nil {
		o.cancel()
		o.cancel = nil
	}
	if c := o.conn; c != nil {
		o.gone()
		c.Abort()
	}
	o.reader.reset()
	o.ending = false
}

// failAll has each open stream told that it has failed, and drops what waits of it.
func (o *Out) failAll() {
	o.line.sweep(func(e *entry) bool { return e.kind == Note })
	o.waiting = 0
	if o.streams.open == 0 {
		return
	}
	o.failing = o.failing[:0]
	for place := 0; ; {
		var stream uint32
		if stream, place = o.streams.next(place); stream == 0 {
			break
		}
		o.failing = append(o.failing, stream)
	}
	o.failNext()
}

// failLater has a stream told so.
func (o *Out) failLater(stream uint32) {
	o.failing = append(o.failing, stream)
	if !o.posted {
		o.posted = o.on.Post((*failing)(o)) == nil
	}
}

// failNext tells some, and posts itself for the others: each may cost a system call.
func (o *Out) failNext() {
	for n := 0; n < portion && len(o.failing) > 0; n++ {
		stream := o.failing[0]
		o.failing = o.failing[1:]
		if back := o.streams.get(stream); back != nil {
			o.finish(stream, true)
			o.options.Counts.failed()
			back.Failed()
		}
	}
	if len(o.failing) == 0 {
		o.failing = nil
		if !o.isUp() { // what came meanwhile of streams that were told is for nobody
			o.line.sweep(o.keep)
		}
		return
	}
	if !o.posted {
		o.posted = o.on.Post((*failing)(o)) == nil
	}
}

// failing is an Out as the task that continues telling streams that they have failed.
type failing Out

func (f *failing) Run() {
	o := (*Out)(f)
	o.posted = false
	o.failNext()
}

// await has e wait for a link.
func (o *Out) await(e entry) {
	if o.expires == 0 || e.by < o.expires {
		o.expires = e.by
	}
	o.line.push(e)
}

// keep says whether e is still to be sent.
func (o *Out) keep(e *entry) bool {
	if e.stream == 0 || o.live(e.stream) {
		return true
	}
	o.uncount(e)
	return false
}

// expire ends what has waited for a link for too long.
func (o *Out) expire() {
	now := o.on.Now()
	if o.isUp() || o.expires == 0 || now < o.expires {
		return
	}
	o.expires = 0
	o.line.sweep(func(e *entry) bool {
		switch {
		case !o.keep(e):
			return false
		case e.by == 0: // it goes with its stream
			return true
		case now < e.by:
			if o.expires == 0 || e.by < o.expires {
				o.expires = e.by
			}
			return true
		}
		o.uncount(e)
		if e.stream != 0 {
			o.failing = append(o.failing, e.stream)
		}
		return false
	})
	if len(o.failing) > 0 {
		o.failNext()
	}
}

// Alarm looks what is due.
func (o *Out) Alarm() {
	now := o.on.Now()
	switch {
	case o.state == Dialing && now >= o.deadline:
		o.hangUp()
		o.noLink(errDialTime)
	case o.state == Absent && o.wanted() && now >= o.retry:
		o.dial()
	case o.isUp() && o.pulse.beat(o.on, o.slot, &o.line):
		o.fail(ErrDead)
	default:
	}
	o.expire()
	o.arm()
}

var errDialTime = errors.New("link: no connection in 2 seconds")

// arm has Alarm called when something is due. While the link is up, its pulse is.
func (o *Out) arm() {
	if o.state == Over || o.ending {
		return
	}
	at := time.Duration(1<<63 - 1)
	switch {
	case o.isUp():
		at = max(o.pulse.heard, o.pulse.pinged) + pingAfter
	case o.state == Dialing:
		at = o.deadline
	case o.state == Absent && o.wanted():
		at = o.retry
	default:
	}
	if !o.isUp() && o.expires > 0 {
		at = min(at, o.expires)
	}
	if at < 1<<63-1 {
		o.on.Arm(o.slot, at)
	}
}

// Data borrows p.
func (o *Out) Data(p []byte) {
	if !o.isUp() {
		return
	}
	o.pulse.heard = o.on.Now()
	o.options.Counts.heard(len(p))
	for o.isUp() {
		h, body, rest, err := o.reader.next(p)
		if err == ErrIncomplete {
			return
		}
		if err == nil {
			err = o.frame(h, body)
		}
		if err != nil {
			o.fail(err)
			return
		}
		p = rest
	}
}

// frame hears a frame. It borrows body.
func (o *Out) frame(h Header, body []byte) error {
	switch h.Kind {
	case Answer:
		return o.answer(h, body)
	case Abort:
		back, err := o.stream(h)
		if back != nil {
			o.finish(h.Stream, false)
			o.options.Counts.aborted()
			back.Abort()
		}
		return err
	case Ping:
		o.line.write(Pong, 0, 0, body, nil)
		o.settle()
	case Pong:
	case Hello, Proof, Arrive, Body, Cancel, Lost, Release, Note:
		return errDirection
	default: // of a later version
	}
	return nil
}

// stream returns what is at the end of h's stream, nil if that is over. An error says that
// there never was one.
func (o *Out) stream(h Header) (Reply, error) {
	if !o.streams.known(h.Stream) {
		return nil, errStream
	}
	return o.streams.get(h.Stream), nil
}

// answer hears a piece of an answer.
func (o *Out) answer(h Header, piece []byte) error {
	back, err := o.stream(h)
	if back == nil {
		return err
	}
	if h.Flags&FlagMore != 0 {
		o.options.Gathered.add(o, h.Stream, piece)
		return nil
	}
	if b := o.options.Gathered.take(o, h.Stream); b != nil {
		defer b.Release()
		b.Append(piece)
		piece = b.Bytes()
	}
	o.finish(h.Stream, false)
	o.options.Counts.answered()
	return back.Answer(piece)
}

// Drained continues with what waits.
func (o *Out) Drained() { o.settle() }

// EOF ends the link: a node does not close one direction.
func (o *Out) EOF() {
	if o.isUp() {
		o.fail(ErrEnded)
	}
}

// Closed ends a link that was up.
func (o *Out) Closed(err error) {
	if o.state != Up && o.state != Pressed {
		return // forgotten
	}
	if o.ending {
		err = o.failure
	}
	now := o.on.Now()
	o.gone()
	o.ending, o.failure = false, nil
	o.reader.reset()
	o.become(Absent)
	if now-o.since < steady {
		o.backOff(now)
	} else {
		o.retry, o.backoff = now, leastRetry
	}
	p := o.peer
	o.peer = Peer{}
	o.failAll()
	o.options.Event(EventDown, p, err)
	switch {
	case o.state != Absent: // an event was answered with a dial, or the end
	case errors.Is(err, loop.ErrStopped):
		o.Forget()
	case o.wanted() && now >= o.retry:
		o.dial()
	default:
		o.arm()
	}
}
