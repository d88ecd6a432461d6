package main

import (
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
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

// The Makefile has every target that README.md and docs name, and make help lists them.
func TestDocumentedTargets(t *testing.T) {
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
	targets["check"] = false // another name of test
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
