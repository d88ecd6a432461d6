package lint

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The Makefile has every target that the documents name, and make help lists them.
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
	var text strings.Builder
	for _, page := range pages(t) {
		text.WriteString(document(t, page))
	}
	for _, m := range regexp.MustCompile("(?m)(?:`|^)make ([a-z0-9-]+)").FindAllStringSubmatch(text.String(), -1) {
		require.True(t, targets[m[1]], "there is no make %s", m[1])
	}
}
