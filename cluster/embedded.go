package cluster

import (
	"crypto/tls"
	"log/slog"
)

// EmbeddedConfig is what a NATS server in this process is started with: embedded.Start
// takes it. A Cluster fills it from its Options.
type EmbeddedConfig struct {
	// Name is the server's name among those of the cluster. It is the node's id.
	Name string
	// Cluster is the cluster's name. Servers of different clusters refuse each other.
	Cluster string
	// Listen is the address for routes, which are the connections between the servers of
	// the cluster: host:port, where port 0 is a random one.
	Listen string
	// Advertise is the host:port by which other servers reach Listen. Empty: the servers
	// tell each other the address that they see.
	Advertise string
	// Routes are addresses of other servers, host:port, or dns:name:port for all addresses
	// of a name. One that can be reached is enough, because it tells of the others. A
	// server's own address may be among them.
	Routes []string
	// RoutePassword is what the servers of the cluster know each other by.
	RoutePassword string
	// ClientPassword is that of this process's own connection.
	ClientPassword string
	// TLS is for routes, for the side that listens and the side that dials: Certificates,
	// ClientCAs and RootCAs. Nil: routes are not encrypted.
	TLS *tls.Config
	// MaxPayload is how many bytes a message may have.
	MaxPayload int
	// Logger gets what the server has to say.
	Logger *slog.Logger
}
