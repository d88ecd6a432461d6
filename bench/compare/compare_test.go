package compare

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"
	"turbine/bench/report"
	"turbine/bench/usage"

	"github.com/stretchr/testify/require"
)

// fakeServer is a peer that does not exist.
type fakeServer struct {
	name     string
	raw      bool
	mount    bool
	missing  bool
	secure   string
	broken   bool // it does not start
	starts   int
	settings peer.Settings // of the last start
	stops    int
}

func (f *fakeServer) Name() string { return f.name }
func (f *fakeServer) Raw() bool    { return f.raw }
func (f *fakeServer) Describe() report.Peer {
	return report.Peer{Name: f.name, Limit: f.raw, Mount: f.mount, TLS: f.secure}
}
func (f *fakeServer) Addr() string                { return f.name }
func (f *fakeServer) Stop() error                 { f.stops++; return nil }
func (f *fakeServer) Usage() (usage.Usage, error) { return usage.Usage{}, nil }

func (f *fakeServer) Install(context.Context, io.Writer) (string, error) {
	if f.missing {
		return "", errors.New("no such package")
	}
	return "1.0", nil
}

func (f *fakeServer) Start(_ context.Context, s peer.Settings) (Running, error) {
	f.settings = s
	if f.broken {
		return nil, errors.New("it does not start")
	}
	f.starts++
	return f, nil
}

func (f *fakeServer) Address(p *load.Plan, r Running) {
	p.Addr = r.Addr()
	if f.settings.TLS {
		p.TLS = &tls.Config{ServerName: f.name, MinVersion: tls.VersionTLS13}
	}
}

// rig is a comparison whose load is a function.
type rig struct {
	*comparison
	log    bytes.Buffer
	order  []string // measured runs: scenario kind and server
	pinned []int
}

func newRig(o Options, servers ...Server) *rig {
	r := &rig{}
	r.comparison = &comparison{options: o.withDefaults(), servers: servers, progress: &Progress{W: &r.log}, most: map[string]float64{}}
	r.times = func([]int) (activity, error) { return activity{}, nil }
	r.pin = func(core int) error { r.pinned = append(r.pinned, core); return nil }
	r.run = func(_ context.Context, p load.Plan) (load.Outcome, error) {
		if p.Duration == r.options.Duration {
			r.order = append(r.order, p.Addr)
		}
		return load.Outcome{Operations: 1000, Elapsed: time.Second, ServerCPU: time.Second / 2, Opened: 10}, nil
	}
	return r
}

func TestPeersTakeTurnsInAnotherOrderEachRound(t *testing.T) {
	a, b, c := &fakeServer{name: "a"}, &fakeServer{name: "b"}, &fakeServer{name: "c"}
	r := newRig(Options{Scenarios: []string{"echo-128"}, Rounds: 3}, a, b, c)
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a b c b c a c a b", strings.Join(r.order, " "))
	require.Len(t, got.Cells, 3)
	for _, cell := range got.Cells {
		require.Len(t, cell.Samples, 3)
		require.InDelta(t, 2000, cell.Median(report.PerCPU), 0.1)
	}
	for _, s := range []*fakeServer{a, b, c} {
		require.Equal(t, []int{1, 1}, []int{s.starts, s.stops}, "one process for all rounds")
	}
	require.Equal(t, -1, r.pinned[len(r.pinned)-1], "unpinned at the end")
	require.Contains(t, r.log.String(), "[9/9]")
}

func TestServersThatKeepSessionsStartAfresh(t *testing.T) {
	a := &fakeServer{name: "a"}
	r := newRig(Options{Scenarios: []string{"poll-handshake"}, Rounds: 3}, a)
	_, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Equal(t, []int{3, 3}, []int{a.starts, a.stops})
}

func TestRawServersTakeNoPartInPolling(t *testing.T) {
	raw, ours := &fakeServer{name: "gnet", raw: true}, &fakeServer{name: "turbine"}
	r := newRig(Options{Scenarios: []string{"poll-cycle", "echo-128"}, Rounds: 1}, raw, ours)
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Nil(t, got.Cell("poll-cycle", "gnet"))
	require.NotNil(t, got.Cell("poll-cycle", "turbine"))
	require.NotNil(t, got.Cell("echo-128", "gnet"))
}

func TestMountsAreComparedAmongThemselves(t *testing.T) {
	ours, own, nginx := &fakeServer{name: "turbine"}, &fakeServer{name: "own", mount: true}, &fakeServer{name: "nginx", mount: true}
	r := newRig(Options{Scenarios: []string{"echo-128", "mount-echo"}, Rounds: 1}, ours, own, nginx)
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Equal(t, "turbine own nginx", strings.Join(r.order, " "))
	require.Len(t, got.Peers, 1)
	require.Len(t, got.Mounts, 2)
	require.Nil(t, got.Cell("mount-echo", "turbine"))
	require.Nil(t, got.Cell("echo-128", "own"))
}

func TestTLSIsMeasuredOfThoseThatHaveIt(t *testing.T) {
	plain, secure := &fakeServer{name: "node"}, &fakeServer{name: "turbine", secure: "crypto/tls"}
	r := newRig(Options{Scenarios: []string{"tls-handshake", "tls-resume"}, Rounds: 5}, plain, secure)
	caches := map[tls.ClientSessionCache]int{}
	fine := r.run
	r.run = func(ctx context.Context, p load.Plan) (load.Outcome, error) {
		require.Equal(t, "turbine", p.TLS.ServerName)
		caches[p.TLS.ClientSessionCache]++
		o, err := fine(ctx, p)
		o.Resumed = 9
		return o, err
	}
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Nil(t, got.Cell("tls-handshake", "node"))
	require.Len(t, got.Cell("tls-handshake", "turbine").Samples, 3, "fewer rounds")
	require.Equal(t, 9, got.Cell("tls-resume", "turbine").Samples[0].Resumed)
	require.Equal(t, 4, caches[nil], "full handshakes: one to warm up, three rounds")
	require.Len(t, caches, 1+4, "each run has a cache of its own")
}

// The rate is a share of the median closed loop; the loops are measured once.
func TestLoadIsAShareOfWhatThePeerCanDo(t *testing.T) {
	r := newRig(Options{Scenarios: []string{"load-5", "load-50"}, Rounds: 2}, &fakeServer{name: "turbine"})
	closed := []int64{1000, 4000, 2000}
	var rates []float64
	r.run = func(_ context.Context, p load.Plan) (load.Outcome, error) {
		o := load.Outcome{Operations: 1, Elapsed: time.Second}
		if p.Kind == load.Echo {
			o.Operations, closed = closed[0], closed[1:]
			return o, nil
		}
		rates = append(rates, p.Rate)
		return o, nil
	}
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, closed)
	require.Equal(t, []float64{100, 100, 100, 1000, 1000, 1000}, rates, "one to warm up, two rounds")
	require.InDelta(t, 1000, got.Cell("load-50", "turbine").Samples[1].Offered, 1e-9)
}

// The load generator has the core behind the server's, or shares all.
func TestCoresOfServerAndLoad(t *testing.T) {
	for _, c := range []struct {
		name     string
		scenario string
		machine  int
		server   []int // first core, number
		load     int
	}{
		{"a core each", "echo-128", 2, []int{0, 1}, 1},
		{"one core for both", "echo-128", 1, []int{0, 1}, -1},
		{"two cores for both", "cores-2", 2, []int{0, 2}, -1},
		{"two cores and one", "cores-2", 4, []int{0, 2}, 2},
		{"fewer than the server needs", "cores-2", 1, []int{-1, 2}, -1},
		{"all for the server", "idle-ws", 2, []int{-1, 1}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &fakeServer{name: "turbine"}
			r := newRig(Options{Rounds: 1}, s)
			r.report = &report.Report{Machine: report.Machine{Cores: c.machine}}
			r.deadline = time.Now().Add(time.Hour)
			r.options.Scenarios = []string{c.scenario}
			for _, p := range r.schedule(r.servers) {
				r.scenario(t.Context(), p)
			}
			require.Equal(t, c.server, []int{s.settings.Core, s.settings.Cores})
			require.Equal(t, c.load, r.pinned[0])
		})
	}
}

func TestWhoCannotBeMeasuredIsLeftOutAndNamed(t *testing.T) {
	missing, broken, good := &fakeServer{name: "missing", missing: true}, &fakeServer{name: "broken", broken: true}, &fakeServer{name: "good"}
	r := newRig(Options{Scenarios: []string{"echo-128"}, Rounds: 2}, missing, broken, good)
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Equal(t, []report.Missing{{Name: "missing", Why: "no such package"}}, got.Missing)
	require.Contains(t, strings.Join(got.Remarks, " "), "echo-128, broken: it does not start")
	require.Len(t, got.Cell("echo-128", "good").Samples, 2)
}

func TestAFailingRunDoesNotStopTheOthers(t *testing.T) {
	a, b := &fakeServer{name: "a"}, &fakeServer{name: "b"}
	r := newRig(Options{Scenarios: []string{"echo-128"}, Rounds: 2}, a, b)
	fine := r.run
	r.run = func(ctx context.Context, p load.Plan) (load.Outcome, error) {
		if p.Addr == "a" {
			return load.Outcome{}, errors.New("nothing could be measured")
		}
		return fine(ctx, p)
	}
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Nil(t, got.Cell("echo-128", "a"))
	require.Len(t, got.Cell("echo-128", "b").Samples, 2)
	require.Equal(t, 1, a.stops)
}

func TestWhatDoesNotRunInTimeIsNamed(t *testing.T) {
	r := newRig(Options{Rounds: 1, Limit: time.Nanosecond}, &fakeServer{name: "turbine", secure: "crypto/tls"}, &fakeServer{name: "own", mount: true})
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	require.Empty(t, got.Cells)
	require.Len(t, got.Remarks, len(scenarios()))
	require.Contains(t, got.Remarks[0], "Left out for lack of time")
}

func TestAnInterruptKeepsWhatWasMeasured(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := &fakeServer{name: "a"}
	r := newRig(Options{Scenarios: []string{"echo-128"}, Rounds: 5}, a)
	fine := r.run
	r.run = func(ctx context.Context, p load.Plan) (load.Outcome, error) {
		if len(r.order) == 2 {
			cancel()
			return load.Outcome{}, ctx.Err()
		}
		return fine(ctx, p)
	}
	got, err := r.compare(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, got.Cell("echo-128", "a").Samples, 2)
	require.Equal(t, a.starts, a.stops)
}

// The tables of scenarios here and in the report are the same list.
func TestEveryScenarioIsDescribed(t *testing.T) {
	var ids []string
	for _, s := range scenarios() {
		ids = append(ids, s.id)
	}
	var described []string
	for _, s := range report.Scenarios {
		described = append(described, s.ID)
	}
	require.Equal(t, described, ids)
	for _, g := range report.Goals {
		require.Contains(t, ids, g.Scenario)
	}
	for _, id := range quickScenarios {
		require.Contains(t, ids, id)
	}
}

// All peers and scenarios fit into the time that they have.
func TestScheduleFitsItsLimit(t *testing.T) {
	servers := Peers(t.TempDir())
	for _, o := range []Options{{}, {Quick: true}} {
		r := newRig(o, servers...)
		if r.options.Quick {
			servers = slices.DeleteFunc(slices.Clone(servers), func(s Server) bool { return !slices.Contains(quickPeers, s.Name()) })
		}
		planned := time.Duration(0)
		for _, p := range r.schedule(servers) {
			t.Log(p.scenario.id, p.cost)
			planned += p.cost
		}
		t.Log("planned", planned, "limit", r.options.Limit)
		require.Less(t, planned, r.options.Limit)
	}
}

func TestPinning(t *testing.T) {
	if machine().Cores < 2 {
		t.Skip("one core")
	}
	require.NoError(t, pinProcess(0))
	require.NoError(t, pinProcess(-1))
}

// A name that is mistyped would measure nothing, and its empty report would take
// the place of the last one.
func TestNamesThatAreNot(t *testing.T) {
	servers := []Server{&fakeServer{name: "ours"}, &fakeServer{name: "theirs"}}
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"nothing said", Options{}, ""},
		{"known", Options{Peers: []string{"theirs"}, Scenarios: []string{"echo-128"}}, ""},
		{"quick", Options{Scenarios: quickScenarios}, ""},
		{"a peer", Options{Peers: []string{"ours", "other"}}, `--peers: there is no "other"; there are ours, theirs`},
		{"a scenario", Options{Scenarios: []string{"echo"}}, `--scenarios: there is no "echo"; there are echo-128, `},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.o.Check(servers)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// The report knows all that may be missing from it.
func TestNamesOfServers(t *testing.T) {
	names := func(peers []*peer.Peer) (all []string) {
		for _, p := range peers {
			all = append(all, p.Name)
		}
		return all
	}
	require.Equal(t, names(peer.All(t.TempDir())), report.PeerNames)
	require.Equal(t, names(peer.Mounts(t.TempDir())), report.MountNames)
}
