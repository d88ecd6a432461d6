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

// zsh itself completes at a terminal only. What the script asks of it is looked at: the
// flags of the command that is being typed, and a line without the names in front.
func TestZsh(t *testing.T) {
	zsh, file := shell(t, "zsh"), script(t, "_mint", Zsh(model(t)))
	const call = `_arguments() { print -r -- "$CURRENT/${(j:,:)words}"; print -rl -- "${(@)@%%\[*}" }
		complete() { local file=$1; shift; words=("$@") CURRENT=$#; source $file }; complete "$@"`
	for _, c := range []struct {
		line, rest string
		has, not   string
	}{
		{"mint --ap", "2/mint,--ap", "--app=", "--strict"},
		{"mint --addr :80 serve --ap", "2/mint,--ap", "--app=", "--strict"},
		{"mint config --he", "2/mint,--he", "--help", "--app="},
		{"mint config check --cert a --s", "4/mint,--cert,a,--s", "--strict", "--app="},
		{"mint config check ", "2/mint,", "-s", "--app="},
	} {
		got := output(t, zsh, append([]string{"-f", "-c", call, "zsh", file}, strings.Split(c.line, " ")...)...)
		require.Contains(t, got, c.rest, c.line)
		require.Contains(t, got, c.has, c.line)
		require.NotContains(t, got, c.not, c.line)
	}
	require.Contains(t, string(Zsh(model(t))), `'*:command:((check\:"Say what'\''s wrong\: \"nothing\" is best" print\:"Print all"))'`)
}
