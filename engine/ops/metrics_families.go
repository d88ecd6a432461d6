package ops

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"turbine/engine"
)

// A family is all that is known of a metric. docs/monitoring has a table made from it.
// Labels have few values, which no client can add to: nothing of a request, an address
// or a session is among them.
type family struct {
	name   string
	help   string // what it is, and what an operator does with it
	labels []string
	kind   prometheus.ValueType // of one that is no histogram

	read   func(*engine.Stats, put)           // nil for a histogram
	delays func(*engine.Stats) *engine.Delays // nil for all else
}

// put adds a sample, whose labels are in the order of family.labels.
type put func(value float64, labels ...string)

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// families are all metrics of a server.
var families = []family{
	// Sessions.
	{
		name: "turbine_sessions", labels: []string{"transport", "revision"}, kind: gauge,
		help: "Sessions that are open or closing, by the transport that carries them at present. " +
			"A fall that clients did not cause shows in turbine_sessions_closed_total.",
		read: func(s *engine.Stats, put put) {
			each(s, func(transport string, of *engine.TransportStats) {
				put(float64(of.Sessions.Revision3), transport, "3")
				put(float64(of.Sessions.Revision4), transport, "4")
			})
		},
	},
	{
		name: "turbine_sessions_opened_total", labels: []string{"transport", "revision"}, kind: counter,
		help: "Handshakes that began a session, by the transport on which it began. " +
			"Many more than clients that come are clients that reconnect again and again.",
		read: func(s *engine.Stats, put put) {
			each(s, func(transport string, of *engine.TransportStats) {
				put(float64(of.Opened.Revision3), transport, "3")
				put(float64(of.Opened.Revision4), transport, "4")
			})
		},
	},
	{
		name: "turbine_sessions_closed_total", labels: []string{"reason"}, kind: counter,
		help: "Sessions that have ended, by reason. " +
			"ping_timeout: clients vanish, or a proxy cuts them off; queue_overflow: clients read too slowly; parse_error: clients are faulty.",
		read: func(s *engine.Stats, put put) {
			for reason := engine.ReasonTransportClose; int(reason) < len(s.Closed); reason++ {
				put(float64(s.Closed[reason]), strings.ReplaceAll(reason.String(), " ", "_"))
			}
		},
	},
	{
		name: "turbine_requests_refused_total", labels: []string{"reason"}, kind: counter,
		help: "Requests to Engine.IO that were refused, by reason. " +
			"docs/troubleshooting.md says what to do about each; foreign_origin: the log names the origin to let in; session_unknown: the load balancer is not sticky.",
		read: func(s *engine.Stats, put put) {
			for cause := 1; cause < engine.NumCauses; cause++ {
				put(float64(s.Refused[cause]), engine.Cause(cause).String())
			}
		},
	},

	// Upgrades.
	{
		name: "turbine_upgrades_in_progress", kind: gauge,
		help: "Switches from polling to WebSocket under way. If they pile up, a proxy passes the WebSocket on and not its frames.",
		read: func(s *engine.Stats, put put) { put(float64(s.Upgrades.Now)) },
	},
	{
		name: "turbine_upgrades_started_total", kind: counter,
		help: "Switches from polling to WebSocket that were begun. None at all while sessions poll: the proxy does not pass the header Upgrade on.",
		read: func(s *engine.Stats, put put) { put(float64(s.Upgrades.Started)) },
	},
	{
		name: "turbine_upgrades_ended_total", labels: []string{"outcome"}, kind: counter,
		help: "Switches from polling to WebSocket that have ended, by outcome. " +
			"Except for done, the session goes on polling, which costs more. Many of outcome timeout or lost: look at the proxy.",
		read: func(s *engine.Stats, put put) {
			put(float64(s.Upgrades.Done), "done")
			for end := 1; end < engine.NumUpgradeEnds; end++ {
				put(float64(s.Upgrades.Failed[end]), engine.UpgradeEnd(end).String())
			}
		},
	},

	// Messages.
	{
		name: "turbine_messages_received_total", labels: []string{"transport"}, kind: counter,
		help: "Messages of clients that were read, without the protocol's own packets. Compare it with what the application says it has handled.",
		read: func(s *engine.Stats, put put) {
			each(s, func(transport string, of *engine.TransportStats) { put(float64(of.In.Messages), transport) })
		},
	},
	{
		name: "turbine_messages_received_bytes_total", labels: []string{"transport"}, kind: counter,
		help: "Bytes of the messages of clients, as the application sees them: uncompressed, without frames. By the number of messages it is their average size.",
		read: func(s *engine.Stats, put put) {
			each(s, func(transport string, of *engine.TransportStats) { put(float64(of.In.Bytes), transport) })
		},
	},
	{
		name: "turbine_messages_sent_total", labels: []string{"transport"}, kind: counter,
		help: "Messages to clients that their transport has taken, without the protocol's own packets. If it falls while turbine_queue_bytes rises, clients do not keep up.",
		read: func(s *engine.Stats, put put) {
			each(s, func(transport string, of *engine.TransportStats) { put(float64(of.Out.Messages), transport) })
		},
	},
	{
		name: "turbine_messages_sent_bytes_total", labels: []string{"transport"}, kind: counter,
		help: "Bytes of the messages to clients, as the application gave them: uncompressed, without frames. It sizes the network.",
		read: func(s *engine.Stats, put put) {
			each(s, func(transport string, of *engine.TransportStats) { put(float64(of.Out.Bytes), transport) })
		},
	},
	{
		name: "turbine_polls_waiting", kind: gauge,
		help: "Polls that wait for something to send. Compare it with the limit polls: above the limit a poll is refused and its session is closed.",
		read: func(s *engine.Stats, put put) { put(float64(s.Polls)) },
	},

	// Connections.
	{
		name: "turbine_connections", kind: gauge,
		help: "Connections, also those without a session. Many more than sessions: clients connect and say nothing, or a proxy keeps spare ones.",
		read: func(s *engine.Stats, put put) { put(float64(s.Conns)) },
	},
	{
		name: "turbine_connections_limit", kind: gauge,
		help: "How many connections there may be. Above it new ones are closed at once: raise the descriptor limit or the limit conns. Absent if it is not known.",
		read: func(s *engine.Stats, put put) { known(put, s.MaxConns) },
	},
	{
		name: "turbine_connections_accepted_total", kind: counter,
		help: "Connections that were accepted. Many more than handshakes: something in front, such as a health check, connects and asks for nothing.",
		read: func(s *engine.Stats, put put) { put(float64(s.Accepts.Accepted)) },
	},
	{
		name: "turbine_connections_refused_total", labels: []string{"reason"}, kind: counter,
		help: "Connections that were closed when they were accepted. " +
			"no_room: no descriptor, or as many as allowed; per_ip and rate: the limits of one address, which a proxy that is not trusted meets for all its clients.",
		read: func(s *engine.Stats, put put) {
			put(float64(s.Accepts.Refused), "no_room")
			put(float64(s.Accepts.OverPerIP), "per_ip")
			put(float64(s.Accepts.OverRate), "rate")
		},
	},
	{
		name: "turbine_accept_errors_total", kind: counter,
		help: "Accepts that failed. If it grows the machine is out of descriptors or memory, and the log has the error.",
		read: func(s *engine.Stats, put put) { put(float64(s.Accepts.Errors)) },
	},
	{
		name: "turbine_limits_met_total", labels: []string{"limit"}, kind: counter,
		help: "How often each limit was met. docs/security.md says what the client sees of a limit and which flag raises it; first look who meets it.",
		read: func(s *engine.Stats, put put) {
			for limit, n := range s.Limits {
				put(float64(n), engine.Limit(limit).String())
			}
		},
	},
	// Each of the four is counted on its own: a difference of two counts that are not
	// read together may fall, which Prometheus takes for a restart.
	{
		name: "turbine_tls_handshakes_total", labels: []string{"outcome"}, kind: counter,
		help: "TLS handshakes, by outcome. Many of outcome failed: a certificate that clients do not trust, or clients that are too old.",
		read: func(s *engine.Stats, put put) {
			put(float64(s.TLS.Done), "done")
			put(float64(s.TLS.Failed), "failed")
		},
	},
	{
		name: "turbine_tls_handshakes_resumed_total", kind: counter,
		help: "TLS handshakes of outcome done that resumed an earlier session, which is cheaper. A small share after a restart is as it should be.",
		read: func(s *engine.Stats, put put) { put(float64(s.TLS.Resumed)) },
	},
	{
		name: "turbine_tls_handshakes_plain_total", kind: counter,
		help: "TLS handshakes of outcome failed where the client spoke HTTP without TLS. Look for an address with http or ws in it.",
		read: func(s *engine.Stats, put put) { put(float64(s.TLS.Plain)) },
	},
	{
		name: "turbine_tls_handshakes_in_progress", kind: gauge,
		help: "TLS handshakes under way. After a restart all clients come at once; the limit tls_handshakes bounds how many.",
		read: func(s *engine.Stats, put put) { put(float64(s.TLS.Now)) },
	},

	// Memory.
	{
		name: "turbine_queue_bytes", kind: gauge,
		help: "Bytes that wait for clients. If it grows, clients do not read as fast as the application sends.",
		read: func(s *engine.Stats, put put) { put(float64(s.Queued)) },
	},
	{
		name: "turbine_queue_largest_loop_bytes", kind: gauge,
		help: "Bytes that wait for the clients of the loop that has most. Each loop has an equal share of turbine_queue_budget_bytes: above it sessions are closed.",
		read: func(s *engine.Stats, put put) { put(float64(s.QueuedLargest)) },
	},
	{
		name: "turbine_queue_budget_bytes", kind: gauge,
		help: "How many bytes may wait for all clients together. Raise it if the machine has the memory and the bursts are meant.",
		read: func(s *engine.Stats, put put) { put(float64(s.QueueBudget)) },
	},
	{
		name: "turbine_pending_bytes", kind: gauge,
		help: "Bytes of events that wait for the application's callbacks. If it grows, the callbacks are slower than the clients; always 0 without an executor.",
		read: func(s *engine.Stats, put put) { put(float64(s.Pending)) },
	},
	{
		name: "turbine_pending_budget_bytes", kind: gauge,
		help: "How many bytes of events may wait for the application's callbacks. Above it sessions are closed.",
		read: func(s *engine.Stats, put put) { put(float64(s.PendingBudget)) },
	},
	{
		name: "turbine_descriptors_used", kind: gauge,
		help: "File descriptors of the process that are open. Where the system does not say it cheaply, the connections.",
		read: func(s *engine.Stats, put put) { put(float64(s.Descriptors.Used)) },
	},
	{
		name: "turbine_descriptors_limit", kind: gauge,
		help: "How many file descriptors the process may have. Raise LimitNOFILE, or ulimit -n, before turbine_descriptors_used gets there. Absent if it is not known.",
		read: func(s *engine.Stats, put put) { known(put, s.Descriptors.Limit) },
	},

	// Punctuality.
	{
		name:   "turbine_ping_lateness_seconds",
		help:   "How much later than due pings were sent. Above the ping timeout clients give up: the process lacks processor time, or a callback blocks.",
		delays: func(s *engine.Stats) *engine.Delays { return &s.PingLateness },
	},
	{
		name:   "turbine_loop_lag_seconds",
		help:   "How much later than due event loops got to their clock. It is what every client waits: look at turbine_slow_callbacks_total, then at the processor.",
		delays: func(s *engine.Stats) *engine.Delays { return &s.LoopLag },
	},
	{
		name: "turbine_slow_callbacks_total", kind: counter,
		help: "Callbacks of the application that held up their event loop for longer than allowed. The log has the stack of each; an executor lets callbacks block.",
		read: func(s *engine.Stats, put put) { put(float64(s.Slow)) },
	},

	// The server.
	{
		name: "turbine_phase", labels: []string{"phase"}, kind: gauge,
		help: "1 for the phase that the server is in, 0 for the others. Alerts on falling sessions leave out a server that is draining.",
		read: func(s *engine.Stats, put put) {
			for phase := engine.PhaseNew; phase <= engine.PhaseEnded; phase++ {
				put(truth(s.Phase == phase), phase.String())
			}
		},
	},
	{
		name: "turbine_uptime_seconds", kind: gauge,
		help: "Time since the server began to serve. A value that falls is a restart.",
		read: func(s *engine.Stats, put put) { put(s.Uptime.Seconds()) },
	},
	{
		name: "turbine_loops", kind: gauge,
		help: "Event loops, which is how many processors the server can use. Fewer than the machine's processors: look at GOMAXPROCS and the limit of the container.",
		read: func(s *engine.Stats, put put) { put(float64(len(s.Loops))) },
	},
	{
		name: "turbine_loop_sessions", labels: []string{"loop"}, kind: gauge,
		help: "Sessions of each event loop. One that has far more than the others makes its clients wait.",
		read: func(s *engine.Stats, put put) {
			for i, of := range s.Loops {
				put(float64(of.Sessions), strconv.Itoa(i))
			}
		},
	},
	{
		name: "turbine_loop_connections", labels: []string{"loop"}, kind: gauge,
		help: "Connections of each event loop, also those without a session.",
		read: func(s *engine.Stats, put put) {
			for i, of := range s.Loops {
				put(float64(of.Conns), strconv.Itoa(i))
			}
		},
	},
	{
		name: "turbine_loop_queue_bytes", labels: []string{"loop"}, kind: gauge,
		help: "Bytes that wait for the clients of each event loop. One loop alone that has many has a few clients that read too slowly.",
		read: func(s *engine.Stats, put put) {
			for i, of := range s.Loops {
				put(float64(of.Queued), strconv.Itoa(i))
			}
		},
	},
}

// each calls f with each transport.
func each(s *engine.Stats, f func(transport string, of *engine.TransportStats)) {
	for _, transport := range []engine.Transport{engine.Polling, engine.WebSocket} {
		f(transport.String(), &s.ByTransport[transport])
	}
}

// known adds a limit, unless it is 0: a limit that is not known is not one that was met.
func known(put put, limit int) {
	if limit > 0 {
		put(float64(limit))
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
