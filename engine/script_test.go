package engine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into testdata")

// TestScripts runs testdata/*.txt. A file is a list of blocks: comments,
// commands, "----", what they print, an empty line. "options" begins afresh
// with another server; the one before must have left nothing behind.
//
// Each file is run with one loop, with two on which connections land in turn,
// and with three where every request with a session id lands on a loop that is
// not the session's home. All three print the same.
func TestScripts(t *testing.T) { runScripts(t, nil) }

// TestScriptsOnNodes is TestScripts with each request of a session on a node that is not
// the session's: what the scripts print is the same, except in blocks with "(one node)",
// which end the server: other nodes, and connections there, do not end with it.
func TestScriptsOnNodes(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file, onNodes, nil, false) })
	}
}

// runScripts gives each server an Executor, if executor is not nil.
func runScripts(t *testing.T, executor func() *byHand) {
	files, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		for _, loops := range []int{1, 2, -3} {
			name := fmt.Sprintf("%s/%d loops", strings.TrimSuffix(filepath.Base(file), ".txt"), max(loops, -loops))
			t.Run(name, func(t *testing.T) { runScript(t, file, loops, executor, *rewrite && loops == 1 && executor == nil) })
		}
	}
}

// A block is one entry of a script.
type block struct {
	line     int
	comments []string
	commands []string
	want     []string
	ended    bool // has its "----"
}

func readScript(t *testing.T, file string) (blocks []block) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var b block
	flush := func() {
		if len(b.comments)+len(b.commands) > 0 {
			blocks = append(blocks, b)
		}
		b = block{}
	}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimRight(line, " \t")
		switch {
		case line == "":
			flush()
			continue
		case b.ended:
			b.want = append(b.want, line)
		case line == "----":
			b.ended = true
		case strings.HasPrefix(line, "#"):
			b.comments = append(b.comments, line)
		default:
			b.commands = append(b.commands, line)
		}
		if b.line == 0 {
			b.line = i + 1
		}
	}
	flush()
	return blocks
}

// onNodes is the number of loops of a script with two nodes: all requests with a session id
// come to the other one.
const onNodes = -100

// withShortIDs undoes what the longer ids of nodes change in a line: the lengths of what has
// an id.
func withShortIDs(line string) string {
	if !strings.Contains(line, "sid") {
		return line
	}
	return lengths.ReplaceAllStringFunc(line, func(text string) string {
		parts := lengths.FindStringSubmatch(text)
		n, _ := strconv.Atoi(parts[2])
		return parts[1] + strconv.Itoa(n-(nodeSIDLength-sidLength)) + parts[3]
	})
}

var lengths = regexp.MustCompile(`(Content-Length: |\b)(\d{3})(\]|:0\{)`)

func runScript(t *testing.T, file string, loops int, executor func() *byHand, rewrite bool) {
	blocks := readScript(t, file)
	var b *bench
	begin := func(words []string) {
		if b != nil {
			b.finish()
		}
		o, echo, reject, err := setOptions(words)
		require.NoError(t, err)
		if executor != nil {
			o.Executor = executor()
		}
		if loops == onNodes {
			b = newNodesBench(t, 2, o)
		} else {
			b = newBench(t, loops, o)
		}
		b.echo, b.reject = echo, reject
	}
	begin(nil)
	var out strings.Builder
	for i, block := range blocks {
		var got []string
		for _, command := range block.commands {
			at := fmt.Sprintf("%s:%d: %s", file, block.line, command)
			if rest, ok := strings.CutPrefix(command, "options"); ok {
				words, err := split(rest)
				require.NoError(t, err, at)
				begin(words)
				continue
			}
			lines, err := b.run(command)
			require.NoError(t, err, at)
			got = append(got, lines...)
		}
		if rewrite {
			if i > 0 {
				out.WriteString("\n")
			}
			printBlock(&out, block, got)
			continue
		}
		if executor != nil && strings.Contains(strings.Join(block.comments, " "), "(on the loop)") {
			continue // what callbacks send comes a moment later
		}
		if loops == onNodes {
			if strings.Contains(strings.Join(block.comments, " "), "(one node)") {
				continue // other nodes do not end with it
			}
			for i := range got {
				got[i] = withShortIDs(got[i])
			}
		}
		require.Equal(t, strings.Join(block.want, "\n"), strings.Join(got, "\n"), "%s:%d:\n%s", file, block.line, strings.Join(block.commands, "\n"))
	}
	b.finish()
	if rewrite {
		require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o644))
	}
}

func printBlock(out *strings.Builder, b block, got []string) {
	for _, lines := range [][]string{b.comments, b.commands} {
		for _, line := range lines {
			out.WriteString(line + "\n")
		}
	}
	if len(b.commands) == 0 || len(got) == 0 && !b.ended {
		return
	}
	out.WriteString("----\n")
	for _, line := range got {
		out.WriteString(line + "\n")
	}
}
