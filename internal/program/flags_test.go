package program

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write docs/flags.md anew")

// flagsPage is the page above its tables.
const flagsPage = `# Flags

For whoever runs the program: what each flag does, its default, and its environment variable.
This page is made from the help texts of the program; ` + "`turbine --help`" + ` shows the same.

**Contents**

@contents

` + "```" + `
turbine --addr :3000 --ping-interval 25s --ping-timeout 20s --max-payload 1000000
` + "```" + `

- Every flag can also be set by its environment variable, and by its name in the file of ` + "`--config`" + `.
  The environment wins over the file, and a flag on the command line over both.
  [Operating](operate.md#configuration) has more about the file.
- A flag that takes several values takes them comma-separated, or is given once for each.
- Times are numbers with a unit: ` + "`300ms`, `25s`, `1m30s`" + `.
- Where the text of a flag does not say what 0 means, 0 means the default.
- A negative value is given behind an equals sign: ` + "`--slow-callback=-1s`" + `.
- A ` + "`TURBINE_`" + ` variable that no flag has is ignored.
  The log names it, with the nearest name of a flag's variable.
- Each limit is also a field of ` + "`engine.Options`" + `.
  [Security](security.md#limits) has the table with what a client sees of it.

| command | does |
|---|---|
@commands

| exit code | it means |
|---|---|
| 0 | A signal ended the program, in good order or at the deadline. |
| 1 | The program cannot serve: an address is taken, the descriptor limit leaves no room, the pid file cannot be written. |
| 2 | The command line or the configuration file makes no sense, a file of keys or certificates that they name is missing, unreadable or wrong, or the address of operations is taken. |

| in the environment | does |
|---|---|
| ` + "`DEBUG=engine*`" + ` | Logs what clients do, as users of the server for Node.js know it. The scopes are ` + "`engine`, `engine:socket`, `engine:transport`, `engine:polling` and `engine:ws`" + `. |
| ` + "`GOGC`, `GOMEMLIMIT`" + ` | Limits of Go's collector. [Tuning](tuning.md#garbage-collection) has what the program sets without them. |
`

// The page of flags is what the program's structs of flags make of it. With
// -rewrite the test writes the page.
func TestFlagsPage(t *testing.T) {
	const path = "../../docs/flags.md"
	model := newParser(&commands{}, "", io.Discard, io.Discard).Model
	want := makeFlagsPage(model.Leaves(true), model.DefaultCmd.Flags)
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	page, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(page), "run go test ./internal/program -run FlagsPage -rewrite")
}

func makeFlagsPage(commands []*kong.Node, flags []*kong.Flag) string {
	var page strings.Builder
	before, after, _ := strings.Cut(flagsPage, "@contents\n")
	page.WriteString(before)
	group := ""
	for _, f := range flags {
		if f.Group != nil && f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(&page, "- [%s](#%s)\n", group, strings.ToLower(group))
		}
	}
	var rows strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&rows, "| %s | %s |\n", codes("turbine "+c.Path()), literal.ReplaceAllString(c.Help, "`$0`"))
	}
	page.WriteString(strings.Replace(after, "@commands\n", rows.String(), 1))
	for _, f := range flags {
		if f.Group == nil {
			continue // --help
		}
		if f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(&page, "\n## %s\n\n| flag | default | environment variable | meaning |\n|---|---|---|---|\n", group)
		}
		meaning := strings.TrimSuffix(f.Help, " None by default.")
		fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", flagNames(f), flagDefault(f), codes(f.Envs...), literal.ReplaceAllString(meaning, "`$0`"))
	}
	return page.String()
}

// --help shows each default that docs/flags.md has.
func TestHelpShowsDefaults(t *testing.T) {
	for _, f := range programFlags() {
		if f.Default != "" && !f.IsBool() && f.Name != "version" {
			require.Empty(t, f.PlaceHolder, "--%s: it would stand in the place of %s", f.Name, f.Default)
		}
	}
	var help bytes.Buffer
	parser := newParser(&commands{}, "", &help, io.Discard)
	parser.Exit = func(int) {}
	_, _ = parser.Parse([]string{"--help"})
	for _, want := range []string{"--addr=:3000,...", `--socket-mode="660"`, "--ping-interval=25s"} {
		require.Contains(t, help.String(), want)
	}
}

// literal is what stands in a help text as it is typed.
var literal = regexp.MustCompile(`--[a-z-]+(=-1s)?|(unix:)?PATH(/live)?|host:port|https://example\.com|\*|GOMEMLIMIT`)

// flagNames are the forms of a flag.
func flagNames(f *kong.Flag) string {
	if f.Tag.Negatable != "" {
		return codes("--"+f.Name, "--no-"+f.Name)
	}
	return codes("--" + f.Name)
}

func flagDefault(f *kong.Flag) string {
	switch {
	case f.Name == "version":
		return ""
	case f.IsBool() && f.Tag.Negatable != "":
		return "on"
	case f.IsBool():
		return "off"
	case f.Default != "":
		return codes(f.Default)
	case strings.Contains(f.Help, "By default"):
		return "see there"
	}
	return "none"
}

func codes(texts ...string) string {
	if len(texts) == 0 {
		return ""
	}
	return "`" + strings.Join(texts, "`, `") + "`"
}

// Each flag is in a group, has a variable, and is described in whole sentences that
// do not point back at another flag.
func TestHelpTexts(t *testing.T) {
	back := regexp.MustCompile(`^(Its|Their|The same)\b|\b(say so|those pages)\b`)
	for _, f := range programFlags() {
		if f.Name == "help" {
			continue
		}
		require.NotNil(t, f.Group, "--%s", f.Name)
		require.Equal(t, f.Name == "version", len(f.Envs) == 0, "--%s", f.Name)
		require.Regexp(t, `^[A-Z].*\.$`, f.Help, "--%s", f.Name)
		require.NotContains(t, f.Help, "|", "it is a cell of a table: --%s", f.Name)
		require.NotRegexp(t, back, f.Help, "--%s", f.Name)
	}
}
