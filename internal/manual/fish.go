package manual

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Fish is the file for fish.
func Fish(app *kong.Application) []byte {
	var b bytes.Buffer
	all := commandsOf(app)
	fmt.Fprintf(&b, `# Completions of %[1]s for fish.

function __%[1]s_at --description 'whether the command that is given so far is this one'
    set -l at ""
    for word in (commandline -opc)[2..]
        switch "$at $word"
%[2]s        case '*'
        end
    end
    test "$at" = "$argv[1]"
end

complete -c %[1]s -f
`, app.Name, paths(all, "        case %s\n            set at \"$at $word\""))
	for _, c := range all {
		at := fmt.Sprintf("complete -c %s -n '__%[1]s_at \"%s\"'", app.Name, c.path)
		for _, n := range c.below {
			fmt.Fprintf(&b, "%s -a %s -d '%s'\n", at, n.Name, fishQuote(summary(n.Help)))
		}
		for _, f := range c.flags {
			for _, name := range names(f) {
				fmt.Fprintf(&b, "%s %s -d '%s'\n", at, fishFlag(f, name), fishQuote(summary(f.Help)))
			}
		}
	}
	return b.Bytes()
}

// fishFlag are the arguments of complete for one form of a flag.
func fishFlag(f *kong.Flag, name string) string {
	text := "-l " + strings.TrimPrefix(name, "--")
	if !strings.HasPrefix(name, "--") {
		text = "-s " + strings.TrimPrefix(name, "-")
	}
	switch {
	case !takesValue(f):
	case choices(f) != nil:
		text += " -x -a '" + strings.Join(choices(f), " ") + "'"
	case isFile(f):
		text += " -r -F"
	default:
		text += " -x"
	}
	return text
}

// fishQuote is s within single quotes.
func fishQuote(s string) string { return strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) }
