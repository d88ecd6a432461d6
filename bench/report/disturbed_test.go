package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A round as it was recorded: 800 ms each.
type recorded struct {
	operations     int64
	server, client int // milliseconds of CPU
	steal, others  float64
}

func cellOfRounds(scenario, peer string, rounds ...recorded) Cell {
	c := Cell{Scenario: scenario, Peer: peer}
	for _, r := range rounds {
		c.Samples = append(c.Samples, Sample{Operations: r.operations, Elapsed: 800 * time.Millisecond, P50: 50, P99: 500,
			ServerCPU: time.Duration(r.server) * time.Millisecond, ClientCPU: time.Duration(r.client) * time.Millisecond, Steal: r.steal, Others: r.others})
	}
	return c
}

// Rounds of this bench, on two shared cores: alone, and beside four busy threads.
var (
	quietOurs  = []recorded{{169583, 790, 750, 0.004, 0.02}, {141167, 780, 684, 0, 0.03}, {129155, 730, 716, 0, 0.03}, {159747, 750, 754, 0, 0.02}, {167085, 770, 753, 0, 0.02}}
	quietGnet  = []recorded{{137161, 770, 664, 0, 0.03}, {133783, 750, 675, 0, 0.02}, {138960, 720, 681, 0, 0.03}, {113465, 750, 606, 0, 0.04}, {135873, 700, 720, 0, 0.02}}
	besideBusy = []recorded{{49782, 290, 282, 0, 0.51}, {25991, 200, 157, 0, 0.62}, {40060, 310, 226, 0, 0.48}}
	idleRounds = []recorded{{15153, 520, 577, 0, 0.03}, {14230, 480, 624, 0, 0.03}, {17698, 540, 572, 0, 0.03}, {18463, 510, 638, 0, 0.03}, {19795, 560, 678, 0, 0.02}}
)

func TestDisturbedRounds(t *testing.T) {
	with := func(rounds []recorded, changes map[int]func(*recorded)) []recorded {
		changed := append([]recorded(nil), rounds...)
		for i, change := range changes {
			change(&changed[i])
		}
		return changed
	}
	stolen := func(r *recorded) { r.steal = 0.08 }
	for _, c := range []struct {
		name, scenario string
		rounds         []recorded
		want           string
	}{
		{"quiet", "echo-128", quietOurs, ""},
		{"busy threads beside", "echo-128", besideBusy, "other processes, server and client idle"},
		{"idle in a closed loop", "ws-handshake", idleRounds, "server and client idle"},
		{"one round of five is idle, which moves no median", "ws-handshake", with(idleRounds, map[int]func(*recorded){
			0: func(r *recorded) { r.server = 700 }, 1: func(r *recorded) { r.client = 700 }, 2: func(r *recorded) { r.server = 640 }, 3: func(r *recorded) { r.client = 650 }}), ""},
		{"idle where some servers wait for the clock", "upgrade", idleRounds, ""},
		{"idle in an open loop", "rate-20k", idleRounds, ""},
		{"idle where it has no load", "heartbeat", idleRounds, ""},
		{"steal in three of five", "echo-128", with(quietOurs, map[int]func(*recorded){0: stolen, 2: stolen, 3: stolen}), "steal"},
		{"steal in two of five", "echo-128", with(quietOurs, map[int]func(*recorded){0: stolen, 2: stolen}), ""},
		{"steal in one of two", "echo-128", with(quietOurs[:2], map[int]func(*recorded){1: stolen}), "steal"},
		{"steal in an open loop", "rate-20k", with(quietOurs, map[int]func(*recorded){0: stolen, 1: stolen, 2: stolen}), "steal"},
		{"one round in five is less than half of the best", "echo-128", with(quietOurs, map[int]func(*recorded){3: func(r *recorded) { r.operations = 70_000 }}), "spread"},
		{"others have a little", "echo-128", with(quietOurs, map[int]func(*recorded){0: func(r *recorded) { r.others = 0.09 }}), ""},
		{"a scenario of another version", "gone", besideBusy, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cell := cellOfRounds(c.scenario, Ours, c.rounds...)
			require.Equal(t, c.want, strings.Join(cell.disturbed(), ", "))
		})
	}
	rare := cellOfRounds("load-5", Ours, quietOurs...)
	rare.Samples[0].P99 = 5_000
	require.Empty(t, rare.disturbed(), "a tail's spread is no sign")
	rare.Samples[0].P50 = 5_000
	require.Equal(t, []string{"spread"}, rare.disturbed())
}

// A disturbed cell takes the verdict from its row, many take it from all.
func TestNoVerdictWhereDisturbed(t *testing.T) {
	quiet := func() *Report {
		r := made()
		for i := range r.Cells {
			require.Empty(t, r.Cells[i].disturbed(), "%s of %s", r.Cells[i].Scenario, r.Cells[i].Peer)
		}
		return r
	}
	echo := "| WebSocket echo, 128 B, one in flight | at least 1.00 of "

	text := string(quiet().document().markdown(nil))
	require.True(t, strings.HasPrefix(text, "# Turbine and its peers\n"))
	require.NotContains(t, text, doNotCompare)
	require.Contains(t, text, echo+"gnet | 1.50 (1.50–1.50) | yes |")

	r := quiet()
	for i := range r.Cell("echo-128", "gnet").Samples {
		r.Cell("echo-128", "gnet").Samples[i].Others = 0.3
	}
	text = string(r.document().markdown(nil))
	require.True(t, strings.HasPrefix(text, "# Turbine and its peers: some rows are disturbed, do not compare these\n"), "%.200s", text)
	require.Contains(t, text, fmt.Sprintf("1 of %d measurements were disturbed (other processes).", len(r.Cells)))
	require.Contains(t, text, echo+"gnet | 1.50 (1.50–1.50) | disturbed, do not compare |")
	require.Contains(t, text, echo+"bun | 2.98 (2.96–3.00) | disturbed, do not compare |", "the same row")
	require.Contains(t, text, "16 KiB, one in flight | at least 2.00 of bun | 2.98 (2.96–3.00) | yes |", "another row")
	require.Contains(t, text, "| WebSocket echo, 128 B, one in flight (disturbed, do not compare) | 301 (300–302) | 201§ (200–202) |")

	r = quiet()
	for i := range r.Cells {
		for k := range r.Cells[i].Samples {
			r.Cells[i].Samples[k].Steal = 0.2 * float64(i%2)
		}
	}
	text = string(r.document().markdown(nil))
	require.True(t, strings.HasPrefix(text, "# Turbine and its peers: disturbed, do not compare\n"), "%.200s", text)
	require.Contains(t, text, "(steal). No row has a verdict")
	require.NotContains(t, text, "| yes |")
	require.NotContains(t, text, "| short |")
	require.NotContains(t, text, "| equal |")
}
