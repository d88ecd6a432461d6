package link

import (
	"turbine/loop"
	"turbine/pool"
)

// InOptions of an In.
type InOptions struct {
	Home   Home
	Counts *Counts // of the loop; nil: nothing is counted
	Ended  func()  // on the loop, once, when the link has ended; nil: nobody
	Unsent int     // above so many unsent bytes the link ends; 0: MaxUnsent
}

// An In is the end of a link at the sessions' node: the handler of a connection that was
// accepted, behind its greeting, until that ends.
//
//	| state | event                                           | next | does
//	| up    | Arrive, Body, Cancel, Lost, Release, Note, Ping | up   | Home.Arrive, Guest.Body, ...; Note; Pong
//	| up    | unsent > 64 MiB, malformed, 6 s silence, end    | over | each Guest.Lost
//
// A stream of it is open, answering while its answer waits to be sent, or free.
type In struct {
	options InOptions
	conn    *loop.Conn
	on      *loop.Loop
	line    line
	reader  reader
	pulse   pulse
	slot    loop.Slot
	over    bool
	chunks  [MaxStreams / chunkSize]*inChunk
	spare   []*inStream // of which the home has used its Back
	open    int
	losing  int // the place up to which guests were told that the link is over
}

type inChunk [chunkSize]*inStream

// inStream is a request at the home: what it has for the way back.
type inStream struct {
	in     *In
	guest  Guest
	stream uint32
	state  inState
	bodied bool // the end of the body has come, or will not
}

type inState uint8

const (
	inOpen      inState = iota
	inAnswering         // the answer waits to be sent
	inFree
)

// maxSpare is how many streams an In keeps for later.
const maxSpare = 1 << 10

// NewIn makes the handler of c, which has been greeted.
func NewIn(c *loop.Conn, o InOptions) *In {
	if o.Unsent == 0 {
		o.Unsent = MaxUnsent
	}
	in := &In{options: o, conn: c, on: c.Loop()}
	in.line = line{conn: c, owner: in, counts: o.Counts}
	in.slot = in.on.Claim(in)
	in.pulse.heard = in.on.Now()
	o.Counts.conns(1)
	in.on.Arm(in.slot, in.pulse.heard+pingAfter)
	return in
}

// Streams is how many requests are under way, or have an answer that waits to be sent.
func (in *In) Streams() int { return in.open }

// Close ends the link.
func (in *In) Close() {
	if !in.over {
		in.conn.Abort()
	}
}

// Alarm looks whether the other end lives.
func (in *In) Alarm() {
	if !in.over && in.pulse.beat(in.on, in.slot, &in.line) {
		in.conn.Abort()
	}
}

// Data borrows p.
func (in *In) Data(p []byte) {
	in.pulse.heard = in.on.Now()
	in.options.Counts.heard(len(p))
	for !in.over {
		h, body, rest, err := in.reader.next(p)
		if err == ErrIncomplete {
			return
		}
		if err == nil {
			err = in.frame(h, body)
		}
		if err != nil {
			in.fail()
			return
		}
		p = rest
	}
}

// fail ends the link, which hears nothing more from here on.
func (in *In) fail() {
	in.over = true
	in.conn.Abort()
}

// frame hears a frame. It borrows body.
func (in *In) frame(h Header, body []byte) error {
	switch h.Kind {
	case Arrive:
		return in.arrive(h, body)
	case Body, Cancel, Lost, Release:
		return in.tell(h, body)
	case Note:
		return in.options.Home.Note(in.on, body)
	case Ping:
		in.line.write(Pong, 0, 0, body, nil)
		in.settle()
	case Pong:
	case Hello, Proof, Answer, Abort:
		return errDirection
	default: // of a later version
	}
	return nil
}

// arrive hears the beginning of a request.
func (in *In) arrive(h Header, p []byte) error {
	n := int(p[0]) | int(p[1])<<8
	if p = p[2:]; n > len(p) {
		return ErrMalformed
	}
	place := in.place(h.Stream)
	if *place != nil {
		return errStream
	}
	s := in.take(h.Stream)
	*place = s
	s.bodied = h.Flags&FlagMore == 0
	guest, err := in.options.Home.Arrive(in.on, p[:n], s)
	if s.state != inOpen || s.stream != h.Stream { // it was answered at once
		return err
	}
	if err != nil {
		in.free(s, false)
		return err
	}
	s.guest = guest
	if body := p[n:]; len(body) > 0 || s.bodied {
		guest.Body(body, s.bodied)
	}
	return nil
}

// tell hears what belongs to a request. What is of one that has ended is dropped.
func (in *In) tell(h Header, body []byte) error {
	s := *in.place(h.Stream)
	if s == nil || s.stream != h.Stream {
		return nil
	}
	guest := s.guest
	if h.Kind == Lost {
		open := s.state == inOpen
		in.free(s, false)
		if open {
			guest.Lost(h.Flags&FlagOverBudget != 0)
		}
		return nil
	}
	switch {
	case h.Kind == Release:
		if s.state == inOpen {
			guest.Release()
		}
		return nil
	case h.Kind == Cancel: // also behind the body: the client sends nothing more
		s.bodied = true
		if s.state == inOpen {
			guest.Cancel(int(body[0]) | int(body[1])<<8)
		}
		return nil
	case s.bodied:
		return errStream
	}
	s.bodied = h.Flags&FlagMore == 0
	if s.state == inOpen { // else it was answered before all had come
		guest.Body(body, s.bodied)
	}
	return nil
}

// place is where a stream's place is in the table.
func (in *In) place(stream uint32) **inStream {
	i := placeOf(stream) - 1
	c := in.chunks[i/chunkSize]
	if c == nil {
		c = new(inChunk)
		in.chunks[i/chunkSize] = c
	}
	return &c[i%chunkSize]
}

func (in *In) take(stream uint32) *inStream {
	in.open++
	in.options.Counts.guests(1)
	if n := len(in.spare); n > 0 {
		s := in.spare[n-1]
		in.spare = in.spare[:n-1]
		*s = inStream{in: in, stream: stream}
		return s
	}
	return &inStream{in: in, stream: stream}
}

// free ends a stream. again says that the home has used its Back, and holds it no more.
func (in *In) free(s *inStream, again bool) {
	*in.place(s.stream) = nil
	in.open--
	in.options.Counts.guests(-1)
	s.state, s.guest = inFree, nil
	if again && len(in.spare) < maxSpare {
		in.spare = append(in.spare, s)
	}
}

// Answer shares b.
func (s *inStream) Answer(b *pool.Buf) {
	in := s.in
	if s.state != inOpen {
		return
	}
	if in.over {
		in.free(s, false)
		return
	}
	if b.Len() <= onePiece {
		in.line.write(Answer, 0, s.stream, b.Bytes(), nil)
		in.free(s, true)
	} else {
		b.Retain()
		s.state, s.guest = inAnswering, nil
		in.line.push(entry{buf: b, stream: s.stream, kind: Answer})
	}
	in.settle()
}

// Abort has the client's connection destroyed.
func (s *inStream) Abort() {
	in := s.in
	if s.state != inOpen {
		return
	}
	if !in.over {
		in.line.write(Abort, 0, s.stream, nil, nil)
		in.settle()
	}
	in.free(s, !in.over)
}

// live, of what waits in line, says whether it is still to be sent.
func (in *In) live(stream uint32) bool {
	s := *in.place(stream)
	return s != nil && s.stream == stream
}

// sent says that an answer was.
func (in *In) sent(e *entry) {
	if s := *in.place(e.stream); s != nil {
		in.free(s, true)
	}
}

// settle is called after what adds to the line: it sends what may go, and ends a link of
// which too much waits.
func (in *In) settle() {
	if in.over {
		return
	}
	in.line.pump()
	if in.line.unsent() > in.options.Unsent {
		in.fail()
	}
}

// Drained continues with what waits.
func (in *In) Drained() { in.settle() }

// EOF ends the link: a node does not close one direction.
func (in *In) EOF() { in.conn.Abort() }

// Closed ends the link.
func (in *In) Closed(error) {
	in.over = true
	in.options.Counts.conns(-1)
	in.reader.reset()
	in.line.sweep(func(*entry) bool { return false })
	in.on.Release(in.slot)
	if in.options.Ended != nil {
		in.options.Ended()
	}
	in.Run()
}

// Run tells some guests that the link is over, and posts itself for the others.
func (in *In) Run() {
	for told := 0; in.losing < MaxStreams; in.losing++ {
		c := in.chunks[in.losing/chunkSize]
		if c == nil {
			in.losing += chunkSize - 1
			continue
		}
		s := c[in.losing%chunkSize]
		if s == nil {
			continue
		}
		if told == portion {
			_ = in.on.Post(in) // a loop that has stopped has told all sessions
			return
		}
		told++
		guest, open := s.guest, s.state == inOpen
		in.free(s, false)
		if open && guest != nil {
			guest.Lost(false)
		}
	}
	in.spare = nil
}
