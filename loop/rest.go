package loop

import (
	"syscall"
	"time"
)

// shortageRest is how long a connection rests when the operating system lacks
// memory for it: the socket stays readable or writable, so that it would be
// reported, and fail, again and again.
const shortageRest = 50 * time.Millisecond

// shortage reports whether err says that the operating system has no memory to
// spare at the moment. The connection is as good as before.
func shortage(err error) bool { return err == syscall.ENOBUFS || err == syscall.ENOMEM }

// later reports whether err says that the same call may succeed another time.
func later(err error) bool {
	return err == syscall.EAGAIN || err == syscall.EINTR || shortage(err)
}

// rest keeps c from reading or writing for a while.
func (l *Loop) rest(c *Conn, direction Interest) {
	if c.resting == 0 {
		l.resting = append(l.resting, c)
	}
	c.resting |= direction
	if l.restSlot == 0 {
		l.restSlot = l.Claim((*restAlarm)(l))
		l.restBy = l.now + shortageRest
		l.Arm(l.restSlot, l.restBy)
	}
	c.rewatch()
}

// restAlarm is a Loop as the owner of the alarm that ends the rests.
type restAlarm Loop

func (a *restAlarm) Alarm() {
	l := (*Loop)(a)
	if l.now < l.restBy {
		l.Arm(l.restSlot, l.restBy)
		return
	}
	l.Release(l.restSlot)
	l.restSlot = 0
	rested := l.resting
	l.resting = nil
	for _, c := range rested {
		if c.Loop() == l { // a move ends a rest
			c.awake()
		}
	}
}

// awake ends a rest: what was to be written is, at the end of this turn.
func (c *Conn) awake() {
	wrote := c.resting&Writable != 0
	c.resting = 0
	if wrote && c.state != connClosed {
		c.blocked = false
		c.touch()
	}
	c.rewatch()
}
