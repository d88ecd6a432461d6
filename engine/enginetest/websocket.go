package enginetest

import (
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"turbine/engine"
	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

const webSocketKey = "dGhlIHNhbXBsZSBub25jZQ==" // any 16 bytes would do

var upgradeHeader = http.Header{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {webSocketKey},
}

// frames is the WebSocket layer of a link.
type frames struct {
	link    *link
	packet  func(p packet.Packet) // is told each; Data is borrowed
	closed  func(how string)      // is told of a close frame
	message []byte                // what has come of a message in fragments
	opcode  ws.OpCode             // of that message; 0 between messages
	over    bool                  // after a close frame, or a fault
}

// openWebSocket asks for a WebSocket. opened is called when there is one, refused
// with any other response.
func (l *link) openWebSocket(opened func(res *response) *frames, refused func(res *response)) {
	l.request(http.MethodGet, engine.WebSocket, upgradeHeader, nil, func(res *response) {
		accept := string(wsframe.AppendAcceptKey(nil, []byte(webSocketKey)))
		switch {
		case res.status != http.StatusSwitchingProtocols:
			refused(res)
		case res.header.Get("Sec-WebSocket-Accept") != accept:
			l.c.fail(errors.New("the WebSocket handshake's Sec-WebSocket-Accept is wrong"))
		default:
			l.frames = opened(res)
			l.frames.link = l
		}
	})
}

// read takes the whole frames in p and returns how many bytes these are.
func (f *frames) read(p []byte) (used int) {
	for !f.over {
		h, n, err := wsframe.ParseHeader(p[used:])
		if errors.Is(err, wsframe.ErrIncomplete) {
			return used
		}
		if err == nil {
			state := ws.StateClientSide
			if f.opcode != 0 {
				state = state.Set(ws.StateFragmented)
			}
			err = ws.CheckHeader(h, state)
		}
		if err != nil {
			f.fault(err)
			return len(p)
		}
		if h.Length > int64(len(p)-used-n) {
			return used
		}
		end := used + n + int(h.Length)
		f.frame(h, p[used+n:end])
		used = end
	}
	return len(p)
}

// frame takes one. It borrows payload.
func (f *frames) frame(h ws.Header, payload []byte) {
	switch h.OpCode {
	case ws.OpPing:
		f.send(ws.OpPong, payload)
	case ws.OpPong:
	case ws.OpClose:
		code, reason, err := wsframe.ParseClose(payload)
		if err != nil {
			f.fault(err)
			return
		}
		f.send(ws.OpClose, payload[:min(len(payload), 2)])
		f.over = true
		f.link.drop()
		f.closed(closeText(code, reason))
	default:
		if h.OpCode != ws.OpContinuation {
			f.opcode = h.OpCode
		}
		if !h.Fin {
			f.message = append(f.message, payload...)
			return
		}
		whole, binary := append(f.message, payload...), f.opcode == ws.OpBinary
		f.message, f.opcode = nil, 0
		if !binary && !utf8.Valid(whole) {
			f.fault(errors.New("text that is not UTF-8"))
			return
		}
		p, err := f.link.c.options.Revision.Decode(whole, binary)
		if err != nil {
			f.fault(err)
			return
		}
		f.packet(p)
	}
}

func (f *frames) fault(err error) {
	f.over = true
	f.link.drop()
	f.link.c.fail(fmt.Errorf("the server broke a rule of WebSocket: %w", err))
}

// closeText is a close frame in the words of Client.Closed.
func closeText(code ws.StatusCode, reason []byte) string {
	switch {
	case code == 0:
		return "close frame"
	case len(reason) == 0:
		return fmt.Sprintf("close frame %d", code)
	}
	return fmt.Sprintf("close frame %d: %s", code, reason)
}

// send sends a frame. It borrows payload.
func (f *frames) send(op ws.OpCode, payload []byte) {
	if f.link.wire != nil {
		f.link.wire.send(wsframe.AppendMaskedFrame(nil, op, true, [4]byte{0x12, 0x34, 0x56, 0x78}, payload))
	}
}

// sendPacket sends a packet. It borrows p.Data.
func (f *frames) sendPacket(p packet.Packet) {
	o := &f.link.c.options
	payload, binary := o.Revision.AppendFrame(nil, p, o.Base64)
	op := ws.OpText
	if binary {
		op = ws.OpBinary
	}
	f.send(op, payload)
}
