//go:build linux

package loop_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// leaver is a handler one of whose calls ends its goroutine, and which echoes else.
type leaver struct {
	echo
	at     string
	closed chan error
}

func (h *leaver) exit(at string) {
	if h.at == at {
		runtime.Goexit()
	}
}

func (h *leaver) Data(p []byte) {
	h.exit("Data")
	if h.at == "Drained" {
		h.conn.WantDrained()
	}
	h.echo.Data(p)
}

func (h *leaver) Drained() { h.exit("Drained") }

func (h *leaver) EOF() {
	h.exit("EOF")
	h.echo.EOF()
}

func (h *leaver) Closed(err error) {
	h.closed <- err
	h.exit("Closed")
}

// exitAlarm ends its goroutine when it rings.
type exitAlarm struct{ rang atomic.Bool }

func (a *exitAlarm) Alarm() {
	a.rang.Store(true)
	runtime.Goexit()
}

// exitTask ends its goroutine, and is told.
type exitTask struct{ abandoned chan struct{} }

func (t exitTask) Run()     { runtime.Goexit() }
func (t exitTask) Abandon() { close(t.abandoned) }

// leaveBy has a callback of that kind end its goroutine.
func (s *server) leaveBy(at string, closed <-chan error) {
	switch at {
	case "last Closed": // it is for Stop
	case "task":
		for _, l := range s.Loops() {
			task := exitTask{make(chan struct{})}
			require.NoError(s.t, l.Post(task))
			<-task.abandoned
		}
	case "alarm":
		for _, l := range s.Loops() {
			a := new(exitAlarm)
			require.NoError(s.t, l.Post(loop.Func(func() { l.Arm(l.Claim(a), l.Now()) })))
			eventually(s.t, "the alarm rings", a.rang.Load)
		}
	default:
		c := s.dial()
		switch at {
		case "Data", "Drained":
			_, err := c.Write([]byte("leave"))
			require.NoError(s.t, err)
		case "EOF", "Closed":
			require.NoError(s.t, c.(*net.TCPConn).CloseWrite())
		}
		_, _ = io.ReadAll(c)
		switch at {
		case "accept": // there is no handler to be told
		case "Closed":
			require.NoError(s.t, <-closed)
		default:
			require.ErrorIs(s.t, <-closed, loop.ErrPanic)
		}
	}
}

// A callback that calls runtime.Goexit costs what a panic costs: its connection.
// The loop continues, its other connections are served, and Stop ends all.
func TestCallbackThatEndsItsGoroutine(t *testing.T) {
	for _, loops := range []int{1, 2} {
		for _, at := range []string{"accept", "Data", "Drained", "EOF", "Closed", "task", "alarm", "last Closed"} {
			t.Run(fmt.Sprintf("%s, %d loops", at, loops), func(t *testing.T) {
				goroutines := runtime.NumGoroutine()
				closed := make(chan error, 100)
				var doomed atomic.Bool
				s := serve(t, loop.Options{Loops: loops}, func(c *loop.Conn) loop.Handler {
					h := &leaver{echo: echo{c}, closed: closed}
					switch {
					case at == "last Closed":
						h.at = "Closed"
					case doomed.Load():
						h.at = at
						h.exit("accept")
					}
					return h
				})
				others := make([]net.Conn, 4*loops)
				for i := range others {
					others[i] = s.dial()
					requireEcho(t, others[i], "before")
				}
				doomed.Store(true)
				for range 3 {
					s.leaveBy(at, closed)
				}
				doomed.Store(false)
				for _, c := range append(others, s.dial()) {
					requireEcho(t, c, "after")
				}
				s.stop()
				eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
			})
		}
	}
}
