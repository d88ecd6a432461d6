package report

import (
	"fmt"
	"math"
)

// A span is a figure's median with its least and largest value over the rounds.
type span struct{ least, median, most float64 }

func (c *Cell) span(f Figure) span {
	v := c.Values(f)
	return span{v[0], c.Median(f), v[len(v)-1]}
}

// ratios compares two cells: the ratio of their medians, and the least and the largest
// of the rounds. The peers take turns within a round, so that what slows a round slows
// both.
func ratios(ours, theirs *Cell, f Figure) (s span, known bool) {
	if ours == nil || theirs == nil || theirs.Median(f) == 0 {
		return span{}, false
	}
	s = span{math.Inf(1), ours.Median(f) / theirs.Median(f), math.Inf(-1)}
	for i := range min(len(ours.Samples), len(theirs.Samples)) {
		if below := f.Of(theirs.Samples[i]); below > 0 {
			ratio := f.Of(ours.Samples[i]) / below
			s.least, s.most = min(s.least, ratio), max(s.most, ratio)
		}
	}
	s.least, s.most = min(s.least, s.median), max(s.most, s.median)
	return s, true
}

// contains reports whether a value is inside the spread: more rounds might well have
// come to it.
func (s span) contains(x float64) bool { return s.least < s.most && s.least <= x && x <= s.most }

// show is the ratio, or "equal" where the rounds do not agree which is larger.
func (s span) show() string {
	if s.contains(1) {
		return "equal"
	}
	return number(s.median)
}

// A verdict is what came of a goal. Those that a reader must see come first.
type verdict uint8

const (
	short verdict = iota
	disturbed
	equal // the goal is inside the spread
	yes
	unmeasured
)

func (v verdict) String() string {
	return [...]string{"short", doNotCompare, "equal", "yes", ""}[v]
}

// judgement is what was reached of a goal.
type judgement struct {
	reached span // of ours, or its ratio to the peer's
	verdict verdict
}

func (r *Report) judge(g Goal) judgement {
	ours, theirs := r.Cell(g.Scenario, Ours), r.Cell(g.Scenario, g.Peer)
	if ours == nil || g.Peer != "" && theirs == nil {
		return judgement{verdict: unmeasured}
	}
	j := judgement{reached: ours.span(g.Figure)}
	reached := j.reached.median <= g.Most
	limit := g.Most
	if g.Peer != "" {
		ratio, known := ratios(ours, theirs, g.Figure)
		if !known {
			return judgement{verdict: unmeasured}
		}
		j.reached, limit, reached = ratio, g.Least, ratio.median >= g.Least
	}
	whole, _ := r.disturbance()
	switch {
	case whole || ours.disturbed() != nil || g.Peer != "" && r.disturbedRow(g.Scenario):
		j.verdict = disturbed
	case j.reached.contains(limit):
		j.verdict = equal
	case reached:
		j.verdict = yes
	}
	return j
}

func (j judgement) String() string {
	if s := j.reached; s.least < s.most {
		return fmt.Sprintf("%s (%s–%s)", number(s.median), number(s.least), number(s.most))
	}
	return number(j.reached.median)
}
