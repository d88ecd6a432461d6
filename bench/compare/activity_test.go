package compare

import (
	"context"
	"testing"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"
	"turbine/bench/report"

	"github.com/stretchr/testify/require"
)

// Each round says what others had of the CPUs meanwhile.
func TestRoundsTellWhatOthersHad(t *testing.T) {
	r := newRig(Options{Scenarios: []string{"echo-128"}, Rounds: 1}, &fakeServer{name: "a"})
	var now activity
	r.times = func([]int) (activity, error) { return now, nil }
	fine := r.run
	r.run = func(ctx context.Context, p load.Plan) (load.Outcome, error) {
		now.all += 2
		now.busy += 1.5 // the server of this test uses nothing, and we next to nothing
		now.stolen += 0.2
		return fine(ctx, p)
	}
	got, err := r.compare(t.Context())
	require.NoError(t, err)
	s := got.Cell("echo-128", "a").Samples[0]
	require.InDelta(t, 0.1, s.Steal, 1e-9)
	require.InDelta(t, 0.75, s.Others, 0.2)
}

func TestDisturb(t *testing.T) {
	for _, c := range []struct {
		name          string
		after         activity
		steal, others float64
	}{
		{"nothing else", activity{all: 12, busy: 11.5, known: 1.5}, 0, 0},
		{"half of it", activity{all: 12, busy: 12, known: 1}, 0, 0.5},
		{"stolen", activity{all: 12, busy: 11, known: 1, stolen: 1}, 0.5, 0},
		{"processes are counted in finer steps than CPUs", activity{all: 12, busy: 11, known: 1.01}, 0, 0},
		{"no time has passed", activity{all: 10, busy: 10}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s report.Sample
			disturb(&s, activity{all: 10, busy: 10, known: 0}, c.after)
			require.InDelta(t, c.steal, s.Steal, 1e-9)
			require.InDelta(t, c.others, s.Others, 1e-9)
		})
	}
}

// Only the CPUs count that server and load generator are on, where there are more.
func TestCPUsThatCount(t *testing.T) {
	for _, c := range []struct {
		name     string
		machine  int
		settings peer.Settings
		want     []int
	}{
		{"two of two", 2, peer.Settings{}, []int{0, 1}},
		{"two of eight", 8, peer.Settings{}, []int{0, 1}},
		{"a server on two", 8, peer.Settings{Cores: 2}, []int{0, 1, 2}},
		{"a server on two, and no third", 2, peer.Settings{Cores: 2}, nil},
		{"unpinned", 8, peer.Settings{Core: -1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &field{comparison: &comparison{report: &report.Report{Machine: report.Machine{Cores: c.machine}}}, settings: c.settings}
			require.Equal(t, c.want, f.cpus())
		})
	}
}

// The kernel's own figures: CPUs have time, and spend it.
func TestReadTimes(t *testing.T) {
	all, err := readTimes(nil)
	if err != nil {
		t.Skip("no /proc/stat here")
	}
	first, err := readTimes([]int{0})
	require.NoError(t, err)
	require.Positive(t, first.all)
	require.GreaterOrEqual(t, all.all, first.all)
	require.LessOrEqual(t, all.busy+all.stolen, all.all)
	require.Greater(t, ownCPU(), time.Duration(0))
}
