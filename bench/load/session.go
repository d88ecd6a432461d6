//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"

	"turbine/engine/packet"
)

// way is how a session is opened.
type way uint8

const (
	byWebSocket way = iota
	byPolling
	byUpgrade
)

// state is where a session is in its life.
//
//	closed   -> opening            open
//	opening  -> probing            handshake done by polling, to be upgraded
//	opening  -> open               handshake done
//	probing  -> probed             the probe was answered
//	probed   -> open               the waiting GET was also answered
//	open     -> closing            a close frame was sent
//	any      -> closed             its end
type state uint8

const (
	stateClosed state = iota
	stateOpening
	stateProbing
	stateProbed
	stateOpen
	stateClosing
)

// A session is one client.
type session struct {
	r      *runner
	number uint32
	way    way
	state  state
	slow   bool // it never reads
	narrow bool // its connection has little room, and segments of an Ethernet

	watched bool  // its pings are
	starved bool  // it had none for too long
	pinged  int64 // when the last one came

	conns     [roles]*conn
	sid       string
	fragments []byte // of an unfinished message
	binary    bool   // what fragments are
	began     int64  // when it began to open
	tries     int    // that failed, since it was last open
	owed      int    // pongs that cannot be sent yet
	ponging   bool   // the POST under way is a pong
	wants     bool   // a message waits for that POST

	sent, received uint32  // messages since it was opened
	ready          int     // messages that it may send
	times          []int64 // when the latest were sent, by number modulo len
	answered       uint8   // which halves of a cycle are done
}

// open begins to open the session.
func (s *session) open() {
	s.state = stateOpening
	s.began = s.r.now
	s.sid, s.fragments = "", s.fragments[:0]
	s.owed, s.ponging, s.wants = 0, false, false
	s.sent, s.received, s.ready, s.answered = 0, 0, 0, 0
	if s.way == byWebSocket {
		s.request(roleSocket, s.r.requests.webSocket)
	} else {
		s.request(rolePoll, s.r.requests.handshake)
	}
}

// request sends p over the connection of that role, a new one if need be.
func (s *session) request(role role, p []byte) {
	c := s.conns[role]
	if c == nil {
		c = s.r.dial(s, role)
		s.conns[role] = c
	}
	c.waiting++
	c.send(p)
}

// get sends a GET, unless one waits already.
func (s *session) get() {
	if c := s.conns[rolePoll]; c == nil || c.waiting == 0 {
		s.request(rolePoll, s.r.requests.get(s.sid))
	}
}

// posting reports whether a POST waits for its answer.
func (s *session) posting() bool {
	c := s.conns[rolePost]
	return c != nil && c.waiting > 0
}

// upgraded reports whether the session is a WebSocket.
func (s *session) upgraded() bool { return s.state == stateOpen && s.way != byPolling }

// becomeOpen is where every session that opens arrives.
func (s *session) becomeOpen() {
	s.state = stateOpen
	s.tries = 0
	s.r.opened(s)
}

// data is what a connection received: it returns how much of it is dealt with.
func (s *session) data(c *conn, p []byte) int {
	used := 0
	for c.fd >= 0 && used < len(p) && !c.frames {
		res, n, err := parseResponse(p[used:], false)
		if err == errIncomplete {
			return used
		}
		if err != nil {
			s.wrong("response: %w", err)
			return len(p)
		}
		used += n
		s.response(c, &res)
	}
	if c.fd >= 0 && c.frames {
		used += s.frames(c, p[used:])
	}
	if s.state == stateOpen {
		s.r.kind.settled(s)
	}
	return used
}

// response borrows res.
func (s *session) response(c *conn, res *response) {
	if c.waiting == 0 {
		s.wrong("a response nobody asked for")
		return
	}
	c.waiting--
	if c.role == roleSocket {
		s.switched(c, res)
		return
	}
	if res.close || s.r.plan.Kind == PollHandshakeNew {
		s.drop(c.role)
	}
	switch {
	case res.status != 200:
		s.wrong("status %d: %.80q", res.status, res.body)
	case c.role == rolePost:
		s.posted(res.body)
	case s.state == stateOpening:
		s.polled(res.body)
	default:
		s.polled(res.body)
		s.pollOn()
	}
}

// posted: the server took a POST.
func (s *session) posted(body []byte) {
	if !bytes.EqualFold(body, []byte("ok")) { // python-engineio shouts
		s.wrong("answer to a POST: %.80q", body)
		return
	}
	if s.ponging {
		s.ponging = false
	} else {
		s.r.kind.posted(s)
	}
	switch {
	case s.state == stateProbed:
		s.maybeUpgrade()
	case s.posting():
	case s.owed > 0:
		s.owed--
		s.postPong()
	case s.wants:
		s.postMessage()
	}
}

// postMessage sends the next message by POST, as soon as no other one is under
// way: the reference server takes two at once for an attack.
func (s *session) postMessage() {
	s.wants = s.posting()
	if s.wants {
		return
	}
	m := s.r.messages
	body := m.appendPayload(s.r.scratch[:0], s.number, s.sent)
	s.r.scratch = body
	s.sent++
	q := &s.r.requests
	q.buf = append(q.startPost(s.sid, len(body)), body...)
	s.request(rolePost, q.buf)
}

// polled: a GET brought body.
func (s *session) polled(body []byte) {
	for rest, more := body, true; more; more = rest != nil {
		var p packet.Packet
		var err error
		if p, rest, err = packet.Revision4.Next(rest); err != nil {
			s.wrong("answer to a GET: %.80q", body)
			return
		}
		s.packet(p)
		if s.state == stateClosed {
			return
		}
	}
}

// pollOn decides what follows the answer to a GET.
func (s *session) pollOn() {
	switch s.state {
	case stateProbing: // the client does not know yet that it will stop
		s.get()
	case stateProbed:
		s.maybeUpgrade()
	default: // what it brought was for the kind, which asks again or not
	}
}

// packet is one Engine.IO packet of the server. It borrows p.
func (s *session) packet(p packet.Packet) {
	switch {
	case s.state == stateOpening:
		s.handshake(p)
	case p.Type == packet.Message && s.state == stateClosing:
		// It was under way.
	case p.Type == packet.Message:
		s.r.kind.message(s, p.Data, p.Binary)
	case p.Type == packet.Ping:
		s.pong()
	case p.Type == packet.Pong && s.state == stateProbing && string(p.Data) == "probe":
		s.probed()
	case p.Type == packet.Noop && s.conns[rolePoll] != nil:
	case p.Type == packet.Close:
		s.end(errors.New("the server sent a close packet"))
	default:
		s.wrong("unexpected packet: %v %.80q", p.Type, p.Data)
	}
}

// handshake takes the open packet.
func (s *session) handshake(p packet.Packet) {
	sid, err := s.r.opens.sid(p)
	if err != nil {
		s.wrong("open packet: %w", err)
		return
	}
	s.sid = sid
	if s.way == byUpgrade {
		s.probe()
		return
	}
	s.becomeOpen()
}

// pong answers a heartbeat.
func (s *session) pong() {
	s.r.heartbeats++
	s.r.kind.pinged(s)
	switch {
	case s.upgraded():
		s.conns[roleSocket].send(s.r.requests.pong)
	case s.state == stateClosing:
	case s.state == stateProbed || s.posting():
		s.owed++
	default:
		s.postPong()
	}
}

func (s *session) postPong() {
	s.ponging = true
	s.request(rolePost, s.r.requests.postPong(s.sid))
}

// disconnected: a connection ended, by the peer or by itself.
func (s *session) disconnected(c *conn, err error) {
	if s.conns[c.role] != c {
		c.close()
		return
	}
	if err == errEOF && !c.frames && c.waiting > 0 && len(c.rest) > 0 {
		if res, _, e := parseResponse(c.rest, true); e == nil {
			s.response(c, &res)
			if s.conns[c.role] == c { // the response said nothing of a close
				s.drop(c.role)
			}
			if s.state == stateOpen {
				s.r.kind.settled(s)
			}
			return
		}
	}
	idle := c.role != roleSocket && c.waiting == 0
	s.drop(c.role)
	if !idle { // a kept-alive connection may end between two requests
		s.end(err)
	}
}

// drop closes one connection.
func (s *session) drop(role role) {
	if c := s.conns[role]; c != nil {
		c.close()
		s.conns[role] = nil
	}
}

// shut closes all connections, and what there was of a session.
func (s *session) shut() {
	for role := range roles {
		s.drop(role)
	}
	s.state = stateClosed
}

// wrong: the server said what it should not. It ends the session.
func (s *session) wrong(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	s.r.wrong(1, "session %d: %v", s.number, err)
	s.end(errWrong)
}

var errWrong = errors.New("a wrong reply")

// end ends the session, whatever it was at.
func (s *session) end(err error) {
	was := s.state
	s.shut()
	switch was {
	case stateClosed:
	case stateOpening, stateProbing, stateProbed:
		s.r.failed(s, err)
	case stateOpen:
		s.r.lost(s, err)
	case stateClosing:
		s.r.closing--
		s.r.kind.closed(s)
	}
}
