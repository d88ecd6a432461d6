package enginetest

import (
	"errors"

	"turbine/loop/looptest"
)

// memory is a wire of a World.
type memory struct {
	link   *link
	peer   *looptest.Peer
	far    looptest.Client // the peer, with TLS around it or without
	out    []byte          // sent, and more than the World takes at a time
	paused bool
	ending bool
	ended  bool // by CloseWrite
	over   bool // nothing happens on it any more
}

// windowSize is how many bytes a client takes before it reads them.
const windowSize = 4 << 20

var errReset = errors.New("reset by the server")

func (m *memory) send(p []byte) {
	m.out = append(m.out, p...)
	m.flush()
}

func (m *memory) end() {
	m.ending = true
	m.flush()
}

func (m *memory) reset() {
	m.far.Reset()
	m.over = true
}

func (m *memory) pause(on bool) {
	m.paused = on
	m.peer.SetWindow(windowSize)
	if on {
		m.peer.SetWindow(0)
	}
}

// flush reports whether any bytes went.
func (m *memory) flush() (busy bool) {
	for len(m.out) > 0 {
		n := m.far.Send(m.out)
		if n == 0 {
			return busy
		}
		m.out, busy = m.out[n:], true
	}
	if m.out = nil; m.ending && !m.ended {
		m.ended = true
		m.far.CloseWrite()
		return true
	}
	return busy
}

// turn brings the link what has come, and reports whether there was anything to do.
func (m *memory) turn() (busy bool) {
	busy = m.flush()
	if m.over || m.paused && !m.ending {
		return busy
	}
	c := m.link.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := m.far.Recv(64 << 10); len(p) > 0 {
		m.link.data(m, p)
		return true
	}
	switch {
	case m.far.EOF():
		m.link.ended(m, nil)
	case m.far.Broken():
		m.link.ended(m, errReset)
	default:
		return busy
	}
	m.flush()
	m.over = true
	return true
}
