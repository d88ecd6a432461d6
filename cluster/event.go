package cluster

import "turbine/engine"

// An Event is something that became of the cluster, as one node sees it.
type Event struct {
	Kind EventKind
	Node engine.NodeID // that the event is about; 0 for those of NATS
	Name string        // its NodeName
	Boot string        // names the process: 32 hexadecimal digits
	Err  error         // why, where there is a reason
}

// EventKind is what an Event says.
type EventKind uint8

const (
	// Up: the node is there; this one knows where to send its sessions' requests.
	Up EventKind = iota + 1
	// Refused: nobody listens on the node's link address. Requests to its sessions are
	// refused as unknown until a link is up again.
	Refused
	// Suspect: nothing was heard from the node over NATS for 4 seconds. Requests
	// continue while its link is up.
	Suspect
	// Dead: neither NATS nor a link reaches the node. Its sessions are lost.
	Dead
	// Lost stands for the closes of all sessions of a dead node. One survivor gets it; if
	// that one dies within a minute another gets it again, so it may come twice: Boot
	// says which process it is about.
	Lost
	// Returned: others had declared this node dead, and it lives. What has told somebody
	// about its sessions has to tell it again.
	Returned
	// Incompatible: the node speaks no version of links that this one speaks. Requests to
	// its sessions are answered with 503.
	Incompatible
	// Draining: the node takes nobody new. Its sessions are still reached.
	Draining
	// Gone: the node has left. It has told the closes of its sessions itself.
	Gone
	// BusDown: NATS cannot be reached. What is published stays on its node.
	BusDown
	// BusUp: NATS is back.
	BusUp
	// Gap: messages of other nodes were lost on their way.
	Gap

	numEvents
)

var eventNames = [numEvents]string{
	Up: "up", Refused: "refused", Suspect: "suspect", Dead: "dead", Lost: "lost", Returned: "returned",
	Incompatible: "incompatible", Draining: "draining", Gone: "gone", BusDown: "bus down", BusUp: "bus up", Gap: "gap",
}

// String is the kind in the words of the log.
func (k EventKind) String() string {
	if k == 0 || k >= numEvents {
		return "unknown"
	}
	return eventNames[k]
}

// State is what one node thinks of another.
type State uint8

// The states of a node. An incompatible one is alive, but no link to it can be made.
const (
	StateAlive State = iota
	StateSuspect
	StateDraining
	StateDead
	StateGone
	StateIncompatible

	// NumStates is how many there are.
	NumStates
)

// String is the state in one word.
func (s State) String() string {
	if s >= NumStates {
		return "unknown"
	}
	return [NumStates]string{"alive", "suspect", "draining", "dead", "gone", "incompatible"}[s]
}

// A Member is a node of the cluster as this node sees it.
type Member struct {
	ID      engine.NodeID
	Name    string // its NodeName
	State   State
	Address string // of its links
	Version string // of its program
	Boot    string // names its process
	Loops   int
	Self    bool // it is this node
}
