package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testCommand = regexp.MustCompile("`go test ([^`]+)`")
	testNamed   = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)\w*)\(`)
)

// Each go test command in the documents names a package that is there, and a test or
// a benchmark of it.
func TestDocumentedTests(t *testing.T) {
	atRoot(t)
	commands := 0
	for _, page := range pages(t) {
		for _, m := range testCommand.FindAllStringSubmatch(document(t, page), -1) {
			commands++
			words := strings.Fields(strings.NewReplacer("'", "", `\|`, "|").Replace(m[1]))
			pattern, folder := "", ""
			for i, word := range words {
				switch {
				case word == "-run" && words[i+1] != "xxx", word == "-bench":
					pattern, _, _ = strings.Cut(words[i+1], "/") // of a test, not of its parts
				case strings.HasPrefix(word, "./"):
					folder = word
				}
			}
			require.NotEmpty(t, pattern, "%s: %s", page, m[0])
			require.NotEmpty(t, folder, "%s: %s", page, m[0])
			require.True(t, hasTest(t, folder, regexp.MustCompile(pattern)), "%s: %s runs nothing", page, m[0])
		}
	}
	require.Greater(t, commands, 12)
}

func hasTest(t *testing.T, folder string, pattern *regexp.Regexp) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range testNamed.FindAllStringSubmatch(string(text), -1) {
			if pattern.MatchString(m[1]) {
				return true
			}
		}
	}
	return false
}
