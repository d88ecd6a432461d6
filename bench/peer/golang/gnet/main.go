// A raw WebSocket server on gnet, with the rules, masks and headers of
// gobwas/ws: what an engine without sessions, transports and limits reaches.
package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"log"
	"runtime"
	"sync"
	"unicode/utf8"

	"turbine/bench/peer/golang/setting"

	"github.com/gobwas/ws"
	"github.com/panjf2000/gnet/v2"
)

type server struct {
	gnet.BuiltinEventEngine
	broadcast bool

	mu    sync.Mutex
	conns map[gnet.Conn]struct{} // guarded by mu
}

// conn is what a connection remembers.
type conn struct {
	upgraded bool
	out      []byte // replies to one read, which leave in one write; nil between reads
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (s *server) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	c.SetContext(&conn{})
	return nil, gnet.None
}

func (s *server) OnClose(c gnet.Conn, _ error) gnet.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	return gnet.None
}

func (s *server) OnTraffic(c gnet.Conn) gnet.Action {
	p, err := c.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	k := c.Context().(*conn)
	used := 0
	if !k.upgraded {
		if used, err = s.upgrade(c, k, p); err != nil {
			return gnet.Close
		}
	}
	action := gnet.None
	buffer := buffers.Get().(*[]byte)
	k.out = (*buffer)[:0]
	for k.upgraded && action == gnet.None {
		var n int
		n, action = s.frame(k, p[used:])
		if n == 0 {
			break
		}
		used += n
	}
	_, _ = c.Discard(used)
	if len(k.out) > 0 {
		_, _ = c.Write(k.out)
	}
	*buffer, k.out = k.out, nil
	buffers.Put(buffer)
	return action
}

// request is the head of an upgrade request as an io.ReadWriter.
type request struct {
	io.Reader
	io.Writer
}

func (s *server) upgrade(c gnet.Conn, k *conn, p []byte) (used int, err error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	used = end + 4
	if _, err = ws.Upgrade(request{bytes.NewReader(p[:used]), c}); err != nil {
		return 0, err
	}
	k.upgraded = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[c] = struct{}{}
	return used, nil
}

// frame handles the frame at the front of p and returns its length, 0 when it
// is not whole.
func (s *server) frame(k *conn, p []byte) (int, gnet.Action) {
	h, head, ok := header(p)
	if !ok || int64(len(p)-head) < h.Length {
		return 0, gnet.None
	}
	if ws.CheckHeader(h, ws.StateServerSide) != nil {
		return 0, gnet.Close
	}
	size := head + int(h.Length)
	payload := p[head:size]
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpText, ws.OpBinary:
		if h.OpCode == ws.OpText && !utf8.Valid(payload) {
			return 0, gnet.Close
		}
		if s.broadcast {
			s.toAll(h.OpCode, payload)
		} else {
			k.out = appendFrame(k.out, h.OpCode, payload)
		}
	case ws.OpPing:
		k.out = appendFrame(k.out, ws.OpPong, payload)
	case ws.OpClose:
		k.out = appendFrame(k.out, ws.OpClose, payload)
		return size, gnet.Close
	}
	return size, gnet.None
}

// toAll encodes the frame once.
func (s *server) toAll(op ws.OpCode, payload []byte) {
	frame := appendFrame(nil, op, payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if loops == 1 { // we are on the loop of all connections
			_, _ = c.Write(frame)
		} else {
			_ = c.AsyncWrite(frame, nil)
		}
	}
}

// header is ws.ReadHeader on bytes: what is not whole is not an error.
func header(p []byte) (h ws.Header, n int, ok bool) {
	if len(p) < 2 {
		return h, 0, false
	}
	n = 2
	switch p[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if p[1]&0x80 != 0 {
		n += 4
	}
	if len(p) < n {
		return h, 0, false
	}
	h.Fin, h.Rsv, h.OpCode = p[0]&0x80 != 0, p[0]>>4&7, ws.OpCode(p[0]&15)
	switch h.Length = int64(p[1] & 0x7f); h.Length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		h.Length = int64(binary.BigEndian.Uint64(p[2:]))
	}
	if h.Masked = p[1]&0x80 != 0; h.Masked {
		h.Mask = [4]byte(p[n-4:])
	}
	return h, n, true
}

func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n <= 125:
		dst = append(dst, byte(n))
	case n <= 0xffff:
		dst = append(dst, 126, byte(n>>8), byte(n))
	default:
		dst = append(dst, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, payload...)
}

var loops = runtime.GOMAXPROCS(0)

func main() {
	s := &server{broadcast: setting.Broadcast(), conns: map[gnet.Conn]struct{}{}}
	log.Fatal(gnet.Run(s, "tcp://"+setting.Address(),
		gnet.WithNumEventLoop(loops), gnet.WithTCPNoDelay(gnet.TCPNoDelay)))
}
