package manual

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// shell is the path of a shell, or the test is skipped: nobody has all of them.
func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s; install it to test its completions", name)
	}
	return path
}

func output(t *testing.T, name string, args ...string) (lines []string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	for line := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t") // fish has the description behind it
		lines = append(lines, word)
	}
	slices.Sort(lines)
	return lines
}

func script(t *testing.T, name string, text []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

func TestBash(t *testing.T) {
	bash, file := shell(t, "bash"), script(t, "mint.bash", Bash(model(t)))
	// As readline calls it: the words up to the cursor, with = as a word of its own.
	const call = `set -u; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mint 2>&1; printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}`
	complete := func(words ...string) []string {
		return slices.DeleteFunc(output(t, bash, append([]string{"--norc", "-c", call, "bash", file}, words...)...), func(s string) bool { return s == "" })
	}
	for _, c := range completions {
		require.ElementsMatch(t, c.want, complete(strings.Split(c.line, " ")...), c.line)
	}
	require.Equal(t, []string{"broadcast", "echo"}, complete("mint", "--app", "="))
	require.Equal(t, []string{"echo"}, complete("mint", "--app", "=", "e"))
	require.Equal(t, []string{"testdata/cert.pem"}, complete("mint", "--cert", "=", "testdata/ce"))
	require.Empty(t, complete("mint", "--addr", "=", ""))
}

func TestFish(t *testing.T) {
	fish, file := shell(t, "fish"), script(t, "mint.fish", Fish(model(t)))
	for _, c := range completions {
		got := output(t, fish, "--no-config", "--command", `source $argv[1]; complete --do-complete $argv[2]`, file, c.line)
		require.ElementsMatch(t, c.want, got, c.line)
	}
}

func TestZsh(t *testing.T) {
	zsh := shell(t, "zsh")
	output(t, zsh, "-n", script(t, "_mint", Zsh(model(t))))
}
