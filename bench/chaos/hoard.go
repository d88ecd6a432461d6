//go:build linux

package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"turbine/engine/packet"
)

// Hostile clients with many polling sessions over one connection, which read the
// answers to what they post, and nothing else.

const (
	pongSessions = 20     // of a connection
	pongPings    = 16_000 // of a post
	hoardMost    = 100    // sessions of a connection
	muteSessions = 70     // of a connection
)

// refusal is a status that says no.
type refusal int

func (r refusal) Error() string { return fmt.Sprintf("status %d", int(r)) }

// open makes a polling session over the connection.
func (m *mob) open(p *peer, r packet.Revision) (sid string, err error) {
	if err := m.send(p, fmt.Sprintf("GET /engine.io/?EIO=%d&transport=polling HTTP/1.1\r\nHost: chaos\r\n\r\n", r)); err != nil {
		return "", err
	}
	status, body, err := p.answer()
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", refusal(status)
	}
	first, _, err := r.Next(body)
	if err != nil {
		return "", err
	}
	open, err := packet.ParseOpen(first.Data)
	if err == nil {
		m.sessions.Add(1)
	}
	return strings.Clone(open.SID), err
}

// post sends a payload to a session, and takes the answer.
func (m *mob) post(p *peer, r packet.Revision, sid, payload string) error {
	err := m.send(p, fmt.Sprintf("POST /engine.io/?EIO=%d&transport=polling&sid=%s HTTP/1.1\r\nHost: chaos\r\nContent-Length: %d\r\n\r\n%s", r, sid, len(payload), payload))
	if err != nil {
		return err
	}
	status, _, err := p.answer()
	if err == nil && status != http.StatusOK {
		err = refusal(status)
	}
	return err
}

// piledPongs has sessions of revision 3 ping, and never takes the pongs.
func piledPongs(m *mob, n int) error {
	p, err := m.dial(n)
	if err != nil {
		return err
	}
	defer p.shut()
	var sids []string
	for range pongSessions {
		sid, err := m.open(p, packet.Revision3)
		if err != nil {
			return err
		}
		sids = append(sids, sid)
	}
	pings := strings.Repeat("1:2", pongPings)
	for round := 0; !m.over(); round++ {
		for _, sid := range sids {
			if err := m.post(p, packet.Revision3, sid, pings); err != nil {
				return err
			}
		}
		if round >= 4 { // it keeps what it has
			pings = "1:2"
			time.Sleep(time.Until(minTime(m.until, time.Now().Add(time.Second))))
		}
	}
	return nil
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// hoard has sessions of revision 3, which no server pings, be sent so many echoes
// of a size, and reads none of them.
func hoard(size, echoes int) hostile {
	text := "4" + strings.Repeat("x", size)
	payload := fmt.Sprintf("%d:%s", len(text), text)
	return func(m *mob, n int) error {
		p, err := m.dial(n)
		if err != nil {
			return err
		}
		defer p.shut()
		wait := m.pace()
		for range hoardMost {
			sid, err := m.open(p, packet.Revision3)
			if err != nil {
				return err
			}
			for range echoes {
				wait(len(payload))
				if m.over() {
					return nil
				}
				// The server may cut the session at once: then the next one is to try.
				if err := m.post(p, packet.Revision3, sid, payload); err != nil {
					return err
				}
			}
		}
		// Its sessions stay. It continues on another connection.
		return nil
	}
}

// mute has sessions that never poll.
func mute(m *mob, n int) error {
	p, err := m.dial(n)
	if err != nil {
		return err
	}
	defer p.shut()
	for range muteSessions {
		if _, err := m.open(p, packet.Revision4); err != nil {
			return err
		}
	}
	time.Sleep(time.Until(m.until))
	return nil
}
