//go:build linux

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"turbine/bench/load"
)

// report is docs/chaos.md.
func (r *runner) report() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Slow and dead peers")
	line("")
	line("For whoever asks what clients that are slow, deaf, vanished, broken or hostile cost the others.")
	line("`make chaos` writes this page.")
	line("")
	line("It starts the program, has %d well-behaved WebSocket sessions echo %d messages of %d bytes a second, each at its own time, and measures them alone and then during each attack, from the attack's first connection to the end of its last.", goodSessions, goodRate, goodSize)
	line("Latency counts from when a message was due.")
	line("The attackers connect at up to %d a second.", rampRate)
	line("They are processes on the same machine that get what nobody else wants of the CPU (`SCHED_IDLE`).%s", r.preference())
	line("")
	line("No well-behaved session may be lost, and no reply be wrong or missing.")
	line("Connections, descriptors and memory have to come back to the start.")
	line("Sessions of slow, deaf, vanished and broken clients have to end for the right reason, each of them.")
	line("Hostile clients may end as they like, but what they make the server hold has a bound.")
	line("If one of these facts is wrong, `make chaos` fails.")
	line("Times are judged where a goal is set, unless the machine was disturbed.")
	line("It was disturbed if the 99th percentile of a sleeper, or of well-behaved sessions alone, was later than %v.", disturbed)
	line("")
	line("Machine: %s.", machine())
	line("The server has short timeouts, so that a phase need not take minutes; a phase's own flags are in its row, and come in the place of these or in addition to them:")
	line("")
	line("```")
	for flags := range slices.Chunk(flags, 8) {
		line("%s", strings.Join(flags, " "))
	}
	line("```")
	line("")
	line("| phase | what | well-behaved sessions | flags |")
	line("|---|---|---|---|")
	for _, row := range r.rows {
		flags := "–"
		if len(row.phase.flags) > 0 {
			flags = "`" + strings.Join(row.phase.flags, " ") + "`"
		}
		if row.phase.busy {
			flags += " of internal/busy, which has no others"
		}
		kind := row.phase.kind()
		line("| %s | %s | %d, %s | %s |", row.phase.name, row.phase.what, kind.sessions, kind.name, flags)
	}
	line("")
	r.latencies(line)
	line("")
	r.heartbeats(line)
	line("")
	r.held(line)
	line("")
	r.remains(line)
	line("")
	r.reasons(line)
	return b.String()
}

// preference says what else is kept from distorting the figures.
func (r *runner) preference() string {
	if r.separate {
		return "\nThe well-behaved sessions have real-time priority, as if they had a machine of their own, which leaves the time that the server and the network take.\nThe kernel keeps at most 256 KiB for a connection (`tcp_wmem`)."
	}
	return ""
}

// latencies is what the well-behaved notice.
func (r *runner) latencies(line func(string, ...any)) {
	line("## What well-behaved sessions notice")
	line("")
	line("The sleeper is a thread that does nothing but wake up every %v.", nap)
	line("Its lateness is the machine's doing, not the server's, and well-behaved sessions cannot be earlier.")
	line("")
	line("| phase | at a time | in all | p50 alone, µs | attacked | ratio | p99 alone, µs | attacked | ratio | sleeper's p99 alone, µs | attacked | lost | server CPU alone | attacked |")
	line("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.rows {
		if w.skipped != "" {
			line("| %s | not run: %s |", w.phase.name, w.skipped)
			continue
		}
		if w.watched() {
			continue
		}
		line("| %s | %d | %d | %s | %s | %d | %d | %d | %s | %s |", w.phase.name, w.clients.Most, w.clients.Clients,
			ratio(&w, 50), ratio(&w, 99), w.naps[0], w.naps[1], w.alone.Lost+w.beside.Lost, share(&w.alone), share(&w.beside))
	}
}

// watched reports whether the well-behaved wait for pings, and have no latency.
func (w *row) watched() bool { return w.phase.good.name == goodIdle.name }

// heartbeats is when pings come.
func (r *runner) heartbeats(line func(string, ...any)) {
	line("## When pings come")
	line("")
	line("%d idle WebSockets expect a ping every %v, and leave when none has come for %v.", watchedSessions, watchedInterval, watchedInterval+watchedTimeout)
	line("Times are between two pings.")
	line("Goal with callbacks of 1 ms: the 99th percentile at most %v late.", lateGoal)
	line("")
	line("| phase | p50 alone, ms | p99 | largest | p50 attacked, ms | p99 | largest | without a ping for too long | lost | sleeper's p99 attacked, µs | server CPU attacked |")
	line("|---|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.rows {
		if w.skipped == "" && w.watched() {
			line("| %s | %s | %s | %d | %d | %d | %s |", w.phase.name, gaps(&w.alone), gaps(&w.beside),
				w.alone.Starved+w.beside.Starved, w.alone.Lost+w.beside.Lost, w.naps[1], share(&w.beside))
		}
	}
}

func gaps(o *load.Outcome) string {
	return fmt.Sprintf("%d | %d | %d", latency(o, 50)/1000, latency(o, 99)/1000, latency(o, 100)/1000)
}

// held is what hostile clients made the server hold.
func (r *runner) held(line func(string, ...any)) {
	line("## What hostile clients make the server hold")
	line("")
	line("Bytes that were sent are those that the server's kernel took.")
	line("What is held is resident memory above that before the attack, at its most, and includes what the server keeps for the next time.")
	line("")
	line("| phase | clients at a time | sent | sessions begun | at a time | queued at most | held at most | goal | bytes held for each hostile byte | and for each hostile session |")
	line("|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.rows {
		if !w.phase.hostile() {
			continue
		}
		line("| %s | %d | %s | %d | %d | %s | %s | %s | %.2f | %d |", w.phase.name, w.clients.Most, mib(w.clients.Sent), w.clients.Sessions, w.most.sessions,
			mib(w.most.queued), mib(w.grown), mib(w.phase.goals.resident), float64(w.grown)/float64(max(w.clients.Sent, 1)), w.grown/max(w.clients.Sessions, 1))
	}
}

func ratio(w *row, quantile float64) string {
	a, b := latency(&w.alone, quantile), latency(&w.beside, quantile)
	return fmt.Sprintf("%d | %d | %.2f", a, b, float64(b)/float64(max(a, 1)))
}

// latency is in microseconds; 0 where nothing came back.
func latency(o *load.Outcome, quantile float64) int64 {
	if o.Latency == nil {
		return 0
	}
	return o.Latency.ValueAtQuantile(quantile)
}

// share is the server's use of one core.
func share(o *load.Outcome) string {
	return fmt.Sprintf("%.0f %%", 100*o.ServerCPU.Seconds()/max(o.Elapsed.Seconds(), 1e-9))
}

// remains is what is left of an attack.
func (r *runner) remains(line func(string, ...any)) {
	line("## What remains")
	line("")
	line("With no session and no connection left and garbage collected, memory may be %s above that at the start: tables and pools keep what they grew to.", mib(tolerance))
	line("Phases without flags of their own share one server.")
	line("Each phase with hostile clients has a new one.")
	line("")
	line("| phase | resident at the start | at most | afterwards | live heap | descriptors at the start | afterwards | until nothing was left | verdict |")
	line("|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.rows {
		if w.skipped != "" {
			continue
		}
		line("| %s | %s | %s | %s | %s | %d | %d | %s | %s |", w.phase.name, mib(w.start.rss), mib(w.peak), mib(w.after.rss), mib(w.after.heap), w.start.descriptors, w.after.descriptors, w.rest(), w.verdict())
	}
	for _, w := range r.rows {
		for _, note := range w.notes {
			line("")
			line("- %s: %s", w.phase.name, note)
		}
		for _, wrong := range w.wrong {
			line("")
			line("- %s: %s", w.phase.name, wrong)
		}
	}
}

// rest is how long the server took to be rid of the clients.
func (w *row) rest() string {
	if len(w.phase.crowds) == 0 {
		return fmt.Sprintf("sessions %s, connections %s after the link's end", seconds(w.vanished), seconds(w.settled))
	}
	if w.phase.vanish > 0 {
		return seconds(w.settled) + " after the link's end"
	}
	return seconds(w.settled) + " after the last client"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// reasons is how everybody ended.
func (r *runner) reasons(line func(string, ...any)) {
	line("## How they ended")
	line("")
	line("Sessions by the reason that the server gives; well-behaved sessions, alone and during the attack, end by themselves.")
	line("Then clients by what they saw.")
	for _, w := range r.rows {
		if w.skipped != "" {
			continue
		}
		line("")
		line("**%s**: sessions %s. Clients: %s.", w.phase.name, list(w.closed), list(w.clients.Ends))
	}
}

func list[N int | int64](counts map[string]N) string {
	if len(counts) == 0 {
		return "none"
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(words, "; ")
}
