package program

import (
	"net/netip"
	"time"

	"turbine/engine"
)

// queueFlags limit what waits for clients that read too slowly.
type queueFlags struct {
	MaxQueue        int   `default:"8388608" help:"Limit of what waits for a client that does not read, in bytes. Above it the client's session is closed."`
	MaxQueuePackets int   `default:"16384" help:"Limit of what waits for a client that does not read, in packets. Above it the client's session is closed."`
	QueueBudget     int64 `default:"0" help:"Limit of what waits for all clients together, in bytes. When it is used up, the sessions with most bytes waiting for the longest time are closed. 0 means 1 GiB, or a quarter of GOMEMLIMIT if that is less."`
}

func (f *queueFlags) apply(o *engine.Options) error {
	o.Queue.MaxBytes = f.MaxQueue
	o.Queue.MaxPackets = f.MaxQueuePackets
	o.Queue.Budget = f.QueueBudget
	return nil
}

// limitFlags are the limits that have a default which few need to change.
type limitFlags struct {
	MaxConns          int      `default:"0" help:"Limit of connections, in all. Above it a new connection is closed at once. 0 means as many as the descriptor limit allows."`
	MaxConnsPerIP     int      `name:"max-conns-per-ip" default:"4096" help:"Limit of the connections of one IPv4 address or IPv6 network of 64 bits. Above it a new connection is closed at once. A negative number switches the limit off."`
	ConnRate          int      `default:"200" help:"Limit of new connections a second of one IPv4 address or IPv6 network of 64 bits; ten seconds' worth may come at once. Above it a new connection is closed at once. A negative number switches the limit off."`
	HandshakeRate     int      `default:"100" help:"Limit of new sessions a second of one IPv4 address or IPv6 network of 64 bits; ten seconds' worth may come at once. Above it a handshake is refused with 429. A negative number switches the limit off."`
	MaxSessions       int      `default:"0" help:"Limit of sessions, in all. Above it a handshake is refused with 503. 0 means one for each KiB of GOMEMLIMIT, or twice --max-conns if that is less."`
	MaxSessionsPerIP  int      `name:"max-sessions-per-ip" default:"8192" help:"Limit of the sessions that clients of one IPv4 address or IPv6 network of 64 bits have begun. Above it a handshake is refused with 429. A negative number switches the limit off."`
	Exempt            []string `placeholder:"NETWORK" help:"Networks that the four limits by address do not apply to, such as those of proxies that are not trusted; none means no network. By default loopback, private, link-local and carrier-grade NAT networks."`
	MaxTLSHandshakes  int      `name:"max-tls-handshakes" default:"4096" help:"Limit of TLS handshakes in progress, in all. Above it one of them that waits for its client is closed."`
	MaxRequestLine    int      `default:"8192" help:"Limit of a request line, in bytes. A longer one is refused with 414."`
	MaxHeaderBytes    int      `default:"16384" help:"Limit of the header fields of a request, in bytes. A request with more is refused with 431."`
	MaxHeaders        int      `default:"100" help:"Limit of the number of header fields of a request. A request with more is refused with 431."`
	MaxPipelined      int      `default:"65536" help:"Limit of what a client may send ahead while it waits for a response, in bytes. Above it the connection and its session are closed."`
	MaxPayloadPackets int      `default:"16384" help:"Limit of the packets in one request body. A body with more is refused with 400 and closes its session."`
	MaxFragments      int      `default:"16384" help:"Limit of the fragments of a WebSocket message. A message with more closes its session."`
	BodyBudget        int64    `default:"0" help:"Limit of unfinished request bodies and WebSocket messages of all clients together, in bytes. When it is used up, a body is refused with 503 and a message with close code 1013, each only past its first 16 KiB. 0 means 256 MiB, or a sixteenth of GOMEMLIMIT if that is less."`
	MaxPolls          int      `default:"100000" help:"Limit of polls that wait for something to send, in all. Above it a poll is refused with 503 and its session is closed."`
	MaxUpgrades       int      `default:"10000" help:"Limit of switches to WebSocket in progress, in all. Above it a switch is refused with 503 and its session stays on polling."`
}

func (f *limitFlags) apply(o *engine.Options) (err error) {
	o.Limits.MaxConns = f.MaxConns
	o.Limits.MaxConnsPerIP = f.MaxConnsPerIP
	o.Limits.ConnRate = f.ConnRate
	o.Limits.HandshakeRate = f.HandshakeRate
	o.Limits.MaxSessions = f.MaxSessions
	o.Limits.MaxSessionsPerIP = f.MaxSessionsPerIP
	o.Limits.MaxTLSHandshakes = f.MaxTLSHandshakes
	o.Limits.MaxRequestLine = f.MaxRequestLine
	o.Limits.MaxHeaderBytes = f.MaxHeaderBytes
	o.Limits.MaxHeaders = f.MaxHeaders
	o.Limits.MaxPipelined = f.MaxPipelined
	o.Limits.MaxPayloadPackets = f.MaxPayloadPackets
	o.Limits.MaxFragments = f.MaxFragments
	o.Limits.BodyBudget = f.BodyBudget
	o.Limits.MaxPolls = f.MaxPolls
	o.Limits.MaxUpgrades = f.MaxUpgrades
	o.Limits.Exempt, err = parseNetworks(f.Exempt)
	return err
}

// change brings those flags into a server that runs that Server.SetLimits is for.
func (f *limitFlags) change(server *engine.Server) error {
	var o engine.Options
	if err := f.apply(&o); err != nil {
		return err
	}
	return server.SetLimits(o.Limits)
}

// timeoutFlags are the times that clients and callbacks have.
type timeoutFlags struct {
	UpgradeTimeout      time.Duration `default:"10s" help:"Time for the switch from polling to WebSocket. A session whose switch takes longer stays on polling."`
	HeaderTimeout       time.Duration `default:"10s" help:"Time for the head of a request, from its first byte. After it the request is refused with 408."`
	BodyTimeout         time.Duration `default:"30s" help:"Time for the body of a request. After it the request is refused with 408 and its session is closed."`
	IdleTimeout         time.Duration `default:"75s" help:"Time that a connection may wait for its first request, or its next. After it the connection is closed. It has to be longer than a proxy in front keeps idle connections."`
	FirstRequestTimeout time.Duration `default:"30s" help:"Time from a handshake by polling until the client sends its next request. After it the session is closed."`
	TLSHandshakeTimeout time.Duration `name:"tls-handshake-timeout" default:"10s" help:"Time for a TLS handshake. After it the connection is closed."`
	CloseTimeout        time.Duration `default:"30s" help:"Time for a closing session to deliver what is queued. After it the client is cut off."`
	SlowCallback        time.Duration `default:"20ms" help:"Time that a callback may hold up an event loop. A callback that takes longer is reported in the log. A negative time (--slow-callback=-1s) switches the reports off."`
}

func (f *timeoutFlags) apply(o *engine.Options) error {
	o.Timeouts.Upgrade = f.UpgradeTimeout
	o.Timeouts.Header = f.HeaderTimeout
	o.Timeouts.Body = f.BodyTimeout
	o.Timeouts.Idle = f.IdleTimeout
	o.Timeouts.FirstRequest = f.FirstRequestTimeout
	o.Timeouts.TLSHandshake = f.TLSHandshakeTimeout
	o.Timeouts.Close = f.CloseTimeout
	o.Timeouts.SlowCallback = f.SlowCallback
	return nil
}

// parseNetworks reads networks and single addresses. Nothing means nil, which
// stands for the default, and "none" an empty list.
func parseNetworks(texts []string) (networks []netip.Prefix, err error) {
	if len(texts) == 1 && texts[0] == "none" {
		return []netip.Prefix{}, nil
	}
	return networksOf("--exempt", texts)
}
