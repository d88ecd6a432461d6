package program

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The command lines in the documents are some that the program takes.
func TestDocumentedCommandLines(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	found := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range commandLine.FindAllStringSubmatch(string(text), -1) {
			found++
			parser := newParser(&commands{}, "", io.Discard, io.Discard)
			exited := false
			parser.Exit = func(int) { exited = true } // --help and --version
			line, _, _ := strings.Cut(m[1], " >")
			_, err = parser.Parse(strings.Fields(line))
			require.True(t, err == nil || exited, "%s: turbine %s: %v", page, m[1], err)
		}
	}
	require.Greater(t, found, 3)
}

// The flags that the documents name are some of the program's.
func TestDocumentedFlags(t *testing.T) {
	known := map[string]bool{"help": true}
	for _, f := range programFlags() {
		known[f.Name], known["no-"+f.Name] = true, true
	}
	pages, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		found := 0
		for _, span := range codeSpan.FindAllString(string(text), -1) {
			for _, m := range longFlag.FindAllStringSubmatch(span, -1) {
				found++
				require.True(t, known[m[1]], "%s: --%s is no flag", page, m[1])
			}
		}
		if filepath.Base(page) == "troubleshooting.md" {
			require.Greater(t, found, 20)
		}
	}
}

var (
	codeSpan = regexp.MustCompile("`[^`\\n]+`")
	longFlag = regexp.MustCompile(`(?:^.|\s)--([a-z][a-z-]+)`)
)

// A commandLine calls the program at the beginning of a line, behind a prompt, at the
// beginning of a code span, or of a systemd unit's ExecStart.
var commandLine = regexp.MustCompile("(?m)(?:^|^\\$ |`|=/usr/local/bin/)turbine ((?:--|(?:serve|config)\\b)[^`\\n]*)")
