// Package compare runs the scenarios of a report on the peers, in turns.
package compare

import (
	"slices"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"
	"turbine/bench/report"
)

// scenario is how one of report.Scenarios is run.
type scenario struct {
	id   string
	plan load.Plan
	app  peer.App
	once bool // one run only: memory and crowds do not vary as rates do
	free bool // the server has all cores
	// fresh starts the server anew for each run: sessions of the last one
	// would still be there.
	fresh bool
	// engine leaves out the raw servers.
	engine bool
	// mounts has it run on them alone.
	mounts bool
	// tls has the servers speak TLS, and leaves out those that do not; with resume
	// the clients resume the sessions of their TLS.
	tls, resume bool
	// cores are those of the server; 0 means 1.
	cores int
	// share is the rate of an open loop, of what the peer can do at most.
	share float64
	// rounds are fewer than others have; 0 means as many.
	rounds int
	// only names the peers that take part; nil means all.
	only []string
	// interval is the servers' pingInterval; 0 means 25 seconds. timeout is the
	// pingTimeout; 0 means 20.
	interval, timeout time.Duration
	// work is what a message costs the application.
	work time.Duration
	// updates are what the application publishes.
	updates peer.Updates
	// sessions are those of peers for which the plan's number is too much.
	sessions map[string]int
	// queue is the servers' limit for a client that does not read, bytes.
	queue int
}

// loopback are addresses that connections come from where one has too few ports.
var loopback = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}

// smaller is how many idle sessions the heavier peers are asked for.
var smaller = map[string]int{"node": 10_000, "zishang": 10_000, "engineioxide": 10_000, "python": 3_000}

func scenarios() []scenario {
	const small, large = 128, 16 << 10
	const fewer = 3 // rounds of what takes long, or varies little
	idle := load.Plan{Kind: load.Idle, Sessions: 18_000, InFlight: 100, LocalHosts: loopback, Duration: 5 * time.Second}
	upgraded := idle
	upgraded.Via = load.Upgraded
	beat := load.Plan{Kind: load.Idle, Sessions: 5_000, InFlight: 100, LocalHosts: loopback, Duration: 2 * time.Second}
	beating := beat
	beating.WarmUp = 1500 * time.Millisecond // the first pings come an interval after the opening
	crowd := load.Plan{Sessions: 10_000, InFlight: 256, LocalHosts: loopback, Duration: 20 * time.Second}
	connect, storm := crowd, crowd
	connect.Kind, storm.Kind = load.Connect, load.Storm
	slow := load.Plan{Kind: load.SlowReaders, Sessions: 100, Size: small, Slow: 50, SlowSize: large}
	const interval = report.WatchedInterval
	watched := load.Plan{
		Kind: load.Heartbeats, Sessions: 100, InFlight: 1, Size: small, Watched: 500, PingInterval: interval, PingTimeout: interval,
		WarmUp: interval + interval/10, Duration: 2 * interval,
	}
	flood := watched
	flood.Sessions, flood.InFlight, flood.Size = 200, 2048, 1 // frames of 8 bytes
	quick := []string{"turbine", "gnet", "gws", "uws", "bun", "node", "zishang", "engineioxide"}
	all := []scenario{
		{id: "echo-128", plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: small}},
		{id: "echo-16k", plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: large}},
		{id: "echo-128x16", plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 16, Size: small}},
		{id: "broadcast-1k", app: peer.Broadcast, plan: load.Plan{Kind: load.Broadcast, Sessions: 1_000, Size: small}},
		{id: "broadcast-10k", rounds: fewer, app: peer.Broadcast, plan: load.Plan{Kind: load.Broadcast, Sessions: 10_000, Size: small, LocalHosts: loopback}, only: []string{"turbine", "gnet", "gws", "uws", "bun", "node"}},
		{id: "poll-handshake", engine: true, fresh: true, plan: load.Plan{Kind: load.PollHandshake, InFlight: 64}},
		{id: "poll-handshake-new", engine: true, fresh: true, plan: load.Plan{Kind: load.PollHandshakeNew, InFlight: 64, LocalHosts: loopback}},
		{id: "ws-handshake", plan: load.Plan{Kind: load.WebSocketHandshake, InFlight: 64, LocalHosts: loopback}},
		{id: "upgrade", engine: true, plan: load.Plan{Kind: load.UpgradeDance, InFlight: 256, Size: 32, LocalHosts: loopback}},
		{id: "poll-cycle", engine: true, plan: load.Plan{Kind: load.PollCycle, Sessions: 100, Size: small}},
		{id: "rate-20k", plan: load.Plan{Kind: load.OpenLoop, Sessions: 100, Size: small, Rate: 20_000}},
		{id: "idle-ws", once: true, free: true, plan: idle, sessions: smaller},
		{id: "idle-upgraded", once: true, free: true, engine: true, plan: upgraded, sessions: smaller},
		{id: "heartbeat", rounds: fewer, engine: true, interval: time.Second, plan: beating, only: quick},
		{id: "beats-plain", once: true, engine: true, interval: interval, timeout: interval, plan: watched},
		{id: "beats-flood", once: true, engine: true, interval: interval, timeout: interval, plan: flood},
		{id: "beats-busy", once: true, engine: true, interval: interval, timeout: interval, plan: watched, work: time.Millisecond},
		{id: "connect", once: true, engine: true, plan: connect, only: quick},
		{id: "storm", once: true, engine: true, plan: storm, only: quick},
		{id: "slow-none", rounds: fewer, plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: small}, only: quick},
		{id: "slow-readers", fresh: true, plan: slow, only: quick, queue: 1 << 20},
	}
	const unsent, waiting = 4 << 10, 512 << 10
	prices := peer.Updates{PerSecond: 10_000, Keys: 100, Watched: 10, Unsent: unsent}
	keyed := prices
	keyed.Keyed = true
	kernel := keyed
	kernel.Unsent = 0
	reading := load.Plan{Kind: load.Updates, Sessions: 1_000, ReadRate: 4_000, WarmUp: 2 * time.Second, Duration: 8 * time.Second}
	ours := []string{report.Ours}
	all = append(all,
		scenario{id: "prices", once: true, engine: true, plan: reading, only: ours, updates: prices, queue: waiting},
		scenario{id: "prices-keyed", once: true, engine: true, plan: reading, only: ours, updates: keyed, queue: waiting},
		scenario{id: "prices-kernel", once: true, engine: true, plan: reading, only: ours, updates: kernel, queue: waiting},
	)
	secured := []string{"turbine", "gws", "uws", "bun", "node", "engineioxide"}
	secretly := idle
	secretly.Sessions, secretly.Duration = 2_000, time.Second
	all = append(all,
		scenario{id: "tls-handshake", tls: true, only: secured, rounds: fewer, plan: load.Plan{Kind: load.WebSocketHandshake, InFlight: 1, LocalHosts: loopback}},
		scenario{id: "tls-resume", tls: true, resume: true, only: secured, rounds: fewer, plan: load.Plan{Kind: load.WebSocketHandshake, InFlight: 1, LocalHosts: loopback}},
		scenario{id: "tls-echo-128", tls: true, only: secured, rounds: fewer, plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: small}},
		scenario{id: "tls-echo-16k", tls: true, only: secured, rounds: fewer, plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: large}},
		scenario{id: "tls-idle", tls: true, only: secured, once: true, free: true, plan: secretly},
	)
	for _, share := range report.Shares {
		all = append(all, scenario{
			id: report.ShareID(share), share: share, rounds: fewer, only: []string{"turbine", "gnet", "uws", "bun", "node", "engineioxide"},
			plan: load.Plan{Kind: load.OpenLoop, Sessions: 100, Size: small},
		})
	}
	all = append(all, scenario{
		id: "cores-2", cores: 2, rounds: fewer, only: []string{"turbine", "gnet", "gws", "uws", "bun", "node", "zishang", "engineioxide"},
		plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: small},
	})
	mounted := idle
	mounted.Sessions, mounted.Duration = 4_000, 3*time.Second
	all = append(all,
		scenario{id: "mount-echo", mounts: true, plan: load.Plan{Kind: load.Echo, Sessions: 100, InFlight: 1, Size: small}},
		scenario{id: "mount-poll", mounts: true, plan: load.Plan{Kind: load.PollCycle, Sessions: 100, Size: small}},
		scenario{id: "mount-idle", mounts: true, once: true, free: true, plan: mounted},
	)
	for _, n := range []struct {
		id       string
		sessions int
	}{{"scale-1k", 1_000}, {"scale-5k", 5_000}, {"scale-18k", 18_000}} {
		plan := beat
		plan.Sessions, plan.Duration = n.sessions, 5*time.Second
		all = append(all, scenario{id: n.id, once: true, free: true, engine: true, interval: 5 * time.Second, plan: plan, only: []string{"turbine", "bun", "node"}, sessions: map[string]int{"node": min(n.sessions, 10_000)}})
	}
	return all
}

// quickScenarios are those of Options.Quick.
var quickScenarios = []string{"echo-128", "echo-128x16", "broadcast-1k", "poll-handshake", "ws-handshake", "upgrade", "poll-cycle", "rate-20k", "idle-ws"}

// quickPeers are those of Options.Quick.
var quickPeers = []string{"turbine", "gnet", "bun", "node"}

// takes reports whether the peer takes part.
func (s *scenario) takes(p Server) bool {
	if p.Raw() && s.engine || p.Describe().Mount != s.mounts || s.tls && p.Describe().TLS == "" {
		return false
	}
	return s.only == nil || slices.Contains(s.only, p.Name())
}

// planFor is the plan for one peer.
func (s *scenario) planFor(p Server, o Options) load.Plan {
	plan := s.plan
	if n := s.sessions[p.Name()]; n > 0 {
		plan.Sessions = min(n, plan.Sessions)
	}
	if o.Quick && s.once {
		plan.Sessions = min(plan.Sessions, 5_000)
		plan.Duration = min(plan.Duration, 3*time.Second)
	}
	if plan.Duration == 0 {
		plan.Duration, plan.WarmUp = o.Duration, o.Duration/5
	}
	if s.fresh {
		plan.WarmUp = o.Duration / 2 // nothing has run on this server yet
	}
	return plan
}

// cost is about how long a run takes, without the start of the server.
func (s *scenario) cost(p Server, o Options) time.Duration {
	plan := s.planFor(p, o)
	if plan.Kind == load.Connect || plan.Kind == load.Storm {
		return 4 * time.Second
	}
	opening := time.Duration(plan.Sessions) * 150 * time.Microsecond
	if s.tls {
		opening *= 8
	}
	if plan.Via == load.Upgraded {
		opening *= 3
	}
	return plan.WarmUp + plan.Duration + opening + 50*time.Millisecond
}
