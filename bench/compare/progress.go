package compare

import (
	"fmt"
	"io"
	"time"

	"turbine/bench/report"
)

// Progress tells how far a comparison is: on a terminal in one line that is
// drawn again, elsewhere in lines.
type Progress struct {
	W        io.Writer
	Terminal bool

	began     time.Time
	done, all int
	left      time.Duration // about, of what is not done
}

// Begin says what is ahead.
func (p *Progress) Begin(parts []part) {
	p.began = time.Now()
	for _, part := range parts {
		p.all += part.rounds * len(part.servers)
		p.left += part.cost
	}
	p.Say(fmt.Sprintf("%d runs in %d scenarios, about %s", p.all, len(parts), p.left.Round(time.Second)))
}

// Say prints a line.
func (p *Progress) Say(text string) {
	if p.Terminal {
		fmt.Fprintf(p.W, "\r\x1b[K%s\n", text)
		return
	}
	fmt.Fprintln(p.W, text)
}

// Done reports a run that was expected to take about cost.
func (p *Progress) Done(id string, round int, name string, f report.Figure, s report.Sample, cost time.Duration) {
	p.done++
	p.left = max(0, p.left-cost)
	line := fmt.Sprintf("[%d/%d] %s, about %s left: %s, round %d: %s %s", p.done, p.all,
		time.Since(p.began).Round(time.Second), p.left.Round(time.Second), id, round+1, name, report.Show(f, s))
	if p.Terminal {
		fmt.Fprintf(p.W, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.W, line)
}

// End ends the line that was drawn.
func (p *Progress) End() {
	if p.Terminal {
		fmt.Fprintln(p.W)
	}
}
