package program

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// document is a page of the repository.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	require.NoError(t, err)
	return string(text)
}

// The table of README.md has each flag once, with its default.
func TestReadmeFlags(t *testing.T) {
	defaults := map[string]string{}
	row := regexp.MustCompile("(?m)^\\| (`--.*?) \\| (.*?) \\| ")
	for _, m := range row.FindAllStringSubmatch(document(t, "README.md"), -1) {
		names, values := strings.Split(m[1], ", "), strings.Split(m[2], ", ")
		if len(values) == 1 {
			values = append(values, m[2])
		}
		for i, name := range names {
			name = strings.Trim(name, "`-")
			require.NotContains(t, defaults, name, "it is there twice")
			defaults[name] = strings.Trim(values[min(i, len(values)-1)], "`")
		}
	}
	for _, f := range programFlags(t) {
		if f.Name == "help" || f.Name == "version" {
			continue
		}
		name := f.Name
		if f.Tag.Negatable != "" {
			name = "no-" + name
		}
		told, ok := defaults[name]
		require.True(t, ok, "README.md has no row for --%s", name)
		delete(defaults, name)
		if f.HasDefault && f.Default != "" && !f.IsBool() {
			require.Equal(t, f.Default, told, "--%s", name)
		}
	}
	require.Empty(t, defaults, "README.md has flags that are none")
}

// The command line of README.md is one.
func TestReadmeCommandLines(t *testing.T) {
	lines := regexp.MustCompile("(?m)(?:^|`)turbine (--[^`\\n]*)").FindAllStringSubmatch(document(t, "README.md")+document(t, "docs/deploy.md"), -1)
	require.Greater(t, len(lines), 3)
	for _, m := range lines {
		var f flags
		parser, err := kong.New(&f, kong.Vars{"version": ""}, kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
		require.NoError(t, err)
		_, err = parser.Parse(strings.Fields(m[1]))
		require.NoError(t, err, m[1])
	}
}
