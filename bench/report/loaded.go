package report

import (
	"fmt"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
)

// loaded is latency against load.
func (r *Report) loaded() section {
	s := section{
		title: "Latency against load: at shares of what each peer can do",
		text: []string{
			"What a peer can do is the median of three closed loops: 100 sessions, 128 B, one message in flight. The shares of this rate are sent by the clock, each message at its own time, " +
				"and latency counts from when a message was due, not from when it was sent (open loop, no coordinated omission). " +
				"Medians over the rounds of p50 and p99, in µs. The same share is another rate for each peer, as the second column says.",
			"The last column is how late the load generator sent, p99 at 80 %: this part of the latency is its own.",
		},
		table: [][]string{{"peer", "can do, thousand/s"}},
		chart: "loaded",
	}
	head := &s.table[0]
	for _, share := range Shares {
		*head = append(*head, fmt.Sprintf("%.0f %%: p50", 100*share), "p99")
	}
	*head = append(*head, "generator late, µs")
	for _, p := range r.Peers {
		row, marks, can, late, any := []string{p.Name, "–"}, "", 0.0, "–", false
		for _, share := range Shares {
			id := ShareID(share)
			row = append(row, r.shown(id, p.Name, Median, &marks), r.shown(id, p.Name, Tail, &marks))
			if c := r.Cell(id, p.Name); c != nil {
				any, can, late = true, c.Samples[0].Offered/share, number(c.Median(Lag))
			}
		}
		if any {
			row[0], row[1] = row[0]+marks, Wall.show(can)
			s.table = append(s.table, append(row, late))
		}
	}
	if len(s.table) == 1 {
		s.text = nil
	}
	return s
}

// loadedChart is its chart.
func (r *Report) loadedChart() (chart, error) {
	var median, tail []series
	for _, p := range r.Peers {
		m, t, marks := series{name: p.Name}, series{name: p.Name}, ""
		for _, share := range Shares {
			if c := r.Cell(ShareID(share), p.Name); c != nil && c.Median(Median) > 0 {
				marks = union(marks, c.marks())
				m.points = append(m.points, plotter.XY{X: 100 * share, Y: c.Median(Median)})
				t.points = append(t.points, plotter.XY{X: 100 * share, Y: c.Median(Tail)})
			}
		}
		m.name, t.name = m.name+marks, t.name+marks
		if len(m.points) > 1 {
			median, tail = append(median, m), append(tail, t)
		}
	}
	if len(median) == 0 {
		return chart{}, nil
	}
	c, err := pair("% of what the peer can do", "p50", "µs", median, "p99", "µs", tail)
	for _, p := range c.plots {
		p.X.Scale = plot.LinearScale{}
		p.X.Tick.Marker = plot.TickerFunc(func(float64, float64) (ticks []plot.Tick) {
			for _, share := range Shares {
				ticks = append(ticks, plot.Tick{Value: 100 * share, Label: fmt.Sprintf("%.0f", 100*share)})
			}
			return ticks
		})
	}
	return c, err
}
