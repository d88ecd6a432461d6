package main

import (
	"errors"

	"turbine/httpparse"
	"turbine/loop"
	"turbine/pool"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// wantsWebSocket reports whether r asks for the echo at /ws. A request with a
// body does not: RFC 9110, 7.8, wants that read before the protocol changes.
func wantsWebSocket(r *httpparse.Request) bool {
	return r.WebSocket && string(r.Path) == "/ws" && !r.HasBody()
}

// acceptWebSocket answers the opening handshake r, and makes the connection an
// echo if it is a good one. It borrows r and rest, what came behind it.
func acceptWebSocket(t *target, c *loop.Conn, r *httpparse.Request, rest []byte) {
	handshake := wsframe.Handshake{
		Method: r.Method, Key: r.Header("Sec-WebSocket-Key"), Version: r.Header("Sec-WebSocket-Version"),
		Protocol: r.Header("Sec-WebSocket-Protocol"), Extensions: r.Header("Sec-WebSocket-Extensions"),
	}
	if err := handshake.Check(); err != nil {
		var refused *wsframe.HandshakeError
		errors.As(err, &refused)
		c.Write(appendRefusal(nil, refused))
		c.Close()
		return
	}
	w := &wsConn{conn: c, limits: t.frames, worker: &t.workers[c.Loop().Index()]}
	if t.deflate != nil {
		w.deflate, _ = t.deflate.Negotiate(handshake.Extensions) // Check has seen to the grammar
		w.limits.Compressed = w.deflate.Accepted
	}
	if w.deflate.ServerTakeover || w.deflate.ClientTakeover {
		w.takeover = wsframe.NewTakeover(w.deflate)
	}
	c.Write(httpparse.AppendEnd(w.deflate.AppendHeader(handshake.AppendResponse(nil))))
	c.SetHandler(w)
	w.Data(rest)
}

func appendRefusal(dst []byte, e *wsframe.HandshakeError) []byte {
	dst = httpparse.AppendResponse(dst, e.Status)
	dst = httpparse.AppendHeader(dst, "Content-Type", "text/plain; charset=UTF-8")
	dst = httpparse.AppendHeaderInt(dst, "Content-Length", int64(len(e.Text)))
	dst = httpparse.AppendHeader(dst, "Connection", "close")
	if e.Version {
		dst = httpparse.AppendHeader(dst, "Sec-WebSocket-Version", "13, 8")
	}
	return append(httpparse.AppendEnd(dst), e.Text...)
}

// wsConn is the handler of a WebSocket that echoes messages.
type wsConn struct {
	conn   *loop.Conn
	limits wsframe.Limits
	reader wsframe.Reader
	spill  *pool.Buf // bytes that wait for a client that does not take its echoes

	worker   *worker
	deflate  wsframe.DeflateParams
	takeover *wsframe.Takeover // nil without context takeover
}

// Data borrows p.
func (w *wsConn) Data(p []byte) {
	if w.spill != nil { // read before the pause took hold
		w.spill.Append(p)
		return
	}
	w.consume(p)
}

// consume borrows p and answers what is in it, as long as the client takes the
// answers.
func (w *wsConn) consume(p []byte) {
	for w.conn.Ready() {
		m, rest, err := w.reader.Next(p, w.limits)
		if err == nil && m.Compressed {
			m.Payload, err = w.inflate(m)
		}
		if errors.Is(err, wsframe.ErrIncomplete) {
			return
		}
		if err != nil {
			w.fault(err)
			return
		}
		if w.message(m); m.OpCode == ws.OpClose {
			return
		}
		p = rest
	}
	w.conn.Pause() // until Drained
	if len(p) > 0 {
		w.spill = pool.Spills.Get(len(p))
		w.spill.Append(p)
	}
}

// Drained continues with what waited for a slow reader.
func (w *wsConn) Drained() {
	w.conn.Resume()
	if b := w.spill; b != nil {
		w.spill = nil
		w.consume(b.Bytes())
		b.Release()
	}
}

// message echoes m, which it borrows.
func (w *wsConn) message(m wsframe.Message) {
	switch m.OpCode {
	case ws.OpText, ws.OpBinary:
		w.send(m.OpCode, m.Payload)
	case ws.OpPing:
		w.send(ws.OpPong, m.Payload)
	case ws.OpClose:
		code, _, _ := wsframe.ParseClose(m.Payload) // the reader has checked it
		w.bye(code, "")
	}
}

// inflate returns the payload of a compressed message, borrowed from the worker.
func (w *wsConn) inflate(m wsframe.Message) (p []byte, err error) {
	if w.takeover != nil {
		p, err = w.takeover.Decompress(&w.worker.inflater, m.Payload, w.limits.Message)
	} else {
		p, err = w.worker.inflater.Decompress(m.Payload, w.limits.Message)
	}
	if err == nil && m.OpCode == ws.OpText {
		err = wsframe.CheckText(p)
	}
	return p, err
}

// send sends a message or a pong, messages compressed if the client takes that.
func (w *wsConn) send(op ws.OpCode, payload []byte) {
	b := pool.Frames.Get(len(payload))
	switch {
	case !w.deflate.Accepted || op.IsControl():
		b.Append(payload)
		wsframe.PutHeader(b, op)
	case w.deflate.ServerTakeover:
		b.SetTail(w.takeover.Compress(b.Tail(), payload))
		wsframe.PutCompressedHeader(b, op)
	default:
		b.SetTail(w.worker.compressor.CompressFor(w.deflate, b.Tail(), payload))
		wsframe.PutCompressedHeader(b, op)
	}
	w.worker.inflater.Done()
	w.conn.WriteBuf(b)
	b.Release()
}

// fault ends a connection that broke the rules.
func (w *wsConn) fault(err error) {
	w.worker.inflater.Done() // which may have a part of a message
	fault := errProtocol
	_ = errors.As(err, &fault)
	w.bye(fault.Code, fault.Reason)
}

var errProtocol = &wsframe.CloseError{Code: ws.StatusProtocolError}

// bye ends the connection with a close frame. A code of 0 sends no status.
func (w *wsConn) bye(code ws.StatusCode, reason string) {
	w.conn.Write(wsframe.AppendClose(nil, code, reason))
	w.conn.Close()
	w.free()
}

// EOF ends the connection when its echoes have been sent.
func (w *wsConn) EOF() {
	w.conn.Close()
	w.free()
}

// Closed is the last event.
func (w *wsConn) Closed(error) { w.free() }

// free gives back what the connection holds.
func (w *wsConn) free() {
	w.reader.Release()
	if w.takeover != nil {
		w.takeover.Release()
	}
	if w.spill != nil {
		w.spill.Release()
		w.spill = nil
	}
}
