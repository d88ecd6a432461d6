package program

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"turbine/engine"
)

// logFigures logs what the server holds when a signal asks for it, until stop is
// called. While nobody is connected, garbage is collected before, and free memory
// given back: then it holds up nobody, and shows what is really kept.
func logFigures(server *engine.Server, signals <-chan os.Signal) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-signals:
			}
			stats := server.Stats()
			if stats.Sessions == 0 && stats.Conns == 0 {
				debug.FreeOSMemory()
			}
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			slog.Info("figures", figures(stats, memory.HeapAlloc)...)
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// figures are the attributes of that record: all that engine.Stats has. Each cause,
// reason and limit has its number, zero or not.
func figures(stats engine.Stats, heap uint64) []any {
	var refused, failed, closed, limits []any
	for why := engine.Cause(1); int(why) < engine.NumCauses; why++ {
		refused = append(refused, slog.Int64(why.String(), stats.Refused[why]))
	}
	for why := engine.UpgradeEnd(1); int(why) < engine.NumUpgradeEnds; why++ {
		failed = append(failed, slog.Int64(why.String(), stats.Upgrades.Failed[why]))
	}
	for reason := engine.ReasonTransportClose; int(reason) < len(stats.Closed); reason++ {
		closed = append(closed, slog.Int64(strings.ReplaceAll(reason.String(), " ", "_"), stats.Closed[reason]))
	}
	for limit, n := range stats.Limits {
		limits = append(limits, slog.Int64(engine.Limit(limit).String(), n))
	}
	return []any{
		slog.Int("sessions", stats.Sessions), slog.Int("conns", stats.Conns),
		slog.Int64("queued", stats.Queued), slog.Int64("pending", stats.Pending), slog.Uint64("heap", heap),
		slog.Int64("forbidden", stats.Forbidden), slog.Int64("slow", stats.Slow),
		slog.Group("closed", closed...), slog.Group("limits", limits...),
		slog.Group("tls", "done", stats.TLS.Done, "resumed", stats.TLS.Resumed, "failed", stats.TLS.Failed,
			"plain", stats.TLS.Plain, "now", stats.TLS.Now),
		slog.String("phase", stats.Phase.String()), slog.Duration("uptime", stats.Uptime.Round(time.Second)),
		slog.Int("loops", len(stats.Loops)), slog.Int("max_conns", stats.MaxConns),
		transportFigures("polling", stats.ByTransport[engine.Polling]),
		transportFigures("websocket", stats.ByTransport[engine.WebSocket]),
		slog.Int("polls", stats.Polls), slog.Int64("queued_largest", stats.QueuedLargest),
		slog.Int64("queue_budget", stats.QueueBudget), slog.Int64("pending_budget", stats.PendingBudget),
		slog.Group("refused", refused...),
		slog.Group("upgrades", "now", stats.Upgrades.Now, "started", stats.Upgrades.Started, "done", stats.Upgrades.Done,
			slog.Group("failed", failed...)),
		slog.Group("accepts", "accepted", stats.Accepts.Accepted, "refused", stats.Accepts.Refused,
			"conns_per_ip", stats.Accepts.OverPerIP, "conn_rate", stats.Accepts.OverRate, "errors", stats.Accepts.Errors),
		slog.Group("descriptors", "used", stats.Descriptors.Used, "limit", stats.Descriptors.Limit),
		delayFigures("ping_lateness", stats.PingLateness), delayFigures("loop_lag", stats.LoopLag),
	}
}

func transportFigures(name string, s engine.TransportStats) slog.Attr {
	return slog.Group(name,
		slog.Group("sessions", "revision3", s.Sessions.Revision3, "revision4", s.Sessions.Revision4),
		slog.Group("opened", "revision3", s.Opened.Revision3, "revision4", s.Opened.Revision4),
		slog.Group("received", "messages", s.In.Messages, "bytes", s.In.Bytes),
		slog.Group("sent", "messages", s.Out.Messages, "bytes", s.Out.Bytes))
}

// delayFigures has of a histogram what a line has room for: how many, their mean, and
// how many were above 10 and 100 ms, which is more than anybody should wait.
func delayFigures(name string, d engine.Delays) slog.Attr {
	var mean time.Duration
	if n := d.Count(); n > 0 {
		mean = d.Sum / time.Duration(n)
	}
	above := func(bound time.Duration) (n int64) {
		for i, c := range d.Counts {
			if i == len(engine.DelayBounds) || engine.DelayBounds[i] > bound {
				n += c
			}
		}
		return n
	}
	return slog.Group(name, slog.Int64("count", d.Count()), slog.Duration("mean", mean.Round(time.Microsecond)),
		slog.Int64("above_10ms", above(10*time.Millisecond)), slog.Int64("above_100ms", above(100*time.Millisecond)))
}
