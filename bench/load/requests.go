//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
)

// key is every handshake's Sec-WebSocket-Key, that of RFC 6455, 1.3. It should
// be random; what the server does with it is the same.
const key = "dGhlIHNhbXBsZSBub25jZQ=="

// requests is what is sent. All slices are for reading, and those that methods
// return are valid until the next call.
type requests struct {
	handshake []byte // GET that opens a polling session
	webSocket []byte // GET that opens a WebSocket
	accept    string // the answer to key

	pong, probe, upgradePacket, closeFrame []byte // frames

	path, host string
	buf        []byte
}

func newRequests(p *Plan) *requests {
	q := &requests{
		path:          p.Path,
		host:          " HTTP/1.1\r\nHost: " + p.Addr + "\r\n",
		accept:        string(wsframe.AppendAcceptKey(nil, []byte(key))),
		pong:          textFrame("3"),
		probe:         textFrame("2probe"),
		upgradePacket: textFrame("5"),
		closeFrame:    wsframe.AppendMaskedFrame(nil, ws.OpClose, true, maskKey, []byte{1000 >> 8, 1000 & 0xff}),
	}
	q.handshake = fmt.Appendf(nil, "GET %s?EIO=4&transport=polling%s\r\n", q.path, q.host)
	target := q.path
	if p.Dialect == EngineIO {
		target += "?EIO=4&transport=websocket"
	}
	q.webSocket = fmt.Appendf(nil, "GET %s%s%s", target, q.host, wsHeader)
	return q
}

const wsHeader = "Connection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n\r\n"

func textFrame(payload string) []byte {
	return wsframe.AppendMaskedFrame(nil, ws.OpText, true, maskKey, []byte(payload))
}

// start begins a request of a session in q.buf.
func (q *requests) start(method, transport, sid string) {
	b := append(q.buf[:0], method...)
	b = append(b, q.path...)
	b = append(b, "?EIO=4&transport="...)
	b = append(b, transport...)
	b = append(b, "&sid="...)
	b = append(b, sid...)
	q.buf = append(b, q.host...)
}

func (q *requests) get(sid string) []byte {
	q.start("GET ", "polling", sid)
	q.buf = append(q.buf, "\r\n"...)
	return q.buf
}

func (q *requests) upgrade(sid string) []byte {
	q.start("GET ", "websocket", sid)
	q.buf = append(q.buf, wsHeader...)
	return q.buf
}

// startPost begins a POST whose body the caller appends to the result.
func (q *requests) startPost(sid string, length int) []byte {
	q.start("POST ", "polling", sid)
	q.buf = append(q.buf, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: "...)
	q.buf = strconv.AppendInt(q.buf, int64(length), 10)
	q.buf = append(q.buf, "\r\n\r\n"...)
	return q.buf
}

func (q *requests) postPong(sid string) []byte {
	q.buf = append(q.startPost(sid, 1), '3')
	return q.buf
}

// opens reads open packets. A server's differ in the sid alone, so one that is
// like the last in all else need not be parsed as JSON.
type opens struct {
	before, after []byte // what stood around the last sid
	size          int    // of the last sid
}

// sid returns the session id of an open packet, checked whole. It borrows p.
func (o *opens) sid(p packet.Packet) (string, error) {
	if p.Type != packet.Open || p.Binary {
		return "", fmt.Errorf("it is %v %.80q", p.Type, p.Data)
	}
	d := p.Data
	if o.size > 0 && len(d) == len(o.before)+o.size+len(o.after) && bytes.HasPrefix(d, o.before) && bytes.HasSuffix(d, o.after) {
		if sid := d[len(o.before) : len(o.before)+o.size]; plain(sid) {
			return string(sid), nil
		}
	}
	open, err := packet.ParseOpen(d)
	if err != nil {
		return "", err
	}
	if open.PingInterval <= 0 || open.PingTimeout <= 0 {
		return "", errors.New("no heartbeat in it")
	}
	if !plain([]byte(open.SID)) {
		return "", fmt.Errorf("session id %.80q", open.SID)
	}
	if i := bytes.Index(d, []byte(open.SID)); i >= 0 {
		o.before = append(o.before[:0], d[:i]...)
		o.after = append(o.after[:0], d[i+len(open.SID):]...)
		o.size = len(open.SID)
	}
	return open.SID, nil
}

// plain reports whether a session id can stand in JSON and in a query unchanged.
func plain(sid []byte) bool {
	for _, c := range sid {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(sid) > 0
}
