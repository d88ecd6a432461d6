package engine

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// An Agreement is what the nodes of a cluster have to have in common, or had better.
type Agreement struct {
	Node       NodeID  // Options.Node's, 0 without
	Path       string  // Options.Path: a node serves no other
	Bound      bool    // Options.Access.Bind is given
	MaxPayload int     // Options.MaxPayload
	Digest     [8]byte // of these, and of what else clients notice: heartbeats, transports, revisions, compression
}

// Agreement returns what the server has to agree on with others, for package cluster.
func (s *Server) Agreement() Agreement {
	o := &s.options
	a := Agreement{Path: string(s.path), Bound: o.Access.Bind != nil, MaxPayload: o.MaxPayload}
	sum := sha256.Sum256(fmt.Append(nil, a.Path, a.Bound, a.MaxPayload, o.NoTrailingSlash, o.Transports, o.Revisions, o.NoUpgrades,
		o.PingInterval, o.PingTimeout, o.CompressionThreshold, o.PerMessageDeflate != nil, o.GenerateID != nil))
	copy(a.Digest[:], sum[:])
	if o.Node != nil {
		a.Node = o.Node.ID
	}
	return a
}

// DrainPace is how long a Shutdown with ctx waits before it closes the first session, and
// over how long it closes all, for what drains beside the server.
func (s *Server) DrainPace(ctx context.Context) (delay, over time.Duration) { return s.pace(ctx) }
