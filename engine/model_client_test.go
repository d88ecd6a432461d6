package engine_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"turbine/engine"
	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// modelNet is where clients and server meet: a World, or sockets.
type modelNet interface {
	Dial() modelPeer
	// Between lets the server work between two pieces of what a client sends.
	Between()
	// Turn lets the server work a little.
	Turn() (busy bool)
	// Settle lets the server work between two steps of the clients.
	Settle()
	// Pass lets some time pass.
	Pass()
	// Patience begins a wait. What it returns is asked between two steps, and
	// says when it has been long enough for anything to happen.
	Patience() (goOn func() bool)
	Now() time.Duration
}

// modelPeer is a client's end of a connection. Nothing of it blocks.
type modelPeer interface {
	Write(p []byte)
	Read() []byte
	// EOF reports whether nothing more will come.
	EOF() bool
	// Closed reports whether the connection cannot be used any more.
	Closed() bool
	// SetWindow bounds what is taken before it is read.
	SetWindow(n int)
	CloseWrite()
	Reset()
}

// modelClient is a small Engine.IO client, faithful to what the official one
// does (spec, appendix A): one poll and one post at a time; after the pong to
// its probe it stops polling, waits for both to end, and only then sends the
// upgrade packet.
type modelClient struct {
	net      modelNet
	random   *rand.Rand
	revision engine.Revision
	name     int // which session it wants to be
	fail     func(format string, args ...any)
	packs    *modelPacks
	base64   bool           // it takes no bytes; in revision 3
	jsonp    bool           // its polls and posts are those of script elements and forms
	heard    func(p []byte) // a message; nil: they have one sender, which counts them

	sid       string
	poll      *modelHTTP
	post      *modelHTTP
	websocket *modelWS
	probing   bool
	paused    bool // the probe was answered: no new polls
	upgraded  bool
	over      bool
	cut       bool               // since a connection ended inside a response
	gone      bool               // and has hung up
	vanished  bool               // broke its connections, which the server may not know
	goodbye   bool               // the server's close has come, behind all messages
	told      engine.ClosedByApp // by the close frame; zero without a code
	owed      string             // a ping or pong to send
	nextPing  time.Duration      // in revision 3
	pingEvery time.Duration      // the same; 0 for modelPing
	patience  time.Duration      // how long it waits for a ping, in revision 4; 0 for no limit
	pinged    time.Duration      // when the last one came, or the session began
	muteSince time.Duration      // it says nothing any more, and has broken nothing; 0 while it lives

	queue    [][]byte // messages to send, oldest first
	sent     int      // messages given to a transport
	next     int      // number of the next message to make
	received int      // messages that came from the server
}

// modelHTTP is one kept-alive connection.
type modelHTTP struct {
	peer   modelPeer
	others []modelNodePeer // of several nodes: the connections to those it was at
	buffer []byte
	busy   bool
}

type modelWS struct {
	peer   modelPeer
	buffer []byte
	open   bool // the 101 has come

	deflate, takeover bool
	window            []byte
}

func (c *modelClient) dial() modelPeer {
	p := c.net.Dial()
	if c.patience == 0 && c.random.IntN(4) == 0 {
		p.SetWindow(1 + c.random.IntN(4096)) // a slow reader
	}
	return p
}

// message makes the next numbered message of some size. It may be binary.
func (c *modelClient) message() {
	m := numbered(c.random, c.next)
	if c.upgraded { // a POST has a limit
		m = c.packs.grow(c.random, m)
	}
	c.queue = append(c.queue, m)
	c.next++
}

// numbered is the text or bytes of message n: its number and some ballast.
func numbered(r *rand.Rand, n int) []byte {
	size := 8 + r.IntN(60)
	if r.IntN(20) == 0 {
		size += r.IntN(20_000)
	}
	p := bytes.Repeat([]byte{'a' + byte(n%26)}, size)
	copy(p, fmt.Sprintf("%d ", n))
	return p
}

// number is the number of a message, -1 for what is none.
func number(p []byte) (n int) {
	for _, digit := range p {
		if digit == ' ' {
			return n
		}
		n = 10*n + int(digit-'0')
	}
	return -1
}

func (c *modelClient) query(transport string) string {
	q := fmt.Sprintf("/engine.io/?EIO=%d&transport=%s", c.revision, transport)
	if c.base64 {
		q += "&b64=1"
	}
	if c.jsonp && transport == "polling" {
		q += "&j=0"
	}
	if c.sid != "" {
		return q + "&sid=" + c.sid
	}
	return fmt.Sprintf("%s&name=%d", q, c.name)
}

// step lets the client do what is to be done, and is called until all rest.
func (c *modelClient) step() {
	if c.over {
		return
	}
	c.readHTTP(c.poll, c.polled)
	c.readHTTP(c.post, func([]byte) {})
	c.readWS()
	if c.over || c.sid == "" {
		return
	}
	if c.revision == engine.Revision3 && c.net.Now() >= c.nextPing {
		c.owed, c.nextPing = "2", c.net.Now()+c.pause()
	}
	if c.revision == engine.Revision4 && c.patience > 0 && c.net.Now()-c.pinged > c.patience {
		c.fail("session %d leaves: no ping for %v", c.name, c.net.Now()-c.pinged)
		c.over = true
		return
	}
	if c.upgraded {
		c.flushWS()
		return
	}
	if !c.paused {
		c.startPoll()
		c.startPost()
		return
	}
	if !c.poll.busy && !c.post.busy {
		c.upgraded, c.probing = true, false
		c.frame(ws.OpText, []byte("5"))
		c.flushWS()
	}
}

// modelPing is how often a client of revision 3 pings.
const modelPing = 5 * time.Second

func (c *modelClient) pause() time.Duration {
	if c.pingEvery > 0 {
		return c.pingEvery
	}
	return modelPing
}

// mute makes the client say and hear nothing any more, as one whose machine has
// vanished.
func (c *modelClient) mute() {
	c.muteSince = c.net.Now()
	c.over, c.vanished = true, true
}

func (c *modelClient) connect(transport string) {
	c.nextPing = c.net.Now() + c.pause()
	c.poll, c.post = &modelHTTP{}, &modelHTTP{}
	if transport == "websocket" {
		c.upgraded = true
		c.dialWS()
		return
	}
	c.request(c.poll, "GET", nil)
}

func (c *modelClient) request(h *modelHTTP, method string, body []byte) {
	if nodes, ok := c.net.(*nodesNet); ok {
		nodes.roam(c, h)
	} else if h.peer == nil || h.peer.Closed() {
		h.peer, h.buffer = c.dial(), nil
	}
	h.busy = true
	if c.jsonp && body != nil {
		body = []byte("d=" + url.QueryEscape(string(body)))
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n", method, c.query("polling"))
	switch {
	case body == nil:
		head += "\r\n"
	case c.random.IntN(3) == 0:
		head += fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	default:
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	c.write(h.peer, []byte(head))
}

// write sends p in some pieces, with the server's turns between them.
func (c *modelClient) write(p modelPeer, b []byte) {
	for len(b) > 0 && c.random.IntN(8) == 0 {
		n := 1 + c.random.IntN(len(b))
		p.Write(b[:n])
		c.net.Between()
		b = b[n:]
	}
	p.Write(b)
}

func (c *modelClient) startPoll() {
	if !c.poll.busy {
		c.request(c.poll, "GET", nil)
	}
}

func (c *modelClient) startPost() {
	if c.post.busy || len(c.queue) == 0 && c.owed == "" {
		return
	}
	n := min(len(c.queue), 1+c.random.IntN(1+len(c.queue)))
	var packets []packet.Packet
	if c.owed != "" {
		packets = append(packets, packet.Packet{Type: packet.Type(c.owed[0] - '0')})
		c.owed = ""
	}
	for _, m := range c.queue[:n] {
		packets = append(packets, packet.Packet{Type: packet.Message, Data: m})
	}
	c.queue = c.queue[n:]
	c.sent += n
	c.request(c.post, "POST", c.revision.AppendPayload(nil, packets, false))
}

func (c *modelClient) readHTTP(h *modelHTTP, done func(body []byte)) {
	if h == nil || h.peer == nil || !h.busy {
		return
	}
	h.buffer = append(h.buffer, h.peer.Read()...)
	if len(h.buffer) == 0 {
		c.over = c.over || h.peer.EOF()
		return
	}
	reader := bufio.NewReader(bytes.NewReader(h.buffer))
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		if h.peer.EOF() {
			c.over, c.cut = true, true
		}
		return
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		if h.peer.EOF() {
			c.over, c.cut = true, true
		}
		return
	}
	rest, _ := io.ReadAll(reader)
	h.buffer, h.busy = rest, false
	if len(rest) > 0 {
		c.fail("bytes behind a response: %q", rest)
	}
	if response.StatusCode != 200 {
		c.over = true // as the official client: a transport error
		return
	}
	done(body)
}

func (c *modelClient) polled(body []byte) {
	if c.jsonp {
		var payload string
		inside, whole := bytes.CutPrefix(bytes.TrimSuffix(body, []byte(");")), []byte("___eio[0]("))
		if err := json.Unmarshal(inside, &payload); err != nil || !whole {
			c.fail("malformed script %q: %v", body, err)
			return
		}
		body = []byte(payload)
	}
	next := c.revision.Next
	if c.revision == engine.Revision3 && len(body) > 0 && body[0] < 2 {
		next = c.revision.NextBinary
	}
	for rest := body; ; {
		p, remaining, err := next(rest)
		if err != nil {
			c.fail("malformed payload %q: %v", body, err)
			return
		}
		c.packet(p)
		if rest = remaining; rest == nil {
			return
		}
	}
}

func (c *modelClient) packet(p packet.Packet) {
	switch p.Type {
	case packet.Open:
		open, err := packet.ParseOpen(p.Data)
		if err != nil {
			c.fail("open packet %q: %v", p.Data, err)
		}
		c.sid, c.pinged = open.SID, c.net.Now()
	case packet.Close:
		if !c.upgraded {
			c.over, c.goodbye = true, true
		}
	case packet.Ping:
		c.owed, c.pinged = "3", c.net.Now()
	case packet.Message:
		if c.heard != nil {
			c.heard(p.Data)
		} else if n := number(p.Data); n != c.received {
			c.fail("session %d got message %d, want %d", c.name, n, c.received)
		}
		if c.packs != nil && c.heard == nil && !c.packs.whole(p.Data) {
			c.fail("message %d of session %d is not whole", c.received, c.name)
		}
		c.received++
	}
}

// control sends a packet of the protocol when the transport allows.
func (c *modelClient) control(text string) {
	switch {
	case c.over:
	case c.upgraded:
		if c.websocket != nil && c.websocket.open {
			c.frame(ws.OpText, []byte(text))
		}
	case !c.post.busy:
		body := []byte(text)
		if c.revision == engine.Revision3 {
			body = []byte(fmt.Sprintf("%d:%s", len(text), text))
		}
		c.request(c.post, "POST", body)
	}
}

func (c *modelClient) dialWS() {
	c.websocket = &modelWS{peer: c.dial()}
	c.write(c.websocket.peer, []byte("GET "+c.query("websocket")+" HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"+c.packs.offer(c.random)+"\r\n"))
}

// startUpgrade opens the WebSocket that is to take over.
func (c *modelClient) startUpgrade() {
	if c.sid == "" || c.websocket != nil || c.over || c.upgraded {
		return
	}
	c.probing = true
	c.dialWS()
}

func (c *modelClient) frame(op ws.OpCode, payload []byte) {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], c.random.Uint32())
	if c.packsNext(payload) {
		packed := wsframe.AppendMaskedFrame(nil, op, true, key, c.packs.compressed(payload))
		packed[0] |= 0x40
		c.write(c.websocket.peer, packed)
		return
	}
	if len(payload) > 1 && c.random.IntN(5) == 0 { // in two fragments
		cut := 1 + c.random.IntN(len(payload)-1)
		c.write(c.websocket.peer, wsframe.AppendMaskedFrame(nil, op, false, key, payload[:cut]))
		op, payload = ws.OpContinuation, payload[cut:]
	}
	c.write(c.websocket.peer, wsframe.AppendMaskedFrame(nil, op, true, key, payload))
}

func (c *modelClient) flushWS() {
	if c.websocket == nil || !c.websocket.open {
		return
	}
	if c.owed != "" {
		c.frame(ws.OpText, []byte(c.owed))
		c.owed = ""
	}
	for _, m := range c.queue {
		frame, _ := c.revision.AppendFrame(nil, packet.Packet{Type: packet.Message, Data: m}, false)
		c.frame(ws.OpText, frame)
		c.sent++
	}
	c.queue = nil
}

func (c *modelClient) readWS() {
	w := c.websocket
	if w == nil {
		return
	}
	w.buffer = append(w.buffer, w.peer.Read()...)
	if !w.open {
		end := bytes.Index(w.buffer, []byte("\r\n\r\n"))
		if end < 0 || !bytes.HasPrefix(w.buffer, []byte("HTTP/1.1 101 ")) {
			if w.peer.EOF() {
				c.lostWS()
			}
			return
		}
		w.negotiate(string(w.buffer[:end]))
		w.buffer, w.open = w.buffer[end+4:], true
		if c.probing {
			c.frame(ws.OpText, []byte("2probe"))
		}
	}
	for {
		h, n, ok := serverFrame(w.buffer)
		if !ok {
			break
		}
		payload := w.buffer[n : n+int(h.Length)]
		c.serverMessage(h, payload)
		w.buffer = w.buffer[n+int(h.Length):]
		if c.websocket == nil || c.over {
			return
		}
	}
	if w.peer.EOF() {
		c.lostWS()
	}
}

// serverMessage handles one frame of the server.
func (c *modelClient) serverMessage(h ws.Header, payload []byte) {
	if h.OpCode == ws.OpClose {
		c.goodbye = c.upgraded
		if len(payload) >= 2 {
			c.told = engine.ClosedByApp{Code: int(binary.BigEndian.Uint16(payload)), Reason: string(payload[2:])}
		}
		c.lostWS()
		return
	}
	if h.Rsv == 4 && c.websocket.deflate {
		text, err := c.websocket.unpack(payload)
		if err != nil {
			c.fail("a message cannot be decompressed: %v", err)
		}
		if payload = text; len(text) > 64<<10 {
			c.packs.large.Add(1)
		}
	}
	p, err := c.revision.Decode(bytes.Clone(payload), h.OpCode == ws.OpBinary)
	switch {
	case err != nil:
		c.fail("malformed frame %q: %v", payload, err)
	case c.probing && p.Type == packet.Pong && string(p.Data) == "probe":
		c.paused = true
	default:
		c.packet(p)
	}
}

func (c *modelClient) lostWS() {
	if c.upgraded {
		c.over = true
	}
	c.websocket, c.probing, c.paused = nil, false, false
}

// serverFrame parses the header of a whole unmasked frame in front of p.
func serverFrame(p []byte) (h ws.Header, n int, ok bool) {
	r := bytes.NewReader(p)
	h, err := ws.ReadHeader(r)
	if err != nil {
		return h, 0, false
	}
	n = len(p) - r.Len()
	return h, n, int64(len(p)-n) >= h.Length
}

// vanish breaks one of the client's connections, and with it the client.
func (c *modelClient) vanish() {
	for _, p := range c.peers() {
		if c.random.IntN(2) == 0 {
			p.Reset()
		} else {
			p.CloseWrite()
		}
	}
	c.over, c.vanished = true, true
}

// hangUp ends the connections of a client that is over.
func (c *modelClient) hangUp() {
	if !c.gone {
		c.gone = true
		for _, p := range c.peers() {
			p.CloseWrite()
		}
	}
}

// peers are the client's connections.
func (c *modelClient) peers() (all []modelPeer) {
	for _, h := range []*modelHTTP{c.poll, c.post} {
		if h != nil && h.peer != nil {
			all = append(all, h.peer)
			for _, o := range h.others {
				if o.peer != h.peer {
					all = append(all, o.peer)
				}
			}
		}
	}
	if c.websocket != nil {
		all = append(all, c.websocket.peer)
	}
	return all
}
