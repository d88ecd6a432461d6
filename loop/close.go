package loop

import "time"

// farewell is how long a peer that was sent everything may take to close its
// side. Then the descriptor is closed; what is on its way still arrives.
const farewell = 5 * time.Second

// Close ends the connection after all that was written has been sent. It is
// bounded by Options.Linger. Bytes that arrive meanwhile are dropped; the
// handler hears nothing more but Closed.
func (c *Conn) Close() { c.close(false) }

// CloseSent is Close for a peer that has said that it will send nothing more:
// once all has been sent, it is not waited for. A TLS peer is: it says goodbye on top
// of what its protocol says.
func (c *Conn) CloseSent() { c.close(!c.Secure()) }

// CloseIdle is Close for a connection on which nothing is under way in either
// direction: a peer that has read all has nothing to lose by not being waited for.
func (c *Conn) CloseIdle() { c.close(true) }

// CloseWrite ends the writing direction after all that was written has been sent: the
// peer sees its end, and what it sends still comes. Later writes do nothing. The
// connection lasts until Close or Abort, or an error; without one of them a peer may
// keep it for as long as it likes.
func (c *Conn) CloseWrite() {
	if c.ending || (c.state != connOpen && c.state != connMoving) {
		return
	}
	c.ending = true
	c.touch()
}

// shut ends the writing direction, all having been sent.
func (c *Conn) shut() {
	if !c.finished {
		c.finished = true
		c.Loop().kernel.Shutdown(int(c.fd))
	}
}

func (c *Conn) close(hasty bool) {
	if c.state != connOpen && c.state != connMoving {
		return
	}
	c.hasty = hasty
	c.state = connDraining
	c.paused = false
	c.armLinger(c.Loop().options.Linger)
	c.rewatch()
	if !c.blocked {
		c.touch()
	}
}

// Abort ends the connection at once. What is unsent is lost.
func (c *Conn) Abort() { c.end(ErrAborted) }

// finish shuts writing down once all is sent, and waits for the peer to do
// the same: closing at once would throw away what the peer has not read yet
// if bytes of its own arrive meanwhile.
func (c *Conn) finish() {
	if c.eof {
		c.end(nil)
		return
	}
	told := c.finished // by CloseWrite, or here before
	c.shut()
	switch {
	case c.hasty:
		c.end(nil)
	case !told:
		c.armLinger(min(c.Loop().options.Linger, farewell))
	}
}

// end is the only way into the state closed. err is what Closed is told.
func (c *Conn) end(err error) {
	if c.state == connClosed {
		return
	}
	l := c.Loop()
	c.state = connClosed
	if f := c.filter(); f != nil {
		f.drop(l)
	}
	if c.out != nil {
		l.giveBack(c.out)
		c.out = nil
	}
	if c.slot != 0 {
		l.Release(c.slot)
		c.slot = 0
	}
	if c.held {
		l.gate.release(c.remote())
	}
	// The descriptor stays open, and watched, until reap, which comes after the
	// next look at the sockets: what that reports of it, Ready ignores. Closing
	// it ends the watch.
	l.conns.clear(int(c.fd), c)
	l.ended.Push(ending{conn: c, fd: int(c.fd), err: err})
	l.wakeUp()
}

// lingerAlarm is a Conn as the owner of its linger alarm.
type lingerAlarm Conn

func (a *lingerAlarm) Alarm() {
	c := (*Conn)(a)
	switch l := c.Loop(); {
	case l.Now() < c.deadline:
		l.Arm(c.slot, c.deadline)
	case c.finished:
		c.end(nil) // the peer has it all and only failed to say goodbye
	default:
		c.end(ErrLinger)
	}
}

// A Carrier is the owner of a slot that has a connection for whoever looks what
// connections hold, because the connection's Handler is no other owner's: one that sees
// to its own end, or one that carries another's bytes.
type Carrier interface {
	Alarm
	// Carried is the connection, that which holds most where there are several; nil for
	// none.
	Carried() *Conn
}

func (a *lingerAlarm) Carried() *Conn { return (*Conn)(a) }

// armLinger starts or restarts the deadline of a closing connection.
func (c *Conn) armLinger(wait time.Duration) {
	l := c.Loop()
	if c.slot == 0 {
		c.slot = l.Claim((*lingerAlarm)(c))
	}
	c.deadline = l.Now() + wait
	l.Arm(c.slot, c.deadline)
}
