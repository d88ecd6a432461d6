// Prices shows a market's trades on a page, also on a phone that is slow: a page that
// falls behind gets the newest price of each symbol, and all that was traded, in one
// message for each symbol, instead of a queue that grows.
//
//	go run ./prices
//
// Then open http://localhost:3000.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"turbine/engine"
)

// The page, with the browser build of the official client, engine.io-client
// 6.6.8 as npm has it (MIT, engine.io.LICENSE next to it).
//
//go:embed page
var files embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:3000", "address of the page and the prices; :3000 is for other machines, too")
	rate := flag.Int("rate", 200, "trades a second")
	drain := flag.Duration("drain", 8*time.Second, "how long pages may take to leave after SIGTERM")
	flag.Parse()
	if err := run(*addr, *rate, *drain); err != nil {
		fmt.Fprintln(os.Stderr, "prices:", err)
		os.Exit(1)
	}
}

func run(addr string, rate int, drain time.Duration) error {
	if rate < 1 || rate > 100_000 {
		return errors.New("-rate is 1 to 100000 trades a second")
	}
	m := newMarket()
	server, err := engine.New(options(), m.events())
	if err != nil {
		return err
	}
	m.server = server
	listener, err := engine.Listen(addr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -addr)", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	go m.open(ctx, rate)
	fmt.Printf("prices: open http://%s on a slow phone\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		stop() // a second signal ends the program at once
	}
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		slog.Warn("not everybody left in time", "error", err)
	}
	if err := <-served; !errors.Is(err, engine.ErrServerClosed) {
		return err
	}
	return nil
}

func options() engine.Options {
	root, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // the folder is there, or this does not compile
	}
	return engine.Options{
		Fallback:   http.FileServerFS(root),
		MaxPayload: 1024, // pages have nothing to say
		// A page that reads nothing has a message for each key waiting, and no more.
		Queue: engine.Queue{MaxPackets: 2 * (len(symbols) + 1)},
	}
}

func (m *market) events() engine.Events { return engine.Events{Open: m.enter, Close: m.leave} }

// open trades until ctx ends.
func (m *market) open(ctx context.Context, rate int) {
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.trade()
		}
	}
}
