// Pusher tells browsers at once what a job on the server has to say: a cron job,
// a deploy script or a database trigger posts it over HTTP, and everybody who has
// subscribed to its topic gets it.
//
//	PUSHER_TOKEN=$(openssl rand -hex 32) go run ./pusher
//
// It has two ports: one for browsers (Engine.IO), and one for the jobs that push,
// which need not be reachable from outside. README.md has the lines for crontab, curl
// and the page.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"turbine/engine"
)

func main() {
	c := config{token: os.Getenv("PUSHER_TOKEN")}
	flag.StringVar(&c.addr, "addr", "127.0.0.1:3000", "address for browsers; :3000 is also for other machines")
	flag.StringVar(&c.feedAddr, "feed-addr", "127.0.0.1:3001", "address for POST /push and GET /metrics")
	flag.Int64Var(&c.maxBody, "max-body", 64<<10, "limit of a push, in bytes")
	origins := flag.String("origins", "", "origins whose pages may subscribe, with commas: https://example.com")
	flag.DurationVar(&c.drain, "drain", 8*time.Second, "how long clients may take to leave after SIGTERM")
	flag.Parse()
	if *origins != "" {
		c.origins = strings.Split(*origins, ",")
	}
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "pusher:", err)
		os.Exit(1)
	}
}

type config struct {
	addr, feedAddr string
	token          string // what the jobs that push have to know
	maxBody        int64
	origins        []string
	drain          time.Duration
}

func run(c config) error {
	if len(c.token) < 16 {
		return errors.New("set PUSHER_TOKEN to a secret of at least 16 characters, such as the output of: openssl rand -hex 32")
	}
	p, err := newPusher(c)
	if err != nil {
		return err
	}
	clients, err := engine.Listen(c.addr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -addr)", err)
	}
	feed, err := net.Listen("tcp", c.feedAddr)
	if err != nil {
		return fmt.Errorf("%w (is another one running? choose an address with -feed-addr)", err)
	}
	feeder := &http.Server{
		Handler:     p.feed(),
		ReadTimeout: 10 * time.Second, // of a push as a whole: the jobs that push are near
		ErrorLog:    slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	served := make(chan error, 2)
	go func() { served <- p.server.Serve(clients) }()
	go func() { served <- feeder.Serve(feed) }()
	fmt.Printf("pusher: browsers on http://%s, pushes on http://%s/push\n", clients.Addr(), feed.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		stop() // a second signal ends the program at once
	}
	// First the port for pushes, so that what was answered with 202 is queued; then the
	// clients, which get what is queued for them before they are closed.
	ctx, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	if err := errors.Join(feeder.Shutdown(ctx), p.server.Shutdown(ctx)); err != nil {
		slog.Warn("not everybody left in time", "error", err)
	}
	return nil
}
