package cluster

import "turbine/engine"

// A Target names the nodes that Tell tells. The zero value is All.
type Target struct {
	kind  targetKind
	group string
	node  engine.NodeID
}

type targetKind uint8

const (
	targetAll targetKind = iota
	targetUsers
	targetGroup
	targetNode
)

// All are all other nodes.
func All() Target { return Target{} }

// Users are all other nodes, on a subject of its own. It is for messages to users: each
// node looks for the users in a table of its own.
func Users() Target { return Target{kind: targetUsers} }

// Group are the other nodes that have members of the group.
func Group(name string) Target { return Target{kind: targetGroup, group: name} }

// OneNode is that node.
func OneNode(id engine.NodeID) Target { return Target{kind: targetNode, node: id} }

// Tell brings body to Options.Told of the other nodes that are the target, in order with
// what this node publishes. It borrows body and does not wait. ErrBusDown and ErrTooLarge
// say that nobody will be told. A node that could not be told later, because its NATS was
// gone, finds a gap. Safe from any goroutine.
func (c *Cluster) Tell(to Target, body []byte) error { return c.bus.tell(to, body) }
