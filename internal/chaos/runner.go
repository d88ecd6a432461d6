//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"turbine/bench/load"
)

const (
	alone     = 6 * time.Second  // how long they are measured without the others
	aftermath = 12 * time.Second // and how long after the last new one of the others
	rampRate  = 1_000            // clients that come in a second

	// Hostile clients end when their time is over, so their phases are shorter.
	aloneHostile     = 5 * time.Second
	aftermathHostile = 2 * time.Second
	rampHostile      = 2 * time.Second

	// disturbed is how late a sleeper's 99th percentile may be where times are
	// judged.
	disturbed = 20 * time.Millisecond

	// settlePatience bounds the time until nothing is left of an attack.
	settlePatience = time.Minute
	// tolerance is how much more memory the server may hold after an attack
	// than at the start: what it keeps for the next time, tables above all.
	tolerance = 16 << 20
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

// A row is what a phase came to.
type row struct {
	phase         phase
	skipped       string // why it was not run
	start         figures
	alone, beside load.Outcome
	naps          [2]int64 // how late a sleeper woke meanwhile, alone and beside, µs
	clients       tally
	closed        map[string]int64 // sessions that ended, by reason
	expected      map[string]int64
	peak          int64   // resident memory, bytes
	grown         int64   // of it, what came with the attack
	most          figures // sessions, connections and queued bytes at a time, each at most
	notes         []string
	after         figures
	settled       time.Duration // from the end of the last client, or of its link, until nothing was left
	vanished      time.Duration // from the link's end until no session was left; 0 for none
	wrong         []string
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

// measure measures the well-behaved alone, and beside the attack.
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

// vanish runs the clients that vanish, and watches the server find out. Beside
// other clients it cannot tell them apart, and waits for all.
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

// judge compares what happened with what had to.
func (w *row) judge(start figures, trouble []string) {
	wrong := func(format string, args ...any) { w.wrong = append(w.wrong, fmt.Sprintf(format, args...)) }
	sessions := w.phase.kind().sessions
	for when, o := range map[string]*load.Outcome{"alone": &w.alone, "beside the attack": &w.beside} {
		if o.Lost > 0 || o.Wrong > 0 || o.Retries > 0 || o.Starved > 0 || o.Opened != sessions {
			wrong("well-behaved sessions, %s: %d of %d opened, %d lost, %d without a ping for longer than a client waits, %d replies wrong or missing: %v",
				when, o.Opened, sessions, o.Lost, o.Starved, o.Wrong, o.Faults[:min(len(o.Faults), 3)])
		}
	}
	if w.clients.Wrong > 0 {
		wrong("%d of %d clients were treated wrongly: %v", w.clients.Wrong, w.clients.Clients, w.clients.Faults)
	}
	// The load generator ends its sessions by a reset.
	w.expected = map[string]int64{transportClose: int64(w.alone.Opened + w.beside.Opened)}
	for reason, n := range w.clients.Reasons {
		w.expected[reason] += int64(n)
	}
	w.settleReasons()
	if !w.phase.hostile() && !maps.Equal(w.closed, w.expected) {
		wrong("sessions ended %v instead of %v", w.closed, w.expected)
	}
	if f := w.after; f.sessions > 0 || f.conns > 0 || f.queued > 0 {
		wrong("%v later there are %d sessions, %d connections and %d queued bytes", settlePatience, f.sessions, f.conns, f.queued)
	}
	if w.after.descriptors > start.descriptors {
		wrong("%d descriptors instead of %d", w.after.descriptors, start.descriptors)
	}
	if w.after.rss > start.rss+tolerance {
		wrong("%s of memory instead of %s", mib(w.after.rss), mib(start.rss))
	}
	for _, line := range trouble {
		wrong("the server complained: %s", line)
	}
}

// judgeGoals compares what hostile clients came to with what they may. Times
// are judged where the machine was not disturbed.
func (w *row) judgeGoals(rows []row) {
	g := w.phase.goals
	wrong := func(format string, args ...any) { w.wrong = append(w.wrong, fmt.Sprintf(format, args...)) }
	if g.resident > 0 && w.grown > g.resident {
		wrong("%s of memory more for %s that were sent, instead of at most %s", mib(w.grown), mib(w.clients.Sent), mib(g.resident))
	}
	if g.sessions > 0 && w.most.sessions > g.sessions {
		wrong("%d sessions at a time instead of at most %d", w.most.sessions, g.sessions)
	}
	if g.late == 0 && g.twin == "" {
		return
	}
	if what := w.disturbance(); what != "" {
		w.notes = append(w.notes, "times are not judged, the machine was disturbed: "+what)
		return
	}
	p99 := time.Duration(latency(&w.beside, 99)) * time.Microsecond
	if late := p99 - watchedInterval; g.late > 0 && late > g.late {
		wrong("the 99th percentile of pings is late by %v instead of at most %v", late, g.late)
	}
	for _, twin := range rows {
		if twin.phase.name != g.twin {
			continue
		}
		if most := time.Duration(g.times*float64(latency(&twin.beside, 99))) * time.Microsecond; p99 > most {
			wrong("a p99 of %v beside it instead of at most %v, %v times that of %s", p99, most, g.times, g.twin)
		}
	}
}

// disturbance says what shows that others kept the machine busy, "" for nothing:
// a sleeper's lateness, or that of the well-behaved while they were alone.
func (w *row) disturbance() string {
	if late := time.Duration(max(w.naps[0], w.naps[1])) * time.Microsecond; late > disturbed {
		return fmt.Sprintf("a sleeper's p99 is late by %v", late)
	}
	most := disturbed
	if w.watched() {
		most = watchedInterval + lateGoal/2 // with the rounding of a timer, and the way there and back
	}
	if p99 := time.Duration(latency(&w.alone, 99)) * time.Microsecond; p99 > most {
		return fmt.Sprintf("the well-behaved alone have a p99 of %v", p99)
	}
	return ""
}

// settleReasons decides on the sessions that may have ended for one of two
// reasons.
func (w *row) settleReasons() {
	deaf, crowded := w.expected[deafReason], w.expected[crowdedReason]
	over := int64(0)
	if deaf > 0 {
		late := min(max(w.closed[pingTimeout]-w.expected[pingTimeout], 0), deaf)
		w.expected[pingTimeout] += late
		w.expected[queueOverflow] += deaf - late
		over = min(max(w.closed[queueOverflow]-w.expected[queueOverflow], 0), crowded)
	}
	w.expected[queueOverflow] += over
	w.expected[transportClose] += crowded - over
	maps.DeleteFunc(w.expected, func(reason string, n int64) bool {
		return reason == deafReason || reason == crowdedReason || n == 0
	})
}

func (w *row) verdict() string {
	if len(w.wrong) == 0 {
		return "all as it should be"
	}
	return fmt.Sprintf("%d things wrong", len(w.wrong))
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
