//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Hostile clients that want more of something than there is: sessions, bytes
// that wait for their turn, bodies.

const (
	handshakeBatch = 50     // requests of a write
	aheadBytes     = 60_000 // behind a poll that waits, less than MaxPipelined
)

// handshakes asks for session after session over one connection, from an
// address of its own or the one that is given.
func handshakes(from string) hostile {
	request := head("GET", "polling") + "\r\n"
	return func(m *mob, n int) error {
		p, err := m.dialFrom(from, n)
		if err != nil {
			return err
		}
		defer p.shut()
		for !m.over() {
			if err := m.send(p, strings.Repeat(request, handshakeBatch)); err != nil {
				return err
			}
			refused := 0
			for range handshakeBatch {
				status, _, err := p.answer()
				if err != nil {
					return err
				}
				if status != http.StatusOK {
					refused = status
					continue
				}
				m.sessions.Add(1)
			}
			if refused > 0 {
				return refusal(refused)
			}
		}
		return nil
	}
}

func (m *mob) dialFrom(address string, n int) (*peer, error) {
	if address == "" {
		return m.dial(n)
	}
	p, err := m.target.dialFrom(&net.TCPAddr{IP: net.ParseIP(address)}, 0)
	if err != nil {
		return nil, err
	}
	return p, p.SetDeadline(m.until)
}

// openPolling makes a session by polling.
func (m *mob) openPolling(n int) (p *peer, sid string, err error) {
	if p, err = m.dial(n); err != nil {
		return nil, "", err
	}
	if sid, err = p.openPolling(); err != nil {
		p.shut()
		return nil, "", err
	}
	m.sessions.Add(1)
	return p, sid, nil
}

// sendAhead has a poll wait, and sends behind it what has to wait for its end.
func sendAhead(m *mob, n int) error {
	p, sid, err := m.openPolling(n)
	if err != nil {
		return err
	}
	defer p.shut()
	poll := head("GET", "polling&sid="+sid) + "\r\n"
	next := head("GET", "polling&sid="+sid) + "X-Pad: " + strings.Repeat("x", 4_000) + "\r\n\r\n"
	if err := m.send(p, poll+strings.Repeat(next, aheadBytes/len(next))); err != nil {
		return err
	}
	// The first ping answers the first poll. What is read is not answered.
	for !m.over() {
		if _, err := p.in.Discard(1); err != nil {
			return err
		}
	}
	return nil
}

// holdBody sends all of a body except its last bytes. Small bodies take the room
// that large ones leave free.
func holdBody(size int) hostile {
	return func(m *mob, n int) error {
		p, sid, err := m.openPolling(n)
		if err != nil {
			return err
		}
		defer p.shut()
		err = m.send(p, head("POST", "polling&sid="+sid)+fmt.Sprintf("Content-Length: %d\r\n\r\n4", size+2))
		piece := strings.Repeat("x", 30_000)
		for left := size; err == nil && left > 0; left -= len(piece) {
			err = m.send(p, piece[:min(left, len(piece))])
		}
		if err != nil {
			return err
		}
		return p.refused()
	}
}

// refused waits for a status.
func (p *peer) refused() error {
	status, _, err := p.answer()
	if err != nil {
		return err
	}
	time.Sleep(4 * respite)
	return refusal(status)
}
