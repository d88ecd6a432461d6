package watching

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"
)

// round is a server of each kind, side by side.
type round struct {
	options Options
	result  *Result
	servers []*server
}

// server is one of them, with its idle clients.
type server struct {
	kind    Kind
	process *peer.Process
	scraper *scraper  // nil for one that is not watched
	idle    io.Closer // nil before they are open
	empty   int64     // resident bytes before
}

// loopback are addresses that connections come from: one has too few ports.
var loopback = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"}

func (r *round) run(ctx context.Context) error {
	for _, k := range r.options.kinds() {
		if err := r.start(ctx, k); err != nil {
			return err
		}
	}
	if err := r.memory(ctx); err != nil {
		return err
	}
	for turn := range r.options.Turns {
		for i := range r.servers {
			s := r.servers[(turn+i)%len(r.servers)] // none is always behind the same one
			if err := r.load(ctx, s, load.Echo, &r.result.Echo); err != nil {
				return err
			}
			if err := r.load(ctx, s, load.PollCycle, &r.result.Poll); err != nil {
				return err
			}
		}
	}
	for _, s := range r.servers {
		if s.scraper != nil {
			return r.scrapes(ctx, s)
		}
	}
	return nil
}

func (r *round) start(ctx context.Context, k Kind) (err error) {
	s := &server{kind: k}
	address := ""
	if k == On {
		if address, err = freeAddress(); err != nil {
			return err
		}
	}
	if s.process, err = r.options.Start(ctx, k, address); err != nil {
		return err
	}
	r.servers = append(r.servers, s)
	if k == On {
		s.scraper = startScraper("http://" + address + "/metrics")
	}
	return nil
}

// memory lets the servers settle, fills them and lets them settle again.
func (r *round) memory(ctx context.Context) error {
	if err := pause(ctx, r.options.Settle/3); err != nil {
		return err
	}
	for _, s := range r.servers {
		u, err := s.process.Usage()
		if err != nil {
			return err
		}
		s.empty = u.RSS
		r.result.Empty[s.kind] = append(r.result.Empty[s.kind], float64(u.RSS))
	}
	idle := r.options.Sessions - r.options.Busy
	for _, s := range r.servers {
		var err error
		if s.idle, err = r.options.Hold(ctx, s.process.Addr, idle); err != nil {
			return err
		}
	}
	if err := pause(ctx, r.options.Settle); err != nil {
		return err
	}
	for _, s := range r.servers {
		u, err := s.process.Usage()
		if err != nil {
			return err
		}
		r.result.Idle[s.kind] = append(r.result.Idle[s.kind], float64(u.RSS-s.empty)/float64(idle))
	}
	return nil
}

// load lets some clients have the server for a slice.
func (r *round) load(ctx context.Context, s *server, kind load.Kind, cost *Cost) error {
	outcome, err := load.Run(ctx, load.Plan{
		Kind: kind, Addr: s.process.Addr, Path: "/engine.io/", Sessions: r.options.Busy, InFlight: 1, Size: 128,
		LocalHosts: loopback, WarmUp: r.options.Slice / 10, Duration: r.options.Slice, Server: s.process.Usage,
	})
	if err != nil {
		return err
	}
	if outcome.Lost > 0 || outcome.Wrong > 0 || len(outcome.Faults) > 0 || outcome.Operations == 0 {
		return fmt.Errorf("%w by the server that is %v: %d lost, %d wrong, %v", ErrWrong, s.kind, outcome.Lost, outcome.Wrong, outcome.Faults)
	}
	cost[s.kind] = append(cost[s.kind], float64(outcome.ServerCPU.Nanoseconds())/1000/float64(outcome.Operations))
	return nil
}

// scrapes asks for the page again and again. What heartbeats cost meanwhile is taken off.
func (r *round) scrapes(ctx context.Context, s *server) error {
	s.scraper.stop()
	quiet, err := spent(s, func() error { return pause(ctx, r.options.Slice) })
	if err != nil {
		return err
	}
	began := time.Now()
	cpu, err := spent(s, func() error {
		for range r.options.Scrapes {
			at := time.Now()
			n, err := s.scraper.scrape(ctx)
			if err != nil {
				return err
			}
			r.result.Scrape.Bytes = n
			r.result.Scrape.Took = append(r.result.Scrape.Took, time.Since(at).Seconds()*1000)
		}
		return nil
	})
	if err != nil {
		return err
	}
	heartbeats := time.Duration(float64(quiet) * time.Since(began).Seconds() / r.options.Slice.Seconds())
	r.result.Scrape.CPU = append(r.result.Scrape.CPU, ((cpu-heartbeats)/time.Duration(r.options.Scrapes)).Seconds()*1000)
	return nil
}

// spent is the server's CPU time while f runs.
func spent(s *server, f func() error) (time.Duration, error) {
	before, err := s.process.Usage()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := s.process.Usage()
	return after.CPU - before.CPU, err
}

// end ends all that was started, and reports whether each scrape had its page.
func (r *round) end() (err error) {
	for _, s := range r.servers {
		if s.scraper != nil {
			s.scraper.stop()
			err = errors.Join(err, s.scraper.err)
		}
		if s.idle != nil {
			err = errors.Join(err, s.idle.Close())
		}
		err = errors.Join(err, s.process.Stop())
	}
	return err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
