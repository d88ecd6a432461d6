package loop

import (
	"errors"
	"fmt"
	"sync"
)

// A callback may panic, and it may end its goroutine: runtime.Goexit, which
// FailNow of package testing is. Nothing can stop a goroutine from exiting, so
// that is a panic that the driver survives by continuing on another goroutine,
// see outlive. The turn is left in its middle: what was not looked at in it is
// reported again, what was to be written is by the next turn.

// errExit is what is told instead of a panic's value.
var errExit = errors.New("runtime.Goexit was called")

// Abandoned is implemented by a Task, or the owner of an Alarm, that somebody
// waits for.
type Abandoned interface {
	// Abandon is called on the loop when a panic, or runtime.Goexit, has ended
	// Run, or Alarm.
	Abandon()
}

// guard is deferred around every call of a handler: a panic costs the one
// connection it happened on. The call sets returned as the last that it does:
// recover does not tell a return from runtime.Goexit.
func (l *Loop) guard(c *Conn, returned *bool) {
	if !*returned {
		c.end(fmt.Errorf("%w: %v", ErrPanic, l.fault(recover())))
	}
}

// survive is guard for a call that is about no connection in particular: a panic
// costs that call. of is the Task, or the owner of the Alarm, nil for neither.
func (l *Loop) survive(of any, returned *bool) {
	if *returned {
		return
	}
	l.fault(recover())
	if a, ok := of.(Abandoned); ok {
		l.abandon(a)
	}
}

func (l *Loop) abandon(a Abandoned) {
	returned := false
	defer l.survive(nil, &returned)
	a.Abandon()
	returned = true
}

// fault notes what was recovered, nil for runtime.Goexit, and returns what is to
// be told of it.
func (l *Loop) fault(recovered any) any {
	switch {
	case recovered != nil:
		l.panicked(recovered)
		return recovered
	case !l.exiting: // else the guard of a call in this one has told it
		l.exiting = true
		l.breakOff()
		l.panicked(errExit)
	}
	return errExit
}

// breakOff ends a turn in its middle.
func (l *Loop) breakOff() {
	l.idle, l.warm, l.sharing = l.look(), false, false
	flush := l.dirty[:0] // without those that were flushed already
	for _, c := range l.dirty {
		if c.dirty {
			c.dirty = false
			flush = append(flush, c)
		}
	}
	clear(l.dirty[len(flush):])
	l.dirty = flush
	for _, c := range flush {
		c.dirty = true
	}
	l.wakeUp() // for what is left
}

// outlive runs f on a goroutine that running counts, and again on another one
// each time that f has ended its goroutine.
func outlive(running *sync.WaitGroup, f func()) {
	running.Go(func() {
		returned := false
		defer func() {
			if !returned {
				outlive(running, f)
			}
		}()
		f()
		returned = true
	})
}
