package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A document is what a report says, before it is Markdown or HTML.
type document struct {
	title    string
	sections []section
}

type section struct {
	title string
	text  []string // paragraphs
	list  []string
	table [][]string // the first row is the head
	chart string     // the name of an SVG file without its ending
}

func (r *Report) document() document {
	d := document{title: r.heading()}
	if _, text := r.disturbance(); text != "" {
		d.sections = append(d.sections, section{title: "Disturbed", text: []string{text}})
	}
	d.sections = append(d.sections, r.summary(), r.goals())
	d.sections = append(d.sections, r.throughput()...)
	d.sections = append(d.sections, r.latency(), r.loaded(), r.memory(), r.heartbeats(), r.pings(), r.crowds(), r.slow(), r.prices(), r.scale(), r.secured(), r.cores(), r.carries(), r.mountings(), r.simulated(), r.real(), r.faults(), r.method())
	d.sections = slices.Insert(d.sections, len(d.sections)-2, r.absent(d.sections))
	kept := d.sections[:0]
	for _, s := range d.sections {
		if len(s.table) > 1 || len(s.list) > 0 || len(s.text) > 0 && len(s.table) == 0 {
			kept = append(kept, s)
		}
	}
	d.sections = kept
	return d
}

// absent says what a reader might look for in vain: tables without a row, and servers.
func (r *Report) absent(sections []section) section {
	s := section{title: "Not measured in this run"}
	for _, part := range sections {
		if len(part.table) == 1 {
			s.list = append(s.list, part.title)
		}
	}
	for _, those := range []struct {
		what  string
		names []string
		there []Peer
	}{{"peers", PeerNames, r.Peers}, {"mountings", MountNames, r.Mounts}} {
		missing := slices.DeleteFunc(slices.Clone(those.names), func(name string) bool {
			return slices.ContainsFunc(those.there, func(p Peer) bool { return p.Name == name }) ||
				slices.ContainsFunc(r.Missing, func(m Missing) bool { return m.Name == name })
		})
		if len(missing) > 0 {
			s.list = append(s.list, fmt.Sprintf("Of the %s: %s", those.what, strings.Join(missing, ", ")))
		}
	}
	return s
}

func (r *Report) summary() section {
	m := r.Machine
	s := section{
		title: "What was measured",
		text: []string{fmt.Sprintf("%s, %d cores, %d GiB, Linux %s, %s, at most %d descriptors a process. %s, %s in all, commit %s. Again: `%s`.",
			m.CPU, m.Cores, (m.MemoryBytes+1<<29)>>30, m.Kernel, m.Go, m.Descriptors,
			r.Began.UTC().Format("2006-01-02 15:04 MST"), r.Took.Round(time.Second), r.Commit, r.Command)},
		table: [][]string{{"peer", "what it is", "version", "setting"}},
	}
	for _, p := range r.Peers {
		what := p.What
		if p.Limit {
			what += " (no Engine.IO: what the machine allows)"
		}
		s.table = append(s.table, []string{p.Name, what, p.Version, orDash(p.Setting)})
	}
	for _, m := range r.Missing {
		s.table = append(s.table, []string{m.Name, "left out", m.Why, "–"})
	}
	return s
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}

func (r *Report) goals() section {
	s := section{title: "Goals", table: [][]string{{"what", "goal", "reached", ""}}, chart: "overview"}
	rows := [unmeasured + 1][][]string{}
	for _, g := range Goals {
		j := r.judge(g)
		title, _ := ScenarioOf(g.Scenario)
		goal := fmt.Sprintf("at least %s of %s", number(g.Least), g.Peer)
		if g.Peer == "" {
			goal = fmt.Sprintf("at most %s %s", number(g.Most), g.Figure.Unit())
		}
		reached := "not measured"
		if j.verdict != unmeasured {
			reached = j.String()
		}
		rows[j.verdict] = append(rows[j.verdict], []string{title.Title, goal, reached, j.verdict.String()})
	}
	for _, those := range rows { // the missed ones first
		s.table = append(s.table, those...)
	}
	return s
}

// throughput is a table for all scenarios that count operations, and one of
// their wall rates.
func (r *Report) throughput() []section {
	var ids []string
	for _, sc := range Scenarios {
		if sc.rated() {
			ids = append(ids, sc.ID)
		}
	}
	perCPU := r.byPeer(ids, PerCPU, true)
	perCPU.title, perCPU.chart = "Throughput: thousand operations a second of server CPU, median (least to most)", "throughput"
	wall := r.byPeer(ids, Wall, false)
	wall.title = "The same as thousand a second of the clock, and server and client CPU in %"
	for i := 1; i < len(wall.table); i++ {
		for k := 1; k < len(wall.table[i]); k++ {
			if c := r.Cell(wall.table[i][0], wall.table[0][k]); c != nil {
				wall.table[i][k] += fmt.Sprintf(" · %.0f/%.0f", 100*c.Median(Cores), 100*c.clientCores())
			}
		}
	}
	r.nameRows(&perCPU)
	r.nameRows(&wall)
	return []section{perCPU, wall}
}

func (c *Cell) clientCores() float64 {
	twin := Cell{Samples: make([]Sample, len(c.Samples))}
	for i, s := range c.Samples {
		s.ServerCPU = s.ClientCPU
		twin.Samples[i] = s
	}
	return twin.Median(Cores)
}

// byPeer is a table of one figure, with a row for each scenario.
func (r *Report) byPeer(ids []string, f Figure, spread bool) section {
	head := []string{"scenario"}
	for _, p := range r.Peers {
		head = append(head, p.Name)
	}
	s := section{table: [][]string{head}}
	for _, id := range ids {
		row, any := []string{id}, false
		for _, p := range r.Peers {
			c := r.Cell(id, p.Name)
			if c == nil {
				row = append(row, "–")
				continue
			}
			any = true
			text := f.show(c.Median(f)) + c.marks()
			if v := c.Values(f); spread && len(v) > 1 {
				text += fmt.Sprintf(" (%s–%s)", f.show(v[0]), f.show(v[len(v)-1]))
			}
			row = append(row, text)
		}
		if any {
			s.table = append(s.table, row)
		}
	}
	return s
}

// nameRows puts titles in the place of scenario IDs.
func (r *Report) nameRows(s *section) {
	for i := 1; i < len(s.table); i++ {
		if sc, ok := ScenarioOf(s.table[i][0]); ok {
			s.table[i][0] = sc.Title
			if r.disturbedRow(sc.ID) {
				s.table[i][0] += " (" + doNotCompare + ")"
			}
		}
	}
}

// columns is a table of several figures of one scenario, a row for each peer.
func (r *Report) columns(id string, names []string, figures []Figure) [][]string {
	table := [][]string{append([]string{"peer"}, names...)}
	for _, p := range r.Peers {
		c := r.Cell(id, p.Name)
		if c == nil {
			continue
		}
		row := []string{p.Name + c.marks()}
		for _, f := range figures {
			row = append(row, f.show(c.Median(f)))
		}
		table = append(table, row)
	}
	return table
}
