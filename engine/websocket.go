package engine

import (
	"errors"

	"turbine/engine/packet"
	"turbine/loop"
	"turbine/pool"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// maxControlFrame is the size in bytes of the longest control frame we send.
const maxControlFrame = 2 + ws.MaxControlFramePayloadSize

// link is the WebSocket layer of a connection: messages in, frames out.
type link struct {
	conn    *loop.Conn
	reader  wsframe.Reader
	deflate wsframe.DeflateParams
}

// receive is next for whoever has no other work meanwhile: a compressed message is
// inflated. takeover is nil without context takeover.
func (k *link) receive(p []byte, s *Server, takeover *wsframe.Takeover) (m wsframe.Message, rest []byte, err error) {
	m, rest, err = k.next(p, s)
	if err == nil && m.Compressed {
		m, err = inflate(m, &s.shard(k.conn.Loop()).inflater, takeover, s.frames.Message)
	}
	return m, rest, err
}

// next returns the next data message or close frame, and answers pings. It
// borrows p; what it returns is borrowed too. The errors are those of
// wsframe.Reader.Next.
func (k *link) next(p []byte, s *Server) (m wsframe.Message, rest []byte, err error) {
	limits := s.frames
	limits.Compressed = k.deflate.Accepted
	for {
		before := k.reader.Held()
		m, p, err = k.reader.Next(p, limits)
		if held := k.reader.Held(); held != before {
			err = k.count(s, before, held, err)
		}
		switch {
		case err != nil:
			return m, p, err
		case m.OpCode != ws.OpPing && m.OpCode != ws.OpPong:
			return m, p, nil
		}
		// RFC 6455, 5.5.3: only the last of many pings needs an answer, so a
		// client that does not read gets none.
		if m.OpCode == ws.OpPing && k.conn.Ready() {
			var frame [maxControlFrame]byte
			k.conn.Write(wsframe.AppendFrame(frame[:0], ws.OpPong, m.Payload))
		}
	}
}

// errMessageBudget closes a WebSocket that sends a large message while many others
// also do: try again later.
var errMessageBudget = &wsframe.CloseError{Code: 1013, Reason: "too many messages at a time"}

// sparedMessage is the size in bytes up to which a message or body is not refused
// by Options.Limits.BodyBudget: a client that sends small ones is not hurt by one that
// never finishes large ones.
const sparedMessage = 16 << 10

// count is for what the reader holds of a message, which was before bytes and is
// held: it counts for Options.Limits.BodyBudget as long as the reader holds it. err
// is what the reader has said; the result is err, or says that the budget is used up.
func (k *link) count(s *Server, before, held int, err error) error {
	sh := s.shard(k.conn.Loop())
	sh.bodies += int64(held - before)
	if errors.Is(err, wsframe.ErrIncomplete) && held > max(before, sparedMessage) && sh.bodies > s.shares.bodies {
		k.release(sh)
		return errMessageBudget
	}
	return err
}

// release gives back what the reader holds, on the loop of sh.
func (k *link) release(sh *shard) {
	sh.bodies -= int64(k.reader.Held())
	k.reader.Release()
}

// putPacketFrame makes b, which holds the data of a packet, the whole
// WebSocket frame of that packet. It writes into the headroom only.
func putPacketFrame(b *pool.Buf, r Revision, kind packet.Type, binary bool) {
	if prefix, ok := r.FramePrefix(packet.Packet{Type: kind, Binary: binary}); ok {
		b.Prepend(1)[0] = prefix
	}
	wsframe.PutHeader(b, opcode(binary))
}

// websocket is the WebSocket transport.
//
//	| state  | event                                | next   | does
//	| open   | data message / ping / pong           | open   | decode and deliver / pong / -
//	| open   | more than a turn has time for        | open   | the rest waits unread
//	| open   | close frame, close packet            | closed | echo, Conn.Close; session: transport close
//	| open   | protocol fault, too big, bad UTF-8   | closed | close frame 1002, 1009, 1007; session: transport error
//	| open | over Options.Limits.BodyBudget         | closed | close frame 1013; session: transport error
//	| open   | no packet                            | closed | close frame; session: parse error
//	| open   | session closes                       | closed | flush, close frame, Conn.Close
//	| any    | connection lost                      | closed | session: transport close
//
// Conn.Close waits, bounded, for the peer's close frame and end of stream.
// While link.conn is nil the session is on polling.
type websocket struct {
	link
	session *Session
}

func (t *websocket) kind() Transport { return WebSocket }

// ready is also false while batchPackets or more Sent callbacks are pending: they are
// called at Drained, which is certain to come.
// It is also false while a message with a key waits and the kernel takes nothing:
// what the connection has cannot be replaced any more. Drained comes then, too.
// And it is false while a large message is compressed, or has to wait for that.
func (t *websocket) ready() bool {
	if e := t.session.extra; e != nil && len(e.sent) >= batchPackets {
		return false
	}
	if t.conn.Blocked() && t.session.waitsWithKeys() {
		return false
	}
	return t.conn.Ready() && (!t.deflate.Accepted || t.session.mayPack())
}

// batchBytes is how much is handed to the connection at a time. It may exceed
// the connection's high-water mark by one batch.
const (
	batchBytes   = 64 << 10
	batchPackets = 256
)

func (t *websocket) limits() (bytes, packets int) { return batchBytes, batchPackets }

// send writes one frame a packet.
func (t *websocket) send(batch []outgoing) {
	s := t.session
	for i := range batch {
		o := &batch[i]
		if o.sent != nil {
			s.rare().sent = append(s.rare().sent, o.sent)
			t.conn.WantDrained()
		}
		switch {
		case o.frames > 0:
			t.conn.WriteBuf(o.data)
		case t.deflate.Accepted && s.compresses(o):
			t.sendDeflated(o)
		case o.binary && s.base64:
			t.sendEncoded(o)
		case o.prepared != nil:
			t.conn.WriteBuf(o.prepared.frame(s.revision))
		case o.data != nil:
			putPacketFrame(o.data, s.revision, o.kind, o.binary)
			t.conn.WriteBuf(o.data)
		default:
			t.conn.Write(emptyFrames[o.kind])
		}
		o.release()
	}
}

// sendEncoded sends binary data as text, to a client that asked for it.
func (t *websocket) sendEncoded(o *outgoing) {
	s := t.session
	b := pool.Frames.Get(s.cost(o))
	text, _ := s.revision.AppendFrame(b.Tail(), o.packet(), true)
	b.SetTail(text)
	wsframe.PutHeader(b, ws.OpText)
	t.conn.WriteBuf(b)
	b.Release()
}

// emptyFrames are the frames of the packets without data, by type: the same
// in both revisions.
var emptyFrames = func() (frames [packet.Noop + 1][]byte) {
	for kind := range frames {
		frames[kind] = wsframe.AppendFrame(nil, ws.OpText, []byte{'0' + byte(kind)})
	}
	return frames
}()

// Data borrows p.
func (t *websocket) Data(p []byte) {
	s := t.session
	switch {
	case s.lags():
		t.keep(p)
	case t.deflate.Accepted:
		t.readShare(p)
	default:
		t.readAll(p)
	}
}

// readAll takes the messages of p, which is borrowed, as many as its turn has time
// for.
func (t *websocket) readAll(p []byte) {
	s := t.session
	s.beginMessages()
	for turn := beginTurn(s.loop); s.state != sessionClosed; {
		m, rest, err := t.next(p, s.server)
		if err != nil {
			t.fault(err)
			break
		}
		t.message(m)
		p = rest
		if len(p) > 0 && turn.over(s.server.shard(s.loop)) && s.state != sessionClosed {
			t.putOff(p)
			break
		}
	}
	s.endMessages()
}

// message handles one data message or close frame.
func (t *websocket) message(m wsframe.Message) {
	s := t.session
	if d := s.server.debug.ws.Load(); d != nil {
		d.Debug("message", "session", s.PublicID(), "opcode", m.OpCode, "bytes", len(m.Payload))
	}
	if m.OpCode == ws.OpClose {
		code, _, _ := wsframe.ParseClose(m.Payload) // the reader has checked it
		t.leave(code, "", true)
		s.close(ReasonTransportClose, nil)
		return
	}
	p, err := s.revision.Decode(m.Payload, m.OpCode == ws.OpBinary)
	switch {
	case err != nil:
		t.leave(0, "", false)
		s.fail(err)
	case p.Type == packet.Close && !p.Binary:
		// The reference server ignores it and waits for the heartbeat to fail.
		s.traceIn(WebSocket, p)
		s.tellPacket(p)
		t.leave(0, "", false)
		s.close(ReasonTransportClose, nil)
	default:
		s.packet(p)
	}
}

func (t *websocket) Drained() {
	s := t.session
	if e := s.extra; e != nil && len(e.sent) > 0 {
		sent := e.sent
		e.sent = nil
		for _, f := range sent {
			if s.state != sessionClosed {
				s.tellSent(f)
			}
		}
	}
	s.flush()
}

// EOF without a close frame before it is a connection lost.
func (t *websocket) EOF() {
	if t.session.lags() || t.session.packs() {
		t.session.rare().unread.over = true
		return
	}
	t.conn.SetHandler(deaf{})
	t.conn.Close()
	t.lost()
}

func (t *websocket) Closed(error) { t.lost() }

func (t *websocket) lost() {
	t.forget()
	t.session.close(ReasonTransportClose, nil)
}

// end waits for Drained where callbacks of SendOptions.Sent are due, and for a large
// message that is compressed.
func (t *websocket) end() {
	if t.session.packs() {
		return
	}
	if e := t.session.extra; e == nil || len(e.sent) == 0 {
		t.session.ended()
	}
}

// closed says goodbye, but not to a client that takes nothing any more: what is
// unsent would only wait for the end of Conn.Close's patience.
func (t *websocket) closed(reason Reason) {
	if reason == ReasonOverflow && t.conn != nil && (!t.conn.Ready() || t.conn.Blocked()) {
		t.conn.Abort()
		t.conn.SetHandler(deaf{})
		t.forget()
		return
	}
	if told := t.session.told(); told != nil && reason == ReasonForcedClose {
		t.leave(ws.StatusCode(told.Code), told.Reason, false)
		return
	}
	t.leave(0, "", false)
}

func opcode(binary bool) ws.OpCode {
	if binary {
		return ws.OpBinary
	}
	return ws.OpText
}
