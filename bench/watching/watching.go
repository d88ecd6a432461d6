// Package watching measures what it costs a server that its operator watches it: servers
// whose operations listener is off, on and scraped, and, where there is one, of an
// earlier build, are under the same load in turns, next to each other.
package watching

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"turbine/bench/peer"
)

// Options of a measurement. The zero value of each field but Start and Hold is its
// default.
type Options struct {
	Sessions int           // of each server; 0 means 18,000
	Busy     int           // of these, those that echo or poll while the rest are idle; 0 means 100
	Rounds   int           // each with servers of its own; 0 means 6
	Turns    int           // in a round; 0 means 10
	Slice    time.Duration // of load, which a server has in a turn; 0 means a second
	Settle   time.Duration // before memory is looked at; 0 means 30 seconds
	Scrapes  int           // one after another, to know what one costs; 0 means 300
	Before   bool          // there is an earlier build

	// Start starts a server whose operations are at the address ops; "" means nowhere.
	Start func(ctx context.Context, k Kind, ops string) (*peer.Process, error)
	// Hold starts a process that holds idle sessions on addr, and returns when they are
	// open. Its end is that of the sessions.
	Hold     func(ctx context.Context, addr string, sessions int) (end io.Closer, err error)
	Progress func(text string)
}

// Kind is a kind of server.
type Kind int

// The kinds.
const (
	Off    Kind = iota // without an operations listener
	On                 // with one, of which /metrics is asked for each second
	Before             // an earlier build
	numKinds
)

func (k Kind) String() string { return [...]string{"off", "scraped", "before"}[k] }

func (o Options) withDefaults() Options {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&o.Sessions, 18_000)
	set(&o.Busy, 100)
	set(&o.Rounds, 6)
	set(&o.Turns, 10)
	set(&o.Scrapes, 300)
	if o.Slice == 0 {
		o.Slice = time.Second
	}
	if o.Settle == 0 {
		o.Settle = 30 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

func (o Options) kinds() []Kind {
	if o.Before {
		return []Kind{Off, On, Before}
	}
	return []Kind{Off, On}
}

// Result is what was measured.
type Result struct {
	Echo, Poll Cost   // microseconds of server CPU, of an echo and of a poll cycle
	Idle       Cost   // resident bytes of an idle session
	Empty      Cost   // resident bytes of a server without sessions
	Scrape     Scrape // of one, at that many sessions
}

// Cost has the figures of each kind, in the order in which they were measured: those at
// the same place were measured one after another.
type Cost [numKinds][]float64

// Scrape is what one costs.
type Scrape struct {
	Bytes int       // of the page
	CPU   []float64 // milliseconds of the server, by round
	Took  []float64 // milliseconds, each
}

// ErrWrong is returned when a server does not answer as it should.
var ErrWrong = errors.New("watching: the load was not answered as it should be")

// Run measures.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.withDefaults()
	var result Result
	for i := range o.Rounds {
		o.Progress(fmt.Sprintf("round %d of %d", i+1, o.Rounds))
		r := &round{options: o, result: &result}
		err := r.run(ctx)
		if err = errors.Join(err, r.end()); err != nil {
			return result, err
		}
	}
	return result, nil
}
