//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// outcome is how one client ended, in words, and the reason for which its
// session has to end, "" where it had none.
type outcome struct{ end, reason string }

// A client is one misbehaving client, from its first connection to the end of
// its last. n numbers it. An error is a fault of the server.
type client func(t target, n int) (outcome, error)

// clients are the kinds, by name. Each makes one of something.
var clients = map[string]client{
	"heads":     slowHead,
	"bodies":    slowBody,
	"frames":    slowFrame,
	"fragments": slowFragments,
	"sockets":   deafSocket,
	"polls":     deafPolls,
	"cuts":      cutClient,
}

// A tally is what clients came to.
type tally struct {
	Clients int            // that were there from beginning to end
	Most    int            // at a time
	Ends    map[string]int // clients, by how they ended
	Reasons map[string]int // sessions, by the reason that the server has to have
	Faults  []string       // the first few
	// Of hostile clients: bytes that they sent, sessions that began for them.
	Sent, Sessions int64
	Wrong          int // faults in all
}

const maxFaults = 5

func (t *tally) count(o outcome, err error) {
	t.Clients++
	if err != nil {
		t.fault(err.Error())
		return
	}
	t.Ends[o.end]++
	if o.reason != "" {
		t.Reasons[o.reason]++
	}
}

func (t *tally) fault(text string) {
	t.Wrong++
	if len(t.Faults) < maxFaults && !slices.Contains(t.Faults, text) {
		t.Faults = append(t.Faults, text)
	}
}

// add adds what others came to.
func (t *tally) add(o tally) {
	t.Clients += o.Clients
	t.Most += o.Most
	t.Wrong += o.Wrong
	t.Sent += o.Sent
	t.Sessions += o.Sessions
	t.Faults = append(t.Faults, o.Faults...)
	sum(t.Ends, o.Ends)
	sum(t.Reasons, o.Reasons)
}

func sum[K comparable, N int | int64](to, from map[K]N) {
	for k, n := range from {
		to[k] += n
	}
}

func newTally() tally { return tally{Ends: map[string]int{}, Reasons: map[string]int{}} }

// attackCommand is a process of misbehaving clients.
type attackCommand struct {
	Kind string        `arg:""`
	Addr string        `required:""`
	Size int           `required:""` // clients at a time
	For  time.Duration `required:""` // then those that end are not replaced
	Ramp time.Duration `required:""` // until all are there
	Rate float64       // of hostile clients, bytes a second of all; 0 for as many as they can
}

// cycle is the least time between two clients in one place.
const cycle = time.Second

// Run prints a tally.
func (a *attackCommand) Run(ctx context.Context) error {
	var total tally
	if run, ok := clients[a.Kind]; ok {
		total = a.crowd(ctx, run)
	} else if run, ok := hostiles[a.Kind]; ok {
		total = a.mob(ctx, run)
	} else {
		return fmt.Errorf("no kind %q; there are %v and %v", a.Kind, slices.Sorted(maps.Keys(clients)), slices.Sorted(maps.Keys(hostiles)))
	}
	return json.NewEncoder(os.Stdout).Encode(total)
}

// crowd keeps Size clients going. Each stays until the server ends it.
func (a *attackCommand) crowd(ctx context.Context, run client) tally {
	var mu sync.Mutex
	total, there := newTally(), 0
	var all sync.WaitGroup
	until := time.Now().Add(a.For)
	for place := range a.Size {
		all.Go(func() {
			next := time.Duration(place) * a.Ramp / time.Duration(a.Size)
			for n := place; pause(ctx, next) && time.Now().Before(until); n += a.Size {
				began := time.Now()
				mu.Lock()
				there++
				total.Most = max(total.Most, there)
				mu.Unlock()
				o, err := run(target(a.Addr), n)
				mu.Lock()
				there--
				total.count(o, err)
				mu.Unlock()
				next = cycle - time.Since(began)
			}
		})
	}
	all.Wait()
	return total
}

// pause waits, and reports whether to continue.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
