package engine

import (
	"strconv"
	"strings"
	"time"
)

// Each calls f with each figure but the Delays, in the same order each time: with its
// name; with its label in the form of Prometheus, such as
//
//	transport="polling",revision="4"
//
// or "" for a figure without; with its value; and with whether it is a count. Figures
// of one name come one after another. It is for whoever passes all figures on, so that
// a new one needs no new code there. Left out is what other figures have, too:
// Forbidden, and the accepts that were refused, which are among the limits.
func (s Stats) Each(f func(name, label string, value int64, counter bool)) {
	gauge := func(name, label string, value int64) { f(name, label, value, false) }
	count := func(name, label string, value int64) { f(name, label, value, true) }

	for p := PhaseNew; p <= PhaseEnded; p++ {
		gauge("phase", labelled("phase", p.String()), boolean(p == s.Phase))
	}
	gauge("uptime_seconds", "", int64(s.Uptime/time.Second))
	gauge("loops", "", int64(len(s.Loops)))
	s.eachOfLoops(gauge)
	s.eachOfTransports(gauge, count)
	for why := Reason(1); int(why) < NumReasons; why++ {
		count("sessions_closed_total", labelled("reason", strings.ReplaceAll(why.String(), " ", "_")), s.Closed[why])
	}
	for why := Cause(1); int(why) < NumCauses; why++ {
		count("requests_refused_total", labelled("reason", why.String()), s.Refused[why])
	}
	gauge("upgrades_in_progress", "", int64(s.Upgrades.Now))
	count("upgrades_started_total", "", s.Upgrades.Started)
	count("upgrades_ended_total", labelled("outcome", "done"), s.Upgrades.Done)
	for why := UpgradeEnd(1); int(why) < NumUpgradeEnds; why++ {
		count("upgrades_ended_total", labelled("outcome", why.String()), s.Upgrades.Failed[why])
	}
	gauge("polls_waiting", "", int64(s.Polls))
	gauge("connections", "", int64(s.Conns))
	gauge("connections_limit", "", int64(s.MaxConns))
	count("connections_accepted_total", "", int64(s.Accepts.Accepted))
	count("accept_errors_total", "", int64(s.Accepts.Errors))
	for limit := range Limit(NumLimits) {
		count("limits_met_total", labelled("limit", limit.String()), s.Limits[limit])
	}
	gauge("queue_bytes", "", s.Queued)
	gauge("queue_largest_loop_bytes", "", s.QueuedLargest)
	gauge("queue_budget_bytes", "", s.QueueBudget)
	gauge("pending_bytes", "", s.Pending)
	gauge("pending_budget_bytes", "", s.PendingBudget)
	count("slow_callbacks_total", "", s.Slow)
	count("tls_handshakes_total", labelled("outcome", "done"), int64(s.TLS.Done))
	count("tls_handshakes_total", labelled("outcome", "failed"), int64(s.TLS.Failed))
	count("tls_handshakes_resumed_total", "", int64(s.TLS.Resumed))
	count("tls_handshakes_plain_total", "", int64(s.TLS.Plain))
	gauge("tls_handshakes_in_progress", "", int64(s.TLS.Now))
	gauge("descriptors_used", "", int64(s.Descriptors.Used))
	gauge("descriptors_limit", "", int64(s.Descriptors.Limit))
}

func (s *Stats) eachOfLoops(gauge func(name, label string, value int64)) {
	for i, l := range s.Loops {
		gauge("loop_sessions", labelled("loop", strconv.Itoa(i)), int64(l.Sessions))
	}
	for i, l := range s.Loops {
		gauge("loop_connections", labelled("loop", strconv.Itoa(i)), int64(l.Conns))
	}
	for i, l := range s.Loops {
		gauge("loop_queue_bytes", labelled("loop", strconv.Itoa(i)), l.Queued)
	}
}

func (s *Stats) eachOfTransports(gauge, count func(name, label string, value int64)) {
	each := func(f func(of string, at *TransportStats)) {
		for t := Polling; int(t) < NumTransports; t++ {
			f(labelled("transport", t.String()), &s.ByTransport[t])
		}
	}
	three, four := ","+labelled("revision", revisionText(Revision3)), ","+labelled("revision", revisionText(Revision4))
	each(func(of string, at *TransportStats) {
		gauge("sessions", of+three, int64(at.Sessions.Revision3))
		gauge("sessions", of+four, int64(at.Sessions.Revision4))
	})
	each(func(of string, at *TransportStats) {
		count("sessions_opened_total", of+three, at.Opened.Revision3)
		count("sessions_opened_total", of+four, at.Opened.Revision4)
	})
	each(func(of string, at *TransportStats) { count("messages_received_total", of, at.In.Messages) })
	each(func(of string, at *TransportStats) { count("messages_received_bytes_total", of, at.In.Bytes) })
	each(func(of string, at *TransportStats) { count("messages_sent_total", of, at.Out.Messages) })
	each(func(of string, at *TransportStats) { count("messages_sent_bytes_total", of, at.Out.Bytes) })
}

func labelled(name, value string) string { return name + "=" + strconv.Quote(value) }

func boolean(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
