package contract

import (
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// A Machine is loops that run, on either kernel, as the contract sees them.
type Machine interface {
	// Loops returns the machine's loops.
	Loops() []*loop.Loop
	// Dial connects to the loop that has least, as a Dealer chooses it.
	Dial() looptest.Client
	// Adopt connects to a certain loop, past the acceptor; accept chooses the
	// handler unless it is nil. The Client is valid also with an error.
	Adopt(l *loop.Loop, accept func(*loop.Conn) loop.Handler) (looptest.Client, error)
	// Step lets the machine work and time pass, a little.
	Step()
	// Stop stops the machine and returns when all is closed.
	Stop()
}

// Start makes a Machine of n loops that accepts.
type Start func(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine

// patience is how long a real machine may take for one thing.
const patience = 30 * time.Second

// until lets m work until done says so.
func until(t *testing.T, m Machine, what string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); m.Step() {
		if time.Since(start) > patience {
			require.FailNow(t, "does not happen", what)
		}
	}
}

// on runs f on l and waits for it.
func on(t *testing.T, m Machine, l *loop.Loop, f func()) {
	t.Helper()
	done := make(chan struct{})
	require.NoError(t, l.Post(loop.Func(func() {
		defer close(done)
		f()
	})))
	until(t, m, "a task", func() bool { return over(done) })
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// settle lets every loop look at its sockets and run its mailbox a few times.
func settle(t *testing.T, m Machine) {
	t.Helper()
	for range 5 {
		for _, l := range m.Loops() {
			on(t, m, l, func() {})
		}
	}
}

// WorldMachine starts a World as a Machine.
func WorldMachine(_ *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine {
	return &worldMachine{World: looptest.NewWorld(n, o, accept)}
}

type worldMachine struct {
	*looptest.World
	stopped bool
}

func (m *worldMachine) Dial() looptest.Client { return m.DialDealt().Client() }

func (m *worldMachine) Adopt(l *loop.Loop, accept func(*loop.Conn) loop.Handler) (looptest.Client, error) {
	p := m.DialTo(l.Index(), accept)
	if p.Closed() {
		return p.Client(), loop.ErrStopped
	}
	return p.Client(), nil
}

func (m *worldMachine) Step() {
	if m.stopped {
		return
	}
	for range 100 {
		if !m.Turn() {
			m.Advance(m.Tick())
			return
		}
	}
}

func (m *worldMachine) Stop() {
	if !m.stopped {
		m.stopped = true
		for _, l := range m.Loops() {
			l.Close()
		}
	}
}

// OnFaults is start with faults of those rates and a fixed seed.
func OnFaults(start Start, rates looptest.Rates) Start {
	return func(t *testing.T, n int, o loop.Options, accept func(*loop.Conn) loop.Handler) Machine {
		o.Faults = looptest.NewFaulty(1, rates)
		return start(t, n, o, accept)
	}
}
