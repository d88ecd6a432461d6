package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	drainSessions = 5000
	// With the race detector the server is some ten times slower.
	drainSessionsRaced = 1000
	drainOfficials     = 4 // of each official client and transport
)

func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

var feederExecutable = sync.OnceValues(func() (string, error) {
	return buildProgram("feeder", "turbine/internal/e2e/feeder")
})

// fed is what the feeder reports of a session.
type fed struct {
	Sid                        string
	Accepted, Drained, Refused int
	Reason                     string
}

// official is what an official client says of its session.
type official struct {
	Sid, Client, Transport string
	Received               int
	InOrder                bool
	Reason, Error          string
}

// 5,000 sessions and some tens of the official clients are sent messages when
// SIGTERM comes, and until each has had its turn: all hear their end in good
// order, and behind every message that the server's Send accepted, once and in
// order.
func TestDrainLosesNothing(t *testing.T) {
	if testing.Short() || external() != "" {
		t.Skip("runs a program of its own")
	}
	require.DirExists(t, "clients/node_modules", "the clients are not installed: run make setup")
	path, err := feederExecutable()
	require.NoError(t, err)
	report := filepath.Join(t.TempDir(), "report")
	s := start(t, exec.Command(path, "-report", report, "-period", "3s", "-timeout", "60s"))

	sessions := drainSessions
	if raced() {
		sessions = drainSessionsRaced
	}
	began := time.Now()
	c := newCrowd(s.addr, sessions)
	for end := time.Now().Add(2 * time.Minute); c.opened.Load() < int64(sessions); time.Sleep(10 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "%d sessions of %d have got a message", c.opened.Load(), sessions)
	}
	t.Logf("%d sessions had their first message after %v", sessions, time.Since(began).Round(time.Millisecond))
	officials := startOfficials(t, s)

	began = time.Now()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	c.wait.Wait()
	t.Logf("all ended after %v", time.Since(began).Round(time.Millisecond))
	told := officials(t)
	require.True(t, s.ends(stopPatience), "still running")
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode(), s.stderr.String())

	reports := readReport(t, report)
	require.Len(t, reports, sessions+len(told))
	var counts [crowdKinds]int
	messages, late := 0, 0
	for _, m := range c.members {
		require.NoError(t, m.err, "%s, after %d messages", crowdNames[m.kind], m.received)
		f := reports[m.sid]
		require.Equal(t, f.Accepted, m.received, "%s: messages that arrived, of those accepted; %+v", crowdNames[m.kind], f)
		counts[m.kind]++
		messages += m.received
		late += f.Drained
		checkReason(t, f)
	}
	for i, n := range counts {
		t.Logf("%s: %d sessions", crowdNames[i], n)
	}
	for _, o := range told {
		f := reports[o.Sid]
		require.True(t, o.InOrder, "%+v", o)
		require.Equal(t, f.Accepted, o.Received, "%+v %+v", o, f)
		require.Equal(t, "transport close", o.Reason, "%+v", o)
		require.Empty(t, o.Error, "%+v", o)
		messages += o.Received
		late += f.Drained
		checkReason(t, f)
	}
	t.Logf("official clients: %d sessions", len(told))
	t.Logf("%d messages accepted, %d of them after SIGTERM; 0 lost, 0 twice, 0 out of order", messages, late)
	require.GreaterOrEqual(t, late, 5*(sessions+len(told)), "messages after SIGTERM")
}

func checkReason(t *testing.T, f fed) {
	t.Helper()
	require.Equal(t, "server shutting down", f.Reason, "%+v", f)
	require.Zero(t, f.Refused, "%+v", f)
}

func readReport(t *testing.T, path string) map[string]fed {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	all := map[string]fed{}
	for line := range strings.Lines(string(text)) {
		var f fed
		require.NoError(t, json.Unmarshal([]byte(line), &f), line)
		all[f.Sid] = f
	}
	return all
}

// startOfficials opens sessions of the official clients. The result waits for
// their ends.
func startOfficials(t *testing.T, s *server) func(*testing.T) []official {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "node", "drain.js", "--url", "http://"+s.addr, "--each", strconv.Itoa(drainOfficials))
	cmd.Dir = "clients"
	cmd.WaitDelay = time.Second
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "opened", lines.Text())
	return func(t *testing.T) (all []official) {
		t.Helper()
		for lines.Scan() {
			var o official
			require.NoError(t, json.Unmarshal(lines.Bytes(), &o), lines.Text())
			all = append(all, o)
		}
		require.NoError(t, cmd.Wait())
		require.Len(t, all, len(clients)*len(transports)*drainOfficials)
		return all
	}
}
