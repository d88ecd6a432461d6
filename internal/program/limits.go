package program

import (
	"net/netip"
	"time"

	"turbine/engine"
)

// limitFlags are the limits that have a default which few need to change.
type limitFlags struct {
	MaxConns            int           `default:"0" help:"Connections in all; 0 means as many as the descriptor limit allows."`
	MaxConnsPerIP       int           `name:"max-conns-per-ip" default:"4096" help:"Connections of one IPv4 address or IPv6 network of 64 bits."`
	ConnRate            int           `default:"200" help:"New connections a second of one such address, ten seconds' worth at once."`
	MaxTLSHandshakes    int           `name:"max-tls-handshakes" default:"4096" help:"TLS handshakes under way, in all."`
	TLSHandshakeTimeout time.Duration `name:"tls-handshake-timeout" default:"10s" help:"How long a TLS handshake may take."`
	HandshakeRate       int           `default:"100" help:"New sessions a second of one such address, ten seconds' worth at once."`
	MaxSessions         int           `default:"0" help:"Sessions in all; 0 means one for each KiB of GOMEMLIMIT, or twice --max-conns if that is less."`
	MaxSessionsPerIP    int           `name:"max-sessions-per-ip" default:"8192" help:"Sessions that clients of one such address have begun."`
	Exempt              []string      `placeholder:"NETWORK" help:"Networks that the four limits by address are not for, proxies for instance; none for nobody. Loopback, private and link-local networks by default."`
	MaxRequestLine      int           `default:"8192" help:"Bytes of a request line."`
	MaxHeaderBytes      int           `default:"16384" help:"Bytes of the header fields of a request."`
	MaxHeaders          int           `default:"100" help:"Header fields of a request."`
	HeaderTimeout       time.Duration `default:"10s" help:"How long the head of a request may take, from its first byte on."`
	BodyTimeout         time.Duration `default:"30s" help:"How long the body of a request may take."`
	IdleTimeout         time.Duration `default:"75s" help:"How long a connection may wait for its next request, or its first; longer than a proxy in front keeps idle connections."`
	BodyBudget          int64         `default:"0" help:"Bytes of request bodies and WebSocket messages that are not complete, of all connections; 0 means 256 MiB, or a sixteenth of GOMEMLIMIT if that is less."`
	MaxPayloadPackets   int           `default:"16384" help:"Packets in one request body."`
	MaxPipelined        int           `default:"65536" help:"Bytes that a client may send ahead while it waits for a response."`
	MaxFragments        int           `default:"16384" help:"Fragments of a WebSocket message."`
	MaxPolls            int           `default:"100000" help:"Polls that wait for something to send, in all."`
	MaxUpgrades         int           `default:"10000" help:"Switches to WebSocket under way, in all."`
	FirstRequestTimeout time.Duration `default:"30s" help:"How long a client may take after a handshake by polling until it is heard of again."`
	MaxQueuePackets     int           `default:"16384" help:"Packets that wait for a client that does not read; above, its session is closed."`
	CloseTimeout        time.Duration `default:"30s" help:"How long a closing session waits for a client that takes nothing."`
}

// apply sets the options.
func (f *limitFlags) apply(o *engine.Options) (err error) {
	o.MaxConns, o.MaxConnsPerIP, o.ConnRate, o.HandshakeRate = f.MaxConns, f.MaxConnsPerIP, f.ConnRate, f.HandshakeRate
	o.MaxSessions, o.MaxSessionsPerIP = f.MaxSessions, f.MaxSessionsPerIP
	o.MaxTLSHandshakes, o.TLSHandshakeTimeout = f.MaxTLSHandshakes, f.TLSHandshakeTimeout
	o.MaxRequestLine, o.MaxHeaderBytes, o.MaxHeaders = f.MaxRequestLine, f.MaxHeaderBytes, f.MaxHeaders
	o.HeaderTimeout, o.BodyTimeout, o.IdleTimeout = f.HeaderTimeout, f.BodyTimeout, f.IdleTimeout
	o.BodyBudget, o.MaxPayloadPackets, o.MaxPipelined, o.MaxFragments = f.BodyBudget, f.MaxPayloadPackets, f.MaxPipelined, f.MaxFragments
	o.MaxPolls, o.MaxUpgrades = f.MaxPolls, f.MaxUpgrades
	o.FirstRequestTimeout, o.CloseTimeout = f.FirstRequestTimeout, f.CloseTimeout
	o.MaxQueuePackets = f.MaxQueuePackets
	o.Exempt, err = parseNetworks(f.Exempt)
	return err
}

// parseNetworks reads networks and single addresses. Nothing means nil, which
// stands for the default, and "none" an empty list.
func parseNetworks(texts []string) (networks []netip.Prefix, err error) {
	if len(texts) == 1 && texts[0] == "none" {
		return []netip.Prefix{}, nil
	}
	return networksOf("--exempt", texts)
}
