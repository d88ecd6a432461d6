package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
)

// A verdict is given where the difference is larger than the spread.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name         string
		goal         Goal
		ours, theirs []recorded
		want         string
	}{
		{"more by the median, but not in each round", Goal{"echo-128", PerCPU, "gnet", 1, 0}, quietOurs, quietGnet, "1.19 (0.92–1.41) equal"},
		{"far more than asked for", Goal{"echo-128", PerCPU, "gnet", 0.9, 0}, quietOurs, quietGnet, "1.19 (0.92–1.41) yes"},
		{"far less than asked for", Goal{"echo-128", PerCPU, "gnet", 2, 0}, quietOurs, quietGnet, "1.19 (0.92–1.41) short"},

		{"one round tells no spread", Goal{"echo-128", PerCPU, "gnet", 1.1, 0}, quietOurs[:1], quietGnet[:1], "1.21 yes"},
		{"a peer that failed after two rounds", Goal{"echo-128", PerCPU, "gnet", 1, 0}, quietOurs, quietGnet[:2], "1.19 (1.01–1.21) yes"},
		{"below a bound", Goal{"echo-128", CPUTime, "", 0, 6}, quietOurs, nil, "4.69 (4.61–5.65) yes"},
		{"a bound inside the spread", Goal{"echo-128", CPUTime, "", 0, 5}, quietOurs, nil, "4.69 (4.61–5.65) equal"},
		{"above a bound", Goal{"echo-128", CPUTime, "", 0, 4}, quietOurs, nil, "4.69 (4.61–5.65) short"},
		{"disturbed", Goal{"echo-128", PerCPU, "gnet", 0.5, 0}, quietOurs, besideBusy, "1.64 (1.25–1.64) disturbed, do not compare"},
		{"not measured", Goal{"echo-128", PerCPU, "gnet", 1, 0}, quietOurs, nil, "unmeasured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Report{Cells: []Cell{cellOfRounds("echo-128", Ours, c.ours...), cellOfRounds("echo-128", "gnet", c.theirs...)}}
			for range 4 { // so that one is no quarter
				r.Cells = append(r.Cells, cellOfRounds("echo-16k", Ours, quietOurs...))
			}
			j := r.judge(c.goal)
			if c.want == "unmeasured" {
				require.Equal(t, unmeasured, j.verdict)
				return
			}
			require.Equal(t, c.want, j.String()+" "+j.verdict.String())
		})
	}
}

// A row is disturbed by any of its figures, and so is each comparison of its peers. A
// goal without a peer is for our figure alone.
func TestNoVerdictInADisturbedRow(t *testing.T) {
	r := &Report{Peers: []Peer{{Name: Ours}, {Name: "gnet"}, {Name: "bun"}},
		Cells: []Cell{cellOfRounds("echo-128", Ours, quietOurs...), cellOfRounds("echo-128", "gnet", quietGnet...), cellOfRounds("echo-128", "bun", besideBusy...)}}
	for range 6 { // so that one is no quarter
		r.Cells = append(r.Cells, cellOfRounds("echo-16k", Ours, quietOurs...))
	}
	require.Equal(t, disturbed, r.judge(Goal{"echo-128", PerCPU, "gnet", 0.5, 0}).verdict)
	require.Equal(t, yes, r.judge(Goal{"echo-128", CPUTime, "", 0, 6}).verdict)
	require.Contains(t, string(r.document().markdown(nil)), "| WebSocket echo, 128 B, one in flight | at least 1.00 of gnet | 1.19 (0.92–1.41) | disturbed, do not compare |")
	b, ok := r.panel("echo-128", PerCPU, "echo")
	require.True(t, ok)
	require.Equal(t, []string{"§", "", ""}, b.marks, "from below")
	p, err := b.plot()
	require.NoError(t, err)
	svg, err := chart{plots: []*plot.Plot{p}, columns: 1, width: 300, height: 120}.svg()
	require.NoError(t, err)
	require.Contains(t, string(svg), "§</text>")
}

// What is short is read first, what was not measured last.
func TestMissedGoalsStandFirst(t *testing.T) {
	table := made().goals().table[1:]
	var got []string
	for _, row := range table {
		if verdict := row[3]; len(got) == 0 || got[len(got)-1] != verdict {
			got = append(got, verdict)
		}
	}
	require.Equal(t, []string{"short", "equal", "yes", ""}, got)
	require.Equal(t, len(Goals), len(table))
}

// The middle round counts, of throughput and of latency; never the best.
func TestTailsAreMedians(t *testing.T) {
	r := made()
	for i, us := range []float64{100, 7_000, 90_000} {
		r.Cell("rate-20k", Ours).Samples[i].P99 = us
		r.Cell("slow-none", Ours).Samples[i].P99 = us
		r.Cell("slow-readers", Ours).Samples[i].P99 = us
	}
	text := string(r.document().markdown(nil))
	require.Contains(t, text, "| turbine | 30.0 | 7,000 (100–90,000) | 900 | 1.00 |")
	require.Contains(t, text, "| turbine | 301 | 7,000 | 301 | 7,000 |")
	require.NotContains(t, strings.ToLower(text), "best round)")
}
