// Package peer knows the servers that are compared: how each is installed from
// its registry, started, and stopped.
package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"time"

	"turbine/bench/load"
	"turbine/bench/usage"
)

// App is what a server does with a message.
type App string

// The apps.
const (
	Echo      App = "echo"      // sends it back
	Broadcast App = "broadcast" // sends it to every session, the sender's too
)

// Settings of one server process.
type Settings struct {
	App          App
	PingInterval time.Duration // 0 means 25 s
	PingTimeout  time.Duration // 0 means 20 s
	// Core is the CPU that the server is pinned to, with GOMAXPROCS=1 or its
	// like; below 0 leaves it alone.
	Core int
	// Cores are how many CPUs, from Core on, the server is pinned to, with as many
	// workers (loops, threads or processes); 0 means 1.
	Cores int
	// Work is CPU time that each message costs the application before it is sent
	// back.
	Work time.Duration
	// Updates has the application publish prices; ours alone can.
	Updates Updates
	// TLS has the server speak TLS, if Peer.Secure says that it can.
	TLS bool
	// Program is another build of ours than the one that Install makes; "" for that one.
	Program string
	// Args are more arguments of ours.
	Args []string
	// MaxQueue bounds what is queued for a client that does not read, in
	// bytes, where the server has such a limit; 0 leaves its default.
	MaxQueue int
}

// Updates are prices that a server publishes.
type Updates struct {
	PerSecond int  // 0 means none
	Keys      int  // the prices are of these in turn
	Watched   int  // keys whose prices one client gets
	Keyed     bool // a price replaces the one of its key that waits for a client
	// Unsent bounds what the kernel takes for a connection and has not sent, in
	// bytes; 0 leaves it to the kernel.
	Unsent int
}

// workers is how many loops, threads or processes a server has; 0 leaves it to
// the server.
func (s Settings) workers() int {
	if s.Core < 0 {
		return 0
	}
	return max(1, s.Cores)
}

// A Peer is a server that can be measured.
type Peer struct {
	Name    string // short, as in tables: "turbine", "bun", ...
	What    string // a line: product and what it stands on
	Dialect load.Dialect
	Path    string
	Setting string // what it is told or built with that bears on its speed
	Limit   bool   // a raw WebSocket server: what the machine allows, not a rival
	Mount   bool   // this server, in some way to have it; what it costs, not a rival
	Secure  string // what speaks TLS in it; "" where nothing does
	TLS     bool   // it always speaks TLS

	workshop workshop
	install  func(ctx context.Context, log io.Writer) (version string, err error)
	command  func(port int, s Settings) (argv, env []string)
}

// All are the peers, ours first. root is the directory of the module turbine.
func All(root string) []*Peer { return all(workshopIn(root)) }

// Mounts are the ways to have this server in one's system.
func Mounts(root string) []*Peer { return mounts(workshopIn(root)) }

// Install builds or installs the peer by its lock file, unless that was done,
// and returns its version in words ("engine.io 6.6.11, ws 8.21.3, Node 20.20.2").
// The error says what is missing here.
func (p *Peer) Install(ctx context.Context, log io.Writer) (version string, err error) {
	if p.Secure != "" {
		if err := p.workshop.certify(); err != nil {
			return "", fmt.Errorf("make a certificate: %w", err)
		}
	}
	return p.install(ctx, log)
}

// Client is the TLS configuration of the clients of an installed peer; nil when
// they speak none.
func (p *Peer) Client(s Settings) (*tls.Config, error) {
	if !p.TLS && !s.TLS {
		return nil, nil
	}
	config, err := p.workshop.trust()
	if err == nil && s.TLS {
		// Not all peers know the newest key exchange, which costs more.
		config.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	return config, err
}

// Process is a running server.
type Process struct {
	Addr string // 127.0.0.1:port
	PID  int
	server
}

// Start starts the peer on a free port and waits until it accepts.
func (p *Peer) Start(ctx context.Context, s Settings) (*Process, error) { return p.start(ctx, s) }

// Usage is what the server has used up to now, and other processes of its group,
// which are its children and the proxy in front of it.
func (p *Process) Usage() (usage.Usage, error) { return p.usage() }

// Stop ends the server and waits for its end, at most some seconds; then it
// kills it.
func (p *Process) Stop() error { return p.stop() }
