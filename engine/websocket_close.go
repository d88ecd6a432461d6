package engine

import (
	"errors"

	"turbine/loop"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// closeFrame is a close frame without a status.
var closeFrame = wsframe.AppendClose(nil, 0, "")

// leave sends the close frame, unless that was done, behind what callbacks have
// sent until now.
func (t *websocket) leave(code ws.StatusCode, reason string, heard bool) {
	t.flushAll()
	if t.conn != nil {
		t.bye(t.session.server.shard(t.session.loop), code, reason, heard)
		t.forget()
	}
}

// fault ends a connection that broke the rules of the WebSocket protocol. That a
// message is incomplete is no fault.
func (t *websocket) fault(err error) {
	if err == wsframe.ErrIncomplete {
		return
	}
	t.session.server.metFault(err, t.session.loop)
	t.leave(closeCode(err), "", false)
	t.session.fail(err)
}

// closeCode is what the peer is told of err.
func closeCode(err error) ws.StatusCode {
	var e *wsframe.CloseError
	if errors.As(err, &e) {
		return e.Code
	}
	return ws.StatusProtocolError
}

// bye ends the connection, on the loop of sh, with a close frame. A code of 0
// sends no status, and no reason. heard says that the peer's close frame has come: then nobody
// is waited for (RFC 6455, 7.1.1: the server closes first).
func (k *link) bye(sh *shard, code ws.StatusCode, reason string, heard bool) {
	k.conn.SetHandler(deaf{})
	if code == 0 {
		k.conn.Write(closeFrame)
	} else {
		var frame [maxControlFrame]byte
		k.conn.Write(wsframe.AppendClose(frame[:0], code, reason))
	}
	if heard {
		k.conn.CloseSent()
	} else {
		k.conn.Close()
	}
	k.release(sh)
}

// forget lets go of the connection.
func (t *websocket) forget() {
	t.session.mu.Lock()
	t.conn = nil
	t.session.mu.Unlock()
	sh := t.session.server.shard(t.session.loop)
	t.release(sh)
	sh.dropPacking(t.session)
	t.session.dropUnread()
	if takeover := t.session.takeover(); takeover != nil {
		takeover.Release()
		t.session.extra.takeover = nil
	}
}

// rejectWebSocket closes a WebSocket that was opened in vain, with a close
// frame without status, as the reference server does.
func rejectWebSocket(c *loop.Conn) {
	c.SetHandler(deaf{})
	c.Write(closeFrame)
	c.Close()
}

// deaf is the handler of a connection that is only being closed.
type deaf struct{}

func (deaf) Data([]byte)  {}
func (deaf) Drained()     {}
func (deaf) EOF()         {}
func (deaf) Closed(error) {}
