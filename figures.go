package main

import (
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"turbine/engine"
)

// logFigures logs what the server holds when SIGUSR1 comes, until stop is
// called. While nobody is connected, garbage is collected before, and free memory
// given back: then it holds up nobody, and shows what is really kept.
func logFigures(server *engine.Server) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
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
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

// figures are the attributes of that record. Each reason for which sessions end
// has its number, zero or not.
func figures(stats engine.Stats, heap uint64) []any {
	var closed []any
	for reason := engine.ReasonTransportClose; int(reason) < len(stats.Closed); reason++ {
		closed = append(closed, slog.Int64(strings.ReplaceAll(reason.String(), " ", "_"), stats.Closed[reason]))
	}
	return []any{
		slog.Int("sessions", stats.Sessions), slog.Int("conns", stats.Conns),
		slog.Int64("queued", stats.Queued), slog.Uint64("heap", heap),
		slog.Group("closed", closed...),
	}
}
