package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func (r *Report) latency() section {
	s := section{
		title: "Latency at 20,000 messages a second, counted from when each was due",
		table: [][]string{{"peer", "p50 µs", "p99 µs", "p99.9 µs", "server cores"}},
		chart: "latency",
	}
	for _, p := range r.Peers {
		c := r.Cell("rate-20k", p.Name)
		if c == nil {
			continue
		}
		s.table = append(s.table, []string{p.Name + c.marks(), spread(c, Median), spread(c, Tail), spread(c, FarTail), number(c.Median(Cores))})
	}
	return s
}

// spread is the figure's median, with the least and the largest round.
func spread(c *Cell, f Figure) string {
	if s := c.span(f); s.least < s.most {
		return fmt.Sprintf("%s (%s–%s)", f.show(s.median), f.show(s.least), f.show(s.most))
	}
	return f.show(c.Median(f))
}

// rss is the memory of all sessions of a run.
func rss(s Sample) float64 { return float64(s.RSS) }

func (r *Report) memory() section {
	s := section{
		title: "Memory of idle sessions: resident bytes of the server a session, and CPU to open one",
		text:  []string{"Kernel memory is not in it. Servers had all cores here."},
		table: [][]string{{"peer", "sessions", "opened directly, bytes", "µs of CPU", "upgraded, bytes", "µs of CPU"}},
		chart: "memory",
	}
	for _, p := range r.Peers {
		direct, upgraded := r.Cell("idle-ws", p.Name), r.Cell("idle-upgraded", p.Name)
		if direct == nil {
			continue
		}
		row := []string{p.Name, number(float64(direct.Samples[0].Sessions)), number(direct.Median(Bytes)) + direct.marks(), number(direct.Median(OpenTime)), "–", "–"}
		if upgraded != nil {
			row[4], row[5] = number(upgraded.Median(Bytes))+upgraded.marks(), number(upgraded.Median(OpenTime))
		}
		s.table = append(s.table, row)
	}
	return s
}

func (r *Report) heartbeats() section {
	return section{
		title: "Heartbeats: server CPU of a ping and its pong, 5,000 sessions, one each second",
		table: r.columns("heartbeat", []string{"µs of CPU", "cores"}, []Figure{CPUTime, Cores}),
	}
}

// pings is when they come.
func (r *Report) pings() section {
	ids := []string{"beats-plain", "beats-flood", "beats-busy"}
	s := section{
		title: "Pings under load: 500 idle sessions, a ping every 2 seconds, a client that leaves after 4 without one",
		text: []string{"Time between two pings: the 99th percentile and the largest, in milliseconds, and how many of the clients would have left. Beside them, on the same core, " +
			"100 sessions echo 128 B, one in flight; 200 have 2,048 frames of 8 bytes in flight each; 100 echo 128 B with an application that computes for 1 ms before it answers. " +
			"Raw servers have no heartbeats. Threads of an operating system or a language's scheduler share the core where the server has them; on an event loop the callback has it alone."},
		table: [][]string{{"peer", "plain: p99", "largest", "would leave", "flood: p99", "largest", "would leave", "1 ms callbacks: p99", "largest", "would leave"}},
	}
	for _, p := range r.Peers {
		row, any := []string{p.Name}, false
		for _, id := range ids {
			c := r.Cell(id, p.Name)
			if c == nil || c.Samples[0].Most == 0 {
				row = append(row, "–", "–", "–")
				continue
			}
			any = true
			most := func(s Sample) float64 { return s.Most / 1e3 }
			starved := func(s Sample) float64 { return float64(s.Starved) }
			row = append(row, number(c.Median(Tail)/1e3)+c.marks(), number(c.middle(most)), number(c.middle(starved)))
		}
		if any {
			s.table = append(s.table, row)
		}
	}
	if len(s.table) == 1 {
		s.text = nil
	}
	return s
}

func (r *Report) crowds() section {
	s := section{
		title: "Crowds: 10,000 sessions connect at once; are cut and come back at once",
		table: [][]string{{"peer", "connect, thousand/s", "p99 ms", "come back, thousand/s", "last one back, ms"}},
	}
	for _, p := range r.Peers {
		connect, storm := r.Cell("connect", p.Name), r.Cell("storm", p.Name)
		if connect == nil || storm == nil {
			continue
		}
		s.table = append(s.table, []string{p.Name + storm.marks(), Wall.show(connect.Median(Wall)), number(connect.Median(Tail) / 1000),
			Wall.show(storm.Median(Wall)), number(storm.middle(func(s Sample) float64 { return float64(s.Elapsed.Milliseconds()) }))})
	}
	return s
}

func (r *Report) slow() section {
	s := section{
		title: "Slow readers: 100 sessions echo, alone and beside 50 that send and never read",
		table: [][]string{{"peer", "alone: thousand/s", "p99 µs", "beside: thousand/s", "p99 µs", "memory of the server, MiB more"}},
	}
	for _, p := range r.Peers {
		alone, beside := r.Cell("slow-none", p.Name), r.Cell("slow-readers", p.Name)
		if alone == nil || beside == nil {
			continue
		}
		s.table = append(s.table, []string{p.Name + beside.marks(), Wall.show(alone.Median(Wall)), number(alone.Median(Tail)),
			Wall.show(beside.Median(Wall)), number(beside.Median(Tail)), number(beside.middle(rss) / (1 << 20))})
	}
	return s
}

// prices are what slow readers get of values that are replaced by newer ones.
func (r *Report) prices() section {
	s := section{
		title: "Prices for slow readers: memory, and age of what is received",
		text: []string{
			"1,000 clients read 4,000 bytes a second each, over connections as of Ethernet. Each watches 10 of 100 keys. The application is to publish 10,000 prices of 128 B a second, so each client is to get 1,000 a second and can read about 30. " +
				"At most 512 KiB wait for one client, and what does not fit is dropped. With a key (SendOptions.Key) a price replaces the one of its key that waits. " +
				"Age is the time from the making of a price to its arrival, of all that were received from the third second to the tenth; without keys it grows on, to what the 512 KiB take to read.",
			"What the kernel has cannot be replaced. In the first two rows it takes at most 4 KiB more than it has sent (TCP_NOTSENT_LOWAT), in the last row as much as it likes. " +
				"The publisher waits for the event loop: where the processor has no time for 10,000 a second, fewer are made, as the first column says.",
			"Only this server is measured: none of the peers has anything of the kind.",
		},
		table: [][]string{{"", "made a second", "memory of the server, MiB more", "age p50, ms", "p99, ms"}},
	}
	for _, row := range []struct{ id, name string }{{"prices", "without keys"}, {"prices-keyed", "with keys"}, {"prices-kernel", "with keys, the kernel not bounded"}} {
		if c := r.Cell(row.id, Ours); c != nil {
			made := c.middle(func(s Sample) float64 { return s.Offered })
			s.table = append(s.table, []string{row.name + c.marks(), number(made), number(c.middle(rss) / (1 << 20)), number(c.Median(Median) / 1e3), number(c.Median(Tail) / 1e3)})
		}
	}
	if len(s.table) == 1 {
		s.text = nil
	}
	return s
}

func (r *Report) scale() section {
	s := section{
		title: "Cost against the number of sessions (heartbeats every 5 seconds)",
		table: [][]string{{"peer", "sessions", "MiB", "bytes a session", "cores", "µs of CPU a heartbeat"}},
		chart: "scale",
	}
	for _, p := range r.Peers {
		for _, id := range []string{"scale-1k", "scale-5k", "scale-18k"} {
			if c := r.Cell(id, p.Name); c != nil {
				s.table = append(s.table, []string{p.Name + c.marks(), number(float64(c.Samples[0].Sessions)), number(c.middle(rss) / (1 << 20)),
					number(c.Median(Bytes)), number(c.Median(SessionCPU)), number(c.Median(CPUTime))})
			}
		}
	}
	return s
}

// mountings is what each way to have this server costs.
func (r *Report) mountings() section {
	s := section{
		title: "Mountings: this server in a program, behind a proxy, with TLS",
		text: []string{"128 B, 100 sessions, one message in flight; thousand a second of CPU, of the server and of the proxy in front of it " +
			"together, as is their memory. Ratios are to its own listener, in the same run. Only the program has the compiler's profile: the net/http server has none, nor has own-no-profile where it was measured."},
		table: [][]string{{"mounting", "what", "WebSocket echo", "of own", "polling", "of own", "bytes an idle WebSocket session", "µs of CPU to open it", "proxy"}},
	}
	for _, p := range r.Mounts {
		echo, poll, idle := r.Cell("mount-echo", p.Name), r.Cell("mount-poll", p.Name), r.Cell("mount-idle", p.Name)
		if echo == nil || poll == nil || idle == nil {
			continue
		}
		proxy := "–"
		if !strings.HasPrefix(p.Version, Ours) {
			proxy = p.Version
		}
		s.table = append(s.table, []string{p.Name + echo.marks(), p.What,
			PerCPU.show(echo.Median(PerCPU)), r.ofOwn(echo), PerCPU.show(poll.Median(PerCPU)), r.ofOwn(poll),
			number(idle.Median(Bytes)) + idle.marks(), number(idle.Median(OpenTime)), proxy})
	}
	if len(s.table) == 1 {
		s.text = nil
	}
	return s
}

// ofOwn compares with the server's own listener.
func (r *Report) ofOwn(c *Cell) string {
	own := r.Cell(c.Scenario, "own")
	if own == nil || own.Median(PerCPU) == 0 {
		return "–"
	}
	if c.Peer == own.Peer {
		return "–"
	}
	ratio, _ := ratios(c, own, PerCPU)
	return ratio.show()
}

func (r *Report) simulated() section {
	s := section{
		title: "Simulated sessions: one process, the engine and real frames, no sockets",
		text: []string{"The heap is the server's alone. CPU is that of the process, simulated clients included. " +
			"A heartbeat has no price of its own here, since messages and the application's garbage use the same process. " +
			"Lateness is how long after it was due a ping left."},
		table: [][]string{{"sessions", "heap bytes a session", "objects", "heartbeats", "cores", "collector, % of a core", "latest ping, ms", "p99, ms", "lost", "GOGC", "for"}},
		chart: "simulated",
	}
	for _, m := range r.Sim {
		s.table = append(s.table, []string{number(float64(m.Sessions)), number(m.HeapBytes), number(m.HeapObjects), number(float64(m.Heartbeats)),
			number(m.CPU), number(100 * m.GC), number(float64(m.LatestPing.Microseconds()) / 1e3),
			number(float64(m.P99Ping.Microseconds()) / 1e3), number(float64(m.Lost)), fmt.Sprint(m.GOGC), m.Elapsed.Round(time.Second).String()})
	}
	if len(s.table) == 1 {
		s.text = nil
	}
	return s
}

func (r *Report) real() section {
	s := section{
		title: "Real TCP sessions on one machine",
		table: [][]string{{"sessions", "held", "lost", "heartbeats", "server bytes a session", "kernel bytes a session, both ends", "server cores", "client cores", "opened in"}},
	}
	m := r.Million
	if m == nil {
		return s
	}
	s.text = []string{fmt.Sprintf("%d server and %d client processes, since a process may have %d descriptors here.", m.Processes, m.Clients, r.Machine.Descriptors)}
	s.table = append(s.table, []string{number(float64(m.Sessions)), m.Held.Round(time.Second).String(), number(float64(m.Lost)), number(float64(m.Heartbeats)), number(m.UserBytes), number(m.KernelBytes),
		number(m.ServerCPU), number(m.ClientCPU), m.Opening.Round(time.Second).String()})
	return s
}

func (r *Report) faults() section {
	s := section{title: "What went wrong"}
	for _, c := range r.Cells {
		wrong, lost, starved, fault := int64(0), 0, 0, ""
		for _, x := range c.Samples {
			wrong, lost, starved = wrong+x.Wrong, lost+x.Lost, starved+x.Starved
			if fault == "" && len(x.Faults) > 0 {
				fault = x.Faults[0]
			}
		}
		unpinged := ""
		if starved > 0 {
			unpinged = fmt.Sprintf(", %d without a ping for too long", starved)
		}
		if wrong > 0 || lost > 0 || starved > 0 {
			s.list = append(s.list, fmt.Sprintf("%s, %s: %d wrong or missing replies, %d sessions lost%s; first: %s", c.Scenario, c.Peer, wrong, lost, unpinged, fault))
		}
	}
	s.list = append(s.list, r.Remarks...)
	return s
}

// rounds is the largest number of rounds that a scenario had.
func (r *Report) rounds() (n int) {
	for _, c := range r.Cells {
		n = max(n, len(c.Samples))
	}
	return n
}

func (r *Report) method() section {
	s := section{title: "How", list: []string{
		"One server at a time is under load, pinned to one core; the load generator is pinned to another. Figures of throughput are operations divided by the CPU time of the server process: what others do on the machine slows the clock more than that.",
		fmt.Sprintf("Within a scenario the peers take turns, in another order each round; there are %d rounds unless said otherwise. ", r.rounds()) +
			"All figures are medians over the rounds, of throughput and of latency, with the least and the largest round in brackets; no best round is shown. Scenarios of memory, pings, crowds, prices and scale run once.",
		"A ratio compares two medians. Its spread is the least and the largest ratio within one round. \"yes\" and \"short\" are said where the goal is outside the spread, \"equal\" where it is inside; elsewhere a ratio whose spread contains 1 is \"equal\".",
		fmt.Sprintf("§ is disturbed: in half of the rounds or more, server and load generator were both below %.0f %% of a core in a closed loop, or other virtual machines had more than %.0f %% of the time of the CPUs (steal), or other processes had more than %.0f %%; or the largest round is more than %.0f times the least. A row with such a figure has no verdict on its peers. From %.0f %% of the measurements on, no row has one.",
			100*fullCore, 100*mostSteal, 100*mostOthers, mostSpread, 100*mostCells),
		"Memory of sessions is the server's resident memory with all sessions open, less what it had before the first one: that of the empty server is not in it.",
		"A dash is what a server cannot do, or was not asked: raw servers have no polling, upgrades or heartbeats; what takes long was asked of some peers only, as broadcasts to 10,000 and growing numbers of sessions.",
		"Every reply is checked, byte for byte and in order. † the load generator may have been the limit: its core was busier than 95 % and than the server's. ‡ there were errors, listed above.",
		"Only our program is built with a compiler profile (default.pgo, of its own benchmarks) and sets GOGC to 50; the mounting own-no-profile is the program without the profile. Peers have what the column setting says: what their documents advise, or their defaults.",
		"The raw servers know no sessions, transports, heartbeats or limits. No compression anywhere; pingInterval 25 s, pingTimeout 20 s unless said otherwise. Where callbacks take time, ours is a program of a few lines around the package (internal/busy): the program has no such application, and none that publishes prices.",
		"Broadcasts to 10,000, heartbeats, echo without slow readers, TLS, shares of load and two cores have three rounds at most.",
		"Broadcast compares APIs, too: where a server has none, its application sends in a loop.",
	}}
	if slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.Name == "uws" }) {
		s.list = append(s.list, "uws is built here from the sources of uWebSockets that the Rust package libuwebsockets-sys carries, with C++'s -O3 and link-time optimization: neither Debian nor npm has uWebSockets. It may be older than the newest release.")
	}
	return s
}
