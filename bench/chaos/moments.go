//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gobwas/ws"
)

// The reasons for which sessions end, in the server's words.
const (
	transportClose = "transport close"
	transportError = "transport error"
	pingTimeout    = "ping timeout"
	queueOverflow  = "queue overflow"

	// A client that does not read answers no pings either: what comes first, the end of
	// the queue or of the time, hangs on how fast this machine lets it send.
	deafReason = queueOverflow + " or " + pingTimeout
	// Where the deaf use up what may be queued for all together, other clients that
	// something is queued for at that moment may also be ended.
	crowdedReason = transportClose + " or, next to the deaf, " + queueOverflow
)

// A moment is a point in the life of a client at which its connection can end.
// The reasons are those for which its session then ends, "" where there is none.
type moment struct {
	name string
	// reach goes there. All that was sent has been taken when it returns, where
	// the reason hangs on that.
	reach    func(s *scene) error
	cut      string // by a reset or a half-close
	vanished string // without a word
	unread   string // what makes the server send what is not read; "" for nothing
}

// scene is the connections of one client.
type scene struct {
	target target
	n      int
	main   *peer   // the one that is cut
	others []*peer // closed with it
}

func (s *scene) dial(window int) (*peer, error) {
	p, err := s.target.dial(s.n, window)
	if err != nil {
		return nil, err
	}
	if s.main != nil {
		s.others = append(s.others, s.main)
	}
	s.main = p
	return p, nil
}

func (s *scene) close() {
	for _, p := range append(s.others, s.main) {
		if p != nil {
			p.shut()
		}
	}
}

var moments = []moment{
	{name: "connected", reach: func(s *scene) error {
		_, err := s.dial(0)
		return err
	}},
	{name: "half a head", reach: func(s *scene) error {
		p, err := s.dial(0)
		if err != nil {
			return err
		}
		return p.write("GET /engine.io/?EI")
	}},
	{name: "half a body", cut: transportError, vanished: transportError, reach: func(s *scene) error {
		p, sid, err := s.polling()
		if err != nil {
			return err
		}
		// The 100 says that the head was taken.
		err = p.write(head("POST", "polling&sid="+sid) + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n")
		if err != nil {
			return err
		}
		if _, err := p.expect(http.StatusContinue); err != nil {
			return err
		}
		return p.write("4hell")
	}},
	{name: "between two polls", cut: pingTimeout, vanished: pingTimeout, reach: func(s *scene) error {
		_, _, err := s.polling()
		return err
	}},
	{name: "waiting poll", cut: transportError, vanished: pingTimeout, reach: func(s *scene) error {
		p, sid, err := s.polling()
		if err != nil {
			return err
		}
		// The answer to the first of the two says that both were read.
		err = p.write("GET /elsewhere HTTP/1.1\r\nHost: chaos\r\n\r\n" + head("GET", "polling&sid="+sid) + "\r\n")
		if err != nil {
			return err
		}
		_, err = p.expect(http.StatusNotImplemented)
		return err
	}},
	{name: "upgrade, before the probe", cut: pingTimeout, vanished: pingTimeout, reach: func(s *scene) error {
		_, err := s.candidate()
		return err
	}},
	{name: "upgrade, probed", cut: pingTimeout, vanished: pingTimeout, unread: frame("2probe"), reach: func(s *scene) error {
		p, err := s.candidate()
		if err != nil {
			return err
		}
		return p.ask("2probe", "3probe")
	}},
	{name: "upgraded", cut: transportClose, vanished: pingTimeout, unread: frame("4hello"), reach: func(s *scene) error {
		p, err := s.candidate()
		if err != nil {
			return err
		}
		if err := p.ask("2probe", "3probe"); err != nil {
			return err
		}
		return errors.Join(p.write(frame("5")), p.ask("4hello", "4hello"))
	}},
	{name: "WebSocket", cut: transportClose, vanished: pingTimeout, unread: frame("4hello"), reach: func(s *scene) error {
		_, err := s.webSocket(0)
		return err
	}},
	{name: "within a frame", cut: transportClose, vanished: pingTimeout, reach: func(s *scene) error {
		p, err := s.webSocket(0)
		if err != nil {
			return err
		}
		return p.write(frame("4hello")[:8])
	}},
	{name: "within a message", cut: transportClose, vanished: pingTimeout, unread: fragment(ws.OpPing, true, ""), reach: func(s *scene) error {
		p, err := s.webSocket(0)
		if err != nil {
			return err
		}
		return p.write(fragment(ws.OpText, false, "4hel"))
	}},
	{name: "echoes under way", cut: crowdedReason, vanished: pingTimeout, reach: func(s *scene) error {
		p, err := s.webSocket(smallWindow)
		if err != nil {
			return err
		}
		for range 6 { // less than the server queues for one
			if err := p.write(frame(loud)); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "closing", cut: transportClose, vanished: transportClose, reach: func(s *scene) error {
		p, err := s.webSocket(0)
		if err != nil {
			return err
		}
		if err := p.write(fragment(ws.OpClose, true, "\x03\xe8")); err != nil {
			return err
		}
		return p.unread()
	}},
}

// polling is a client with a session on one connection.
func (s *scene) polling() (p *peer, sid string, err error) {
	if p, err = s.dial(0); err == nil {
		sid, err = p.openPolling()
	}
	return p, sid, err
}

// candidate has a polling session, and a WebSocket that is to be its transport.
func (s *scene) candidate() (*peer, error) {
	_, sid, err := s.polling()
	if err != nil {
		return nil, err
	}
	p, err := s.dial(0)
	if err != nil {
		return nil, err
	}
	return p, p.openWebSocket(sid)
}

func (s *scene) webSocket(window int) (*peer, error) {
	p, err := s.dial(window)
	if err != nil {
		return nil, err
	}
	return p, p.openWebSocket("")
}

// ask sends a message and waits for the answer.
func (p *peer) ask(message, answer string) error {
	if err := p.write(frame(message)); err != nil {
		return err
	}
	return p.expectText(answer)
}

// A cut is a way in which a connection ends.
type cut struct {
	name string
	make func(p *peer, m moment) error
}

var cuts = []cut{
	{"reset", func(p *peer, _ moment) error {
		p.shut()
		return nil
	}},
	{"half-close", func(p *peer, _ moment) error {
		if err := p.CloseWrite(); err != nil {
			return err
		}
		return p.ended()
	}},
	{"closed unread", func(p *peer, m moment) error { // which the kernel makes a reset of
		if err := p.write(m.unread); err != nil {
			return err
		}
		if err := p.unread(); err != nil {
			return err
		}
		return p.Close()
	}},
}

// cutClient goes through all moments and cuts, one with each n.
func cutClient(t target, n int) (outcome, error) {
	c := cuts[n%len(cuts)]
	m := moments[n/len(cuts)%len(moments)]
	if c.name == "closed unread" && m.unread == "" {
		c = cuts[0]
	}
	s := scene{target: t, n: n}
	defer s.close()
	err := m.reach(&s)
	if err == nil {
		err = c.make(s.main, m)
	}
	if err != nil {
		return outcome{}, fmt.Errorf("%s, %s: %w", m.name, c.name, err)
	}
	return outcome{m.name + ", " + c.name, m.cut}, nil
}
