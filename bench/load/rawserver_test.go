//go:build linux

package load

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// rawServer is a WebSocket server of a goroutine for each connection. reply
// gets the messages of one connection, numbered from 0, and returns the frames
// to send, or nil to end the connection.
type rawServer struct {
	listener net.Listener
	reply    func(n int, f ws.Frame) []ws.Frame
	upgrade  func(c net.Conn) error
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]bool
}

func upgradeRaw(c net.Conn) error { _, err := ws.Upgrade(c); return err }

func serveRaw(t *testing.T, reply func(n int, f ws.Frame) []ws.Frame) *rawServer {
	return serveUpgrade(t, upgradeRaw, reply)
}

// serveUpgrade is serveRaw with another opening handshake.
func serveUpgrade(t *testing.T, upgrade func(c net.Conn) error, reply func(n int, f ws.Frame) []ws.Frame) *rawServer {
	t.Helper()
	return serveRawOn(t, "127.0.0.1:0", upgrade, reply)
}

func serveRawOn(t *testing.T, addr string, upgrade func(c net.Conn) error, reply func(n int, f ws.Frame) []ws.Frame) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	s := &rawServer{reply: reply, upgrade: upgrade, conns: map[net.Conn]bool{}}
	s.serve(l)
	t.Cleanup(s.stop)
	return s
}

func (s *rawServer) serve(l net.Listener) {
	s.listener = l
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() {
				defer c.Close()
				s.converse(c)
			})
		}
	})
}

func (s *rawServer) stop() {
	s.listener.Close()
	s.closeAll()
	s.wg.Wait()
}

func (s *rawServer) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *rawServer) converse(c net.Conn) {
	if s.upgrade(c) != nil {
		return
	}
	for n := 0; ; n++ {
		var f ws.Frame
		var err error
		if f.Header, err = ws.ReadHeader(c); err != nil {
			return
		}
		f.Payload = make([]byte, f.Header.Length)
		if _, err = io.ReadFull(c, f.Payload); err != nil {
			return
		}
		f = ws.UnmaskFrameInPlace(f)
		if f.Header.OpCode == ws.OpClose {
			_ = ws.WriteFrame(c, ws.NewCloseFrame(f.Payload))
			return
		}
		frames := s.reply(n, f)
		if frames == nil {
			return
		}
		var b bytes.Buffer
		for _, f := range frames {
			_ = ws.WriteFrame(&b, f)
		}
		if _, err := c.Write(b.Bytes()); err != nil {
			return
		}
	}
}

func same(_ int, f ws.Frame) []ws.Frame { return []ws.Frame{f} }

func (s *rawServer) plan(k Kind) Plan {
	return Plan{
		Kind: k, Dialect: Raw, Addr: s.listener.Addr().String(), Path: "/",
		Sessions: 3, InFlight: 2, Size: 50, Rate: 2000, Duration: moment,
	}
}
