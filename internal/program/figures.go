package program

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

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

// figures are the attributes of that record. Each reason for which sessions end,
// and each limit, has its number, zero or not.
func figures(stats engine.Stats, heap uint64) []any {
	var closed []any
	for reason := engine.ReasonTransportClose; int(reason) < len(stats.Closed); reason++ {
		closed = append(closed, slog.Int64(strings.ReplaceAll(reason.String(), " ", "_"), stats.Closed[reason]))
	}
	var limits []any
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
	}
}
