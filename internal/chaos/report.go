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
	line("What clients that are slow, deaf, vanished or broken cost the others. `make chaos` starts the program, has %d well-behaved", goodSessions)
	line("WebSocket sessions echo %d messages of %d bytes a second, each at its own time, and measures them alone and then beside each", goodRate, goodSize)
	line("attack, from its first connection to the end of its last. Latency counts from when a message was due. The attackers, who come at up")
	line("to %d a second, are processes on the same machine that get what nobody else wants of the CPU (`SCHED_IDLE`)%s.", rampRate, r.preference())
	line("Sessions have to end for the right reason, each of them; connections, descriptors and memory have to come back to the start: if")
	line("not, `make chaos` fails. Times are shown, not judged.")
	line("")
	line("This page is written by it. Machine: %s. The server, with short timeouts so that a phase need not take minutes:", machine())
	line("")
	line("```")
	for flags := range slices.Chunk(flags, 8) {
		line("%s", strings.Join(flags, " "))
	}
	line("```")
	line("")
	line("| phase | what |")
	line("|---|---|")
	for _, row := range r.rows {
		line("| %s | %s |", row.phase.name, row.phase.what)
	}
	line("")
	r.latencies(line)
	line("")
	r.remains(line)
	line("")
	r.reasons(line)
	return b.String()
}

// preference says who else is kept from distorting the figures.
func (r *runner) preference() string {
	if r.separate {
		return ";\nthe well-behaved have real-time priority, as if they had a machine of their own, which leaves the time that the server and\nthe network take; the kernel keeps at most 256 KiB for a connection (`tcp_wmem`)"
	}
	return ""
}

// latencies is what the well-behaved notice.
func (r *runner) latencies(line func(string, ...any)) {
	line("## What the well-behaved notice")
	line("")
	line("The sleeper is a thread that does nothing but wake up every %v. How late it is is the machine's doing, not the server's, and the", nap)
	line("well-behaved cannot be earlier.")
	line("")
	line("| phase | at a time | in all | p50 alone, µs | beside | ratio | p99 alone, µs | beside | ratio | sleeper's p99 alone, µs | beside | lost | server CPU alone | beside |")
	line("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, w := range r.rows {
		if w.skipped != "" {
			line("| %s | not run: %s |", w.phase.name, w.skipped)
			continue
		}
		line("| %s | %d | %d | %s | %s | %d | %d | %d | %s | %s |", w.phase.name, w.clients.Most, w.clients.Clients,
			ratio(&w, 50), ratio(&w, 99), w.naps[0], w.naps[1], w.alone.Lost+w.beside.Lost, share(&w.alone), share(&w.beside))
	}
}

func ratio(w *row, quantile float64) string {
	a, b := latency(&w.alone, quantile), latency(&w.beside, quantile)
	return fmt.Sprintf("%d | %d | %.2f", a, b, float64(b)/float64(a))
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
	return fmt.Sprintf("%.0f %%", 100*o.ServerCPU.Seconds()/o.Elapsed.Seconds())
}

// remains is what is left of an attack.
func (r *runner) remains(line func(string, ...any)) {
	line("## What remains")
	line("")
	line("At the start: %s resident, %s of live heap, %d descriptors. Afterwards, with no session and no connection left and garbage", mib(r.start.rss), mib(r.start.heap), r.start.descriptors)
	line("collected, memory may be %s above that: tables and pools keep what they grew to.", mib(tolerance))
	line("")
	line("| phase | resident at most | afterwards | live heap | descriptors | until nothing was left | verdict |")
	line("|---|---|---|---|---|---|---|")
	for _, w := range r.rows {
		if w.skipped != "" {
			continue
		}
		line("| %s | %s | %s | %s | %d | %s | %s |", w.phase.name, mib(w.peak), mib(w.after.rss), mib(w.after.heap), w.after.descriptors, w.rest(), w.verdict())
	}
	for _, w := range r.rows {
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
	line("Sessions by the reason that the server gives; the well-behaved, twice %d in each phase, end by a reset. Then clients by what they saw.", goodSessions)
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
