// Package link carries requests between nodes: one TCP connection for each event loop
// of the node that has the client and each other node. It knows frames, streams and
// whether the other end lives, and neither sessions nor who is in the cluster.
//
// An Out is the end that dials, on the loop of the clients' connections: it sends
// requests and hears answers. An In is the end that was accepted, at the node of the
// sessions. What is at the ends of a stream is behind small interfaces: Reply at the Out,
// Home and Guest at the In, which calls them and is called by them as Back.
//
//	out := link.NewOut(on, link.OutOptions{Self: self, Node: node, Dial: dial, Address: address})
//	stream := out.Arrive(head, body, true, reply)   // 0: no room
//
//	door := link.NewDoor(self, func(c *loop.Conn, p link.Peer) loop.Handler {
//		return link.NewIn(c, link.InOptions{Home: home})
//	}, nil)
//	reactor.Listen(listener, door.Accept)
//
// Everything belongs to the goroutine of its loop, unless a comment says "Safe from any
// goroutine".
package link
