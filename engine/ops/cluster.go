package ops

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"

	"turbine/engine"
)

// A Cluster is what a Handler shows of the nodes that its server is one of. Its methods
// are safe from any goroutine, ask no other node, and do not block.
type Cluster interface {
	// Joined reports whether the server has joined the others, so that clients may come.
	Joined() bool
	// Members are the nodes that this one knows, itself first.
	Members() []Member
	// Figures are those of this node.
	Figures() ClusterFigures
}

// ClusterFigures are what a node counts of the cluster. Maps have the names with 0 too, and
// never others.
type ClusterFigures struct {
	Members map[string]int // by state
	NATSUp  bool           // what is published reaches other nodes

	Links             map[string]int // from this node to others, by state; one a loop and node
	BytesIn, BytesOut uint64         // of links
	Streams           int            // requests of this node's clients that are at other nodes
	Guests            int            // requests of other nodes' clients that are here
	Relays            int            // WebSockets of this node's clients that other nodes serve

	// Counts by what became of them.
	Forwards map[string]uint64 // requests to sessions of other nodes
	Relayed  map[string]uint64 // WebSockets to them
	Unknown  map[string]uint64 // requests whose id names a node that is not there
}

// A Member is a node of a cluster, as one of them sees it.
type Member struct {
	ID      string `json:"id"`      // of this start of its process
	Name    string `json:"name"`    // that its operator has given it
	State   string `json:"state"`   // a word, such as alive
	Address string `json:"address"` // where it takes requests from others; "" while that is not known
	Version string `json:"version"` // of its program; "" while that is not known
}

// name is what the server is called.
func (o *Options) name() string {
	if o.Node != "" || o.Cluster == nil {
		return o.Node
	}
	for _, self := range o.Cluster.Members() {
		return self.Name
	}
	return ""
}

// phase is how far the server is, as whoever sends clients to it has to know.
func (h *Handler) phase() engine.Phase {
	phase := h.options.Server.Stats().Phase
	switch {
	case phase == engine.PhaseServing && h.drained.Load(): // it has been told, and begins in a moment
		return engine.PhaseDraining
	case phase == engine.PhaseServing && h.options.Cluster != nil && !h.options.Cluster.Joined(): // its loops run for the others
		return engine.PhaseNew
	}
	return phase
}

// clusterFigures are those of the cluster in /v1/stats.
func (h *Handler) clusterFigures() object {
	members := h.options.Cluster.Members()
	if members == nil {
		members = []Member{} // [] and not null
	}
	figures := h.options.Cluster.Figures()
	return object{
		"joined": h.options.Cluster.Joined(), "members": members, "nats_up": figures.NATSUp, "links": figures.Links,
		"streams": figures.Streams, "guests": figures.Guests, "relays": figures.Relays,
		"forwards": figures.Forwards, "relayed": figures.Relayed, "unknown": figures.Unknown,
	}
}

// cluster answers with the nodes of the cluster.
func (h *Handler) cluster(w http.ResponseWriter, _ *http.Request) error {
	if h.options.Cluster == nil {
		return errAlone
	}
	writeJSON(w, http.StatusOK, h.clusterFigures())
	return nil
}

var errAlone = newProblem(http.StatusNotImplemented, "not-offered", "Not Implemented", "This server is in no cluster.")

// noSession is for a public id that is none of this server's sessions. The node of the
// session is in the id: its operations have to be asked.
func (h *Handler) noSession(id string) *problem {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if h.options.Cluster == nil || err != nil || len(raw) != publicIDBytes {
		return errNoSession
	}
	node := hex.EncodeToString(raw[:nodeBytes])
	for i, m := range h.options.Cluster.Members() {
		if i > 0 && m.ID == node {
			return newProblem(http.StatusNotFound, "other-node", "Not Found", fmt.Sprintf("The session is one of node %s, which is %s: ask the operations of that node.", m.Name, m.State))
		}
	}
	return errNoSession
}

// A public id has so many bytes, and begins with those of its node.
const (
	publicIDBytes = 16
	nodeBytes     = 4
)
