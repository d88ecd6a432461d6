package engine

import (
	"turbine/loop"
	"turbine/pool"
)

// A NodeID names one incarnation of a process of a cluster. Zero is none. A process
// that starts anew is another node: it never inherits the sessions of the one before.
type NodeID uint32

// A Stream is a request on its way from the loop of the client's connection to another
// node. It is unique among those of one loop and node. Zero is none.
type Stream uint32

// Node makes a Server a node of several: its session ids name it, requests to sessions
// of other nodes travel there, and what it publishes reaches their sessions. Package
// cluster makes one. All its methods are called by the engine.
type Node struct {
	// ID is drawn at random for each start of a process. It is not zero.
	ID NodeID
	// Peers takes requests to the sessions of other nodes. Nil: there are none.
	Peers Peers
	// Bus takes what is published to the other nodes. Nil: what is published stays here.
	Bus Bus
}

// Peers takes requests to the sessions of other nodes. Its methods are called on the
// loop of the client's connection, which is on; they do not block, and call nothing
// back before they return. Knows and Conns are safe from any goroutine.
type Peers interface {
	// Knows reports whether the node may live. The ids of sessions of a node that it
	// does not know are refused as unknown.
	Knows(node NodeID) bool
	// Arrive begins a request. It borrows head and body; whole says that body is all
	// of it. Zero says that there is no room, and that nothing has left.
	Arrive(on *loop.Loop, to NodeID, head, body []byte, whole bool, back Reply) Stream
	// Complete brings the body of a request that Arrive had without it. It shares body.
	Complete(on *loop.Loop, to NodeID, s Stream, body *pool.Buf)
	// Cancel says that the body will not come, and with which status the client is to
	// be answered. Status 0 says that the client sends nothing more: a poll that waits is
	// given up.
	Cancel(on *loop.Loop, to NodeID, s Stream, status int)
	// Lost says that the client's connection is gone. The stream is over.
	Lost(on *loop.Loop, to NodeID, s Stream, overBudget bool)
	// Note tells the node something that has no answer, behind what came before on this
	// loop. It borrows p. A note waits 10 seconds at most for a link.
	Note(on *loop.Loop, to NodeID, p []byte)
	// Relay becomes the handler of c, a connection that is to be a session's WebSocket,
	// and borrows what r has.
	Relay(c *loop.Conn, to NodeID, r Relay)
	// Conns is how many connections of other nodes are on the loops: a Shutdown does not
	// wait for them.
	Conns() int
}

// A Reply is a request at the node of the client's connection. One of its methods is
// called, once, on the loop of Peers.Arrive, unless Peers.Lost came before. An Answer with
// an error is that one.
type Reply interface {
	// Answer borrows what the session's node gave to Back.Answer. An error says that p
	// is malformed: the link that brought it is to be closed.
	Answer(p []byte) error
	// Abort says that the client's connection is to be destroyed.
	Abort()
	// Failed says that the link or the node is gone, or that no link came up: what
	// became of the request is unknown.
	Failed()
}

// A Relay is what a connection takes with it to another node.
type Relay struct {
	Hello    []byte // what the node is told first, for Home.Relay
	First    []byte // the client's bytes so far
	Refusal  []byte // a response, for the client of a node that cannot be reached
	Farewell []byte // the Note for the node when the end of a drain ends the relay
}

// A Bus takes what is published to the other nodes. Its methods are safe from any
// goroutine, and do not block.
type Bus interface {
	// Publish brings m to the members of any of groups, without those of except, or to
	// all sessions where groups is empty. Several m stay together. Of o NoCompress
	// travels. It borrows everything. An error says that the other nodes will not get m.
	Publish(groups, except []string, m []Message, o SendOptions) error
	// Interest says that this node has members of the group, or has none any more.
	Interest(group string, on bool)
}

// A Back is the way from a session's node to the client's connection. One of its
// methods is called, once, on the loop of Home.Arrive, unless Guest.Lost came before. It
// may be called before Arrive, or a method of the Guest, returns. The Guest is over then.
type Back interface {
	// Answer shares b.
	Answer(b *pool.Buf)
	Abort()
}
