package engine

import (
	"crypto/tls"
	"time"

	"turbine/httpparse"
	"turbine/loop"
)

// A connection that asks to become the WebSocket of another node's session is handed to
// Peers.Relay, before anything but its path and query was looked at. From then on that
// carries its bytes unread, and the session's node serves it as if the client had
// connected there: origins, middlewares, the binding and the probe run there.
//
//	| at the client's node              | on the way                 | at the session's node
//	| httpConn.relay: the hello         | Peers.Relay, Home.Relay    | Home.Relay, an httpConn
//	| the client's bytes                |                            | the same, from the request on
//	| no room, no such node any more    | Relay.Refusal, 503         | -
//	| the end of a drain                | Relay.Farewell, Home.Note  | a session on WebSocket ends in good order, an upgrade is given up
//
// What the session's node knows of the client is in the hello: its address, for the limits
// by address and Request.RemoteAddr, and its TLS, for Request.TLS. The address is the
// connection's other end, such as a proxy; which client it speaks for is in the request,
// and judged by the Proxies of the session's node.

// relay gives the connection to the node of the session that the request at the front of p
// names. It borrows p.
func (h *httpConn) relay(p []byte) {
	on, to := h.conn.Loop(), h.exchange.query.sid.node
	sh := h.server.shard(on)
	// Three parts in one scratch, which is the loop's until Relay has returned.
	all := appendRelayHello(sh.scratch[:0], h.server.clientOf(h.conn))
	hello := len(all)
	all = h.appendID(appendNote(all, noteRetire))
	farewell := len(all)
	h.exchange.headers = httpparse.AppendHeaderInt(nil, "Retry-After", int64(awayRetry/time.Second))
	all = h.appendRefusedWebSocket(all, answer{status: 503, text: "Service Unavailable"})
	sh.scratch = all[:0]
	c, peers := h.conn, h.server.options.Node.Peers
	r := Relay{Hello: all[:hello:hello], First: p, Farewell: all[hello:farewell:farewell], Refusal: all[farewell:]}
	h.finish()
	peers.Relay(c, to, r)
}

// clientOf is the client at the other end of c, as another node is told.
func (s *Server) clientOf(c *loop.Conn) relayedClient {
	client := relayedClient{address: c.RemoteAddr()}
	if state := s.tlsOf(c); state != nil {
		client.tls, client.protocol = state.Version, state.NegotiatedProtocol
	}
	return client
}

// Relay is for a connection of another node that has said hello and carries a client's
// bytes from now on: what Peers.Relay has as First comes as its first bytes. It returns
// the handler that serves HTTP on it, as Driver.Accept does, for the client in hello, which
// it borrows. The connection counts for the client's address, and is aborted if that has
// too many. An error says that hello is malformed: the connection is to be closed. It is
// called on the connection's loop.
func (h Home) Relay(c *loop.Conn, hello []byte) (loop.Handler, error) {
	client, err := parseRelayHello(hello)
	if err != nil {
		return nil, err
	}
	s := h.server
	if !client.address.IsValid() {
		c.ForgetRemoteAddr() // of a Unix socket
	} else if refusal := c.SetRemoteAddr(client.address); refusal != 0 {
		s.met(limitRefused(refusal), c.Loop())
		c.Abort()
		return refusedRelay{}, nil
	}
	conn := newHTTPConn(s, c)
	conn.relayed = true
	switch {
	case client.tls != 0:
		s.carried.put(c, &tls.ConnectionState{Version: client.tls, HandshakeComplete: true, NegotiatedProtocol: client.protocol})
	case c.Secure(): // that is the other node's
		s.carried.put(c, nil)
	}
	return conn, nil
}

// refusedRelay is the handler of a connection that was aborted.
type refusedRelay struct{}

func (refusedRelay) Data([]byte)  {}
func (refusedRelay) Drained()     {}
func (refusedRelay) EOF()         {}
func (refusedRelay) Closed(error) {}
