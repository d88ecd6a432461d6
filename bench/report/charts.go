package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The palette: ours stands out, what the machine allows stands back.
var (
	colorOurs  = color.RGBA{R: 0x0b, G: 0x7a, B: 0x75, A: 0xff}
	colorPeer  = color.RGBA{R: 0x8f, G: 0xa3, B: 0xbf, A: 0xff}
	colorLimit = color.RGBA{R: 0xd5, G: 0xda, B: 0xe0, A: 0xff}
	colorText  = color.RGBA{R: 0x2b, G: 0x31, B: 0x38, A: 0xff}
	lineColors = []color.Color{colorOurs, color.RGBA{R: 0xd9, G: 0x7b, B: 0x29, A: 0xff}, color.RGBA{R: 0x5b, G: 0x6b, B: 0xc0, A: 0xff}, color.RGBA{R: 0x9c, G: 0x4f, B: 0x96, A: 0xff}, color.RGBA{R: 0xc0, G: 0x39, B: 0x4b, A: 0xff}, color.RGBA{R: 0x8a, G: 0x8f, B: 0x98, A: 0xff}}
)

// bars is one chart of horizontal bars, the best on top.
type bars struct {
	title  string
	names  []string
	values []float64 // medians
	low    []float64 // least and most, for whiskers; may be equal
	high   []float64
	limits []bool // raw servers
	marks  []string
	figure Figure
}

// panel reads the bars of a figure off the report. The peers keep their order.
func (r *Report) panel(scenario string, f Figure, title string) (b bars, ok bool) {
	b = bars{title: title, figure: f}
	for i := len(r.Peers) - 1; i >= 0; i-- { // the axis counts from below
		p := r.Peers[i]
		c := r.Cell(scenario, p.Name)
		if c == nil {
			continue
		}
		v := c.Values(f)
		b.names = append(b.names, p.Name)
		b.values = append(b.values, c.Median(f))
		b.low, b.high = append(b.low, v[0]), append(b.high, v[len(v)-1])
		b.limits = append(b.limits, p.Limit)
		b.marks = append(b.marks, c.marks())
	}
	return b, len(b.names) > 0
}

func (b bars) plot() (*plot.Plot, error) {
	p := newPlot(b.title)
	p.X.Label.Text, p.X.Tick.Marker = b.figure.Unit(), ticks(b.figure)
	p.Y.Width, p.Y.Tick.Length = 0, 0
	p.NominalY(b.names...)
	most, room := 0.0, b.room()
	for i, value := range b.values {
		value, high := min(value, room), min(b.high[i], room)
		bar, err := plotter.NewBarChart(plotter.Values{value}, vg.Points(13))
		if err != nil {
			return nil, err
		}
		bar.Horizontal, bar.XMin, bar.LineStyle.Width = true, float64(i), 0
		switch {
		case b.names[i] == Ours:
			bar.Color = colorOurs
		case b.limits[i]:
			bar.Color = colorLimit
		default:
			bar.Color = colorPeer
		}
		p.Add(bar)
		if high > b.low[i] {
			whisker, err := plotter.NewLine(plotter.XYs{{X: b.low[i], Y: float64(i)}, {X: high, Y: float64(i)}})
			if err != nil {
				return nil, err
			}
			whisker.Color, whisker.Width = colorText, vg.Points(0.8)
			p.Add(whisker)
		}
		most = max(most, high)
	}
	if err := b.label(p, most); err != nil {
		return nil, err
	}
	p.X.Min, p.X.Max = 0, most*1.25
	p.Y.Min, p.Y.Max = -0.6, float64(len(b.names))-0.4
	return p, nil
}

// room is where bars end. A server that cannot keep up has a latency a thousand
// times that of others, whose bars would not be seen.
func (b bars) room() float64 {
	if b.figure != Median && b.figure != Tail {
		return math.Inf(1)
	}
	values := slices.Sorted(slices.Values(b.values))
	return 6 * values[len(values)/2]
}

// label writes the value behind each bar.
func (b bars) label(p *plot.Plot, most float64) error {
	labels := plotter.XYLabels{XYs: make(plotter.XYs, len(b.values)), Labels: make([]string, len(b.values))}
	for i, value := range b.values {
		labels.XYs[i] = plotter.XY{X: min(max(value, b.high[i]), most) + most*0.015, Y: float64(i)}
		labels.Labels[i] = b.figure.show(value) + b.marks[i]
	}
	l, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range l.TextStyle {
		l.TextStyle[i].Font = sans(9)
		l.TextStyle[i].Color = colorText
		l.TextStyle[i].YAlign = draw.YCenter
	}
	p.Add(l)
	return nil
}

// ticks labels an axis by a figure's own unit.
func ticks(f Figure) plot.TickerFunc {
	return func(low, high float64) (kept []plot.Tick) {
		for _, t := range (plot.DefaultTicks{}).Ticks(low, high) {
			if t.IsMinor() {
				continue
			}
			t.Label = trimmed(f.show(t.Value))
			kept = append(kept, t)
		}
		return kept
	}
}

// trimmed is a number without zeros that say nothing.
func trimmed(text string) string {
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func sans(size float64) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
}

func newPlot(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.Title.Padding = title, vg.Points(6)
	p.Title.TextStyle.Font, p.Title.TextStyle.Color = sans(10.5), colorText
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font, axis.Label.TextStyle.Color = sans(9), colorText
		axis.Tick.Label.Font, axis.Tick.Label.Color = sans(9), colorText
		axis.Color, axis.Tick.Color = colorPeer, colorPeer
	}
	p.Legend.TextStyle.Font, p.Legend.TextStyle.Color = sans(9), colorText
	p.Legend.Top, p.Legend.Left = true, true
	return p
}

// chart is plots side by side, in rows of so many.
type chart struct {
	plots         []*plot.Plot
	columns       int
	width, height vg.Length // of each
}

func (c chart) svg() ([]byte, error) {
	plots, columns, width, height := c.plots, c.columns, c.width, c.height
	rows := (len(plots) + columns - 1) / columns
	canvas := vgsvg.New(width*vg.Length(columns), height*vg.Length(rows))
	whole := draw.New(canvas)
	whole.SetColor(color.White)
	whole.Fill(whole.Path())
	grid := make([][]*plot.Plot, rows)
	for i := range grid {
		grid[i] = make([]*plot.Plot, columns)
		copy(grid[i], plots[i*columns:min((i+1)*columns, len(plots))])
	}
	layout := draw.Tiles{Rows: rows, Cols: columns, PadX: vg.Points(18), PadY: vg.Points(16),
		PadTop: vg.Points(8), PadBottom: vg.Points(8), PadLeft: vg.Points(8), PadRight: vg.Points(8)}
	cells := plot.Align(grid, layout, whole)
	for i, row := range grid {
		for k, p := range row {
			if p != nil {
				p.Draw(cells[i][k])
			}
		}
	}
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// panels are those that there are figures for.
func (r *Report) panels(wanted ...panelOf) (c chart, err error) {
	most := 0
	for _, w := range wanted {
		b, ok := r.panel(w.scenario, w.figure, w.title)
		if !ok {
			continue
		}
		p, err := b.plot()
		if err != nil {
			return chart{}, fmt.Errorf("chart of %s: %w", w.scenario, err)
		}
		c.plots = append(c.plots, p)
		most = max(most, len(b.names))
	}
	c.columns, c.width, c.height = min(3, len(c.plots)), vg.Points(300), vg.Points(80+17*float64(most))
	return c, nil
}

type panelOf struct {
	scenario string
	figure   Figure
	title    string
}

// drawn are the charts by name; those without figures have no plots.
func (r *Report) drawn() (map[string]chart, error) {
	var throughput []panelOf
	for _, s := range Scenarios {
		if s.rated() {
			throughput = append(throughput, panelOf{s.ID, PerCPU, s.Title})
		}
	}
	all := map[string]chart{}
	for name, make := range map[string]func() (chart, error){
		"overview": func() (chart, error) {
			return r.panels(panelOf{"echo-128", PerCPU, "echo 128 B"}, panelOf{"echo-128x16", PerCPU, "echo 128 B, 16 in flight"},
				panelOf{"broadcast-1k", PerCPU, "broadcast to 1,000, deliveries"}, panelOf{"upgrade", PerCPU, "upgrades to WebSocket"},
				panelOf{"poll-cycle", PerCPU, "polling, POST and GET"}, panelOf{"idle-ws", Bytes, "memory of idle sessions (less is better)"})
		},
		"throughput": func() (chart, error) { return r.panels(throughput...) },
		"latency": func() (chart, error) {
			return r.panels(panelOf{"rate-20k", Median, "median, 20,000 messages a second"}, panelOf{"rate-20k", Tail, "99th percentile"}, panelOf{"rate-20k", Cores, "server CPU"})
		},
		"memory": func() (chart, error) {
			return r.panels(panelOf{"idle-ws", Bytes, "opened directly"}, panelOf{"idle-upgraded", Bytes, "upgraded"}, panelOf{"heartbeat", CPUTime, "a heartbeat"})
		},
		"loaded":    r.loadedChart,
		"scale":     r.scaleChart,
		"simulated": r.simulatedChart,
	} {
		c, err := make()
		if err != nil {
			return nil, err
		}
		all[name] = c
	}
	return all, nil
}

// charts are the SVG files by name, without those that would be empty.
func (r *Report) charts() (map[string][]byte, error) {
	drawn, err := r.drawn()
	if err != nil {
		return nil, err
	}
	charts := map[string][]byte{}
	for name, c := range drawn {
		if len(c.plots) == 0 {
			continue
		}
		if charts[name], err = c.svg(); err != nil {
			return nil, err
		}
	}
	return charts, nil
}
