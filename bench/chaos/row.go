//go:build linux

package main

import (
	"fmt"
	"maps"
	"time"

	"turbine/bench/load"
)

const (
	// disturbed is how late a sleeper's 99th percentile may be where times are
	// judged.
	disturbed = 20 * time.Millisecond
	// tolerance is how much more memory the server may hold after an attack
	// than at the start: what it keeps for the next time, tables above all.
	tolerance = 16 << 20
)

// A row is what a phase came to.
type row struct {
	phase         phase
	skipped       string // why it was not run
	start         figures
	alone, beside load.Outcome
	naps          [2]int64 // how late a sleeper woke meanwhile, without and with the attack, µs
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

// judge compares what happened with what had to.
func (w *row) judge(start figures, trouble []string) {
	wrong := func(format string, args ...any) { w.wrong = append(w.wrong, fmt.Sprintf(format, args...)) }
	sessions := w.phase.kind().sessions
	for when, o := range map[string]*load.Outcome{"alone": &w.alone, "during the attack": &w.beside} {
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
			wrong("a p99 of %v during it instead of at most %v, %v times that of %s", p99, most, g.times, g.twin)
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
