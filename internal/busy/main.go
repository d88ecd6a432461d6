// Busy is a server with applications that the program does not have, since nobody
// would want them: make chaos and make bench measure them.
//
// It is an echo server whose application takes its time: each message costs
// --work of the event loop before it is sent back. Heartbeats of other clients are
// measured next to it. With --updates it publishes that many prices a second to its
// clients instead: what clients that read slowly cost, and how old the prices are
// that they get, is measured with --keyed and without.
//
//	go run ./internal/busy --addr 127.0.0.1:3000 --work 1ms
//	go run ./internal/busy --addr 127.0.0.1:3000 --updates 10000 --keyed
//
// It starts and reports as the program does: a line when it listens, a record of
// figures at SIGUSR1.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"turbine/engine"
	"turbine/loop"

	"github.com/alecthomas/kong"
)

type flags struct {
	Addr         string         `default:"127.0.0.1:3000" help:"TCP address to listen on."`
	Work         time.Duration  `default:"1ms" help:"CPU time that each message costs."`
	Updates      int            `default:"0" help:"Prices that are published, a second; 0 means that messages are sent back."`
	Keys         int            `default:"100" help:"Keys of the prices."`
	Watched      int            `default:"10" help:"Keys whose prices one client gets."`
	Keyed        bool           `help:"A price replaces the one of its key that waits for a client."`
	Unsent       int            `default:"0" help:"Bytes that the kernel takes for a connection beyond those that it has sent (TCP_NOTSENT_LOWAT, Linux); 0 leaves it to the kernel."`
	MaxQueue     int            `default:"0" help:"Limit of what waits for one client, in bytes; 0 means the default of the engine."`
	Loops        int            `default:"0" help:"Number of event loops; 0 means one for each CPU."`
	PingInterval time.Duration  `default:"25s" help:"How often a client is pinged."`
	PingTimeout  time.Duration  `default:"20s" help:"How long the answer to a ping may take."`
	Exempt       []netip.Prefix `help:"Networks whose clients no limit by address holds up."`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("busy"), kong.Description("An Engine.IO echo server whose application takes its time."))
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := run(&f); err != nil {
		fmt.Fprintln(os.Stderr, "busy:", err)
		os.Exit(1)
	}
}

func run(f *flags) error {
	if _, err := loop.RaiseDescriptorLimit(); err != nil {
		return err
	}
	room, err := loop.DefaultMaxConns(f.Loops)
	if err != nil {
		return err
	}
	options := engine.Options{
		Loops: f.Loops, PingInterval: f.PingInterval, PingTimeout: f.PingTimeout, Limits: engine.Limits{Exempt: f.Exempt},
		Timeouts: engine.Timeouts{SlowCallback: -1}, // they are, by intent
		Queue:    engine.Queue{MaxBytes: f.MaxQueue},
	}
	events := engine.Events{Message: func(s *engine.Session, m engine.Message) {
		work(f.Work)
		_ = s.Send(m) // an echo that does not fit closes the session, by Options.Queue.Overflow
	}}
	prices := updates{perSecond: f.Updates, keys: f.Keys, watched: f.Watched, keyed: f.Keyed}
	if f.Updates > 0 {
		prices.options(&options)
		prices.events(&events)
	}
	server, err := engine.New(options, events)
	if err != nil {
		return err
	}
	listener, err := listen(f.Addr, f.Unsent)
	if err != nil {
		return err
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, os.Interrupt, syscall.SIGTERM)
	looks := make(chan os.Signal, 1)
	signal.Notify(looks, syscall.SIGUSR1)
	go func() {
		for range looks {
			report(server)
		}
	}()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if f.Updates > 0 {
		prices.server = server
		publishing, stop := context.WithCancel(context.Background())
		defer stop()
		go prices.run(publishing)
	}
	fmt.Printf("busy: listening on %v with %d loops (room for %d sessions)\n", listener.Addr(), loop.LoopCount(f.Loops), room)
	select {
	case err := <-served:
		return err
	case <-ends:
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = server.Shutdown(ctx) // a client that is late is cut
	if err := <-served; !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	return nil
}

// work keeps the processor busy. Sleeping would leave it to the other clients, and
// their waiting is what is measured.
func work(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		continue
	}
}

// report logs figures in the program's form.
func report(server *engine.Server) {
	stats := server.Stats()
	if stats.Sessions == 0 && stats.Conns == 0 {
		debug.FreeOSMemory()
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	var closed []any
	for reason := engine.ReasonTransportClose; int(reason) < len(stats.Closed); reason++ {
		closed = append(closed, slog.Int64(strings.ReplaceAll(reason.String(), " ", "_"), stats.Closed[reason]))
	}
	slog.Info("figures", "sessions", stats.Sessions, "conns", stats.Conns, "queued", stats.Queued, "heap", memory.HeapAlloc, slog.Group("closed", closed...))
}
