// A raw WebSocket server on lxzan/gws: echo, or broadcast of one prepared frame.
package main

import (
	"log"
	"sync"

	"turbine/bench/peer/golang/setting"

	"github.com/lxzan/gws"
)

type handler struct {
	gws.BuiltinEventHandler
	broadcast bool

	mu    sync.Mutex
	conns map[*gws.Conn]struct{} // guarded by mu
}

func (h *handler) OnOpen(c *gws.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = struct{}{}
}

func (h *handler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *handler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer func() { _ = m.Close() }()
	if !h.broadcast {
		_ = c.WriteMessage(m.Opcode, m.Bytes())
		return
	}
	b := gws.NewBroadcaster(m.Opcode, m.Bytes())
	defer func() { _ = b.Close() }()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		_ = b.Broadcast(c, nil)
	}
}

func main() {
	h := &handler{broadcast: setting.Broadcast(), conns: map[*gws.Conn]struct{}{}}
	// The README also has ParallelEnabled: messages of a connection would overtake each
	// other, and the echoes would not be in order.
	server := gws.NewServer(h, &gws.ServerOption{CheckUtf8Enabled: true})
	if cert, key := setting.Certificate(); cert != "" {
		log.Fatal(server.RunTLS(setting.Address(), cert, key))
	}
	log.Fatal(server.Run(setting.Address()))
}
