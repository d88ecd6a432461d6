package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Figure is what one reads off a sample.
type Figure uint8

// The figures.
const (
	PerCPU     Figure = iota // operations a second of server CPU
	Wall                     // operations a second
	Bytes                    // resident bytes a session
	CPUTime                  // microseconds of server CPU an operation
	Median                   // p50 in microseconds
	Tail                     // p99 in microseconds
	FarTail                  // p99.9 in microseconds
	Cores                    // server CPU in cores
	OpenTime                 // microseconds of server CPU to open a session
	SessionCPU               // server CPU, in cores, of the held sessions
	Late                     // p99 of how late pings are, in milliseconds, of sessions that wait WatchedInterval for one
	Latest                   // the latest of them
	Lag                      // p99 of how late an open loop sends, in microseconds
)

// WatchedInterval is the pingInterval, and the pingTimeout, of servers whose pings
// are watched.
const WatchedInterval = 2 * time.Second

// Of reads the figure off a sample.
func (f Figure) Of(s Sample) float64 {
	ratio := func(a, b float64) float64 {
		if b == 0 {
			return 0
		}
		return a / b
	}
	operations := float64(s.Operations)
	switch f {
	case PerCPU:
		return ratio(operations, s.ServerCPU.Seconds())
	case Wall:
		return ratio(operations, s.Elapsed.Seconds())
	case Bytes:
		return ratio(float64(s.RSS), float64(s.Sessions))
	case CPUTime:
		return ratio(float64(s.ServerCPU.Nanoseconds())/1e3, operations)
	case Median:
		return s.P50
	case Tail:
		return s.P99
	case FarTail:
		return s.P999
	case OpenTime:
		return ratio(float64(s.OpenCPU.Nanoseconds())/1e3, float64(s.Sessions))
	case Late:
		return late(s.P99)
	case Latest:
		return late(s.Most)
	case Lag:
		return s.Lag
	case Cores, SessionCPU:
	}
	return ratio(s.ServerCPU.Seconds(), s.Elapsed.Seconds())
}

// late is how much longer than it should be the time between two pings is, in
// milliseconds.
func late(us float64) float64 { return max(0, us/1e3-float64(WatchedInterval.Milliseconds())) }

// Unit is the figure's unit, as a table head says it.
func (f Figure) Unit() string {
	switch f {
	case PerCPU:
		return "thousand a second of server CPU"
	case Wall:
		return "thousand a second"
	case Bytes:
		return "bytes a session"
	case CPUTime, OpenTime:
		return "µs of server CPU"
	case Median, Tail, FarTail, Lag:
		return "µs"
	case Late, Latest:
		return "ms late"
	case Cores, SessionCPU:
	}
	return "cores"
}

// Scenario is what is measured, as the report speaks of it.
type Scenario struct {
	ID     string
	Title  string
	Figure Figure // the main one
}

// rated reports whether the scenario is a row of the tables of throughput.
func (s Scenario) rated() bool {
	family, _, _ := strings.Cut(s.ID, "-")
	return s.Figure == PerCPU && !slices.Contains([]string{"slow", "mount", "tls", "cores"}, family)
}

// Scenarios are all there are, in the order of the report.
var Scenarios = []Scenario{
	{"echo-128", "WebSocket echo, 128 B, one in flight", PerCPU},
	{"echo-16k", "WebSocket echo, 16 KiB, one in flight", PerCPU},
	{"echo-128x16", "WebSocket echo, 128 B, 16 in flight", PerCPU},
	{"broadcast-1k", "Broadcast to 1,000 sessions", PerCPU},
	{"broadcast-10k", "Broadcast to 10,000 sessions", PerCPU},
	{"poll-handshake", "Polling handshakes, kept-alive connections", PerCPU},
	{"poll-handshake-new", "Polling handshakes, a new connection each", PerCPU},
	{"ws-handshake", "WebSocket handshakes", PerCPU},
	{"upgrade", "Upgrades from polling to WebSocket", PerCPU},
	{"poll-cycle", "Polling, POST and GET", PerCPU},
	{"rate-20k", "20,000 messages of 128 B a second, open loop", Median},
	{"idle-ws", "Idle WebSocket sessions, opened directly", Bytes},
	{"idle-upgraded", "Idle WebSocket sessions, upgraded from polling", Bytes},
	{"heartbeat", "Heartbeats of 5,000 sessions", CPUTime},
	{"beats-plain", "Pings of 500 sessions, beside 100 that echo 128 B", Late},
	{"beats-flood", "Pings of 500 sessions, beside 200 that send 8-byte frames", Late},
	{"beats-busy", "Pings of 500 sessions, beside 100 whose messages take 1 ms each", Late},
	{"connect", "10,000 sessions connect at once", Wall},
	{"storm", "10,000 sessions are cut and come back at once", Wall},
	{"slow-none", "Echo, 128 B, with no slow readers beside", PerCPU},
	{"slow-readers", "Echo, 128 B, beside 50 sessions that never read", PerCPU},
	{"prices", "Prices for 1,000 slow readers, without keys", Tail},
	{"prices-keyed", "Prices for 1,000 slow readers, with keys", Tail},
	{"prices-kernel", "Prices for 1,000 slow readers, with keys, and what the kernel takes is not bounded", Tail},
	{"tls-handshake", "WebSocket handshakes over TLS", PerCPU},
	{"tls-resume", "WebSocket handshakes over TLS, resumed", PerCPU},
	{"tls-echo-128", "WebSocket echo over TLS, 128 B, one in flight", PerCPU},
	{"tls-echo-16k", "WebSocket echo over TLS, 16 KiB, one in flight", PerCPU},
	{"tls-idle", "Idle WebSocket sessions over TLS", Bytes},
	{"load-5", "Echo, 128 B, open loop, at 5 % of saturation", Tail},
	{"load-20", "Echo, 128 B, open loop, at 20 % of saturation", Tail},
	{"load-50", "Echo, 128 B, open loop, at 50 % of saturation", Tail},
	{"load-80", "Echo, 128 B, open loop, at 80 % of saturation", Tail},
	{"cores-2", "WebSocket echo, 128 B, one in flight, on 2 cores", PerCPU},
	{"mount-echo", "WebSocket echo, 128 B, one in flight", PerCPU},
	{"mount-poll", "Polling, POST and GET", PerCPU},
	{"mount-idle", "Idle WebSocket sessions", Bytes},
	{"scale-1k", "1,000 idle sessions, heartbeats every 5 s", Bytes},
	{"scale-5k", "5,000 idle sessions, heartbeats every 5 s", Bytes},
	{"scale-18k", "18,000 idle sessions, heartbeats every 5 s", Bytes},
}

// Shares are the loads under which latency is measured, of what a peer can do.
var Shares = []float64{0.05, 0.20, 0.50, 0.80}

// ShareID is the scenario of a share.
func ShareID(share float64) string { return fmt.Sprintf("load-%.0f", 100*share) }

// ScenarioOf finds a scenario by its ID.
func ScenarioOf(id string) (Scenario, bool) {
	i := slices.IndexFunc(Scenarios, func(s Scenario) bool { return s.ID == id })
	if i < 0 {
		return Scenario{}, false
	}
	return Scenarios[i], true
}

// Goal is what this server is to reach.
type Goal struct {
	Scenario string
	Figure   Figure
	Peer     string  // whose figure counts; "" when Least or Most is the figure itself
	Least    float64 // ratio to the peer's, 0 when Most says it
	Most     float64
}

// Ours is the name of this server among the peers.
const Ours = "turbine"

// PeerNames and MountNames are all servers that a run can measure.
var (
	PeerNames  = []string{Ours, "gnet", "gws", "uws", "bun", "node", "zishang", "python", "engineioxide"}
	MountNames = []string{"own", "own-no-profile", "own-tls", "nethttp", "nethttp-tls", "nginx", "haproxy"}
)

// Goals are those that a comparison judges.
var Goals = []Goal{
	{"echo-128", PerCPU, "gnet", 1, 0}, {"echo-128", PerCPU, "bun", 1, 0},
	{"echo-16k", PerCPU, "gnet", 0.95, 0}, {"echo-16k", PerCPU, "bun", 2, 0},
	{"echo-128x16", PerCPU, "gnet", 1, 0}, {"echo-128x16", PerCPU, "bun", 2, 0}, {"echo-128x16", PerCPU, "node", 15, 0},
	{"broadcast-1k", PerCPU, "gnet", 1, 0}, {"broadcast-10k", PerCPU, "gnet", 1, 0},
	{"poll-handshake", PerCPU, "bun", 2.5, 0}, {"poll-handshake-new", PerCPU, "bun", 1.5, 0}, {"ws-handshake", PerCPU, "bun", 2, 0},
	{"upgrade", PerCPU, "bun", 3, 0}, {"poll-cycle", PerCPU, "bun", 2.5, 0},
	{"idle-ws", Bytes, "", 0, 600}, {"idle-upgraded", Bytes, "", 0, 600},
	{"heartbeat", CPUTime, "", 0, 10}, {"beats-busy", Late, "", 0, 250},
	{"rate-20k", Median, "", 0, 40}, {"rate-20k", Cores, "", 0, 0.6},
}
