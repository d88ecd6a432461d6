package report

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// A series is a line of a chart.
type series struct {
	name   string
	points plotter.XYs
}

// lines draws series, both axes logarithmic: what grows in proportion has the
// slope of the diagonal.
func lines(title, across, unit string, all []series) (*plot.Plot, error) {
	p := newPlot(title)
	p.X.Label.Text, p.Y.Label.Text = across, unit
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(decades), plot.TickerFunc(decades)
	for i, s := range all {
		line, points, err := plotter.NewLinePoints(s.points)
		if err != nil {
			return nil, err
		}
		c := lineColors[i%len(lineColors)]
		line.Color, line.Width = c, vg.Points(1.6)
		points.Color, points.Shape, points.Radius = c, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(line, points)
		p.Legend.Add(s.name, line, points)
	}
	widen(&p.X)
	widen(&p.Y)
	if len(all) > 3 { // the legend is above the lines
		p.Y.Max *= math.Pow(p.Y.Max/p.Y.Min, 0.4)
	}
	return p, nil
}

// round is the largest of 1, 2, 5, 10, ... and 0.5, 0.2, 0.1, ... that is at most x,
// which is above 0.
func round(x float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(x)))
	switch {
	case x >= 5*decade:
		return 5 * decade
	case x >= 2*decade:
		return 2 * decade
	}
	return decade
}

// widen has a logarithmic axis begin and end at round numbers, two of them at least.
func widen(a *plot.Axis) {
	a.Min = round(a.Min)
	if high := round(a.Max); high < a.Max || high == a.Min {
		a.Max = round(high * 2.5)
	}
}

// decades are the ticks of a logarithmic axis: all round numbers, or the powers of
// ten where they are many.
func decades(low, high float64) (ticks []plot.Tick) {
	for x := round(low); x <= high; x = round(x * 2.5) {
		if x >= low && (high/low < 1000 || math.Abs(math.Log10(x)-math.Round(math.Log10(x))) < 1e-9) {
			label := trimmed(number(x))
			if x < 0.1 {
				label = strconv.FormatFloat(x, 'g', 1, 64)
			}
			ticks = append(ticks, plot.Tick{Value: x, Label: label})
		}
	}
	return ticks
}

// scaleChart is memory and CPU against the number of real sessions.
func (r *Report) scaleChart() (chart, error) {
	memory := r.scales(func(c *Cell) float64 { return c.middle(rss) / (1 << 20) })
	cpu := r.scales(func(c *Cell) float64 { return c.Median(SessionCPU) })
	if len(memory) == 0 || len(cpu) == 0 {
		return chart{}, nil
	}
	return pair("sessions", "memory of the sessions", "MiB resident", memory, "server CPU, heartbeats every 5 s", "cores", cpu)
}

// scales is a series for each peer that was measured with several numbers of
// sessions.
func (r *Report) scales(value func(*Cell) float64) (all []series) {
	for _, p := range r.Peers {
		s, marks := series{name: p.Name}, ""
		for _, id := range []string{"scale-1k", "scale-5k", "scale-18k"} {
			if c := r.Cell(id, p.Name); c != nil && value(c) > 0 {
				marks = union(marks, c.marks())
				s.points = append(s.points, plotter.XY{X: float64(c.Samples[0].Sessions), Y: value(c)})
			}
		}
		if s.name += marks; len(s.points) > 1 {
			all = append(all, s)
		}
	}
	return all
}

// pair is two charts of lines side by side.
func pair(across, leftTitle, leftUnit string, left []series, rightTitle, rightUnit string, right []series) (chart, error) {
	a, err := lines(leftTitle, across, leftUnit, left)
	if err != nil {
		return chart{}, err
	}
	b, err := lines(rightTitle, across, rightUnit, right)
	if err != nil {
		return chart{}, err
	}
	return chart{[]*plot.Plot{a, b}, 2, vg.Points(400), vg.Points(260)}, nil
}

// simulatedChart is the same of simulated sessions.
func (r *Report) simulatedChart() (chart, error) {
	memory, cpu := series{name: Ours}, series{name: Ours}
	for _, m := range r.Sim {
		n := float64(m.Sessions)
		memory.points = append(memory.points, plotter.XY{X: n, Y: m.HeapBytes * n / (1 << 20)})
		cpu.points = append(cpu.points, plotter.XY{X: n, Y: m.CPU})
	}
	if len(memory.points) < 2 {
		return chart{}, nil
	}
	return pair("sessions", "heap of simulated sessions", "MiB", []series{memory}, "CPU of the process, clients included", "cores", []series{cpu})
}
