package engine

import (
	"crypto/sha256"
	"fmt"
)

// An Agreement is what the nodes of a cluster have to have in common, or had better.
type Agreement struct {
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
	return a
}
