package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Cell finds what was measured of a peer in a scenario; nil when nothing was.
func (r *Report) Cell(scenario, peer string) *Cell {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Scenario == scenario && c.Peer == peer && len(c.Samples) > 0 {
			return c
		}
	}
	return nil
}

// Values are the figure's, of all samples, in rising order.
func (c *Cell) Values(f Figure) []float64 {
	values := make([]float64, 0, len(c.Samples))
	for _, s := range c.Samples {
		values = append(values, f.Of(s))
	}
	slices.Sort(values)
	return values
}

// Median is the middle of the figure's values.
func (c *Cell) Median(f Figure) float64 { return middle(c.Values(f)) }

// middle is the median of what f reads off each sample.
func (c *Cell) middle(f func(Sample) float64) float64 {
	values := make([]float64, 0, len(c.Samples))
	for _, s := range c.Samples {
		values = append(values, f(s))
	}
	slices.Sort(values)
	return middle(values)
}

// middle is the median of sorted values.
func middle(v []float64) float64 {
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// marks are the signs that stand behind a figure: † the load generator may have
// been the limit, ‡ there were errors, § others disturbed the machine.
func (c *Cell) marks() (marks string) {
	bound, wrong := 0, false
	for _, s := range c.Samples {
		if s.ClientBound {
			bound++
		}
		wrong = wrong || s.Wrong > 0 || s.Lost > 0 || s.Starved > 0
	}
	if 2*bound > len(c.Samples) {
		marks += "†"
	}
	if wrong {
		marks += "‡"
	}
	if c.disturbed() != nil {
		marks += "§"
	}
	return marks
}

// number is x with three significant digits and thousands apart.
func number(x float64) string {
	switch a := math.Abs(x); {
	case a == 0:
		return "0"
	case a < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case a < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Round(x), 'f', 0, 64)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// show is a value of the figure in its unit.
func (f Figure) show(x float64) string {
	if f == PerCPU || f == Wall {
		x /= 1000
	}
	return number(x)
}

// Show is the figure of a sample with its unit, for progress.
func Show(f Figure, s Sample) string { return f.show(f.Of(s)) + " " + f.Unit() }
