package lint

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// The Makefile has every target that README.md and docs name, and make help lists them.
func TestDocumentedTargets(t *testing.T) {
	atRoot(t)
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(document(t, "Makefile"), -1) {
		targets[m[1]] = true
	}
	help, err := exec.Command("make", "-s", "help").Output()
	require.NoError(t, err)
	told := map[string]bool{}
	for line := range strings.Lines(string(help)) {
		name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		require.NotEmpty(t, strings.TrimSpace(what), name)
		told[name] = true
	}
	for name, real := range targets {
		require.Equal(t, real, told[name], "make help and %s", name)
	}
	pages := document(t, "README.md")
	entries, err := os.ReadDir("docs")
	require.NoError(t, err)
	for _, e := range entries {
		pages += document(t, "docs/"+e.Name())
	}
	for _, m := range regexp.MustCompile("(?m)(?:`|^)make ([a-z0-9-]+)").FindAllStringSubmatch(pages, -1) {
		require.True(t, targets[m[1]], "there is no make %s", m[1])
	}
}
