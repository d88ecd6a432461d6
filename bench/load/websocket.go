//go:build linux

package load

import (
	"errors"

	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

const maxMessage = 64 << 20 // bytes of a message of the server

// switched: the response to the opening handshake.
func (s *session) switched(c *conn, res *response) {
	switch {
	case res.status != 101:
		s.wrong("WebSocket handshake: status %d: %.80q", res.status, res.body)
		return
	case string(res.accept) != s.r.requests.accept:
		s.wrong("WebSocket handshake: Sec-WebSocket-Accept is %.80q", res.accept)
		return
	}
	c.frames = true
	switch {
	case s.r.plan.Dialect == Raw:
		s.becomeOpen()
	case s.way == byUpgrade:
		c.send(s.r.requests.probe)
	}
}

// frames takes the frames at the front of p and returns their length.
func (s *session) frames(c *conn, p []byte) int {
	used := 0
	for c.fd >= 0 {
		h, n, err := wsframe.ParseHeader(p[used:])
		if err == wsframe.ErrIncomplete {
			break
		}
		if err != nil || h.Masked || h.Rsv != 0 || h.Length > maxMessage {
			s.wrong("a broken frame: % x", p[used:min(used+14, len(p))])
			break
		}
		if len(p)-used-n < int(h.Length) {
			break
		}
		payload := p[used+n : used+n+int(h.Length)]
		used += n + int(h.Length)
		s.frame(c, h, payload)
	}
	return used
}

// frame borrows payload.
func (s *session) frame(c *conn, h ws.Header, payload []byte) {
	switch h.OpCode {
	case ws.OpText, ws.OpBinary:
		if h.Fin {
			s.wsMessage(payload, h.OpCode == ws.OpBinary)
			return
		}
		s.fragments, s.binary = append(s.fragments[:0], payload...), h.OpCode == ws.OpBinary
	case ws.OpContinuation:
		s.fragments = append(s.fragments, payload...)
		if h.Fin {
			s.wsMessage(s.fragments, s.binary)
		}
	case ws.OpPing:
		c.send(wsframe.AppendMaskedFrame(s.r.scratch[:0], ws.OpPong, true, maskKey, payload))
	case ws.OpPong:
	case ws.OpClose:
		s.end(errClosed)
	default:
		s.wrong("opcode %d", h.OpCode)
	}
}

var errClosed = errors.New("the server sent a close frame")

func (s *session) wsMessage(payload []byte, binary bool) {
	if s.r.plan.Dialect == Raw {
		if s.state == stateOpen {
			s.r.kind.message(s, payload, binary)
		}
		return
	}
	p, err := packet.Revision4.Decode(payload, binary)
	if err != nil {
		s.wrong("no packet: %.80q", payload)
		return
	}
	s.packet(p)
}

// The upgrade, as engine.io-client does it: while a GET waits, a WebSocket
// opens and is probed. The answer to the probe makes the client stop polling,
// which takes until the GET, and a POST if there is one, are answered; then the
// upgrade packet ends it.

// probe: the polling session is open.
func (s *session) probe() {
	s.state = stateProbing
	s.get()
	s.request(roleSocket, s.r.requests.upgrade(s.sid))
}

// probed: the WebSocket works.
func (s *session) probed() {
	s.state = stateProbed
	s.maybeUpgrade()
}

// maybeUpgrade completes the upgrade, unless a request still waits for its answer,
// also a POST: the server would refuse a POST to a session that has moved.
func (s *session) maybeUpgrade() {
	if c := s.conns[rolePoll]; c != nil && c.waiting > 0 || s.posting() {
		return
	}
	c := s.conns[roleSocket]
	c.send(s.r.requests.upgradePacket)
	for ; s.owed > 0; s.owed-- {
		c.send(s.r.requests.pong)
	}
	s.drop(rolePoll)
	s.drop(rolePost)
	s.becomeOpen()
}

// close closes the WebSocket in good order: a close frame, the server's, and
// then our end of the connection. Its end is kind.closed.
func (s *session) close() {
	s.state = stateClosing
	s.r.closing++
	s.conns[roleSocket].send(s.r.requests.closeFrame)
}

// send sends the next n messages.
func (s *session) send(m *messages, n int) {
	c := s.conns[roleSocket]
	for n > 0 {
		frames, count := m.batch(s.number, s.sent, n)
		c.send(frames)
		for i := range min(uint32(count), uint32(len(s.times))) {
			s.times[(s.sent+uint32(count)-1-i)%uint32(len(s.times))] = s.r.now
		}
		s.sent += uint32(count)
		n -= count
	}
}
