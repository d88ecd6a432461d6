//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	alone     = 6 * time.Second  // how long they are measured without the others
	aftermath = 12 * time.Second // and how long after the last new one of the others
	rampRate  = 1_000            // clients that come in a second

	// Hostile clients end when their time is over, so their phases are shorter.
	aloneHostile     = 5 * time.Second
	aftermathHostile = 2 * time.Second
	rampHostile      = 2 * time.Second

	// settlePatience bounds the time until nothing is left of an attack.
	settlePatience = time.Minute
)

// runner runs phases, one after another.
type runner struct {
	programs programs
	host     string  // that servers listen on
	server   *server // nil where there is none
	settings *settings
	separate bool
	start    figures // after the first well-behaved sessions
	rows     []row
	links    link // the number of the last one
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// serve has the phase's server run, warm: the one of the last phase where it is
// the same.
func (r *runner) serve(ctx context.Context, p phase) error {
	binary, args := r.programs.of(p)
	if r.server != nil && !p.hostile() && r.server.is(binary, args) {
		return nil
	}
	r.stop()
	var err error
	if r.server, err = start(binary, r.host, args); err != nil {
		return err
	}
	return r.warm(ctx, p.kind())
}

func (r *runner) stop() {
	if r.server != nil {
		r.server.stop()
		r.server = nil
	}
}

// warm has the server do its work for the first time, so that the start is a
// fair one to come back to.
func (r *runner) warm(ctx context.Context, g good) error {
	say("warming up")
	if _, err := g.run(ctx, r.server, time.Second, nil); err != nil {
		return err
	}
	r.start = figures{}
	_, err := r.settle(ctx)
	if err == nil {
		r.start, err = r.collected(ctx)
	}
	return err
}

// settle waits until the server holds nothing more of its clients.
func (r *runner) settle(ctx context.Context) (figures, error) {
	for end := time.Now().Add(settlePatience); ; {
		f, err := r.server.figures()
		if err != nil || f.sessions == 0 && f.conns == 0 && f.queued == 0 || time.Now().After(end) {
			return f, err
		}
		if !pause(ctx, 250*time.Millisecond) {
			return f, ctx.Err()
		}
	}
}

// collected are the figures of a server that nobody is connected to, with its
// garbage collected twice, which pools need. Descriptors have time to come back:
// the last are closed a turn after their connections' ends, and a process has one
// for something else now and then. One that stays is a leak.
func (r *runner) collected(ctx context.Context) (figures, error) {
	for end := time.Now().Add(settlePatience); ; {
		if _, err := r.server.figures(); err != nil {
			return figures{}, err
		}
		f, err := r.server.figures()
		if err != nil || r.start.descriptors == 0 || f.descriptors <= r.start.descriptors || time.Now().After(end) {
			return f, err
		}
		if !pause(ctx, 250*time.Millisecond) {
			return f, ctx.Err()
		}
	}
}

// phase runs one. What keeps it from its end is wrong, and no matter to the
// next, which has a server of its own then.
func (r *runner) phase(ctx context.Context, p phase) (row, error) {
	w, err := r.measure(ctx, p)
	if ctx.Err() != nil {
		return w, ctx.Err()
	}
	if err != nil {
		w.wrong = append(w.wrong, fmt.Sprintf("it came to no end: %v", err))
		if r.server != nil {
			for _, line := range r.server.trouble() {
				w.wrong = append(w.wrong, "the server complained: "+line)
			}
		}
		r.stop()
	}
	for _, note := range w.notes {
		say("%s: %s", p.name, note)
	}
	for _, wrong := range w.wrong {
		say("%s: WRONG: %s", p.name, wrong)
	}
	return w, nil
}

// measure measures the well-behaved sessions alone, and during the attack.
func (r *runner) measure(ctx context.Context, p phase) (row, error) {
	w := row{phase: p, clients: newTally()}
	if p.vanish > 0 && !r.separate {
		if len(p.crowds) == 0 {
			w.skipped = "it takes root and iproute2, for a network namespace whose link can be taken down"
			return w, nil
		}
		w.phase.vanish = 0
	}
	if err := r.serve(ctx, p); err != nil {
		return w, err
	}
	w.start = r.start
	before, err := r.server.figures()
	if err != nil {
		return w, err
	}
	say("%s: the well-behaved alone", p.name)
	awake := sleeper()
	long := alone
	if p.hostile() {
		long = aloneHostile
	}
	w.alone, err = p.kind().run(ctx, r.server, long, nil)
	w.naps[0] = awake()
	if err != nil {
		return w, err
	}
	if err := r.server.resetPeak(); err != nil {
		return w, err
	}
	resident, err := r.server.usage()
	if err != nil {
		return w, err
	}
	if err := r.besideAttack(ctx, &w); err != nil {
		return w, err
	}
	if w.peak, err = r.server.peak(); err != nil {
		return w, err
	}
	w.grown = max(0, w.peak-resident.RSS)
	began := time.Now()
	if w.after, err = r.settle(ctx); err != nil {
		return w, err
	}
	if p.hostile() {
		w.settled = time.Since(began)
	}
	if w.after, err = r.collected(ctx); err != nil {
		return w, err
	}
	w.closed = w.after.since(before)
	w.judge(r.start, r.server.trouble())
	if p.hostile() {
		w.judgeGoals(r.rows)
		say("%s: hostile clients sent %s in %d sessions; at most %d sessions, %s queued, %s resident more", p.name,
			mib(w.clients.Sent), w.clients.Sessions, w.most.sessions, mib(w.most.queued), mib(w.grown))
	}
	say("%s: p50 %d -> %d us, p99 %d -> %d us (a sleeper's %d -> %d), %d clients, %s", p.name,
		latency(&w.alone, 50), latency(&w.beside, 50), latency(&w.alone, 99), latency(&w.beside, 99), w.naps[0], w.naps[1], w.clients.Clients, w.verdict())
	return w, nil
}

// besideAttack measures the well-behaved from the first moment of the attack to
// the end of its last clients.
func (r *runner) besideAttack(ctx context.Context, w *row) error {
	begun := make(chan struct{})
	attacked := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-begun:
			attacked <- r.attack(ctx, w)
		case <-ctx.Done():
			attacked <- ctx.Err()
		}
	}()
	say("%s: the attack", w.phase.name)
	awake := sleeper()
	long := r.settings.For + aftermath
	if w.phase.hostile() {
		long = r.attackTime(w.phase) + aftermathHostile
	}
	watched := r.watch(w.phase)
	beside, err := w.phase.kind().run(ctx, r.server, long, sync.OnceFunc(func() { close(begun) }))
	w.naps[1] = awake()
	w.most = watched()
	if err != nil {
		cancel()
		return errors.Join(err, <-attacked)
	}
	w.beside = beside
	return <-attacked
}

// attackTime is how long clients are replaced.
func (r *runner) attackTime(p phase) time.Duration {
	if p.hostile() {
		return r.settings.For * 2 / 3
	}
	return r.settings.For
}

// watch looks at the server of hostile clients until it is told to stop, and
// returns the most that it held.
func (r *runner) watch(p phase) (stop func() figures) {
	if !p.hostile() {
		return func() figures { return figures{} }
	}
	over, most := make(chan struct{}), make(chan figures)
	go func() {
		var m figures
		for {
			select {
			case <-over:
				most <- m
				return
			case <-time.After(200 * time.Millisecond):
			}
			if f, err := r.server.figures(); err == nil { // one that is gone is told elsewhere
				m.sessions, m.conns, m.queued = max(m.sessions, f.sessions), max(m.conns, f.conns), max(m.queued, f.queued)
			}
		}
	}()
	return func() figures {
		close(over)
		return <-most
	}
}

// attack returns when the last client has come to its end, as the server sees
// it.
func (r *runner) attack(ctx context.Context, w *row) error {
	tallies := make(chan tally)
	failed := make(chan error)
	size := 0
	for _, c := range w.phase.crowds {
		size += c.size
	}
	long := r.attackTime(w.phase)
	ramp := min(time.Duration(size)*time.Second/rampRate, long*2/3)
	if w.phase.hostile() {
		ramp = min(ramp, rampHostile)
	}
	for _, c := range w.phase.crowds {
		go func() {
			if t, err := r.crowd(ctx, c, long, ramp, w.phase.rate); err != nil {
				failed <- fmt.Errorf("clients of kind %s: %w", c.kind, err)
			} else {
				tallies <- t
			}
		}()
	}
	var gone error
	if w.phase.vanish > 0 {
		gone = r.vanish(ctx, w)
	}
	for range w.phase.crowds {
		select {
		case t := <-tallies:
			w.clients.add(t)
		case err := <-failed:
			gone = errors.Join(gone, err)
		}
	}
	if gone != nil || w.phase.vanish > 0 || w.phase.hostile() {
		return gone // hostile ones have left before the end of their sessions
	}
	began := time.Now()
	err := r.rid(ctx, func(figures) {})
	w.settled = time.Since(began)
	return err
}

// rid waits, bounded, until none but the well-behaved are left, and shows seen
// all that it sees on the way.
func (r *runner) rid(ctx context.Context, seen func(figures)) error {
	for end := time.Now().Add(settlePatience); time.Now().Before(end); {
		f, err := r.server.figures()
		if err != nil {
			return err
		}
		if seen(f); f.sessions <= goodSessions && f.conns <= goodSessions {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
	return nil
}

// crowd runs a process of clients.
func (r *runner) crowd(ctx context.Context, c crowd, long, ramp time.Duration, rate float64) (tally, error) {
	cmd := modestly(ctx, "attack", c.kind, "--addr", r.server.addr, "--size", fmt.Sprint(c.size),
		"--for", long.String(), "--ramp", ramp.String(), "--rate", fmt.Sprint(rate))
	out, err := cmd.Output()
	if err != nil {
		return tally{}, err
	}
	t := newTally()
	return t, json.Unmarshal(out, &t)
}

// vanish runs the clients that vanish, and watches the server find out. While there
// are other clients it cannot tell them apart, and waits for all.
func (r *runner) vanish(ctx context.Context, w *row) error {
	r.links++
	v, err := vanish(ctx, r.server, r.links, w.phase.vanish)
	if err != nil {
		return err
	}
	defer v.stop()
	w.clients.add(v.total)
	say("%s: %d clients have vanished", w.phase.name, v.total.Clients)
	err = r.rid(ctx, func(f figures) {
		if w.vanished == 0 && f.sessions <= goodSessions {
			w.vanished = time.Since(v.since)
		}
	})
	w.settled = time.Since(v.since)
	return err
}
