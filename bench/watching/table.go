package watching

import (
	"fmt"
	"slices"
	"strings"
)

// String is the table of the figures, as docs/operate.md has it: medians, and in brackets
// the quartiles of what the figures of one turn come to by those of "off".
func (r Result) String() string {
	var b strings.Builder
	b.WriteString("| | off | scraped each second | by off | before | by off |\n|---|---|---|---|---|---|\n")
	for _, row := range []struct {
		what   string
		cost   Cost
		scale  float64
		format string
	}{
		{"CPU of an echo, µs", r.Echo, 1, "%.2f"},
		{"CPU of a poll cycle, µs", r.Poll, 1, "%.2f"},
		{"resident bytes of an idle session", r.Idle, 1, "%.0f"},
		{"resident MiB without sessions", r.Empty, 1 << 20, "%.1f"},
	} {
		cell := func(k Kind) string {
			if len(row.cost[k]) == 0 {
				return "-"
			}
			return fmt.Sprintf(row.format, quantile(row.cost[k], 0.5)/row.scale)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", row.what, cell(Off), cell(On), row.cost.by(On), cell(Before), row.cost.by(Before))
	}
	if s := r.Scrape; len(s.Took) > 0 {
		fmt.Fprintf(&b, "\nA scrape: %d bytes, %.2f ms of CPU, %.2f ms in the median, %.2f at the 99th percentile.\n",
			s.Bytes, quantile(s.CPU, 0.5), quantile(s.Took, 0.5), quantile(s.Took, 0.99))
	}
	return b.String()
}

// by is what kind k costs more than Off, in percent.
func (c Cost) by(k Kind) string {
	if len(c[k]) == 0 {
		return "-"
	}
	var more []float64
	for i, v := range c[k] {
		more = append(more, (v/c[Off][i]-1)*100)
	}
	return fmt.Sprintf("%+.1f %% (%+.1f to %+.1f)", quantile(more, 0.5), quantile(more, 0.25), quantile(more, 0.75))
}

func quantile(of []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}
