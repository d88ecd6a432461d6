package compare

import (
	"context"
	"crypto/tls"
	"io"

	"turbine/bench/load"
	"turbine/bench/peer"
	"turbine/bench/report"
)

// Peers are the servers of package peer. root is the directory of the module.
func Peers(root string) (servers []Server) {
	for _, p := range append(peer.All(root), peer.Mounts(root)...) {
		servers = append(servers, catalogued{p})
	}
	return servers
}

// catalogued is a peer.Peer as a Server.
type catalogued struct{ peer *peer.Peer }

func (c catalogued) Name() string { return c.peer.Name }
func (c catalogued) Raw() bool    { return c.peer.Dialect == load.Raw }

func (c catalogued) Describe() report.Peer {
	return report.Peer{Name: c.peer.Name, What: c.peer.What, Limit: c.peer.Limit, Mount: c.peer.Mount, TLS: c.peer.Secure, Setting: c.peer.Setting}
}

func (c catalogued) Install(ctx context.Context, log io.Writer) (string, error) {
	return c.peer.Install(ctx, log)
}

func (c catalogued) Start(ctx context.Context, s peer.Settings) (Running, error) {
	client, err := c.peer.Client(s)
	if err != nil {
		return nil, err
	}
	p, err := c.peer.Start(ctx, s)
	if err != nil {
		return nil, err
	}
	return process{p, client}, nil
}

func (c catalogued) Address(p *load.Plan, r Running) {
	p.Addr, p.Path, p.Dialect, p.TLS = r.Addr(), c.peer.Path, c.peer.Dialect, r.(process).tls
}

// process is a peer.Process as a Running.
type process struct {
	*peer.Process
	tls *tls.Config // of its clients; nil without
}

func (p process) Addr() string { return p.Process.Addr }
