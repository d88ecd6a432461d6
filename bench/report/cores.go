package report

import "fmt"

// cores is echo on one core and on two.
func (r *Report) cores() section {
	s := section{
		title: "One core and two: WebSocket echo, 128 B, 100 sessions, one in flight",
		text: []string{
			"Go servers have GOMAXPROCS, ours --loops as well, uws a thread and a listener for each core, engineioxide Tokio's workers; bun has processes that share the port, node its cluster module. " +
				"Such processes share no sessions, so a broadcast, or polling without a balancer that keeps clients to a process, needs more than this.",
			r.ownNeed(),
		},
		table: [][]string{{"peer", "1 core: thousand/s", "server cores", "generator cores", "thousand/s of CPU", "2 cores: thousand/s", "server cores", "generator cores", "thousand/s of CPU", "of 1 core", "two whole cores, computed, thousand/s"}},
	}
	for _, p := range r.Peers {
		one, two := r.Cell("echo-128", p.Name), r.Cell("cores-2", p.Name)
		if one == nil || two == nil {
			continue
		}
		row := []string{p.Name + two.marks()}
		for _, c := range []*Cell{one, two} {
			row = append(row, Wall.show(c.Median(Wall)), number(c.Median(Cores)), number(c.clientCores()), PerCPU.show(c.Median(PerCPU)))
		}
		s.table = append(s.table, append(row, r.ratio("cores-2", "echo-128", p.Name), PerCPU.show(2*two.Median(PerCPU))))
	}
	if len(s.table) == 1 {
		s.text = nil
	}
	return s
}

// ownNeed says whose the cores are when the server has two.
func (r *Report) ownNeed() string {
	if r.Machine.Cores > 2 {
		return "The load generator has a core of its own. Where its cores are near 1, it is the limit, and the rate by the clock is its own."
	}
	return fmt.Sprintf("This machine has %d cores. A server that has two shares them with the load generator, whose need the columns tell: the rate by the clock is what both reach together. "+
		"Compare the rate for each second of server CPU: what it loses from one core to two is what a second loop, thread or process costs. "+
		"Above 1 it says that a server that gets its core less often finds more messages at a time, each of which then costs less. "+
		"Two cores that are the server's alone would carry about twice that rate: the last column is computed, not measured.", r.Machine.Cores)
}
