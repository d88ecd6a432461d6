package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"turbine/examples/internal/trial"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "rewrite testdata/transcript.txt")

func TestMain(m *testing.M) { trial.Main(m, main) }

// The same client sees the same of both servers, except what
// testdata/transcript.txt says: its lines with - are what engine.io for Node.js
// does, those with + what Turbine does instead, on purpose (README.md has the
// reasons). What the servers say of themselves comes behind what the client saw.
func TestSameTranscript(t *testing.T) {
	var original, ours []string
	t.Run("servers", func(t *testing.T) {
		t.Run("original", func(t *testing.T) {
			t.Parallel()
			original = transcript(t, trial.Node(t, "migration/node/server.mjs",
				"--port", "0", "--ping-interval", "500", "--ping-timeout", "3000"))
		})
		t.Run("ours", func(t *testing.T) {
			t.Parallel()
			ours = transcript(t, trial.Self(t, "-addr", "127.0.0.1:0", "-ping-interval", "500ms", "-ping-timeout", "3s"))
		})
	})
	require.False(t, t.Failed())

	const file = "testdata/transcript.txt"
	got := compare(original, ours)
	if *rewrite {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// transcript runs the client against the server and returns what both printed.
func transcript(t *testing.T, server *exec.Cmd) []string {
	t.Helper()
	s := trial.Run(t, server)
	url := s.Wait(t, `listening on (\S+)\n`)
	client := trial.Run(t, trial.Node(t, "migration/node/client.mjs", url))
	client.Wait(t, `waiting: ready`)
	s.Terminate()
	require.Equal(t, 0, client.End(t), client.Output())
	require.Equal(t, 0, s.End(t), s.Output())

	// When the server notices the end of one session it may be busy with the next
	// one: so its lines are sorted by session. Others are of its log.
	said := slices.DeleteFunc(lines(s.Output()), func(line string) bool { return !sessionLine.MatchString(line) || late.MatchString(line) })
	slices.SortStableFunc(said, func(a, b string) int { return cmp.Compare(name(a), name(b)) })
	all := append(lines(client.Output()), "")
	for _, line := range said {
		all = append(all, "server: "+line)
	}
	return all
}

var sessionLine = regexp.MustCompile(`^[a-z-]+: `)

// late is what either server says where the official client has answered a ping just
// before it read that its session was over: a matter of luck.
var late = regexp.MustCompile(`^(polling|upgrade|bye-polling|big-polling): refused, 1 Session ID unknown$`)

func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

func name(line string) string {
	name, _, _ := strings.Cut(line, ":")
	return name
}

// compare puts two transcripts into one: lines that are the same once, others
// side by side.
func compare(original, ours []string) string {
	var b strings.Builder
	for i := range max(len(original), len(ours)) {
		left, right := "(nothing)", "(nothing)"
		if i < len(original) {
			left = original[i]
		}
		if i < len(ours) {
			right = ours[i]
		}
		if left == right {
			fmt.Fprintf(&b, "  %s\n", left)
		} else {
			fmt.Fprintf(&b, "- %s\n+ %s\n", left, right)
		}
	}
	return b.String()
}
