package link

import (
	"errors"
	"sync/atomic"
	"time"

	"turbine/loop"
	"turbine/pool"
)

const (
	// pingAfter is how long a link may be without a byte from its peer before it asks.
	pingAfter = 2 * time.Second
	// deadAfter is how long one without a byte is taken for alive.
	deadAfter = 6 * time.Second
	// MaxPressed is how many bytes may be unsent before a link takes no new requests, and
	// how many may wait for a link.
	MaxPressed = 4 << 20
	// MaxUnsent is how many may be unsent before the link ends.
	MaxUnsent = 64 << 20
	// MaxHead is the longest head of a request in bytes.
	MaxHead = MaxBody - 2

	// portion is how many streams of a link that has ended are told so in one turn.
	portion = 256
)

// Errors that a link ends with, in addition to those of its connection and frames.
var (
	ErrDead   = errors.New("link: nothing was heard for 6 seconds")
	ErrUnsent = errors.New("link: the other node takes too little")
	ErrEnded  = errors.New("link: the other node has ended it")
)

// A Dialer makes a connection to address, for the loop on, where it is called and where
// one of accept and failed is called later, once. accept chooses the first handler. After
// cancel, which is called on the loop too, neither is called, or the caller ends the
// connection.
type Dialer func(on *loop.Loop, address string, accept func(*loop.Conn) loop.Handler, failed func(error)) (cancel func())

// A Reply is a request at the node of the client's connection. One of its methods is
// called, once, on the loop of the Out, unless Out.Lost came before.
type Reply interface {
	// Answer borrows p. An error says that p is malformed: the link ends.
	Answer(p []byte) error
	Abort()
	// Failed says that the link or the node is gone, or that no link came up.
	Failed()
}

// Home is the node of the sessions. Its methods are called on the loop of the In.
type Home interface {
	// Arrive borrows head. An error says that it is malformed: the link ends.
	Arrive(on *loop.Loop, head []byte, back Back) (Guest, error)
	// Note borrows p. An error is as for Arrive.
	Note(on *loop.Loop, p []byte) error
}

// A Guest is a request at the node of the session, until one of Back's methods was called
// or Lost.
type Guest interface {
	// Body borrows p, a piece of the body. It comes at least once, with the last one,
	// unless Cancel or Lost does.
	Body(p []byte, last bool)
	Cancel(status int)
	Lost(overBudget bool)
	Release()
}

// Back is the way from the session's node to the client's connection. One of its methods
// is called, once, on the loop of Home.Arrive, also before Arrive has returned, and none
// after Guest.Lost.
type Back interface {
	// Answer shares b.
	Answer(b *pool.Buf)
	Abort()
}

// Counts are what the links of one loop have to do. Its zero value is ready, and nil
// counts nothing. Safe from any goroutine.
type Counts struct {
	BytesSent, BytesHeard atomic.Uint64
	Streams               atomic.Int64       // open ones of Outs
	Guests                atomic.Int64       // open ones of Ins
	Conns                 atomic.Int64       // of Outs, from their greeting on, and of Ins
	Links                 [Over]atomic.Int64 // Outs by state

	// What became of the requests of Outs. NoRoom are those that did not begin.
	Answered, Aborted, Failed, NoRoom atomic.Uint64
}

func (c *Counts) sent(n int) {
	if c != nil {
		c.BytesSent.Add(uint64(n)) // #nosec G115 -- a length
	}
}

func (c *Counts) heard(n int) {
	if c != nil {
		c.BytesHeard.Add(uint64(n)) // #nosec G115 -- a length
	}
}

func (c *Counts) streams(n int) {
	if c != nil {
		c.Streams.Add(int64(n))
	}
}

func (c *Counts) conns(n int) {
	if c != nil {
		c.Conns.Add(int64(n))
	}
}

// links counts n Outs more in a state.
func (c *Counts) links(s State, n int) {
	if c != nil && s < Over {
		c.Links[s].Add(int64(n))
	}
}

func (c *Counts) answered() {
	if c != nil {
		c.Answered.Add(1)
	}
}

func (c *Counts) aborted() {
	if c != nil {
		c.Aborted.Add(1)
	}
}

func (c *Counts) failed() {
	if c != nil {
		c.Failed.Add(1)
	}
}

func (c *Counts) noRoom() {
	if c != nil {
		c.NoRoom.Add(1)
	}
}

func (c *Counts) guests(n int) {
	if c != nil {
		c.Guests.Add(int64(n))
	}
}

// pulse says whether the other end of a link lives.
type pulse struct {
	heard  time.Duration // when the last byte came
	pinged time.Duration // when it was asked last
	number uint64        // of the last ping
}

// beat is part of an alarm: it asks a peer that was silent, and reports one that is
// dead. Otherwise slot rings again in time.
func (p *pulse) beat(l *loop.Loop, slot loop.Slot, n *line) (dead bool) {
	now := l.Now()
	if now >= p.heard+deadAfter && l.Late(slot, p.heard+deadAfter) {
		return true
	}
	asked := max(p.heard, p.pinged)
	if now >= asked+pingAfter {
		p.number++
		p.pinged, asked = now, now
		var body [8]byte
		for i := range body {
			body[i] = byte(p.number >> (8 * i)) // #nosec G115 -- a byte of it
		}
		n.write(Ping, 0, 0, body[:], nil)
	}
	l.Arm(slot, min(asked+pingAfter, max(p.heard+deadAfter, now+pingAfter)))
	return false
}
