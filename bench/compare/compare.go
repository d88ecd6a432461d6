package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"
	"turbine/bench/report"
	"turbine/bench/usage"
)

// Options of a comparison. The zero value of each field is its default.
type Options struct {
	Peers     []string      // names; empty means all
	Scenarios []string      // IDs; empty means all
	Rounds    int           // of each scenario that is not run once; 0 means 5, or 3 with Quick
	Duration  time.Duration // measured time of a run; 0 means 800 ms
	Limit     time.Duration // of the whole; what has not run then is left out. 0 means 24 minutes, or 170 seconds with Quick
	Quick     bool          // fewer peers, scenarios and rounds
}

func (o Options) withDefaults() Options {
	if o.Rounds == 0 {
		o.Rounds = 5
		if o.Quick {
			o.Rounds = 3
		}
	}
	if o.Duration == 0 {
		o.Duration = 800 * time.Millisecond
	}
	if o.Limit == 0 {
		o.Limit = 24 * time.Minute
		if o.Quick {
			o.Limit = 170 * time.Second
		}
	}
	if o.Quick && len(o.Peers) == 0 {
		o.Peers = quickPeers
	}
	if o.Quick && len(o.Scenarios) == 0 {
		o.Scenarios = quickScenarios
	}
	return o
}

// Check refuses names that no server and no scenario has: the report of a run that
// measures nothing would take the place of the last one.
func (o Options) Check(servers []Server) error {
	var peers, ids []string
	for _, s := range servers {
		peers = append(peers, s.Name())
	}
	for _, s := range scenarios() {
		ids = append(ids, s.id)
	}
	return errors.Join(unknown("--peers", o.Peers, peers), unknown("--scenarios", o.Scenarios, ids))
}

func unknown(flag string, given, known []string) error {
	for _, name := range given {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s: there is no %q; there are %s", flag, name, strings.Join(known, ", "))
		}
	}
	return nil
}

// Server is a peer as a comparison sees it: peer.Peer, or a test's own.
type Server interface {
	Name() string
	Raw() bool
	Describe() report.Peer
	Install(ctx context.Context, log io.Writer) (version string, err error)
	Start(ctx context.Context, s peer.Settings) (Running, error)
	// Address fills in the parts of a plan that say where the server is.
	Address(p *load.Plan, r Running)
}

// Running is a started Server.
type Running interface {
	Addr() string
	Usage() (usage.Usage, error)
	Stop() error
}

// serverCore is the first CPU that a server is pinned to. The load generator has the
// one behind the server's, where there is one.
const serverCore = 0

// comparison is one under way.
type comparison struct {
	options  Options
	report   *report.Report
	run      func(context.Context, load.Plan) (load.Outcome, error)
	servers  []Server
	progress *Progress
	deadline time.Time
	pin      func(core int) error // the load generator; below 0 undoes it
	times    cpuTimes
	most     map[string]float64 // messages a second that a peer can echo, once that was measured
}

// Run installs the servers, runs the scenarios and returns what it has found;
// with ctx's error when ctx ended it early. The report then holds what was
// measured until then.
func Run(ctx context.Context, o Options, servers []Server, progress *Progress) (*report.Report, error) {
	c := &comparison{options: o.withDefaults(), run: load.Run, servers: servers, progress: progress, pin: pinProcess, times: readTimes, most: map[string]float64{}}
	return c.compare(ctx)
}

func (c *comparison) compare(ctx context.Context) (*report.Report, error) {
	c.report = &report.Report{Began: time.Now(), Machine: machine()}
	if c.options.Quick {
		c.remark("A quick run: fewer peers, scenarios and rounds, for a first impression.")
	}
	servers := c.install(ctx)
	c.deadline = time.Now().Add(c.options.Limit)
	plan := c.schedule(servers)
	c.progress.Begin(plan)
	for _, s := range plan {
		if ctx.Err() != nil {
			break
		}
		if time.Now().After(c.deadline) {
			c.remark("Left out for lack of time: " + s.scenario.id + ".")
			continue
		}
		c.scenario(ctx, s)
	}
	_ = c.pin(-1)
	c.progress.End()
	c.report.Took = time.Since(c.report.Began)
	return c.report, ctx.Err()
}

func (c *comparison) remark(text string) { c.report.Remarks = append(c.report.Remarks, text) }

// install returns the servers that are there.
func (c *comparison) install(ctx context.Context) (there []Server) {
	for _, s := range c.servers {
		if len(c.options.Peers) > 0 && !slices.Contains(c.options.Peers, s.Name()) {
			continue
		}
		c.progress.Say("installing " + s.Name())
		version, err := s.Install(ctx, io.Discard)
		if err != nil {
			c.report.Missing = append(c.report.Missing, report.Missing{Name: s.Name(), Why: err.Error()})
			c.progress.Say(fmt.Sprintf("left out: %s: %v", s.Name(), err))
			continue
		}
		described := s.Describe()
		described.Version = version
		if described.Mount {
			c.report.Mounts = append(c.report.Mounts, described)
		} else {
			c.report.Peers = append(c.report.Peers, described)
		}
		there = append(there, s)
	}
	return there
}

// part is a scenario with the servers that take part.
type part struct {
	scenario scenario
	servers  []Server
	rounds   int
	cost     time.Duration // of the whole part, about
}

func (c *comparison) schedule(servers []Server) (parts []part) {
	for _, s := range scenarios() {
		if len(c.options.Scenarios) > 0 && !slices.Contains(c.options.Scenarios, s.id) {
			continue
		}
		p := part{scenario: s, rounds: c.options.Rounds}
		if s.once {
			p.rounds = 1
		}
		if s.rounds > 0 {
			p.rounds = min(p.rounds, s.rounds)
		}
		if s.app == "" {
			p.scenario.app = peer.Echo
		}
		for _, server := range servers {
			if s.takes(server) {
				p.servers = append(p.servers, server)
				p.cost += time.Duration(p.rounds)*s.cost(server, c.options) + time.Second/2
			}
		}
		if len(p.servers) > 0 {
			parts = append(parts, p)
		}
	}
	return parts
}

// scenario runs one, the peers in turns.
func (c *comparison) scenario(ctx context.Context, p part) {
	core, cores := serverCore, max(1, p.scenario.cores)
	pinned := serverCore + cores // the first that the server does not have
	if p.scenario.free || c.report.Machine.Cores < cores {
		core = -1
	}
	if core < 0 || pinned >= c.report.Machine.Cores {
		pinned = -1
	}
	if err := c.pin(pinned); err != nil {
		c.remark(fmt.Sprintf("The load generator is not pinned: %v.", err))
	}
	settings := peer.Settings{App: p.scenario.app, PingInterval: p.scenario.interval, PingTimeout: p.scenario.timeout, Work: p.scenario.work, Updates: p.scenario.updates, Core: core, Cores: cores, MaxQueue: p.scenario.queue, TLS: p.scenario.tls}
	field := &field{comparison: c, part: p, settings: settings, running: map[Server]Running{}, failed: map[Server]bool{}}
	defer field.stop()
	for round := range p.rounds {
		for i := range p.servers {
			if ctx.Err() != nil {
				return
			}
			if time.Now().After(c.deadline) {
				c.remark(fmt.Sprintf("Cut short for lack of time: %s, after %d rounds.", p.scenario.id, round))
				return
			}
			// Each round begins with another peer: what comes before may warm or
			// tire the machine.
			field.turn(ctx, round, p.servers[(i+round)%len(p.servers)])
		}
	}
}
