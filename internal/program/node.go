package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"turbine/cluster"
	"turbine/engine"
	"turbine/engine/ops"
)

// A node is the server as one of a cluster. Without a cluster it is alone, and does
// nothing.
type node struct {
	cluster *cluster.Cluster // nil: alone
	joined  atomic.Bool
}

// newNode is the node that the flags ask for. The error is for whoever wrote them.
func newNode(f *flags, version string) (*node, error) {
	c, err := f.newCluster(version)
	return &node{cluster: c}, err
}

// options has what the engine is told of the cluster.
func (n *node) options(o *engine.Options) {
	if n.cluster != nil {
		o.Node = n.cluster.Node()
	}
}

// shown is what operations show of the cluster; nil without one.
func (n *node) shown() ops.Cluster {
	if n.cluster == nil {
		return nil // and not one that is there and has nothing
	}
	return n
}

// Joined is for operations.
func (n *node) Joined() bool { return n.joined.Load() }

// Members is for operations.
func (n *node) Members() (all []ops.Member) {
	for _, m := range n.cluster.Members() {
		all = append(all, ops.Member{ID: fmt.Sprintf("%08x", uint32(m.ID)), Name: m.Name, State: m.State.String(), Address: m.Address, Version: m.Version})
	}
	return all
}

// Figures is for operations.
func (n *node) Figures() ops.ClusterFigures {
	s := n.cluster.Stats()
	f := ops.ClusterFigures{NATSUp: s.NATSUp, Members: map[string]int{}}
	for state := range cluster.NumStates {
		f.Members[state.String()] = s.Members[state]
	}
	f.Links = map[string]int{}
	for i, n := range s.Links {
		f.Links[linkStates[i]] = n
	}
	f.BytesIn, f.BytesOut, f.Streams, f.Guests, f.Relays = s.BytesHeard, s.BytesSent, s.Streams, s.Guests, s.Relays.Now
	f.Forwards = map[string]uint64{"answered": s.Answered, "aborted": s.Aborted, "failed": s.Failed, "no_room": s.NoRoom}
	f.Relayed = map[string]uint64{"opened": s.Relays.Opened, "refused": s.Relays.Refused, "failed": s.Relays.Failed, "stalled": s.Relays.Stalled}
	f.Unknown = map[string]uint64{"asked": s.Unknown.Asked, "former": s.Unknown.Former, "absent": s.Unknown.Absent, "limited": s.Unknown.Limited}
	return f
}

// linkStates are the states of links, in the order of cluster.Stats.Links.
var linkStates = [len(cluster.Stats{}.Links)]string{"absent", "dialing", "hello", "up", "pressed"}

// errStopped is why a node does not join.
var errStopped = errors.New("the program is to end")

// join joins the other nodes. Before that no client may come, whose session they could not
// reach. It takes as long as NATS cannot be reached, unless something comes from signals
// or asked: then it returns errStopped.
func (n *node) join(server *engine.Server, name string, signals <-chan os.Signal, asked <-chan struct{}) error {
	if n.cluster == nil {
		return nil
	}
	if err := n.cluster.SetNodeName(name); err != nil {
		return errors.New(clusterWords.Replace(err.Error()))
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	joined, heard := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(heard)
		select {
		case <-signals:
			cancel(errStopped)
		case <-asked:
			cancel(errStopped)
		case <-joined:
		}
	}()
	err := n.cluster.Join(ctx, server)
	close(joined)
	<-heard
	defer cancel(nil)
	switch {
	case ctx.Err() != nil:
		_ = n.cluster.Leave(ctx) // it may have joined all the same
		return errStopped
	case err != nil:
		return errors.New(clusterWords.Replace(err.Error()))
	}
	n.joined.Store(true)
	slog.Info("joined the cluster", "name", name, "nodes", len(n.cluster.Members()))
	return nil
}

// handOver frees the address of links for a process that is to take over. If none does,
// this one continues on another port, which the other nodes know.
func (n *node) handOver() {
	if n.cluster == nil {
		return
	}
	if err := n.cluster.HandOver(); err != nil {
		slog.Warn("the address for other nodes is not free for the next process", "error", clusterWords.Replace(err.Error()))
	}
}

// leave leaves the other nodes while the server closes its sessions, which they reach
// until then. gone is closed when it has.
func (n *node) leave(ctx context.Context) (gone <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n.cluster == nil {
			return
		}
		if err := n.cluster.Leave(ctx); err != nil {
			slog.Warn("the cluster was not left in good order", "error", clusterWords.Replace(err.Error()))
		}
	}()
	return done
}
