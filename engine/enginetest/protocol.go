package enginetest

import (
	"fmt"
	"net/http"

	"turbine/engine"
	"turbine/engine/packet"

	"github.com/gobwas/ws"
)

// The client's side of the protocol. All of it is called with c.mu held.

// begin asks for a session.
func (c *Client) begin() {
	if c.transport = c.options.Transport; c.transport == engine.WebSocket {
		c.socket.openWebSocket(func(res *response) *frames {
			c.header = res.header
			return c.session()
		}, c.refused)
		return
	}
	c.polling = true
	c.polls.request(http.MethodGet, engine.Polling, nil, nil, func(res *response) {
		if c.header = res.header; res.status != http.StatusOK {
			c.refused(res)
			return
		}
		c.polled(res)
	})
}

// refused is told a response that begins no session.
func (c *Client) refused(res *response) { c.fail(refusal(res)) }

// session are the frames of a WebSocket that is the session's transport.
func (c *Client) session() *frames {
	return &frames{packet: c.receive, closed: func(how string) {
		if c.phase == opening {
			c.fail(&Refused{Status: http.StatusSwitchingProtocols, Code: -1, Message: how, Header: c.header})
		}
		c.finish(how)
	}}
}

// fail ends the session, or the attempt to open one.
func (c *Client) fail(err error) {
	if c.phase == opening {
		c.refusal = err
	}
	c.finish(err.Error())
}

// finish is the only place that ends a client. A second call does nothing. Whatever
// comes after a goodbye is the answer to it: a poll on its way may find no session.
func (c *Client) finish(how string) {
	if c.phase == over {
		return
	}
	if c.phase == leaving {
		how = "closed by the client"
	}
	c.phase, c.how = over, how
	if c.unping != nil {
		c.unping()
	}
	for _, l := range c.links() {
		l.drop()
	}
}

func (c *Client) links() []*link { return []*link{c.polls, c.posts, c.socket} }

// lose drops all connections.
func (c *Client) lose(how string) {
	for _, l := range c.links() {
		if l.wire != nil {
			l.wire.reset()
			l.wire = nil
		}
	}
	c.finish(how)
}

// receive takes a packet of the server, and its Data.
func (c *Client) receive(p packet.Packet) {
	switch {
	case c.phase == over:
	case c.phase == opening:
		c.opened(p)
	case p.Type == packet.Message:
		c.inbox = append(c.inbox, engine.Message{Binary: p.Binary, Data: p.Data})
	case p.Type == packet.Ping && !c.options.Mute:
		c.write(packet.Packet{Type: packet.Pong, Data: p.Data})
	case p.Type == packet.Close:
		c.finish("close packet")
	}
}

// opened takes the first packet.
func (c *Client) opened(p packet.Packet) {
	if p.Type != packet.Open {
		c.fail(fmt.Errorf("expected the open packet, came a %v packet", p.Type))
		return
	}
	var err error
	if c.open, err = packet.ParseOpen(p.Data); err != nil {
		c.fail(err)
		return
	}
	c.phase = open
	if c.options.Revision == engine.Revision3 && !c.options.Mute {
		c.unping = c.network.each(c, func() { c.write(packet.Packet{Type: packet.Ping}) })
	}
	c.pause(c.options.Paused)
}

// write sends a packet of an open session, on its transport, and takes p.Data.
func (c *Client) write(p packet.Packet) {
	if c.phase != open {
		return
	}
	if c.transport == engine.WebSocket {
		c.socket.frames.sendPacket(p)
		return
	}
	c.outbox = append(c.outbox, p)
	c.post()
}

// post sends what waits, as much as MaxPayload has room for and a packet at least,
// unless a post is under way.
func (c *Client) post() {
	if c.posting || len(c.outbox) == 0 || c.phase == over {
		return
	}
	o := &c.options
	n := 1
	for n < len(c.outbox) && o.Revision.PayloadSize(c.outbox[:n+1], o.Base64) <= c.open.MaxPayload {
		n++
	}
	batch := c.outbox[:n]
	c.outbox = c.outbox[n:]
	header := http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}
	if o.Revision.BinaryPayload(batch, o.Base64) {
		header.Set("Content-Type", "application/octet-stream")
	}
	c.posting = true
	c.posts.request(http.MethodPost, engine.Polling, header, o.Revision.AppendPayload(nil, batch, o.Base64), func(res *response) {
		c.posting = false
		switch {
		case res.status != http.StatusOK:
			c.finish(res.text())
		case c.phase == leaving && len(c.outbox) == 0:
			c.finish("")
		default:
			c.post()
		}
	})
}

// poll asks for what the server has, unless a poll is under way or must not be.
func (c *Client) poll() {
	if c.polling || c.paused || c.held || c.phase != open || c.transport != engine.Polling {
		return
	}
	c.polling = true
	c.polls.request(http.MethodGet, engine.Polling, nil, nil, c.polled)
}

// polled takes the response to a poll.
func (c *Client) polled(res *response) {
	if res.status != http.StatusOK {
		c.finish(res.text())
		return
	}
	next := c.options.Revision.Next
	if res.header.Get("Content-Type") == "application/octet-stream" {
		next = c.options.Revision.NextBinary
	}
	for rest, more := res.body, true; more; more = rest != nil {
		var p packet.Packet
		var err error
		if p, rest, err = next(rest); err != nil {
			c.fail(fmt.Errorf("the response to a poll is no payload: %w", err))
			return
		}
		c.receive(p)
	}
	c.polling = false
	c.poll()
}

// pause makes the client read nothing, or again.
func (c *Client) pause(on bool) {
	c.paused = on
	if c.socket.wire != nil && c.transport == engine.WebSocket {
		c.socket.wire.pause(on)
	}
	c.poll()
}

// probe begins an upgrade. refused is told why there is none.
func (c *Client) probe(refused *string) {
	c.probed = false
	c.socket.openWebSocket(func(*response) *frames {
		f := &frames{closed: func(how string) { *refused = how }}
		f.packet = func(p packet.Packet) {
			if p.Type == packet.Pong && string(p.Data) == "probe" {
				c.probed, c.held = true, true
			} else {
				*refused = fmt.Sprintf("a %v packet", p.Type)
			}
		}
		f.link = c.socket
		f.sendPacket(packet.Packet{Type: packet.Ping, Data: []byte("probe")})
		return f
	}, func(res *response) { *refused = res.text() })
}

// switchOver ends an upgrade as soon as no request is under way.
func (c *Client) switchOver() bool {
	if !c.probed || c.polling || c.posting || c.phase != open {
		return false
	}
	c.socket.frames.sendPacket(packet.Packet{Type: packet.Upgrade})
	f := c.session()
	c.socket.frames.packet, c.socket.frames.closed = f.packet, f.closed
	c.transport, c.held = engine.WebSocket, false
	c.polls.drop()
	c.posts.drop()
	c.pause(c.paused)
	return true
}

// leave says goodbye behind what was sent.
func (c *Client) leave() {
	switch c.phase {
	case opening:
		c.lose("no session was opened")
		return
	case leaving, over:
		return
	case open:
	}
	c.phase = leaving
	if c.transport == engine.WebSocket {
		c.socket.wire.pause(false) // to read the answer
		c.socket.frames.send(ws.OpClose, nil)
		return
	}
	c.outbox = append(c.outbox, packet.Packet{Type: packet.Close})
	c.post()
}
