package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A fuzzing is one way to run the server, and the cases to run on it.
type fuzzing struct {
	name    string
	deflate string     // of target
	groups  []int      // of cases
	lanes   [][]string // patterns of the same cases: each lane is a client, side by side
	bound   time.Duration
}

var basics = []int{1, 2, 3, 4, 5, 6, 7, 10}

// Cases of these groups wait more than they work.
var basicLanes = [][]string{{"1.*", "2.*", "3.*", "4.*", "5.*", "10.*"}, {"6.*"}, {"7.*"}}

var limitLanes = [][]string{{"9.1.*", "9.3.*", "9.5.*", "9.7.*"}, {"9.2.*", "9.4.*", "9.6.*", "9.8.*"}}

// everyChange are the groups that take seconds, all the rest.
var (
	everyChange = []fuzzing{
		{"plain", "off", basics, basicLanes, 5 * time.Minute},
		{"deflate", "on", basics, basicLanes, 5 * time.Minute},
	}
	all = []fuzzing{
		{"limits", "off", []int{9}, limitLanes, time.Hour},
		{"limits deflate", "on", []int{9}, limitLanes, time.Hour},
		{"compression", "on", []int{12, 13}, [][]string{{"12.*", "13.1.*"}, {"13.2.*", "13.3.*", "13.4.*", "13.5.*", "13.6.*", "13.7.*"}}, time.Hour},
		{"takeover", "takeover", []int{12, 13}, [][]string{{"12.*", "13.1.*"}, {"13.2.*", "13.3.*", "13.4.*", "13.5.*", "13.6.*", "13.7.*"}}, time.Hour},
	}
)

// TestAutobahn has the fuzzing client of the Autobahn|Testsuite try the echo at
// /ws of target: the groups for every change, or with TURBINE_AUTOBAHN=all every
// group. The client's report, with what went over the wire, stays in
// autobahn/artifacts.
func TestAutobahn(t *testing.T) {
	if testing.Short() || external() != "" {
		t.Skip("runs a binary of its own")
	}
	suite := autobahn(t)
	fuzzings := everyChange
	if os.Getenv("TURBINE_AUTOBAHN") == "all" {
		fuzzings = append(slices.Clone(fuzzings), all...)
	}
	for _, f := range fuzzings {
		t.Run(f.name, func(t *testing.T) {
			path, err := targetExecutable()
			require.NoError(t, err)
			s := start(t, exec.Command(path, "--addr", "127.0.0.1:0", "--deflate", f.deflate,
				"--max-fragments", "100000")) // 9.3.1 and 9.4.1 send 65,537
			report := map[string]verdict{}
			for i, r := range fuzz(t, suite, f, s.addr) {
				require.NoError(t, r.err, "lane %d: %s", i, r.output)
				for name := range r.report {
					require.NotContains(t, report, name, "in two lanes")
				}
				maps.Copy(report, r.report)
			}
			require.Empty(t, judge(report, f.groups))
			t.Logf("%d cases: %s", len(report), count(report))
		})
	}
}

// targetExecutable builds target once and returns its path.
var targetExecutable = sync.OnceValues(func() (string, error) {
	return buildProgram("target", "turbine/internal/e2e/target")
})

// autobahn returns the folder that the suite is installed in.
func autobahn(t *testing.T) string {
	t.Helper()
	suite, err := filepath.Abs("../../.tools/autobahn")
	require.NoError(t, err)
	want, err := os.ReadFile("autobahn/requirements.txt")
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(suite, "requirements.txt"))
	require.True(t, err == nil && string(got) == string(want), "the Autobahn|Testsuite is not installed: "+
		"run `make autobahn-suite`. It needs Python 2.7: `pyenv install 2.7.18`, or PYTHON2=/path/to/python2.7")
	return suite
}

// A lane is what one client has found out.
type lane struct {
	report map[string]verdict
	output string
	err    error
}

// fuzz runs the clients of f side by side.
func fuzz(t *testing.T, suite string, f fuzzing, addr string) []lane {
	dir, err := filepath.Abs(filepath.Join("autobahn/artifacts", f.name))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(dir, 0o755))
	ctx, cancel := context.WithTimeout(t.Context(), f.bound)
	defer cancel()
	lanes := make([]lane, len(f.lanes))
	var clients sync.WaitGroup
	for i, patterns := range f.lanes {
		clients.Go(func() { lanes[i] = runLane(ctx, suite, filepath.Join(dir, fmt.Sprint(i)), addr, patterns) })
	}
	clients.Wait()
	return lanes
}

// agent names the server in the client's reports.
const agent = "turbine"

// runLane runs one client to its end, which tells nothing: what counts is the
// report that it leaves in dir.
func runLane(ctx context.Context, suite, dir, addr string, patterns []string) (l lane) {
	spec, err := json.Marshal(map[string]any{
		"outdir":              dir,
		"servers":             []map[string]any{{"agent": agent, "url": "ws://" + addr + "/ws"}},
		"cases":               patterns,
		"exclude-cases":       []string{},
		"exclude-agent-cases": map[string]any{},
	})
	if err != nil {
		return lane{err: err}
	}
	file := dir + ".json"
	if err := os.WriteFile(file, spec, 0o644); err != nil {
		return lane{err: err}
	}
	out, err := exec.CommandContext(ctx, filepath.Join(suite, "python"), "autobahn/fuzz.py", filepath.Join(suite, "packages"), file).CombinedOutput()
	l = lane{output: string(out), err: err}
	if l.err != nil {
		return l
	}
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		l.err = err
		return l
	}
	var agents map[string]map[string]verdict
	if l.err = json.Unmarshal(index, &agents); l.err == nil && agents[agent] == nil {
		l.err = errors.New("the report knows nothing of the server")
	}
	l.report = agents[agent]
	return l
}
